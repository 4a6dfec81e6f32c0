"""The size meter: its own error on fresh renders, and on boxes drawn without the data set."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.data import objects
from zsi_jax.data.record import table
from zsi_jax.data.sizes import Sizes
from zsi_jax.evaluate.sizes import measure


def render(source):
  images = np.stack([source[i]['image'] for i in range(len(source))])
  return (images / 127.5 - 1).astype(np.float32), table(source)


@pytest.mark.parametrize(
  'size, noise, mean, most',
  [
    (64, 0.0, 0.005, 0.03),
    (64, 0.05, 0.015, 0.05),
    (64, 0.1, 0.015, 0.12),
    (32, 0.0, 0.016, 0.08),
    (32, 0.05, 0.03, 0.15),
    (128, 0.0, 0.002, 0.01),
  ],
)
def test_its_own_error(size, noise, mean, most):
  """Mean and largest error of 240 fresh renders, in units of size; noise is of [0, 1]."""
  images, truth = render(Sizes(n=240, size=size, seed=11))
  images += np.random.default_rng(0).normal(0, 2 * noise, images.shape)
  found = measure(images)
  error = np.abs(found.size - truth['size'])
  assert (found.objects >= 1).all() and (found.objects == 1).mean() > 0.97
  assert error.mean() < mean and error.max() < most
  for middle, true in ((found.x, truth['x']), (found.y, truth['y'])):
    away = np.abs(middle - true)
    assert away.mean() < 0.25 and away.max() < 2.5  # noise may hide the stem of a leaf


def test_no_kind_reads_larger_than_another():
  images, truth = render(Sizes(n=600, seed=12))
  error = measure(images).size - truth['size']
  for k in range(len(objects.KINDS)):
    assert abs(error[truth['kind'] == k].mean()) < 0.006


def test_boxes_to_a_fraction_of_a_pixel():
  rng = np.random.default_rng(1)
  images, sides, middles = [], [], []
  fine = (np.arange(64 * 8) + 0.5) / 8 - 0.5
  for _ in range(40):
    wide, high = rng.uniform(8, 50, 2)
    x, y = rng.uniform(28, 35, 2)
    inside = (abs(fine[None] - x) <= wide / 2) & (abs(fine[:, None] - y) <= high / 2)
    cover = inside.reshape(64, 8, 64, 8).mean(axis=(1, 3))[..., None]
    slope = 0.9 - 0.1 * np.arange(64)[:, None, None] / 64
    images.append((1 - cover) * slope + cover * [0.2, 0.5, 0.3])
    sides.append(max(wide, high))
    middles.append((x, y))
  found = measure(np.array(images) * 2 - 1, smallest=0, largest=1)
  assert np.abs(found.extent - sides).max() < 0.4
  assert np.allclose(found.size, found.extent / 64)
  assert np.abs(np.stack([found.x, found.y], axis=1) - middles).max() < 0.3


def test_grey_images_pixels_and_other_bounds():
  images, truth = render(Sizes(n=30, seed=13, smallest=0.3, largest=0.7))
  for given in (images, np.rint((images + 1) * 127.5).astype(np.uint8)):
    assert np.abs(measure(given, 0.3, 0.7).size - truth['size']).max() < 0.04
  grey = images.mean(axis=3, keepdims=True)
  assert np.abs(measure(grey, 0.3, 0.7).size - truth['size']).mean() < 0.03


def test_two_objects_are_counted_and_the_larger_is_measured():
  image = np.full((1, 64, 64, 3), 230, np.uint8)
  image[0, 10:40, 5:35] = (30, 90, 160)
  image[0, 45:60, 45:60] = (160, 60, 30)
  image[0, 3:5, 50:53] = 20  # a speck
  found = measure(image)
  assert found.objects[0] == 2 and found.extent[0] == pytest.approx(30, abs=0.1)
  assert (found.x[0], found.y[0]) == pytest.approx((19.5, 24.5), abs=0.1)


def test_garbage():
  rng = np.random.default_rng(2)
  for given in (
    np.zeros((3, 64, 64, 3), np.uint8),
    np.full((2, 64, 64, 3), -0.4),
    rng.normal(0, 1, (30, 64, 64, 3)).clip(-3, 3),
    rng.integers(0, 256, (30, 32, 32, 3)).astype(np.uint8),
    rng.integers(0, 256, (3, 1, 2, 3)).astype(np.uint8),
  ):
    found = measure(given)
    assert not found.objects.any() and np.isnan(found.size).all()
  assert measure(np.zeros((0, 64, 64, 3), np.uint8)).size.shape == (0,)
  full = measure(np.concatenate([np.full((1, 64, 64, 3), 30, np.uint8)]))
  assert full.objects[0] == 0
  for bounds in ((0.8, 0.2), (-0.1, 0.5), (0.2, 1.2)):
    with pytest.raises(ValueError, match='smallest < largest'):
      measure(np.zeros((1, 8, 8, 3), np.uint8), *bounds)
