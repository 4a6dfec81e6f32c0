"""How near images are to what they were asked for, by the eyes that did not guide them.

Of each condition, smaller is better; what is known of the record itself, where the data tell it,
stands beside what the judging eye sees in the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build.keys import ConfigError
from zsi_jax.data.transforms import normalise
from zsi_jax.evaluate import faces, paired
from zsi_jax.guide import energies
from zsi_jax.stages import findings, tuples
from zsi_jax.stages.sets import Images
from zsi_jax.stages.sweep import UNGUIDED

CHUNK = 256  # images that are looked at together
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
  told = {}
  for metric, found in rows.items():
    mean = paired.mean(found, bootstrap)
    told[metric] = findings.number(mean.value, low=mean.low, high=mean.high)
  return told


def against(
  pairs: Sequence[tuple[str, str]], found: Mapping[str, Rows], sets: Mapping[str, Images],
  bootstrap: int,
) -> list[Any]:  # fmt: skip
  """A table for each pair (set, baseline) of the same tuples and seeds."""
  tables = []
  for name, base in pairs:
    if name not in found or base not in found:
      continue
    keys = ('conditions', 'tuples', 'n')
    differ = [k for k in keys if sets[name].told['sample'][k] != sets[base].told['sample'][k]]
    if differ or sets[name].told['seed'] != sets[base].told['seed']:
      raise ConfigError(
        f'report.against: {name} and {base} differ in {", ".join(differ) or "their seed"}: pairs '
        'are of the same tuples and seeds'
      )
    lines = []
    for metric, mine in found[name].items():
      gap = paired.paired(mine, found[base][metric], bootstrap)
      relative = findings.number(*gap.relative[:1], low=gap.relative.low, high=gap.relative.high)
      difference = findings.number(
        gap.difference.value, low=gap.difference.low, high=gap.difference.high
      )
      sure = 'better' if gap.difference.high < 0 else 'worse' if gap.difference.low > 0 else 'even'
      lines.append([metric, difference, relative, sure])
    tables.append(
      {
        'title': f'{name} against {base}',
        'note': f'{sets[name].n} tuples, the same noise: paired differences, negative is better.',
        'columns': ['metric', 'difference', 'relative', 'verdict'],
        'rows': lines,
      }
    )
  return tables


def fronts(found: Mapping[str, Rows], sets: Mapping[str, Images]) -> list[Any]:
  """One condition over another, along the strengths of sets <method>_x<strength>."""
  methods = dict[str, list[tuple[float, str]]]()
  for name in found:
    method, cut, strength = name.rpartition('_x')
    if cut and strength.replace('.', '', 1).isdigit():
      methods.setdefault(method, []).append((float(strength), name))
  lines = {k: [name for _, name in sorted(v)] for k, v in methods.items() if len(v) > 1}
  if not lines:
    return []
  first = sets[next(iter(lines.values()))[0]].told['sample']['conditions']
  metrics = [next(m for m in found[next(iter(found))] if m.startswith(f'{c}/')) for c in first[:2]]
  series = []
  for method, names in lines.items():
    x, y = ([float(np.nanmean(found[name][m])) for name in names] for m in metrics)
    series.append({'label': method, 'x': x, 'y': y, 'low': None, 'high': None})
  return [
    {'kind': 'curve', 'title': 'What each strength trades for what', 'x': metrics[0],
     'y': metrics[1], 'note': 'Nearer to the lower left corner is better in both.',
     'series': series, 'diagonal': False}
  ]  # fmt: skip
