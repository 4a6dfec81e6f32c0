"""What scores say: the numbers of a set, and of sets that belong together; all JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from zsi_jax.evaluate import aimed, histogram
from zsi_jax.evaluate.shares import Share, wilson

Rows = Mapping[str, np.ndarray]
Values = dict[str, Any]
SOURCES = 'truth', 'judge_b', 'judge_a'  # the first that is there is looked at first
RAW = 'without ranks'  # of a judge that says ranks: what it says before
BETWEEN = 0.2, 0.8


def number(value: float, **more: float) -> dict[str, float | None]:
  """A value with its interval, deviation or floor; what is not finite is None."""
  rows = {'value': value} | more
  return {key: float(v) if np.isfinite(v) else None for key, v in rows.items()}


def shared(share: Share) -> dict[str, float | None]:
  return number(share.value, low=share.low, high=share.high)


def distances(name: str, how: str, score: histogram.Score | None) -> Values:
  """To uniform, with their intervals and floors."""
  if score is None:
    return {f'{name}/l2{how}': None, f'{name}/kld{how}': None}
  return {
    f'{name}/l2{how}': number(score.l2, low=score.l2_low, high=score.l2_high, floor=score.floor_l2),
    f'{name}/kld{how}': number(
      score.kld, low=score.kld_low, high=score.kld_high, floor=score.floor_kld
    ),
  }


def judged(
  rows: Rows, attributes: Sequence[str], how: str = ''
) -> Iterator[tuple[str, np.ndarray]]:
  """('truth', p [N]) or, of several attributes, ('truth/smile', p): in order of trust."""
  for source in SOURCES:
    if source + how in rows:
      columns = rows[source + how].T
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
    p, n = all_p[np.isfinite(all_p)], len(all_p)
    if len(p) < n:
      told[f'{name}/without a value'] = shared(wilson(n - len(p), n))
      warnings.append(
        f'{name}: {n - len(p)} of {n} images have no value, and no distance is of them'
      )
    if len(p) < bins:
      warnings.append(f'{name}: {len(p)} values are too few for {bins} bins')
      continue
    if p.min() < 0 or p.max() > 1:
      warnings.append(f'{name}: values {p.min():.3g} … {p.max():.3g} lie outside [0, 1]')
      continue
    told |= distances(name, '', histogram.score(p, bins, bootstrap=bootstrap))
    peer = None
    if np.ptp(p) > 0:
      peer = histogram.score(p, bins, how='peer', bootstrap=bootstrap)
    told |= distances(name, ', binned as the peer', peer)
    told[f'{name}/mild'] = shared(wilson(int(((p >= 0.2) & (p <= 0.8)).sum()), n))
    told[f'{name}/middle'] = shared(wilson(int(((p >= 0.49) & (p <= 0.51)).sum()), n))
    if 'aim' in given:
      asked = given.get('asked', given['aim'])
      told[f'{name}/rank correlation'] = number(aimed.correlation(asked, all_p))
      told[f'{name}/rms error'] = number(aimed.error(asked, all_p))
  for name, p in judged(rows, attributes, f' {RAW}'):
    if len(p) >= bins:
      told |= distances(name, f', {RAW}', histogram.score(p, bins, bootstrap=bootstrap))
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


def said(source: str) -> str:
  """'judge b', 'the truth', 'judge b: smile'."""
  head, _, attribute = source.partition('/')
  words = {'truth': 'the truth', 'judge_a': 'judge A', 'judge_b': 'judge B'}[head]
  return f'{words}: {attribute}' if attribute else words


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
      groups[group][metric] = number(mean, std=spread)
  return groups


def plain(value: Any) -> float | None:
  """The number of a value with or without its interval."""
  inner = value.get('value') if isinstance(value, dict) else value
  return None if inner is None else float(inner)
