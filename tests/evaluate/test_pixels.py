"""What a meter takes, and what it says of the rest; a background that is a plane."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.evaluate import circles, discs, pixels, sizes
from zsi_jax.evaluate.pixels import blocks, foreground

METERS = {'circle': circles.find, 'disc': discs.find, 'size': sizes.measure}


def test_both_kinds_become_the_same():
  given = np.arange(2 * 5 * 7 * 3).reshape(2, 5, 7, 3).astype(np.uint8)
  ((_, a),) = blocks(given, 'x')
  ((_, b),) = blocks(given / 127.5 - 1, 'x')
  assert a.dtype == b.dtype == np.float32
  assert np.allclose(a, given / 255) and np.allclose(a, b, atol=1e-6)


def test_blocks_are_all_of_it_in_order(monkeypatch):
  monkeypatch.setattr(pixels, 'BLOCK', 4)
  given = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
  parts = list(blocks(given, 'x'))
  assert [at for at, _ in parts] == [0, 4, 8]
  assert np.array_equal(np.concatenate([p for _, p in parts]), given / np.float32(255))
  given = np.zeros((10, 1, 1, 1))
  given[9] = np.nan
  with pytest.raises(ValueError, match='image 9 holds NaN'):
    list(blocks(given, 'x'))


def test_circles_over_several_blocks(monkeypatch):
  given = np.zeros((5, 32, 32, 1), np.uint8)
  given[2, 10:15, 9:14, 0] = given[4, 10:15, 9:14, 0] = 255
  given[2, 10:15:4, 9:14:4] = 0  # the corners
  monkeypatch.setattr(pixels, 'BLOCK', 2)
  found = circles.find(given, 2)
  assert found.number.tolist() == [0, 0, 1, 0, 0] and found.others.tolist() == [0, 0, 0, 0, 1]
  assert (found.x[2, 0], found.y[2, 0]) == (11, 12)


@pytest.mark.parametrize('meter', METERS)
@pytest.mark.parametrize(
  'given, says',
  [
    (np.zeros((64, 64, 3), np.uint8), r'\[64, 64, 3\]: one image is images\[None\]'),
    (np.zeros((2, 3, 64, 64), np.uint8), r'C = 1 or 3, not \[2, 3, 64, 64\]'),
    (np.zeros((2, 0, 64, 3), np.uint8), 'N, H, W, C'),
    (np.zeros((2, 64, 64, 3), int), 'uint8 or floats .* not int64'),
    (np.zeros((2, 64, 64, 3), bool), 'not bool'),
    (np.full((2, 64, 64, 3), 255.0), 'image 0 reaches 255; floats are in'),
    (np.where(np.arange(3)[:, None, None, None] == 1, np.nan, np.zeros((3, 8, 8, 3))), 'image 1'),
    (np.full((1, 8, 8, 3), np.inf), 'image 0 holds NaN or infinity'),
  ],
)
def test_what_is_refused(meter, given, says):
  with pytest.raises(ValueError, match=says) as error:
    METERS[meter](given)
  assert f'the {meter} ' in str(error.value)


@pytest.mark.parametrize('touching', [False, True])
def test_the_background_is_a_plane_and_an_object_may_touch_the_edge(touching):
  y, x = np.mgrid[:48, :48] / 48
  plane = np.stack([0.5 + 0.2 * x, 0.4 + 0.3 * y, 0.6 - 0.1 * x - 0.1 * y], axis=-1)
  image = plane.copy()
  rows = slice(0, 30) if touching else slice(10, 30)
  image[rows, 20:34] = (0.1, 0.0, 0.9)
  rest, noise = foreground(image[None].astype(np.float32))
  assert np.abs(rest[0] + plane - image).max() < 0.02 and noise[0] < 0.01


def test_the_noise_of_a_background():
  rng = np.random.default_rng(0)
  images = 0.5 + 0.1 * rng.normal(size=(20, 64, 64, 3)).astype(np.float32)
  rest, noise = foreground(images)
  assert abs(noise.mean() / rest.std() - 1) < 0.08
