"""Portraits: known truth, the same bits everywhere, and one attribute at a time."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from zsi_jax.data.errors import DataError
from zsi_jax.data.portraits import (
  EMOTIONS,
  IDENTITY,
  WORDS,
  Person,
  Portraits,
  caption,
  draw,
)
from zsi_jax.data.portraits.features import MIRROR
from zsi_jax.data.portraits.paint import CLASS, CLASSES
from zsi_jax.data.record import table

TURNING = Portraits(n=200, seed=3, yaw=(-90, 90))


def someone(**change) -> Person:
  """A person with short hair, so that ears show."""
  middle = dict.fromkeys(IDENTITY, 0.5) | {'hair_length': 0.2, 'fringe': 0.2}
  return dataclasses.replace(Person(identity=tuple(middle.values())), **change)


def share(record, *names: str) -> float:
  return float(np.isin(record['mask'], [CLASS[n] for n in names]).mean())


# By size, of whole records.
PINNED = ['6e36307a4b94a515', 'e36c07b2b786f31c', '6708990b53b7d9b9']
DIGEST = """
import hashlib
from zsi_jax.data.portraits import Portraits
for size in (32, 64, 128):
  source = Portraits(size=size, n=40, seed=3, yaw=(-90, 90), extras=0.5)
  code = hashlib.sha256()
  for i in (39, 0, 7, 8, 9, 21):
    record = source[i]
    for name in source.fields:
      code.update(record[name].tobytes())
  print(code.hexdigest()[:16])
"""


def test_records_are_the_same_bits_in_every_process_and_python():
  """Also where OpenCV runs without Intel's primitives, as it does on other processors."""
  for more in ({}, {'OPENCV_IPP': 'disabled'}):
    ran = subprocess.run(
      [sys.executable, '-c', DIGEST],
      check=True, capture_output=True, text=True, env=os.environ | more,
    )  # fmt: skip
    assert ran.stdout.split() == PINNED, more


def test_a_record_does_not_depend_on_the_others():
  source = Portraits(n=50, seed=1)
  again = pickle.loads(pickle.dumps(Portraits(n=9, seed=1)))
  for i in (0, 8):
    one, two = source[i], again[i]
    assert all(np.array_equal(one[k], two[k]) for k in source.fields)
  assert not np.array_equal(source[0]['image'], Portraits(n=50, seed=2)[0]['image'])
  assert np.array_equal(source[-1]['image'], source[49]['image'])
  with pytest.raises(IndexError, match='record 50 of a data set of 50'):
    source[50]


def test_records_are_what_the_fields_promise():
  for size in (32, 64, 128):
    source = Portraits(size=size, n=30, seed=5, yaw=(-90, 90), extras=1.0, glasses=1.0)
    for i in range(0, 30, 10):
      record = source[i]
      assert set(record) == set(source.fields)
      for name, field in source.fields.items():
        value = np.asarray(record[name])
        assert value.shape == field.shape and value.dtype == field.dtype, name
        assert field.low is None or (value >= field.low).all(), name
        assert field.high is None or (value <= field.high).all(), name
      scalars = source.attributes(i)
      assert all(scalars[k] == record[k] for k in scalars)
      json.dumps(dict(source.parameters))


def test_the_attributes_of_experiments_are_uniform_and_independent():
  t = table(Portraits(n=4000, yaw=(-90, 90)))
  unit = {'yaw': (t['yaw'] + 90) / 180, **{k: t[k] for k in ('smile', 'age', 'hair')}}
  for name, values in unit.items():
    counts = np.histogram(values, 10, (0, 1))[0]
    assert ((counts - 400) ** 2 / 400).sum() < 27.9, name  # chi², 9 degrees, p = .001
  apart = np.corrcoef(list(unit.values())) - np.eye(4)
  assert abs(apart).max() < 0.05
  assert abs((t['glasses'] > 0).mean() - 0.2) < 0.03
  assert np.corrcoef(t['smile'], t['valence'])[0, 1] > 0.2  # feelings follow the smile
  assert sorted(np.unique(t['feeling'])) == list(range(len(EMOTIONS)))


def test_identities_repeat_where_there_are_fewer_people():
  source = Portraits(n=20, people=6)
  one, two = source.person(1), source.person(7)
  assert one.identity == two.identity and one.yaw != two.yaw
  assert source.attributes(7)['person'] == 1
  assert source.person(2).identity != one.identity


# One attribute moves what it should, and by how much it says.


def test_a_turning_head_shows_parallax_and_not_a_shear():
  nose, eye, ear = [], [], []
  for yaw in (-60, -30, 0, 30, 60):
    at = draw(someone(yaw=float(yaw)))['landmarks']
    nose.append(at[30, 0])
    eye.append(at[[36, 39, 42, 45], 0].mean())
    ear.append(at[[0, 16], 0].mean())
  nose, eye, ear = (np.diff(v) for v in (nose, eye, ear))
  assert (nose < 0).all() and (eye < 0).all()  # yaw > 0 turns to the image's left
  assert (nose < eye - 0.5).all()  # the nearer, the further it moves
  assert (eye < ear - 0.5).all()
  left = draw(someone(yaw=60.0))['landmarks']
  wide = [np.ptp(left[lid, 0]) for lid in (slice(36, 42), slice(42, 48))]
  assert wide[1] > 1.3 * wide[0]  # the far eye is foreshortened


def test_a_profile_is_a_profile():
  ahead, left, right = (draw(someone(yaw=y)) for y in (0.0, 90.0, -90.0))
  assert share(ahead, 'l_ear') > 0 and share(ahead, 'r_ear') > 0
  # Facing the image's left, the ear at its right is seen, and one eye.
  assert share(left, 'r_ear') > 2 * share(ahead, 'r_ear') and share(left, 'l_ear') == 0
  assert share(left, 'r_eye') > 0 and share(left, 'l_eye') == 0
  assert share(right, 'l_ear') > 0 and share(right, 'r_ear') == 0
  for record in (left, right):  # half of the mouth is still there
    assert share(record, 'mouth', 'u_lip', 'l_lip') > 0.08 * share(ahead, 'mouth', 'u_lip', 'l_lip')
  # The nose is the silhouette: its tip lies on the edge between skin and wall.
  for record, side in ((left, -1), (right, 1)):
    x, y = np.rint(record['landmarks'][30]).astype(int)
    row = record['mask'][y, :, 0]
    assert row[x + 3 * side] == CLASS['background'] and row[x - 3 * side] != CLASS['background']


def test_the_mirrored_person_is_the_mirrored_picture():
  p = someone(yaw=35.0, roll=6.0, light=0.2, skew=0.8, jaw_shift=0.7, smile=0.8, pitch=5.0)
  q = dataclasses.replace(p, yaw=-35.0, roll=-6.0, light=0.8, skew=0.2, jaw_shift=0.3)
  one, two = draw(p), draw(q)
  flipped = one['landmarks'][MIRROR] * (-1, 1) + (63, 0)
  assert abs(flipped - two['landmarks']).max() < 0.1
  difference = abs(one['image'][:, ::-1].astype(int) - two['image'])
  assert difference.mean() < 3  # but for lights in the eyes and strands of hair


def test_landmarks_lie_on_what_they_name():
  inside = {'l_eye': slice(36, 42), 'r_eye': slice(42, 48), 'mouth u_lip l_lip': slice(48, 68)}
  for yaw in (-40.0, 0.0, 40.0):
    record = draw(someone(yaw=yaw, smile=1.0, mouth_open=0.6, eye_open=1.0), 128)
    for name, part in inside.items():
      classes = [CLASS[n] for n in name.split()]
      ys, xs = np.nonzero(np.isin(record['mask'][..., 0], classes))
      low, high = np.array([xs.min(), ys.min()]) - 2.5, np.array([xs.max(), ys.max()]) + 2.5
      points = record['landmarks'][part]
      assert ((points > low) & (points < high)).all(), (name, yaw)
      assert abs(points.mean(0) - [xs.mean(), ys.mean()]).max() < 3, (name, yaw)
    assert record['visible'][27:31].all()  # the bridge of the nose
  assert draw(someone(yaw=80.0))['visible'][36:42].sum() < 3  # the far eye
  assert draw(someone(yaw=80.0))['visible'][42:48].sum() > 3


@pytest.mark.parametrize('pitch', [-12.0, 0.0, 12.0])
def test_points_that_are_seen_lie_on_the_head(pitch):
  import cv2

  head = [CLASS[n] for n in CLASSES if n not in ('background', 'cloth', 'neck', 'neck_l', 'hat')]
  for yaw in range(-90, 91, 15):
    record = draw(someone(yaw=float(yaw), pitch=pitch, roll=6.0), 128)
    own = np.isin(record['mask'][..., 0], head).astype(np.uint8)
    away = cv2.distanceTransform(1 - own, cv2.DIST_L2, 5)
    seen = np.rint(record['landmarks'][record['visible'] == 1]).astype(int)
    assert len(seen) >= 18 and away[seen[:, 1], seen[:, 0]].max() <= 2.5, yaw


def test_sizes_are_the_same_picture():
  small, large = draw(TURNING.person(3), 64), draw(TURNING.person(3), 32)
  assert np.allclose((small['landmarks'] + 0.5) / 2, large['landmarks'] + 0.5, atol=1e-4)
  halved = small['image'].astype(float).reshape(32, 2, 32, 2, 3).mean((1, 3))
  assert abs(halved - large['image']).max() <= 1.5
  big = draw(TURNING.person(3), 128)
  assert abs((big['landmarks'] + 0.5) / 2 - small['landmarks'] - 0.5).max() < 0.05
  halved = big['image'].astype(float).reshape(64, 2, 64, 2, 3).mean((1, 3))
  assert abs(halved - small['image']).mean() < 3


@pytest.mark.parametrize(
  ('name', 'measure'),
  [
    ('smile', lambda r: r['landmarks'][[48, 54], 0] @ [-1, 1]),  # the mouth grows wider
    ('smile', lambda r: r['landmarks'][51, 1] - r['landmarks'][[48, 54], 1].mean()),
    ('mouth_open', lambda r: r['landmarks'][66, 1] - r['landmarks'][62, 1]),
    ('mouth_open', lambda r: r['landmarks'][8, 1]),  # the chin drops
    ('brow', lambda r: r['landmarks'][36:48, 1].mean() - r['landmarks'][17:27, 1].mean()),
    ('eye_open', lambda r: r['landmarks'][[40, 41], 1].mean() - r['landmarks'][[37, 38], 1].mean()),
    ('hair', lambda r: r['image'][r['mask'][..., 0] == CLASS['hair']].mean()),
    ('glasses', lambda r: (r['mask'] == CLASS['eye_g']).sum()),
    ('light', lambda r: r['image'][20:40, 38:48].mean() - r['image'][20:40, 16:26].mean()),
  ],
)
def test_an_attribute_is_monotone(name, measure):
  values = [measure(draw(someone(**{name: v}))) for v in np.linspace(0, 1, 5)]
  assert (np.diff(values) > (-1e-6 if name == 'glasses' else 0)).all(), values


def drawn(name, value, **more):
  """What an attribute changes in a picture, as a share of how far colours can be apart."""
  one, two = draw(someone(**more), 128), draw(someone(**{**more, name: value}), 128)
  return one, two, abs(one['image'].astype(int) - two['image']).max(-1)


@pytest.mark.parametrize(
  ('name', 'value', 'parts'),
  [
    ('hair', 1.0, 'hair l_brow r_brow'),
    ('cloth', 0.1, 'cloth'),
    ('background', 0.8, 'background'),
    ('glasses', 0.7, 'eye_g'),
    ('necklace', 1.0, 'neck_l'),
    ('earring', 1.0, 'ear_r'),
    ('hat', 1.0, 'hat hair'),
    ('smile', 1.0, 'skin mouth u_lip l_lip nose l_eye r_eye neck background cloth'),
    ('mouth_open', 1.0, 'skin mouth u_lip l_lip nose neck background cloth'),
    ('brow', 1.0, 'skin l_brow r_brow'),
    ('eye_open', 1.0, 'skin l_eye r_eye'),
    ('furrow', 1.0, 'skin l_brow r_brow'),
  ],
)
def test_an_attribute_changes_its_own_pixels_and_no_others(name, value, parts):
  import cv2

  one, two, moved = drawn(name, value)
  own = np.isin(one['mask'][..., 0], [CLASS[n] for n in parts.split()])
  own |= np.isin(two['mask'][..., 0], [CLASS[n] for n in parts.split()])
  near = cv2.dilate(own.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
  strands = 12 if name == 'hair' else 0  # thinner than a pixel
  assert moved[own].max() > 30 and (moved[~near] > 2).sum() <= strands
  if name in ('smile', 'mouth_open'):  # the lower half of the face, and the lids
    assert moved[:50].max() <= 2
  if name not in ('smile', 'mouth_open', 'brow', 'eye_open', 'furrow'):
    assert np.array_equal(one['landmarks'], two['landmarks'])
  if name in ('brow', 'furrow', 'eye_open'):
    assert np.array_equal(one['landmarks'][48:], two['landmarks'][48:])


@pytest.mark.parametrize('yaw', [-90.0, -40.0, 0.0, 65.0])
@pytest.mark.parametrize(
  ('name', 'value', 'parts'),
  [
    ('background', 0.8, ['background']),
    ('cloth', 0.1, ['cloth']),
    ('hair', 1.0, ['hair', 'l_brow', 'r_brow']),
  ],
)
def test_the_mask_fits_the_picture(name, value, parts, yaw):
  """Where one colour changes, half of it or more, is where the mask has that class."""
  one, _, moved = drawn(name, value, yaw=yaw, pitch=8.0, roll=-5.0, hair=0.0)
  own = np.isin(one['mask'][..., 0], [CLASS[n] for n in parts])
  changed = moved > 0.5 * np.median(moved[own])
  apart = own != changed
  rolled = np.roll(own, 1, axis=1) != changed
  assert apart.mean() < 0.006 and apart.mean() < 0.7 * rolled.mean()


def test_age_greys_the_hair_and_lines_the_face_but_not_beyond_telling():
  young, old = (draw(someone(age=a, hair=0.1), 128) for a in (0.0, 1.0))
  hair = [r['image'][r['mask'][..., 0] == CLASS['hair']].mean() for r in (young, old)]
  assert hair[1] > hair[0] + 40
  skin = [r['image'].astype(float)[40:47, 50:78].mean(-1) for r in (young, old)]  # the forehead
  rough = [abs(np.diff(s, axis=0)).mean() for s in skin]
  assert rough[1] > 1.5 * rough[0]
  black, blond = (draw(someone(age=1.0, hair=h))['image'][8:14, 24:40].mean() for h in (0.0, 1.0))
  assert blond > black + 25


def test_feelings_show_where_no_landmark_tells():
  calm = draw(someone())
  seen = []
  for k in range(1, len(EMOTIONS)):
    felt = draw(someone(emotion=tuple(np.eye(8)[k]), intensity=1.0))
    assert np.array_equal(felt['landmarks'], calm['landmarks'])
    assert np.array_equal(felt['mask'], calm['mask'])
    seen.append(felt['image'].astype(float) - calm['image'])
    assert abs(seen[-1]).max() > 8, EMOTIONS[k]
  apart = [abs(a - b).max() for i, a in enumerate(seen) for b in seen[:i]]
  assert min(apart) > 4  # and no two alike
  assert someone(emotion=tuple(np.eye(8)[1]), intensity=0.5).valence == pytest.approx(0.4)
  assert someone(emotion=tuple(np.eye(8)[2]), intensity=1.0).arousal == pytest.approx(-0.4)


def test_every_class_of_the_mask_is_drawn():
  seen = set()
  for i in range(40):
    p = dataclasses.replace(TURNING.person(i), hat=i % 2, earring=1.0, necklace=1.0, mouth_open=0.9)
    seen |= set(np.unique(draw(p, 128)['mask']))
  assert seen == set(range(len(CLASSES)))


def test_nothing_shines_through():
  """No wall inside a head: what is not wall is one piece without pinholes, at every angle."""
  import cv2

  for i in range(0, 60, 3):
    wall = (TURNING[i]['mask'][..., 0] == 0).astype(np.uint8)
    n, _, stats, _ = cv2.connectedComponentsWithStats(wall, connectivity=4)
    pieces = sorted(stats[1:, cv2.CC_STAT_AREA])
    enclosed = [a for a in pieces if a < 6]
    assert len(enclosed) <= 3, (i, pieces)


def test_captions_say_what_is_drawn():
  p = someone(age=0.9, hair=0.9, smile=0.9, yaw=70.0, glasses=0.5, mouth_open=0.8, light=0.9)
  record = Portraits(n=3)[0]
  from zsi_jax.data.portraits.person import tokens

  assert caption(tokens(p)) == 'old blond smiling left glasses open short lit-right neutral'
  assert caption(tokens(dataclasses.replace(p, yaw=-70.0))).split()[3] == 'right'
  assert len(caption(record['tokens']).split()) == 9 and len(set(WORDS)) == len(WORDS)


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    ({'size': 50}, '^size = 50 is not one of 32, 64, 128'),
    ({'n': 0}, 'n = 0 is not a whole number at least 1'),
    ({'seed': -1}, 'seed = -1 is not a whole number'),
    ({'people': 0}, 'people = 0 is not'),
    ({'yaw': (30, -30)}, r'yaw = \(30, -30\) goes down'),
    ({'yaw': 30}, r'yaw = 30 is no pair \(from, to\)'),
    ({'pitch': (-100, 0)}, r'pitch = -100 is not a number in \[-90, 90\]'),
    ({'age': (0, 2)}, r'age = 2 is not a number in \[0, 1\]'),
    ({'glasses': 1.5}, r'glasses = 1.5 is not a number in \[0, 1\]'),
  ],
)
def test_wrong_parameters_are_named(change, says):
  with pytest.raises(DataError, match=says):
    Portraits(**change)


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    ({'smile': 1.5}, r'smile = 1.5 is not in \[0, 1\]'),
    ({'yaw': 91.0}, r'yaw = 91.0 is not in \[-90, 90\] degrees'),
    ({'hat': float('nan')}, 'hat = nan'),
    ({'identity': (0.5,)}, r'identity is 20 numbers in \[0, 1\]'),
    ({'emotion': (2.0,) + (0.0,) * 7}, r'emotion is 8 numbers'),
  ],
)
def test_wrong_people_are_named(change, says):
  with pytest.raises(DataError, match=says):
    Person(**change)


def test_a_close_face_is_the_middle_of_one_twice_the_size():
  near, far = Portraits(size=32, n=9, close=True), Portraits(size=64, n=9)
  for i in range(3):
    a, b = near[i], far[i]
    cut = np.s_[22:54, 16:48]
    assert (a['image'] == b['image'][cut]).all() and (a['mask'] == b['mask'][cut]).all()
    np.testing.assert_array_equal(a['landmarks'], b['landmarks'] - np.float32([16, 22]))
    inside = ((a['landmarks'] >= -0.5) & (a['landmarks'] < 31.5)).all(1)
    assert (a['visible'] == b['visible'] * inside).all() and a['visible'][48:].any()
    assert a['smile'] == b['smile'] and (a['tokens'] == b['tokens']).all()
  assert 'close' not in far.parameters and near.parameters['close'] is True
  with pytest.raises(DataError, match='size of a close face'):
    Portraits(size=128, n=9, close=True)
