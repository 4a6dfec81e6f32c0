"""Coloured discs: as many of each side, jitters within their bounds, colours and places as said."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from tests.data import drawn
from zsi_jax.data import shapes
from zsi_jax.data.discs import Discs
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import digest, table


@pytest.mark.parametrize(
  'source, known',
  [
    (Discs(n=2000), '55299498db5fad60'),
    (Discs(n=500, size=32, seed=7), '6b3617d4aec2fbf2'),
    (Discs(n=500, where='everywhere', background=40), 'a6e5c7816694a467'),
  ],
  ids=['default', 'small', 'everywhere'],
)
def test_the_same_bytes_everywhere(source, known):
  assert drawn.sha256(drawn.images(source)) == known
  drawn.keeps_its_promises(source)


def test_the_report():
  source = Discs()
  assert len(source) == 15_000 and source[0]['image'].shape == (64, 64, 3)
  t = table(source)
  assert np.bincount(t['label']).tolist() == [7500, 7500]
  assert np.array_equal(t['label'], t['z'] > 0.5)
  for side, (hue, z) in enumerate([(-30, 0.2), (30, 0.8)]):
    own = t['label'] == side
    for values, middle, half, grain in (
      (t['hue'][own], hue, 10, 1 / 64),
      (t['z'][own], z, 0.05, 1 / 4096),
      (t['y'][own] / 64, 31.5 / 64, 0.05, 1 / 4096),
      (t['gradient'][own], 0.4, 0.2, 1 / 1024),
    ):
      apart = np.abs(values - middle)
      assert apart.max() <= half + grain and apart.max() > 0.99 * half
      assert abs(values.mean() - middle) < 0.03 * half  # even over the interval
      assert abs(apart.mean() - half / 2) < 0.02 * half
  jitters = np.stack([t[k] for k in ('z', 'y', 'hue', 'gradient')])[:, t['label'] == 0]
  assert np.abs(np.corrcoef(jitters) - np.eye(4)).max() < 0.04


def test_records_do_not_depend_on_how_many_there_are():
  assert drawn.same(Discs(n=10)[7], Discs()[7])
  assert not np.array_equal(Discs(seed=1)[7]['image'], Discs()[7]['image'])


def test_everywhere_fills_the_middle_and_its_hue_is_independent_of_the_place():
  t = table(Discs(n=4000, where='everywhere'))
  for values, low, high in ((t['z'], 0.15, 0.85), (t['hue'], -40, 40)):
    assert np.histogram(values, 10, (low, high))[0].min() > 300
    assert low - 0.01 <= values.min() and values.max() <= high + 0.01
  assert abs(np.corrcoef(t['z'], t['hue'])[0, 1]) < 0.05


def test_pixels_against_supersampling():
  source = Discs(n=40, where='everywhere', radius=0.13)
  fine = (np.arange(64 * 16) + 0.5) / 16 - 0.5
  for i in range(40):
    record = source[i]
    image = record['image'] / 255
    inside = np.hypot(fine[None] - record['x'], fine[:, None] - record['y']) <= 0.13 * 64
    cover = inside.reshape(64, 16, 64, 16).mean(axis=(1, 3))
    pure = np.array(colorsys.hsv_to_rgb(record['hue'] / 360 % 1, 0.85, 1))
    x, y = int(round(float(record['x']))), int(round(float(record['y'])))
    assert np.abs(image[y, x] - pure).max() < 0.01  # the middle is bright
    value = image.max(axis=2)
    assert (value[cover == 0] < 0.03).all()  # all is black outside
    assert (value[cover == 1] > 0.59).all()  # not darker than the rim
    edge = (cover > 0) & (cover < 1)
    assert np.abs(value[edge] / 0.62 - cover[edge]).max() < 0.12
    for u, v in zip(*np.nonzero(cover == 1), strict=True):
      hue = colorsys.rgb_to_hsv(*image[u, v])[0] * 360
      assert abs((hue - record['hue'] + 180) % 360 - 180) < 1


@pytest.mark.parametrize('hue', [-400, -30, 0, 59.5, 60, 119, 180, 240, 300, 359, 765])
def test_rgb_is_the_hexagon_of_colorsys(hue):
  assert np.allclose(shapes.rgb(hue, 0.7, 0.9), colorsys.hsv_to_rgb(hue / 360 % 1, 0.7, 0.9))


def test_only_what_a_mirror_changes_is_marked_so():
  source = Discs(n=6)
  assert {n for n, f in source.fields.items() if f.mirrored} == {'x', 'z', 'label'}
  assert {n for n, f in source.fields.items() if f.cropped} == {'x', 'y', 'z', 'label'}
  assert digest(Discs()) != digest(Discs(rim=0.5))
  assert digest(Discs()) != digest(Discs(where='everywhere'))


@pytest.mark.parametrize(
  'given, says',
  [
    ({'n': 0}, 'n = 0'),
    ({'seed': -1}, 'seed = -1'),
    ({'seed': 2**32}, 'seed = 4294967296'),
    ({'where': 'middle'}, 'sides, everywhere'),
    ({'radius': 0.2}, 'radius 0.2 leaves the image: left - x_jitter = 0.15'),
    ({'radius': 0.02}, 'less than 2 px'),
    ({'y_jitter': 0.4}, 'leaves the image'),
    ({'hue_left': 40.0}, 'hues go from'),
    ({'hue_jitter': -1.0}, 'hues go from'),
    ({'gradient': 0.9}, r'0.9 ± 0.2 does not stay'),
    ({'rim': 2.0}, 'rim = 2.0'),
    ({'background': 256}, 'background = 256'),
  ],
)
def test_wrong_parameters(given, says):
  with pytest.raises(DataError, match=says):
    Discs(**given)
