"""What scores say: the numbers of a set, and the tables and figures of a run; all JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from zsi_jax.evaluate import aimed, heatmap, histogram
from zsi_jax.evaluate.shares import Share, wilson

Rows = Mapping[str, np.ndarray]
Values = dict[str, Any]
SOURCES = 'truth', 'judge_b', 'judge_a'  # the first that is there is looked at first
BETWEEN = 0.2, 0.8
SPREAD = 200  # points of a scatter


def number(value: float, **more: float) -> dict[str, float | None]:
  """A value with its interval and floor; what is not finite is None."""
  rows = {'value': value} | more
  return {key: float(v) if np.isfinite(v) else None for key, v in rows.items()}


def shared(share: Share) -> dict[str, float | None]:
  return number(share.value, low=share.low, high=share.high)


def judged(rows: Rows, attributes: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
  """('truth', p [N]) or, of several attributes, ('truth/smile', p): in order of trust."""
  for source in SOURCES:
    if source in rows:
      columns = rows[source].T
      alone = len(columns) == 1
      for k, p in enumerate(columns):
        name = attributes[k] if k < len(attributes) else f'class {k}'
        yield (source if alone else f'{source}/{name}'), p


def values(
  rows: Rows,
  given: Rows,
  attributes: Sequence[str],
  bins: int,
  bootstrap: int,
  between: tuple[float, float] = BETWEEN,
) -> tuple[Values, list[str]]:
  """(metric: number, warnings) of one set."""
  told: Values = {}
  warnings = list[str]()
  for name, all_p in judged(rows, attributes):
    p = all_p[np.isfinite(all_p)]
    if len(p) < bins:
      warnings.append(f'{name}: {len(p)} values are too few for {bins} bins')
      continue
    if p.min() < 0 or p.max() > 1:
      warnings.append(f'{name}: values {p.min():.3g} … {p.max():.3g} lie outside [0, 1]')
      continue
    fixed = histogram.score(p, bins, bootstrap=bootstrap)
    told[f'{name}/l2'] = number(
      fixed.l2, low=fixed.l2_low, high=fixed.l2_high, floor=fixed.floor_l2
    )
    told[f'{name}/kld'] = number(
      fixed.kld, low=fixed.kld_low, high=fixed.kld_high, floor=fixed.floor_kld
    )
    peer = histogram.score(p, bins, how='peer', bootstrap=0) if np.ptp(p) > 0 else None
    told[f'{name}/l2, binned as the peer'] = peer and float(peer.l2)
    told[f'{name}/kld, binned as the peer'] = peer and float(peer.kld)
    told[f'{name}/mild'] = shared(wilson(int(((p >= 0.2) & (p <= 0.8)).sum()), len(p)))
    told[f'{name}/middle'] = shared(wilson(int(((p >= 0.49) & (p <= 0.51)).sum()), len(p)))
    if 'aim' in given:
      asked = given.get('asked', given['aim'])
      told[f'{name}/rank correlation'] = number(aimed.correlation(asked, all_p))
      told[f'{name}/rms error'] = number(aimed.error(asked, all_p))
  if 'meter/green lips' in rows:
    seen = rows['meter/green lips']
    told['green lips'] = shared(wilson(int(seen.sum()), len(seen)))
  if 'meter/number' in rows:
    count, z, n = rows['meter/number'], rows['truth'][:, 0], len(rows['truth'])
    low, high = between
    inside = (count == 1) & (z >= low) & (z <= high)
    parts = {
      'one, between': inside,
      'one, at the sides': (count == 1) & ~inside,
      'none': count == 0,
      'several': count > 1,
      'none or several': count != 1,
    }
    told |= {f'objects/{name}': shared(wilson(int(part.sum()), n)) for name, part in parts.items()}
  return told, warnings


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


def said(source: str) -> str:
  """'judge b', 'the truth', 'judge b: smile'."""
  head, _, attribute = source.partition('/')
  words = {'truth': 'the truth', 'judge_a': 'judge A', 'judge_b': 'judge B'}[head]
  return f'{words}: {attribute}' if attribute else words


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


def swept(sets: Sequence[tuple[str, Any, Values]]) -> list[Any]:
  """L2 and KLD over λ, where sets differ in it: (name, weights, values)."""
  rows = []
  for _, weights, told in sets:
    flat = np.ravel(weights) if isinstance(weights, list) else np.zeros(0)
    if len(flat) and np.ptp(flat) == 0:
      rows.append((float(flat[0]), told))
  rows.sort(key=lambda row: row[0])
  if len({x for x, _ in rows}) < 3:
    return []
  figures = []
  for metric, unit in (('l2', 'L2 to uniform'), ('kld', 'KLD to uniform, nats')):
    lines = []
    for source in SOURCES:
      there = [(x, told[f'{source}/{metric}']) for x, told in rows if f'{source}/{metric}' in told]
      if there:
        lines.append(
          {
            'label': said(source),
            'x': [x for x, _ in there],
            **{k: [v[key] for _, v in there] for k, key in BAND.items()},
          }
        )
    if lines:
      figures.append(
        {'kind': 'curve', 'title': f'{unit} over λ', 'x': 'λ', 'y': unit, 'series': lines,
         'diagonal': False, 'log_x': False}
      )  # fmt: skip
  return figures


BAND = {'y': 'value', 'low': 'low', 'high': 'high'}


def grouped(told: Mapping[str, Values], members: Mapping[str, Sequence[str]]) -> dict[str, Values]:
  """Of sets that differ in their seed alone, {group: names}: mean ± standard deviation."""
  groups = dict[str, Values]()
  for group, names in members.items():
    rows = [told[name] for name in names]
    metrics = [m for m in rows[0] if all(plain(row.get(m)) is not None for row in rows)]
    groups[group] = {}
    for metric in metrics:
      each = np.array([plain(row[metric]) for row in rows], np.float64)
      mean, spread = float(each.mean()), float(each.std(ddof=1))
      groups[group][metric] = number(mean, low=mean - spread, high=mean + spread)
  return groups


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
      'errors': [row['high'] - row['value'] for _, row in rows],
      'y': y,
    }
  ]


def plain(value: Any) -> float | None:
  """The number of a value with or without its interval."""
  inner = value.get('value') if isinstance(value, dict) else value
  return None if inner is None else float(inner)
