"""Figures of scores: where images lie, and how that goes with what was asked, given or changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zsi_jax.evaluate import aimed, heatmap, histogram
from zsi_jax.stages.findings import SOURCES, Rows, Values, judged, said

SPREAD = 200  # points of a scatter
BAND = {'y': 'value', 'low': 'low', 'high': 'high'}


def histograms(scored: Mapping[str, Rows], labels: Mapping[str, str], attributes: Sequence[str],
               bins: int, most: int = 4) -> list[dict[str, Any]]:  # fmt: skip
  """A figure for each judge: how the sets lie on [0, 1], the first few of them."""
  series = dict[str, list[dict[str, Any]]]()
  for name, rows in scored.items():
    for source, p in judged(rows, attributes):
      p = p[np.isfinite(p)]
      if len(p) and p.min() >= 0 and p.max() <= 1:
        counts = histogram.counts(p, bins).tolist()
        series.setdefault(source, []).append({'label': labels[name], 'counts': counts})
  figures = []
  for source, lines in series.items():
    for at in range(0, len(lines), most):
      figures.append(
        {
          'kind': 'histogram',
          'title': f'Where the images lie, by {said(source)}',
          'note': None,
          'x': said(source),
          'low': 0.0,
          'high': 1.0,
          'log': True,
          'series': lines[at : at + most],
        }
      )
  return figures


def asked(name: str, label: str, rows: Rows, given: Rows, attributes: Sequence[str]) -> list[Any]:
  """Curves of what was asked for against what was got, and a scatter of some."""
  if 'aim' not in given:
    return []
  wanted, lines = given.get('asked', given['aim']), list[Values]()
  points = list[list[float]]()
  for source, p in judged(rows, attributes):
    if np.isfinite(p).sum() < 2:
      continue
    curve = aimed.curve(wanted, p)
    there = np.isfinite(curve.got)
    line = {'label': said(source), 'x': curve.asked[there].tolist(), 'y': curve.got[there].tolist()}
    first = not lines
    line |= {
      'low': curve.low[there].tolist() if first else None,
      'high': curve.high[there].tolist() if first else None,
    }
    lines.append(line)
    if first:
      some = np.flatnonzero(np.isfinite(p))[:SPREAD]
      points = [[float(wanted[i]), float(p[i])] for i in some]
  if not lines:
    return []
  common = {'x': 'asked for', 'y': 'got', 'diagonal': True}
  return [
    {'kind': 'curve', 'title': f'{name} ({label}): asked for and got', 'log_x': False,
     'note': 'The band holds 80 % of the images.', 'series': lines, **common},
    {'kind': 'scatter', 'title': f'{name}: {len(points)} of its images', 'points': points,
     **common},
  ]  # fmt: skip


def pairs(name: str, rows: Rows, attributes: Sequence[str]) -> list[Any]:
  """Where a set lies on the square of two attributes, as the peer draws it."""
  for source in SOURCES:
    if source in rows and rows[source].shape[1] == 2 and len(attributes) == 2:
      p = rows[source]
      p = p[np.isfinite(p).all(1)]
      return [
        {
          'kind': 'heatmap',
          'title': f'{name}: {attributes[0]} and {attributes[1]}, by {said(source)}',
          'note': 'ln of the number of images in each of 20 × 20 cells.',
          'x': attributes[0],
          'y': attributes[1],
          'values': heatmap.counts(p[:, 0], p[:, 1]).astype(float).tolist(),
          'low': 0.0,
          'high': float(max(1.0, np.max(heatmap.counts(p[:, 0], p[:, 1])))),
          'scale': 'log',
          'extent': [0.0, 1.0, 1.0, 0.0],
        }
      ]
  return []


def along(name: str, rows: Rows, fraction: np.ndarray, attributes: Sequence[str]) -> list[Any]:
  """Of a set between pairs: what is seen at each fraction of the way."""
  places, lines = np.unique(fraction), list[Values]()
  for source, p in judged(rows, attributes):
    parts = [part[np.isfinite(part)] for part in (p[fraction == place] for place in places)]
    if min(map(len, parts)):
      low, middle, high = zip(*(np.quantile(part, (0.1, 0.5, 0.9)) for part in parts), strict=True)
      band = not lines
      lines.append(
        {'label': said(source), 'x': places.tolist(), 'y': list(map(float, middle)),
         'low': list(map(float, low)) if band else None,
         'high': list(map(float, high)) if band else None}
      )  # fmt: skip
  if not lines:
    return []
  return [
    {'kind': 'curve', 'title': f'{name}: what is seen along the way', 'series': lines,
     'note': 'The median at each point, and a band that holds 80 %.',
     'x': 'fraction of the way', 'y': 'seen', 'diagonal': True}
  ]  # fmt: skip


def swept(sets: Sequence[tuple[Any, Values]]) -> list[Any]:
  """L2 and KLD over λ, where sets differ in it: (weights, values)."""
  rows = []
  for weights, told in sets:
    flat = np.ravel(weights) if isinstance(weights, list) else np.zeros(0)
    if len(flat) and np.ptp(flat) == 0:
      rows.append((float(flat[0]), told))
  return [
    figure
    for metric, unit in (('l2', 'L2 to uniform'), ('kld', 'KLD to uniform, nats'))
    for figure in over(
      rows, {f'{source}/{metric}': said(source) for source in SOURCES}, f'{unit} over λ', 'λ', unit
    )
  ]


def amounts(sets: Sequence[tuple[str, int, Values]]) -> list[Any]:
  """Copies over the number of training records, of sets drawn alike: (label, records, values)."""
  lines = {'copies of training records': 'samples', 'copies, by chance': 'other records'}
  return [
    figure
    for label in dict.fromkeys(label for label, _, _ in sets)
    for figure in over(
      [(float(n), told) for own, n, told in sets if own == label],
      lines, f'Copies over training records, {label}', 'training records', 'share of copies',
    )
  ]  # fmt: skip


def over(
  rows: Sequence[tuple[float, Values]], lines: Mapping[str, str], title: str, x: str, y: str
) -> list[Any]:
  """Metrics {name: label} of sets at three places x or more."""
  rows = sorted(rows, key=lambda row: row[0])
  if len({at for at, _ in rows}) < 3:
    return []
  series = []
  for metric, label in lines.items():
    there = [(at, told[metric]) for at, told in rows if metric in told]
    if there:
      band = {k: [cell.get(key) for _, cell in there] for k, key in BAND.items()}
      known = {k: v if k == 'y' or None not in v else None for k, v in band.items()}
      series.append({'label': label, 'x': [at for at, _ in there], **known})
  if not series:
    return []
  return [{'kind': 'curve', 'title': title, 'x': x, 'y': y, 'series': series, 'diagonal': False}]


def bars(groups: Mapping[str, Values], metric: str, title: str, y: str) -> list[Any]:
  """A metric of each group, with its standard deviation."""
  rows = [(name, row[metric]) for name, row in groups.items() if metric in row]
  if not rows:
    return []
  return [
    {
      'kind': 'bars',
      'title': title,
      'labels': [name for name, _ in rows],
      'values': [row['value'] for _, row in rows],
      'errors': [row['std'] for _, row in rows],
      'y': y,
    }
  ]
