"""Crops, sizes and flips against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from zsi_jax.data import transforms
from zsi_jax.data.chance import uniforms
from zsi_jax.data.errors import DataError


def noise(*shape):
  return (uniforms(0, 0, int(np.prod(shape))) * 256).astype(np.uint8).reshape(shape)


def test_normalise_is_exact_at_the_ends():
  x = transforms.normalise(np.arange(256, dtype=np.uint8))
  assert x.dtype == np.float32 and x[0] == -1 and x[255] == 1 and (np.diff(x) > 0).all()
  np.testing.assert_allclose(x, np.arange(256) / 127.5 - 1, atol=6e-8)


def test_mirror_twice_is_nothing():
  image = noise(4, 5, 3)
  np.testing.assert_array_equal(transforms.mirror(transforms.mirror(image)), image)
  assert (transforms.mirror(image)[:, 0] == image[:, -1]).all()


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_random_crop_is_a_window_of_the_enlarged_picture(channels):
  image = noise(16, 16, channels)
  picture = Image.fromarray(image[..., 0] if channels == 1 else image)
  for size, top, left in ((16, 0, 0), (17, 1, 0), (20, 4, 2), (20, 0, 4)):
    room = size - 16 + 1
    chance = np.array([(size - 16 + 0.5) / 5, (top + 0.5) / room, (left + 0.5) / room])
    large = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))
    large = large.reshape(size, size, channels)
    np.testing.assert_array_equal(
      transforms.random_crop(image, 0.8, chance), large[top : top + 16, left : left + 16]
    )


def test_the_published_range_of_sizes(monkeypatch):
  """64 px: 64 … 80, each as likely."""
  seen = []

  def spy(image, size):
    seen.append(size)
    return image

  monkeypatch.setattr(transforms, '_smaller_side', spy)
  for u in (np.arange(340) + 0.5) / 340:
    transforms.random_crop(np.zeros((64, 64, 3), np.uint8), 0.8, np.array([u, 0, 0]))
  sizes, counts = np.unique(seen, return_counts=True)
  assert sizes.tolist() == list(range(64, 81)) and set(counts) == {20}


def test_center_crop():
  image = noise(218, 178, 3)
  square = transforms.center_crop(Image.fromarray(image), 178, 178)
  np.testing.assert_array_equal(square, image[20:198])
  assert transforms.center_crop(Image.fromarray(image), 178, 64).shape == (64, 64, 3)
  with pytest.raises(DataError, match='178 x 218 has no square of 179'):
    transforms.center_crop(Image.fromarray(image), 179, 64)


def test_fit_halves_by_boxes_first():
  image = noise(128, 256, 3)
  boxes = image.reshape(64, 2, 128, 2, 3).mean((1, 3))
  fitted = transforms.fit(Image.fromarray(image), 64)
  np.testing.assert_allclose(fitted, boxes[:, 32:96], atol=1)  # rounded once each way
  same = noise(64, 64, 1)
  np.testing.assert_array_equal(transforms.fit(Image.fromarray(same[..., 0]), 64), same)
  assert transforms.fit(Image.fromarray(noise(63, 90, 3)), 64).shape == (64, 64, 3)
