"""Objects of known size: every kind fills its box, and nothing else tells the size."""

from __future__ import annotations

import numpy as np
import pytest

from tests.data import drawn
from zsi_jax.data import objects, shapes
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import digest, table
from zsi_jax.data.sizes import Sizes


@pytest.mark.parametrize(
  'source, known',
  [(Sizes(n=1500), '925be812e2218a54'), (Sizes(n=500, size=32, seed=7), '334d02cc787ff156')],
  ids=['default', 'small'],
)
def test_the_same_bytes_everywhere(source, known):
  assert drawn.sha256(drawn.images(source)) == known
  drawn.keeps_its_promises(source)


@pytest.mark.parametrize('kind', objects.KINDS)
@pytest.mark.parametrize('mirrored', [False, True])
def test_the_box_of_an_object_is_its_extent(kind, mirrored):
  """Drawn alone on white at 1000 px, where a pixel hardly matters."""
  image = np.ones((1200, 1200, 3))
  centre = (600.25, 599.5)
  objects.draw(image, kind, centre, 1000.0, 200.0, pattern='dots', mirrored=mirrored)
  off = np.abs(image - 1).max(axis=2) > 0.3
  y, x = (np.flatnonzero(off.any(axis=a)) for a in (1, 0))
  sides = x[-1] - x[0] + 1, y[-1] - y[0] + 1
  assert abs(max(sides) - 1000) <= 2
  middle = (x[0] + x[-1]) / 2, (y[0] + y[-1]) / 2
  assert np.abs(np.subtract(middle, centre)).max() <= 1.5
  assert 0.2 < off.mean() * 1.44 < 0.85


@pytest.mark.parametrize('extent', [12.8, 30.0, 51.2])
def test_nothing_is_painted_outside_the_box(extent):
  for kind in objects.KINDS:
    image = np.full((64, 64, 3), 0.9)
    objects.draw(image, kind, (31.0, 33.0), extent, 10.0, pattern='stripes')
    y, x = np.nonzero((image != 0.9).any(axis=2))
    assert max(abs(x - 31).max(), abs(y - 33).max()) <= extent / 2 + 1
    assert image.min() >= 0 and image.max() <= 1.05


def test_a_mirrored_object_is_the_mirror_image():
  for kind in objects.KINDS:
    images = np.full((2, 65, 65, 3), 0.9)
    for image, mirrored in zip(images, (False, True), strict=True):
      objects.draw(image, kind, (32.0, 32.0), 50.0, 100.0, pattern='dots', mirrored=mirrored)
    inside = (images != 0.9).any(axis=3)
    assert np.array_equal(inside[0], inside[1][:, ::-1])


def test_size_is_even_and_nothing_else_tells_it():
  t = table(Sizes(n=6000))
  assert np.histogram(t['size'], 10, (0, 1))[0].min() > 520
  assert 0 <= t['size'].min() and t['size'].max() < 1
  for name in ('x', 'y', 'kind', 'hue', 'pattern', 'mirrored'):
    assert abs(np.corrcoef(t['size'], t[name])[0, 1]) < 0.04, name
  for name, n in (('kind', len(objects.KINDS)), ('pattern', 3), ('mirrored', 2)):
    counts = np.bincount(t[name])
    assert len(counts) == n and counts.min() > 0.9 * 6000 / n
  assert len(np.unique(t['hue'])) == 360


def test_a_larger_record_covers_more():
  source = Sizes(n=600)
  sheet = drawn.images(source).astype(float)
  off = np.abs(sheet - sheet[:, :1, :1]).max(axis=3) > 40
  t = table(source)
  for kind in range(len(objects.KINDS)):
    own = t['kind'] == kind
    assert np.corrcoef(np.sqrt(off[own].mean(axis=(1, 2))), t['size'][own])[0, 1] > 0.99


def test_records_do_not_depend_on_how_many_there_are():
  assert drawn.same(Sizes(n=10)[7], Sizes()[7])
  assert not np.array_equal(Sizes(seed=1)[7]['image'], Sizes()[7]['image'])
  assert digest(Sizes()) != digest(Sizes(largest=0.7))
  assert {n for n, f in Sizes().fields.items() if f.mirrored} == {'x', 'mirrored'}
  assert {n for n, f in Sizes().fields.items() if f.cropped} == {'x', 'y', 'size'}


def _walk(corners):
  """Points along a closed polygon."""
  ends = np.array([*corners[1:], corners[0]])
  t = np.linspace(0, 1, 400)[:, None, None]
  return (corners + t * (ends - corners)).reshape(-1, 2)


def test_distances_are_those_of_points():
  """Against the nearest of many points on the outline, of shapes with a known inside."""
  x, y = shapes.pixels(40)
  corners = [(8.0, 6.0), (31.0, 11.0), (22.0, 20.0), (29.0, 33.0), (6.0, 27.0)]
  wide, high = 9.0, 15.0
  shift = (high**2 - wide**2) / (2 * wide)
  turn = np.arcsin(high / (wide + shift)) * np.linspace(-1, 1, 2000)
  arc = (wide + shift) * np.stack([np.cos(turn), np.sin(turn)], axis=1) - (shift, 0)
  lens = np.concatenate([arc, arc * (-1, 1)]) + (20, 20)
  rectangle = [(9.0, 14.0), (29.0, 14.0), (29.0, 28.0), (9.0, 28.0)]
  for got, outline, rim in (
    (shapes.polygon(x, y, corners), _walk(corners), 0.0),
    (shapes.polygon(x, y, corners, 2.0), _walk(corners), 2.0),
    (shapes.lens(x, y, (20.0, 20.0), (wide, high), 0.0), lens, 0.0),
    (shapes.box(x, y, (19.0, 21.0), (10.0, 7.0)), _walk(rectangle), 0.0),
  ):
    points = np.stack(np.broadcast_arrays(x, y), axis=-1).reshape(-1, 1, 2)
    true = np.sqrt(((points - outline) ** 2).sum(axis=2)).min(axis=1).reshape(40, 40)
    assert np.abs(np.abs(got + rim) - true).max() < 0.05
  assert shapes.polygon(x, y, corners)[20, 15] < 0 < shapes.polygon(x, y, corners)[20, 35]
  assert shapes.lens(x, y, (20.0, 20.0), (9.0, 15.0), 0.0)[20, 20] == pytest.approx(-9)


@pytest.mark.parametrize(
  'given, says',
  [
    ({'n': -1}, 'n = -1'),
    ({'size': 8}, 'size = 8'),
    ({'smallest': 0.9}, 'smallest < largest'),
    ({'smallest': 0.01}, 'at least 3 px of 64'),
    ({'largest': 0.95}, 'leaves the image'),
    ({'jitter': 0.2}, 'leaves the image'),
    ({'seed': 1.5}, 'seed = 1.5'),
  ],
)
def test_wrong_parameters(given, says):
  with pytest.raises(DataError, match=says):
    Sizes(**given)
