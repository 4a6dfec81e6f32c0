"""Sets of the same tuples held against each other: differences, fronts, how far apart they end.

A set is called <way>_x<strength>; what has no strength has a name of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from zsi_jax.build.keys import ConfigError
from zsi_jax.evaluate import paired
from zsi_jax.stages.obeyed import Rows, told
from zsi_jax.stages.sets import Images

APART = 'rms of the pixels apart'
FRONTS = 8  # ways in one figure


class Held(NamedTuple):
  """One set against another of the same tuples and seeds; what is less is nearer."""

  name: str
  base: str
  n: int
  gaps: dict[str, paired.Paired]  # of each metric that both have
  apart: np.ndarray | None  # [n] rms differences of their pixels; None: of other noise

  @property
  def ways(self) -> tuple[str, str]:
    return strength(self.name)[0], strength(self.base)[0]

  @property
  def x(self) -> float | None:
    """The strength of both, if it is one."""
    x, other = strength(self.name)[1], strength(self.base)[1]
    return x if x == other else None


def held(
  pairs: Sequence[tuple[str, str]],
  found: Mapping[str, Rows],
  sets: Mapping[str, Images],
  bootstrap: int,
) -> list[Held]:
  """Those pairs of which both sets are drawn."""
  rows = []
  for name, base in pairs:
    if name not in found or base not in found:
      continue
    one, other = sets[name], sets[base]
    if differ := [k for k, v in pairing(one).items() if v != pairing(other)[k]]:
      raise ConfigError(
        f'report.against: {name} and {base} differ in {", ".join(differ)}: pairs are of the same '
        'tuples and seeds'
      )
    gaps = {
      metric: paired.paired(values, found[base][metric], bootstrap)
      for metric, values in found[name].items()
      if metric in found[base]
    }
    rows.append(Held(name, base, one.n, gaps, between(one, other) if noise(one, other) else None))
  return rows


def tables(pairs: Sequence[Held], bootstrap: int) -> list[Any]:
  """One for each two ways that are compared."""
  made = dict[tuple[str, str], dict[str, Any]]()
  for pair in pairs:
    way, baseline = pair.ways
    table = made.setdefault(
      (way, baseline),
      {
        'title': f'{way} against {baseline}',
        'note': f'{pair.n} tuples, {"other" if pair.apart is None else "the same"} noise: paired '
        'differences, negative is nearer to what was asked for.',
        'columns': ['strength', 'metric', 'difference', 'relative', 'verdict'],
        'rows': [],
      },
    )
    own, other = (strength(name)[1] for name in (pair.name, pair.base))
    at = f'{pair.x:g}' if pair.x is not None else f'{own or way} : {other or baseline}'
    for metric, gap in pair.gaps.items():
      sure = 'better' if gap.difference.high < 0 else 'worse' if gap.difference.low > 0 else 'even'
      table['rows'].append([at, metric, told(gap.difference), told(gap.relative), sure])
    if pair.apart is not None:
      far = paired.mean(pair.apart, bootstrap)
      table['rows'].append([at, APART, told(far), None, None])
  return list(made.values())


def unknown(pairs: Sequence[tuple[str, str]], known: Mapping[str, Any]) -> list[str]:
  """Warnings of sets that nobody draws."""
  gone = dict.fromkeys(name for pair in pairs for name in pair if name not in known)
  return [f'report.against: there is no set {name}' for name in gone]


def changes(pairs: Sequence[Held]) -> dict[str, dict[str, Any]]:
  """{set: {'metric/change from way': relative}} against sets of the same strength."""
  rows = dict[str, dict[str, Any]]()
  for pair in (pair for pair in pairs if pair.x is not None):
    for metric, gap in pair.gaps.items():
      name = f'{metric}/change from {pair.ways[1]}'
      rows.setdefault(pair.name, {})[name] = told(gap.relative)
  return rows


def pairing(one: Images) -> dict[str, Any]:
  """What two sets of one pair have in common."""
  said = one.told['sample']
  return {'conditions': sorted(one.conditions), 'tuples': said['tuples'], 'n': said['n'],
          'seed': one.told['seed']}  # fmt: skip


def noise(one: Images, other: Images) -> bool:
  """Whether both start from the same noise, which has the number of the noisiest row."""
  steps: bool = one.told['sample']['steps'] == other.told['sample']['steps']
  return steps


def between(one: Images, other: Images) -> np.ndarray:
  """How far apart two sets are, [n] rms differences of pixels in [-1, 1]."""
  a, b = (np.asarray(each.read()[0], np.float64) / 127.5 for each in (one, other))
  found: np.ndarray = np.sqrt(((a - b) ** 2).mean((1, 2, 3)))
  return found


def apart(pairs: Sequence[Held]) -> list[Any]:
  """How far the images of two ways are apart, along the strengths of their names."""
  lines = dict[str, list[tuple[float, float]]]()
  for pair in pairs:
    if pair.x is not None and pair.apart is not None:
      way, other = pair.ways
      lines.setdefault(f'{way} from {other}', []).append((pair.x, float(pair.apart.mean())))
  series = [
    curve(label, [x for x, _ in rows], [y for _, y in rows])
    for label, rows in lines.items()
    if len(rows) > 1
  ]
  if not series:
    return []
  note = (
    'The same noise for both. Where a move is the identity, looking ahead adds a term of second '
    'order in the strength, and its order one of third; in a real chain both begin at first order, '
    'by the Jacobian of the move and the level where it lands.'
  )
  return [
    {'kind': 'curve', 'title': 'How far apart two ways end', 'x': 'strength', 'y': APART,
     'note': note, 'series': series, 'diagonal': False, 'log_x': True, 'log_y': True}
  ]  # fmt: skip


def curve(label: str, x: list[float], y: list[float], **more: Any) -> dict[str, Any]:
  return {'label': label, 'x': x, 'y': y, 'low': None, 'high': None, **more}


def strength(name: str) -> tuple[str, float | None]:
  """(way, strength) of <way>_x<strength>."""
  way, cut, x = name.rpartition('_x')
  number = bool(cut) and x.replace('.', '', 1).isdigit()
  return (way, float(x)) if number else (name, None)


def fronts(found: Mapping[str, Rows], sets: Mapping[str, Images], bootstrap: int) -> list[Any]:
  """Each two conditions over one another, along the strengths of a way; tuples by their kind."""
  ways = dict[str, dict[str, list[tuple[float, str]]]]()
  for name in found:
    way, x = strength(name)
    if x is not None:
      kind = ways.setdefault(sets[name].told['sample']['tuples'], {})
      kind.setdefault(way, []).append((x, name))
  figures = []
  for tuples, rows in ways.items():
    lines = {way: [name for _, name in sorted(names)] for way, names in rows.items()}
    lines = {way: names for way, names in lines.items() if len(names) > 1}
    if not lines:
      continue
    first = next(iter(lines.values()))[0]
    metrics = [
      next(m for m in found[first] if m.startswith(f'{c}/')) for c in sorted(sets[first].conditions)
    ]
    for a, b in itertools.combinations(metrics, 2):
      series = [front(way, [found[n] for n in names], a, b, bootstrap)
                for way, names in lines.items()]  # fmt: skip
      for at in range(0, len(series), FRONTS):
        figures.append(
          {'kind': 'curve', 'title': f'What each strength trades for what, tuples of {tuples}',
           'x': a, 'y': b, 'note': 'Nearer to the lower left corner is better in both; the bands '
           'are intervals of what is upward.', 'series': series[at : at + FRONTS],
           'diagonal': False}
        )  # fmt: skip
  return figures


def front(way: str, rows: list[Rows], a: str, b: str, bootstrap: int) -> dict[str, Any]:
  """One line."""
  along = [float(np.nanmean(row[a])) for row in rows]
  up = [paired.mean(row[b], bootstrap) for row in rows]
  return curve(
    way, along, [m.value for m in up], low=[m.low for m in up], high=[m.high for m in up]
  )
