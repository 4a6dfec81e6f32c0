"""eyes: each copy of each network that guides faces, trained, and tested on persons unseen.

workdir/eyes/<kind>/<copy>/checkpoints/, metrics.jsonl, tb/   while it is trained
workdir/eyes/<kind>/<copy>/eye.json                           written last: how well it sees
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import eyes as build
from zsi_jax.build import told as tells
from zsi_jax.build.eyes import Plan
from zsi_jax.build.keys import ConfigError
from zsi_jax.data.record import stacked
from zsi_jax.evaluate import faces
from zsi_jax.evaluate.judge import cut
from zsi_jax.guide.energies import Eye
from zsi_jax.stages import prepare, tested
from zsi_jax.stages import workdir as work

BATCH = 128
CLOSE = 1e-3  # of --check: another device rounds otherwise


def eyes(config: ConfigDict, workdir: Path) -> None:
  """Every eye that the config asks for; one that is finished is only named."""
  for role in build.roles(config):
    with work.shared(workdir):
      tested.finish(config, workdir, lesson(config, workdir, role))


def foresee(config: ConfigDict, workdir: Path) -> None:
  """What `eyes` would refuse; nothing is allocated."""
  for role in build.roles(config):
    tested.foresee(config, workdir, role, partial(lesson, config, workdir, role))


def lesson(config: ConfigDict, workdir: Path, role: str) -> tested.Lesson:
  """A ConfigError where it cannot be."""
  folder = workdir / role
  plan = build.planned(config, role, prepare.prepared(config, workdir)[1])
  return tested.Lesson(
    role,
    lambda: build.job(config, role, plan),
    plan.pipeline,
    (plan.field,),
    lambda: test(folder, plan),
    lambda told: check(folder, plan, told),
    summary,
  )


def test(folder: Path, plan: Plan) -> dict[str, Any]:
  """What the newest checkpoint is worth on records of persons that nobody learned from."""
  eye, digest = build.trained(folder)
  records = stacked(plan.source, plan.parts.test, ('image', plan.field))
  counts = {name: len(part) for name, part in plan.parts._asdict().items()}
  return {
    'kind': plan.kind,
    'size': plan.found['size'],
    'channels': plan.found['channels'],
    'tested': worth(folder, plan, eye, records),
    'digest': digest,
    'records': {
      **counts,
      'persons': len(np.unique(plan.who[plan.parts.test])),
      'digest': tells.digest(plan.parts),
    },
  }


def worth(folder: Path, plan: Plan, eye: Eye, records: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Of one kind, in its own numbers."""
  true = records[plan.field]
  match plan.kind:
    case 'identity':
      return faces.verification(seen(eye, records['image']), true)
    case 'landmarks':
      points = seen(eye, records['image']) * plan.found['size'] - 0.5
      return faces.located(points, true.astype(points.dtype))
    case 'segmentation':
      mask = seen(eye, records['image'], classes=True)
      return faces.overlap(mask, true[..., 0], plan.found['classes'])
    case 'feeling':
      return faces.named(seen(eye, records['image']), true)
  # Records of one person follow each other, and who looks alike should not be told apart here.
  mixed = np.argsort(build.chance(0, plan.parts.test, build.RECORDS))
  words, _ = build.trained(folder, 'words')
  images = seen(eye, records['image'][mixed])
  return faces.retrieval(images, seen(words, true[mixed]), true[mixed])


def seen(eye: Eye, given: np.ndarray, classes: bool = False) -> np.ndarray:
  """What an eye sees in uint8 images [N, H, W, C], or in tokens [N, L]; of logits the class."""

  @jax.jit
  def look(eye: Eye, x: jax.Array) -> jax.Array:
    told: jax.Array = eye(x.astype(jnp.float32) / 127.5 - 1 if x.ndim == 4 else x)
    return told.argmax(-1) if classes else told

  return np.concatenate([np.asarray(look(eye, rows))[:n] for rows, n in cut(given, BATCH)])


def check(folder: Path, plan: Plan, told: Mapping[str, Any]) -> None:
  """Tested again, a finished eye sees as well as eye.json says."""
  build.eye(folder)  # of these weights
  again = test(folder, plan)
  if again['records']['digest'] != told['records']['digest']:
    raise ConfigError(f'{folder}: it was tested on other records than the seed and the data give')
  for key, value in told['tested'].items():
    if isinstance(value, float) and abs(value - again['tested'][key]) > CLOSE:
      raise ConfigError(
        f'{folder}: tested again its {key} is {again["tested"][key]:.6g}, not {value:.6g} as '
        f'{build.TOLD} says'
      )


def dull(told: Mapping[str, Any]) -> str | None:
  """Why what an eye says of images is next to chance, or None."""
  own = told['tested']
  low = {
    'identity': ('auc', 0.8),
    'segmentation': ('miou', 0.2),
    'text': ('words', 4 / own.get('of', 1)),
    'feeling': ('accuracy', own.get('commonest', 0.0)),
  }
  if told['kind'] == 'landmarks':
    return f'nme {own["nme"]:.3g} > 0.2' if own.get('nme', 0.0) > 0.2 else None
  key, least = low[told['kind']]
  return f'{key} {own[key]:.3g} <= {least:.3g}' if own[key] <= least else None


def summary(told: Mapping[str, Any]) -> str:
  """'300 steps in 20 s: auc 0.981, tar 0.72, far 0.01'."""
  said = [f'{k} {v:.4g}' for k, v in told['tested'].items() if isinstance(v, float)]
  return f'{told["steps"]} steps in {told["seconds"]:.0f} s: {", ".join(said)}'
