"""Figures: what is drawn where, and nothing that is no number."""

from __future__ import annotations

import base64
import io
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.report import made
from zsi_jax.report import axes, colours, figures
from zsi_jax.report.axes import Box, Scale
from zsi_jax.report.shape import ReportError, whole


def drawn(told):
  return str(figures.figure(told, lambda file: None))


def tree(told):
  html = drawn(told)
  return ElementTree.fromstring(html)


def paths(told, class_):
  """[[(x, y), …] …] of the paths of a class."""
  found = [p for p in tree(told).iter('path') if p.get('class').split()[0] == class_]
  pairs = [re.findall(r'[ML]([-\d.]+) ([-\d.]+)', p.get('d')) for p in found]
  return [[(float(x), float(y)) for x, y in row] for row in pairs]


HISTOGRAM = {'kind': 'histogram', 'title': 't', 'x': 'p', 'low': 0, 'high': 1}


@pytest.mark.parametrize('told', made.figures(), ids=lambda f: f['title'])
def test_every_kind_is_well_formed_and_in_its_frame(told):
  if told['kind'] == 'images':
    return
  html = drawn(told)
  assert 'nan' not in html.replace('nano', '') and 'inf' not in html
  root = ElementTree.fromstring(html)
  picture = root.find('svg')
  assert picture[0].tag == 'title' and picture[0].text == told['title']
  assert picture.get('role') == 'img'
  width, height = map(float, picture.get('viewBox').split()[2:])
  numbers = [
    (float(x), float(y))
    for p in root.iter('path')
    for x, y in re.findall(r'[ML]([-\d.]+) ([-\d.]+)', p.get('d'))
  ]
  assert all(0 <= x <= width and 0 <= y <= height for x, y in numbers)


def test_equal_counts_lie_on_the_uniform_line():
  told = HISTOGRAM | {'series': [{'label': 'a', 'counts': [5] * 20}]}
  (line,) = [e for e in tree(told).iter('line') if e.get('class') == 'reference']
  tops = {y for _, y in paths(told, 'line')[0][1:-1]}
  assert tops == {float(line.get('y1'))}


@pytest.mark.parametrize('log', [False, True])
def test_heights_are_shares_whatever_the_number_of_images(log):
  rows = [{'label': 'a', 'counts': [1, 2, 4, 0]}, {'label': 'b', 'counts': [100, 200, 400, 0]}]
  a, b = paths(HISTOGRAM | {'log': log, 'series': rows}, 'line')
  assert a == b
  floor, heights = Box().bottom, [a[1 + 2 * k][1] for k in range(4)]
  assert heights[3] == floor
  ups = [floor - h for h in heights[:3]]
  if log:  # equal steps for equal factors
    assert ups[2] - ups[1] == pytest.approx(ups[1] - ups[0], abs=0.2)
  else:
    assert ups[2] == pytest.approx(4 * ups[0], abs=0.3)


def test_a_curve_breaks_where_there_is_no_number():
  told = {
    'kind': 'curve', 'title': 't', 'x': 'x', 'y': 'y',
    'series': [{'label': '', 'x': [0, 1, 2, 3, 4], 'y': [0, 1, None, math.nan, 2]}],
  }  # fmt: skip
  (line,) = [p for p in tree(told).iter('path') if p.get('class').startswith('line')]
  assert re.sub(r'[-\d. ]+', '', line.get('d')) == 'MLM'
  assert len(paths(told, 'dots')[0]) == 3


def test_the_diagonal_is_the_diagonal():
  told = {'kind': 'scatter', 'title': 't', 'x': 'x', 'y': 'y', 'diagonal': True}
  told |= {'points': [[0, 0], [1, 3], [2, 2], [None, 1]]}
  (line,) = [e for e in tree(told).iter('line') if e.get('class') == 'reference']
  (x1, y1), (x2, y2) = [(float(line.get(f'x{i}')), float(line.get(f'y{i}'))) for i in (1, 2)]
  points = paths(told, 'dots')[0]
  assert len(points) == 3
  for x, y in (points[0], points[2]):
    assert (x - x1) / (x2 - x1) == pytest.approx((y - y1) / (y2 - y1), abs=2e-3)


def test_many_points_are_thinned_and_it_is_said():
  told = {'kind': 'scatter', 'title': 't', 'x': 'x', 'y': 'y', 'points': [[0.5, 0.5]] * 12_000}
  assert len(paths(told, 'dots')[0]) <= figures.POINTS
  assert 'of 12,000 points' in drawn(told)


def pixels(uri):
  return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(',')[1]))))


def test_a_heatmap_has_row_0_at_the_top_and_holes_where_there_is_no_number():
  told = {'kind': 'heatmap', 'title': 't', 'x': 'x', 'y': 'y', 'values': [[0, None], [0.5, 1]]}
  cells = pixels(next(tree(told).iter('image')).get('href'))
  scale = colours.table()
  np.testing.assert_array_equal(cells[0, 0, :3], scale[0])
  np.testing.assert_array_equal(cells[1, 0, :3], scale[128])
  np.testing.assert_array_equal(cells[1, 1, :3], scale[255])
  assert cells[..., 3].tolist() == [[255, 0], [255, 255]]


@pytest.mark.parametrize('extent, top', [([0, 4, 0, 8], 8), ([0, 4, 8, 0], 0)])
def test_an_extent_is_left_right_bottom_top(extent, top):
  told = {'kind': 'heatmap', 'title': 't', 'x': 'x', 'y': 'y', 'values': [[1, 2]] * 2}
  texts = [t for t in tree(told | {'extent': extent}).iter('text') if t.get('class') == 'tick end']
  highest = min(texts, key=lambda t: float(t.get('y')))
  assert float(highest.text) == top


@pytest.mark.parametrize('low, high', [(0, 1), (1, 1), (None, None), (-1, 5)])
@pytest.mark.parametrize('values', [[[0.0]], [[None, math.nan]], [[-3, 0], [2, 1e6]]])
@pytest.mark.parametrize('scale', ['linear', 'log'])
def test_any_heatmap_can_be_drawn(values, scale, low, high):
  told = {'kind': 'heatmap', 'title': 't', 'x': 'x', 'y': 'y', 'values': values, 'scale': scale}
  assert tree(told | {'low': low, 'high': high}) is not None


def test_lightness_rises_evenly_along_the_scale():
  table = colours.table().astype(float) / 255
  linear = np.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4)
  light = np.cbrt(linear @ [0.2126, 0.7152, 0.0722])
  steps = np.diff(light)
  assert len(np.unique(table, axis=0)) == 256
  assert steps.min() > 0 and light[-1] - light[0] > 0.55


def test_bars_are_as_long_as_their_values():
  told = {'kind': 'bars', 'title': 't', 'labels': ['a', 'b', 'c'], 'values': [1, 2, -1]}
  a, b, c = (float(r.get('width')) for r in tree(told).iter('rect'))
  assert b == pytest.approx(2 * a, abs=0.3) and c == pytest.approx(a, abs=0.3)


EMPTY = [
  HISTOGRAM | {'series': []},
  HISTOGRAM | {'series': [{'label': '', 'counts': [0, 0]}]},
  {'kind': 'curve', 'title': 't', 'x': '', 'y': '', 'series': []},
  {'kind': 'curve', 'title': 't', 'x': '', 'y': '', 'log_x': True,
   'series': [{'label': '', 'x': [0, -1, None], 'y': [1, 2, 3]}]},
  {'kind': 'scatter', 'title': 't', 'x': '', 'y': '', 'points': []},
  {'kind': 'scatter', 'title': 't', 'x': '', 'y': '', 'points': [[1e300, 0], [1e300, 0]]},
  {'kind': 'bars', 'title': 't', 'labels': [], 'values': []},
  {'kind': 'bars', 'title': 't', 'labels': ['a'], 'values': [None], 'errors': [math.inf]},
]  # fmt: skip


@pytest.mark.parametrize('told', EMPTY)
def test_nothing_to_draw_is_a_frame(told):
  assert 'nan' not in drawn(told) and tree(told).find('svg') is not None


@pytest.mark.parametrize('low, high', [(0, 1), (-3, 7), (0.002, 0.0021), (1e5, 3e6), (-1e-9, 0)])
def test_ticks_are_round_and_inside(low, high):
  found = axes.ticks(low, high)
  assert 3 <= len(found) <= 8
  assert all(low - 1e-12 <= v <= high + 1e-12 for v in found)
  steps = np.diff(found)
  assert steps == pytest.approx(steps[0], rel=1e-6)


@pytest.mark.parametrize('low, high', [(1, 10), (4.5e3, 6.6e4), (1e-4, 0.3), (2, 3), (1e-9, 1e9)])
def test_ticks_of_a_logarithmic_axis(low, high):
  found = axes.ticks(low, high, log=True)
  assert 2 <= len(found) <= 9 and found == sorted(found)
  assert low * 0.999 <= found[0] and found[-1] <= high * 1.001


def test_a_scale_keeps_far_values_near():
  scale = Scale(0, 1, 0, 100)
  assert scale(1e9) == 102 and scale(-1e9) == -2 and scale(0.25) == 25


def test_paths_lie_over_a_heatmap_and_are_named():
  told = {'kind': 'heatmap', 'title': 't', 'x': 'x', 'y': 'y', 'values': [[0, 1], [2, 3]],
          'extent': [-1, 1, -1, 1],
          'paths': [{'label': 'sum', 'x': [0, 1], 'y': [0, 1]},
                    {'label': 'ahead', 'x': [0, -1], 'y': [0, 1]}]}  # fmt: skip
  said = drawn(told)
  assert said.count('line halo') == 2 and 'line s0' in said and 'line s1' in said
  assert 'sum' in said and 'ahead' in said
  short = {**told, 'paths': [{'label': 'sum', 'x': [0, 1], 'y': [0]}]}
  with pytest.raises(ReportError, match=r'paths\[0\] has 1 y, but 2 x'):
    whole(short, 'figures[0]')
