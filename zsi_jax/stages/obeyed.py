"""How near images are to what they were asked for, by the eyes that did not guide them.

Of each condition, smaller is better; what is known of the record itself, where the data tell it,
stands beside what the judging eye sees in the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import conditions
from zsi_jax.build.keys import ConfigError
from zsi_jax.data.transforms import normalise
from zsi_jax.evaluate import faces, paired
from zsi_jax.guide import energies
from zsi_jax.stages import findings, tuples
from zsi_jax.stages.sets import Images
from zsi_jax.stages.sweep import UNGUIDED

CHUNK = 256  # images that are looked at together
APART = 'rms of the pixels apart'
Rows = dict[str, np.ndarray]  # metric: one number for each image


def seen(config: ConfigDict, workdir: Path, one: Images, pixels: np.ndarray) -> Rows:
  """Of a set that was drawn with conditions."""
  own = as_drawn(config, one)
  near = tuples.drawn(own, workdir, len(pixels))
  looks, refs = (f(own, workdir, tuples.JUDGE) for f in (tuples.looks, tuples.references))
  found = dict[str, list[np.ndarray]]()
  for at in range(0, len(pixels), CHUNK):
    rows = np.arange(at, min(at + CHUNK, len(pixels)))
    wanted = near.seen(rows, refs)
    for name, look in looks.items():
      x = np.asarray(tuples.asked(look, normalise(pixels[rows])))
      for metric, values in distances(name, x, wanted[name], near, rows, pixels.shape[1]).items():
        found.setdefault(metric, []).append(values)
  return {metric: np.concatenate(parts) for metric, parts in found.items()}


def as_drawn(config: ConfigDict, one: Images) -> ConfigDict:
  """The config with the conditions and the seed of a set; of an unguided one those of the base."""
  said, own = one.told['sample'], config.copy_and_resolve_references()
  with own.unlocked():
    if one.conditions:
      own.sample.conditions, own.sample.tuples = tuple(said['conditions']), said['tuples']
    own.sample.seed = one.told['seed']
  return own


def measured(config: ConfigDict, one: Images) -> bool:
  """Whether a set is held against conditions."""
  return bool(one.conditions) or (one.name == UNGUIDED and bool(config.sample.conditions))


def distances(
  name: str, x: np.ndarray, ref: np.ndarray, near: tuples.Tuples, rows: np.ndarray, side: int
) -> Rows:
  """Of one condition, [B] each."""
  match name:
    case 'identity':
      return {'identity/1 - cosine': each(energies.cosine, x, ref),
              'identity/L2': np.linalg.norm(x - ref, axis=1)}  # fmt: skip
    case 'landmarks':
      true = (near.of(rows, name, 'landmarks') + 0.5) / side
      far = np.linalg.norm(x - true, axis=2).mean(1) / between_eyes(true)
      gap = (x - ref).reshape(len(x), -1)
      return {'landmarks/L2': np.linalg.norm(gap, axis=1), 'landmarks/NME': far}
    case 'segmentation':
      gap = (x - ref).reshape(len(x), -1)
      wrong = x.argmax(-1) != near.of(rows, name, 'mask')[..., 0]
      return {'segmentation/L2': np.linalg.norm(gap, axis=1),
              'segmentation/wrong pixels': wrong.mean((1, 2))}  # fmt: skip
    case 'text':
      return {'text/1 - cosine': each(energies.cosine, x, ref)}
    case 'style':
      return {'style/Gram': each(energies.gram, x, ref)}
    case 'feeling' | conditions.LABEL:
      p = np.take_along_axis(np.asarray(jax.nn.softmax(x)), ref[:, None], 1)[:, 0]
      wrong = x.argmax(1) != ref
      return {f'{name}/1 - P': 1 - p.astype(float), f'{name}/wrong': wrong.astype(float)}
  return {f'{name}/rms': each(energies.rms, x, ref)}


def each(distance: Any, x: np.ndarray, ref: np.ndarray) -> np.ndarray:
  return np.asarray(distance(x, ref), np.float64)


def between_eyes(points: np.ndarray) -> np.ndarray:
  """The distance of both eyes' outer corners, of 68 points [B, 68, 2]."""
  left, right = (points[:, corner] for corner in faces.CORNERS)
  found: np.ndarray = np.linalg.norm(left - right, axis=1)
  return found


def values(rows: Rows, bootstrap: int) -> dict[str, Any]:
  """Means and their intervals."""
  row = {}
  for metric, found in rows.items():
    row[metric] = told(paired.mean(found, bootstrap))
  return row


def against(
  pairs: Sequence[tuple[str, str]], found: Mapping[str, Rows], sets: Mapping[str, Images],
  bootstrap: int,
) -> list[Any]:  # fmt: skip
  """A table for each two ways that are compared; each pair is of the same tuples and seeds."""
  tables = dict[tuple[str, str], dict[str, Any]]()
  for name, base in pairs:
    if name not in found or base not in found:
      continue
    one, other = sets[name], sets[base]
    if differ := [k for k, v in pairing(one).items() if v != pairing(other)[k]]:
      raise ConfigError(
        f'report.against: {name} and {base} differ in {", ".join(differ)}: pairs are of the same '
        'tuples and seeds'
      )
    (way, x), (baseline, same) = strength(name), strength(base)
    table = tables.setdefault(
      (way, baseline),
      {
        'title': f'{way} against {baseline}',
        'note': f'{one.n} tuples, the same noise: paired differences, negative is nearer to what '
        'was asked for.',
        'columns': ['strength', 'metric', 'difference', 'relative', 'verdict'],
        'rows': [],
      },
    )
    at = f'{x:g}' if x is not None and x == same else f'{x or way} : {same or baseline}'
    table['rows'] += [[at, *line] for line in compared(found[name], found[base], bootstrap)]
    far = paired.mean(gaps(one, other), bootstrap)
    table['rows'].append([at, APART, told(far), None, None])
  return list(tables.values())


def compared(rows: Rows, base: Rows, bootstrap: int) -> list[list[Any]]:
  """[metric, difference, relative, verdict] of each metric that both have."""
  lines = list[list[Any]]()
  for metric in (name for name in rows if name in base):
    gap = paired.paired(rows[metric], base[metric], bootstrap)
    sure = 'better' if gap.difference.high < 0 else 'worse' if gap.difference.low > 0 else 'even'
    lines.append([metric, told(gap.difference), told(gap.relative), sure])
  return lines


def told(mean: paired.Mean) -> Any:
  return findings.number(mean.value, low=mean.low, high=mean.high)


def pairing(one: Images) -> dict[str, Any]:
  """What two sets of one pair have in common."""
  said = one.told['sample']
  return {'conditions': sorted(one.conditions), 'tuples': said['tuples'], 'n': said['n'],
          'seed': one.told['seed']}  # fmt: skip


def gaps(one: Images, other: Images) -> np.ndarray:
  """How far apart two sets are, [n] rms differences of pixels in [-1, 1]."""
  a, b = (np.asarray(each.read()[0], np.float64) / 127.5 for each in (one, other))
  found: np.ndarray = np.sqrt(((a - b) ** 2).mean((1, 2, 3)))
  return found


def apart(pairs: Sequence[tuple[str, str]], sets: Mapping[str, Images]) -> list[Any]:
  """How far the images of two ways are apart, along the strengths of their names."""
  lines = dict[str, list[tuple[float, float]]]()
  for name, base in pairs:
    if name in sets and base in sets:
      (way, x), (other, same) = strength(name), strength(base)
      if x is not None and x == same:
        far = float(gaps(sets[name], sets[base]).mean())
        lines.setdefault(f'{way} from {other}', []).append((x, far))
  series = [
    {
      'label': label,
      'x': [x for x, _ in rows],
      'y': [y for _, y in rows],
      'low': None,
      'high': None,
    }
    for label, rows in lines.items()
    if len(rows) > 1
  ]
  if not series:
    return []
  note = 'The same noise for both. What each step does apart grows as rho^2; by its order as rho^3.'
  return [
    {'kind': 'curve', 'title': 'How far apart two ways end', 'x': 'strength', 'y': APART,
     'note': note, 'series': series, 'diagonal': False, 'log_x': True, 'log_y': True}
  ]  # fmt: skip


def strength(name: str) -> tuple[str, float | None]:
  """(way, strength) of <way>_x<strength>."""
  way, cut, x = name.rpartition('_x')
  number = bool(cut) and x.replace('.', '', 1).isdigit()
  return (way, float(x)) if number else (name, None)


def fronts(found: Mapping[str, Rows], sets: Mapping[str, Images]) -> list[Any]:
  """One condition over another, along the strengths of sets <method>_x<strength>."""
  methods = dict[str, list[tuple[float, str]]]()
  for name in found:
    method, x = strength(name)
    if x is not None:
      methods.setdefault(method, []).append((x, name))
  lines = {k: [name for _, name in sorted(v)] for k, v in methods.items() if len(v) > 1}
  if not lines:
    return []
  first = sets[next(iter(lines.values()))[0]].told['sample']['conditions']
  metrics = [next(m for m in found[next(iter(found))] if m.startswith(f'{c}/')) for c in first[:2]]
  series = []
  for method, names in lines.items():
    along, up = ([float(np.nanmean(found[name][m])) for name in names] for m in metrics)
    series.append({'label': method, 'x': along, 'y': up, 'low': None, 'high': None})
  return [
    {'kind': 'curve', 'title': 'What each strength trades for what', 'x': metrics[0],
     'y': metrics[1], 'note': 'Nearer to the lower left corner is better in both.',
     'series': series, 'diagonal': False}
  ]  # fmt: skip
