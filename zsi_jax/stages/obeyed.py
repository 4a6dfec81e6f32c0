"""How near images are to what they were asked for, by the eyes that did not guide them.

Of each condition, smaller is better; what is known of the record itself, where the data tell it,
stands beside what the judging eye sees in the record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import conditions
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


def told(mean: paired.Mean) -> Any:
  return findings.number(mean.value, low=mean.low, high=mean.high)
