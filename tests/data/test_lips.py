"""Green lips: painted where the points say, on drawn portraits, and told by a meter."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.build import splits
from zsi_jax.build.records import Records
from zsi_jax.data import lips, memory
from zsi_jax.data.errors import DataError
from zsi_jax.data.portraits import Portraits
from zsi_jax.data.record import Field, table
from zsi_jax.evaluate import lips as meter

FACES = Portraits(n=24, size=64, seed=7)


@pytest.fixture(scope='module')
def painted():
  source = lips.Lips(FACES)
  return source, [source[i] for i in range(len(source))]


def square(low, high):
  """68 points whose outer lip is the square [low, high]², the inner one a point in its middle."""
  points = np.zeros((68, 2))
  corners = np.array([[low, low], [high, low], [high, high], [low, high]], float)
  points[48:60] = np.repeat(corners, 3, axis=0)
  points[60:68] = (low + high) / 2
  return points


def test_a_square_mouth_covers_its_area():
  share = lips.covered(square(3, 9), 16, 16)
  assert share.sum() == pytest.approx(36, rel=0.05)
  assert (share[4:9, 4:9] > 0.9).all() and share[:3].max() == 0 and share[:, 10:].max() == 0
  assert share[6, 3] == pytest.approx(0.5, abs=0.13)  # its middle is the edge


def test_the_opening_stays_as_it_is():
  points = square(2, 13)
  points[60:68] = np.repeat([[5, 5], [10, 5], [10, 10], [5, 10]], 2, axis=0)
  share = lips.covered(points, 16, 16)
  assert share[7, 7] == 0 and share[7, 3] > 0.9 and share[3, 7] > 0.9


def test_paint_is_half_of_a_colour():
  image = np.full((16, 16, 3), 200, np.uint8)
  made = lips.paint(image, square(3, 12))
  assert made[7, 6].tolist() == [100, 228, 100] and (made[0] == 200).all()
  assert (lips.paint(image, square(3, 12), alpha=0.0) == image).all()
  assert lips.paint(image, square(3, 12), (9, 8, 7), 1.0)[7, 6].tolist() == [9, 8, 7]


def test_records_are_faces_twice(painted):
  source, records = painted
  assert len(source) == 48 and set(source.fields) >= {'image', 'painted', 'face', 'smile'}
  for i in range(24):
    plain, green = records[i], records[i + 24]
    assert (plain['painted'], green['painted'], plain['face'], green['face']) == (0, 1, i, i)
    original = FACES[i]
    np.testing.assert_array_equal(plain['image'], original['image'])
    changed = (plain['image'] != green['image']).any(-1)
    where = lips.covered(original['landmarks'], 64, 64) > 0
    assert changed.any() and not (changed & ~where).any() and plain['smile'] == green['smile']
    assert all(v == records[i][k] for k, v in source.attributes(i).items())


def test_lips_are_a_data_set(painted, tmp_path):
  few = lips.Lips(Portraits(n=3, size=32))
  stored = memory.Npz(memory.write_npz(few, tmp_path / 'l.npz'))
  np.testing.assert_array_equal(stored[5]['image'], few[5]['image'])
  assert stored.table()['painted'].tolist() == [0, 0, 0, 1, 1, 1]
  other = lips.Lips(Portraits(n=3, size=32), alpha=0.6)
  assert other.parameters != few.parameters


def test_the_denoiser_sees_plain_faces_only(painted):
  source, _ = painted
  of = Records(table(source), None, np.arange(48), 48, None)
  split = splits.make(of, 'extrapolated', {'label': 'painted'})
  assert split.denoiser.index.tolist() == [*range(24)] and (split.denoiser.label == -1).all()
  assert split.classifier.label.tolist() == [0] * 24 + [1] * 24
  promised = {
    role: splits.promised('one_label', {'attribute': 'painted'}, role)
    for role in ('denoiser', 'classifier')
  }
  for role, subset in (('denoiser', split.denoiser), ('classifier', split.classifier)):
    promised[role].check(of.table, subset.index, subset.label)
  with pytest.raises(DataError, match='24 of 48 records lie outside painted'):
    promised['denoiser'].check(of.table, split.classifier.index)
  with pytest.raises(ValueError, match='split.seen = 2'):
    splits.make(of, 'extrapolated', {'label': 'painted', 'seen': 2})


def test_points_of_photographs_come_from_a_sheet(tmp_path):
  """In pixels of 178 x 218; the middle 178 at 64 pixels moves and shrinks them."""
  names = [f'{a}{k}' for k in range(48, 68) for a in 'xy']
  points = np.stack([square(60, 119), square(70, 110)])
  rows = [','.join(['file', *names])]
  rows += [
    ','.join([f'{n}.jpg', *map(str, p[48:].ravel())]) for n, p in zip('ab', points, strict=True)
  ]
  (tmp_path / 'l.csv').write_text('\n'.join(rows))
  found = lips.aligned(tmp_path / 'l.csv', ['b.jpg', 'c.jpg', 'a.jpg'], 64, 178)
  assert np.isnan(found[1]).all() and found.shape == (3, 68, 2)
  wanted = (points[0, 48] - (0, 20) + 0.5) * 64 / 178 - 0.5
  np.testing.assert_allclose(found[2, 48], wanted, rtol=1e-5)
  faces = memory.Memory(
    {'image': np.full((3, 64, 64, 3), 90, np.uint8)},
    {'image': Field((64, 64, 3), 'uint8', 'image')},
    {},
  )
  source = lips.Lips(faces, found)
  assert source.faces.tolist() == [0, 2] and len(source) == 4
  assert (source[2]['image'] != 90).any() and source[3]['face'] == 2
  with pytest.raises(DataError, match='have no landmarks'):
    lips.Lips(faces)


@pytest.mark.parametrize('half', [False, True])
def test_the_meter_tells_painted_lips(painted, half):
  source, records = painted
  if half:
    small = [FACES[i] for i in range(24)]
    images = np.stack([r['image'] for r in small]).reshape(24, 32, 2, 32, 2, 3).mean((2, 4))
    plain = images.round().astype(np.uint8)
    marks = [(r['landmarks'] + 0.5) / 2 - 0.5 for r in small]
    green = np.stack([lips.paint(i, m) for i, m in zip(plain, marks, strict=True)])
  else:
    plain, green = (np.stack([r['image'] for r in part]) for part in (records[:24], records[24:]))
  assert not meter.measure(plain).lips.any()
  found = meter.measure(green)
  assert found.lips.mean() >= (0.95 if half else 1)
  floats = meter.measure(green / np.float32(127.5) - 1)
  np.testing.assert_array_equal(floats.lips, found.lips)
  assert (found.mouth > meter.measure(plain).mouth).all()


def test_other_green_is_not_lips():
  image = np.full((5, 64, 64, 3), 128, np.uint8)
  image[1, :, :30] = (30, 200, 30)  # a wall that reaches into the region
  image[2, 2:9, 20:40] = (30, 200, 30)  # a hat
  image[3, 42:47, 24:40] = (30, 200, 30)  # lips
  image[4, 42:47, 24:40] = (200, 60, 60)  # red ones
  found = meter.measure(image)
  assert found.lips.tolist() == [False, False, False, True, False]
  assert found.elsewhere[1] > 0.2 and found.elsewhere[3] == 0 and found.mouth[3] > 0.1
  shifted = meter.measure(image, np.roll(meter.ellipse(64, 64), -38, 0))
  assert shifted.lips.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(
  'images, region, said',
  [
    (np.zeros((1, 8, 8, 1)), None, '3 channels'),
    (np.zeros((1, 8, 8, 3)), np.ones((8, 8), bool), 'no part of images'),
    (np.zeros((1, 8, 8, 3)), np.ones((4, 4), bool), 'no part of images'),
    (np.full((1, 8, 8, 3), np.nan), None, 'NaN'),
  ],
)
def test_what_is_no_face(images, region, said):
  with pytest.raises(ValueError, match=said):
    meter.measure(images, region)
