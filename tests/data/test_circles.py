"""The circles of the paper: their centres, pixels, labels, and what a mirror does to them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.data import drawn
from zsi_jax.data.circles import Circles
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import digest, table

SETS = {
  'borders': (Circles(), 1200, 'bad4d89978e8f014'),
  'uniform': (Circles(where='uniform'), 3600, '28de5a2e559019d1'),
  'quadrant': (Circles(where='quadrant'), 784, '58eb0e7b85e07801'),
  'squares': (Circles(where='uniform', squares=True), 7200, '60feac2acc8ab2a6'),
  'small': (Circles(size=32), 224, '3aab44b024a0d7b8'),
}
LEFT, RIGHT, ALL = range(2, 12), range(52, 62), range(2, 62)


@pytest.mark.parametrize('which', SETS)
def test_the_same_bytes_everywhere(which):
  source, n, known = SETS[which]
  images = drawn.images(source)
  assert len(images) == len(source) == n
  assert drawn.sha256(images) == known
  assert set(np.unique(images)) == {0, 255} and (images == images[..., :1]).all()
  drawn.keeps_its_promises(source)


def test_every_disc_is_the_published_21_pixels():
  images = drawn.images(Circles())[..., 0] > 0
  assert (images.sum(axis=(1, 2)) == 21).all()
  x, y = np.array([r['x'] for r in map(Circles().attributes, range(1200))]), table(Circles())['y']
  for image, a, b in zip(images, x, y, strict=True):
    assert image[b - 2 : b + 3, a - 2 : a + 3].sum(axis=1).tolist() == [3, 5, 5, 5, 3]


@pytest.mark.parametrize('radius', range(1, 9))
def test_pixels_are_those_of_pil(radius):
  source = Circles(radius=radius, where='uniform')
  record = source[len(source) // 3]
  x, y = int(record['x']), int(record['y'])
  image = Image.new('RGB', (64, 64))
  box = [x - radius, y - radius, x + radius, y + radius]
  ImageDraw.Draw(image).ellipse(box, fill='white')
  assert np.array_equal(record['image'], image)


@pytest.mark.parametrize(
  'which, xs, ys',
  [
    ('borders', [*LEFT, *RIGHT], ALL),
    ('uniform', ALL, ALL),
    ('quadrant', range(2, 30), range(2, 30)),
    ('small', [*range(2, 6), *range(26, 30)], range(2, 30)),
  ],
)
def test_every_centre_of_the_grid_once(which, xs, ys):
  source, n, _ = SETS[which]
  t = table(source)
  centres = set(zip(t['x'].tolist(), t['y'].tolist(), strict=True))
  assert centres == {(x, y) for x in xs for y in ys} and len(centres) == n
  assert np.array_equal(t['label'], t['x'] >= source.size // 2)
  assert np.array_equal(t['label'], t['z'] > 0.5)
  assert np.allclose(t['z'], (t['x'] + 0.5) / source.size)


def test_the_two_sides_are_of_equal_size_and_extreme():
  t = table(Circles())
  assert np.bincount(t['label']).tolist() == [600, 600]
  assert ((t['z'] < 0.2) | (t['z'] > 0.8)).all() and not t['square'].any()


def test_squares_follow_the_discs():
  t = table(Circles(where='uniform', squares=True))
  assert not t['square'][:3600].any() and t['square'][3600:].all()
  x = t['x']
  assert np.array_equal(t['label'] % 3, np.select([x <= 12, x < 52], [0, 1], 2))
  assert np.array_equal(t['label'] // 3, t['square'])
  assert np.bincount(t['label']).tolist() == [660, 2340, 600] * 2
  record = Circles(where='uniform', squares=True)[3600]
  assert record['image'][:5, :5].all() and record['image'].sum() == 25 * 3 * 255


@pytest.mark.parametrize('source', [Circles(), Circles(size=32), Circles(size=33, radius=3)])
def test_a_mirror_maps_the_borders_onto_themselves_and_swaps_the_labels(source):
  rows = [source[i] for i in range(len(source))]
  images = {r['image'].tobytes(): r for r in rows}
  for r in rows:
    twin = images[r['image'][:, ::-1].tobytes()]
    assert (twin['x'], twin['y']) == (source.size - 1 - r['x'], r['y'])
    assert twin['label'] == 1 - r['label'] and np.isclose(twin['z'], 1 - r['z'])
  changed = {n for n, f in source.fields.items() if f.mirrored}
  assert changed == {'x', 'z', 'label'}
  assert {n for n, f in source.fields.items() if f.cropped} == {*changed, 'y'}


def test_the_quadrant_that_is_called_bottom_left_is_top_left():
  images = drawn.images(Circles(where='quadrant'))
  assert images[:, :32, :32].any(axis=(1, 2, 3)).all()
  assert not images[:, 32:].any() and not images[:, :, 32:].any()


def test_what_decides_the_records_decides_the_digest():
  sources = [s for s, _, _ in SETS.values()] + [Circles(radius=3), Circles(epsilon=0.3)]
  assert len({digest(s) for s in sources}) == len(sources)
  assert Circles() == Circles(64, 2, 0.2) and hash(Circles()) == hash(Circles())


@pytest.mark.parametrize(
  'given, says',
  [
    ({'where': 'left'}, 'where .*borders, uniform, quadrant'),
    ({'size': 9}, 'size = 9 .* in .10, 2048.'),
    ({'size': 64.0}, 'whole number'),
    ({'radius': 0}, 'radius = 0'),
    ({'radius': True}, 'radius = True'),
    ({'epsilon': 0.03}, 'holds no whole circle of radius 2: epsilon > 0.0469'),
    ({'epsilon': 0.6}, r'epsilon = 0.6 is not a number in \[0, 0.5\]'),
    ({'epsilon': float('nan')}, 'epsilon = nan'),
    ({'squares': 1}, 'squares = 1'),
  ],
)
def test_wrong_parameters(given, says):
  with pytest.raises(DataError, match=says):
    Circles(**given)
