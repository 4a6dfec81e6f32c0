"""Pictures: the published rounding, and tiles where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.io.images import grid, to_uint8


def test_pixels_are_truncated_as_published():
  x = np.array([-2, -1, -0.5, 0, 0.999, 1, 2])
  assert to_uint8(x).tolist() == [0, 0, 63, 127, 254, 255, 255]
  every = np.arange(256)
  assert np.array_equal(to_uint8(every / 127.5 - 1 + 1e-6), every)
  with pytest.raises(ValueError, match='1 of 3 pixels'):
    to_uint8([0, np.nan, 1])


def test_grid():
  images = np.linspace(-1, 1, 5)[:, None, None, None] * np.ones((5, 4, 6, 3))
  picture = grid(images, gap=2)
  assert picture.size == (3 * 8 - 2, 2 * 6 - 2) and picture.mode == 'RGB'
  pixels = np.asarray(picture)
  for i, tile in enumerate(to_uint8(images)):
    top, left = i // 3 * 6, i % 3 * 8
    assert np.array_equal(pixels[top : top + 4, left : left + 6], tile)
  assert (pixels[4:6] == 255).all() and (pixels[:, 6:8] == 255).all()
  assert (pixels[6:, 16:] == 255).all()
  assert grid(images[..., :1], columns=5, gap=0).size == (30, 4)
  assert grid(images[..., :1]).mode == 'L'
  assert grid(images[:2], columns=9).size == (14, 4)
  for wrong in (images[0], images.transpose(0, 3, 1, 2), images[:0]):
    with pytest.raises(ValueError, match='N, H, W, C'):
      grid(wrong)
  with pytest.raises(ValueError, match='columns'):
    grid(images, columns=0)
