"""The disc meter: its own error on fresh renders, and on discs drawn without the data set."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
import pytest

from tests.evaluate.drawn import shape
from zsi_jax.data.discs import Discs
from zsi_jax.data.record import table
from zsi_jax.evaluate.discs import find

RED = np.array([1.0, 0.2, 0.1])


def render(source):
  images = np.stack([source[i]['image'] for i in range(len(source))])
  return (images / 127.5 - 1).astype(np.float32), table(source)


def scene(*masks, colour=RED):
  return (np.maximum.reduce(masks)[None, ..., None] * colour * 2 - 1).astype(np.float32)


@pytest.mark.parametrize(
  'size, noise, px, degrees',
  [(64, 0.0, 0.15, 0.5), (64, 0.1, 0.3, 6), (32, 0.0, 0.3, 0.5), (32, 0.05, 0.4, 6)],
)
@pytest.mark.parametrize('where', ['sides', 'everywhere'])
def test_its_own_error(size, noise, px, degrees, where):
  """Largest error of 200 fresh renders; noise is of [0, 1]."""
  images, truth = render(Discs(n=200, size=size, seed=5, where=where, background=20))
  images += np.random.default_rng(0).normal(0, 2 * noise, images.shape)
  found = find(images)
  assert found.one.all() and (found.blobs == 1).all()
  assert np.abs(found.x - truth['x']).max() < px
  assert np.abs(found.y - truth['y']).max() < px
  assert np.abs(found.hue - truth['hue']).max() < degrees
  assert np.abs(found.radius - size / 8).max() < 0.5


def test_places_and_hues_of_discs_drawn_here():
  rng = np.random.default_rng(1)
  centres, hues = rng.uniform(10, 53, (60, 2)), rng.uniform(-180, 180, 60)
  images = np.concatenate(
    [
      scene(shape('fat/', 64, c, 6), colour=np.array(colorsys.hsv_to_rgb(h / 360 % 1, 0.8, 0.9)))
      for c, h in zip(centres, hues, strict=True)
    ]
  )
  found = find(images)
  assert found.one.all()
  assert np.abs(np.stack([found.x, found.y], axis=1) - centres).max() < 0.15
  assert np.abs((found.hue - hues + 180) % 360 - 180).max() < 0.5
  assert np.abs(found.radius - 6.5).max() < 0.3
  pixels = find(np.clip((images + 1) * 127.5, 0, 255).astype(np.uint8))
  assert np.allclose(pixels.x, found.x, atol=0.05) and pixels.one.all()


def test_what_is_not_one_disc():
  def at(x, y, r=6, square=False):
    return shape('fat/', 64, np.array([x, y]), r, square)

  column = np.arange(64)[None] * np.ones((64, 1))
  half = at(30, 30) * (column >= 30)
  bar = cv2.rectangle(np.zeros((64, 64)), (10, 30), (50, 36), 1.0, -1)
  cases = {
    'two': (scene(at(15, 30), at(48, 30)), 2),
    'a ghost': (scene(at(15, 30), 0.6 * at(48, 30)), 2),
    'merged': (scene(at(25, 30), at(35, 30)), 1),
    'square': (scene(at(30, 30, square=True)), 1),
    'half': (scene(half), 1),
    'cut by the edge': (scene(at(0, 30)), 1),
    'bar': (scene(bar), 1),
    'nothing': (scene(np.zeros((64, 64))), 0),
  }
  for name, (image, blobs) in cases.items():
    found = find(image)
    assert not found.one[0] and found.blobs[0] == blobs, name
  assert np.isnan(find(cases['nothing'][0]).hue[0])
  both = find(np.concatenate([scene(at(30, 30)), cases['two'][0]]))
  assert both.one.tolist() == [True, False]


def test_a_white_disc_has_no_hue():
  found = find(scene(shape('fat/', 64, np.array([30, 30]), 6), colour=np.ones(3)))
  assert found.one[0] and np.isnan(found.hue[0])


def test_garbage():
  rng = np.random.default_rng(2)
  for given in (
    np.zeros((3, 64, 64, 3), np.uint8),
    np.full((2, 64, 64, 3), -0.4),
    rng.normal(0, 1, (30, 64, 64, 3)).clip(-3, 3),
    rng.integers(0, 256, (30, 32, 32, 3)).astype(np.uint8),
    rng.integers(0, 256, (3, 1, 2, 3)).astype(np.uint8),
  ):
    found = find(given)
    assert not found.one.any() and not found.blobs.any() and np.isnan(found.x).all()
  assert find(np.zeros((0, 64, 64, 3), np.uint8)).one.shape == (0,)
  with pytest.raises(ValueError, match='3 channels'):
    find(np.zeros((1, 64, 64, 1), np.uint8))
