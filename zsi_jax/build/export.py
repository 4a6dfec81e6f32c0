"""`zsi export`: the whole guided loop as one file that zsi_jax/io/sampler.py reads."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zsi_jax.build.models import Model, chain, keys, load
from zsi_jax.build.sampling import solver_of
from zsi_jax.core import Aim, sample
from zsi_jax.io import convert, files
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.sampler import KIND, LACKS, PROGRAM
from zsi_jax.io.stamp import stamp

PLATFORMS = 'cpu', 'cuda', 'tpu'
STRENGTH = 30.0  # of each class, as published


def export(
  src: str | Path,
  dst: str | Path,
  *,
  force: bool = False,
  batch: int = 16,
  steps: int | None = None,
  solver: str = 'ancestral',
  at: str = 'xt',
  weights: Sequence[Any] | None = None,
  aim: float | None = None,
  platforms: str | Sequence[str] = PLATFORMS,
  **options: Any,
) -> str:
  """A workdir, weights or a shipped model as a sampler in `dst`; returns what it is, to read.

  `weights`: a row of the classifier, or one for each; other ones may be said when it is called.
  `aim`: a strength; z is then said for each image. `options` are those of `load`.
  """
  dst = Path(dst).expanduser()
  convert.writable(Path(src).expanduser(), dst, force)
  asked = [platforms] if isinstance(platforms, str) else list(platforms)
  if not asked or not set(asked) <= set(PLATFORMS):
    raise ValueError(f'platforms = {asked}: some of {", ".join(PLATFORMS)}')
  if operator.index(batch) < 1:
    raise ValueError(f'batch = {batch}: images at a time, 1 or more')
  m = load(src, steps=steps, **options)
  if m.denoiser is None:
    raise ValueError(f'{src} has classifiers only ({list(m.classifier)}): samplers need a denoiser')
  if aim is not None and ([net.classes for net in nets(m)] != [2] or weights is not None):
    raise ValueError('aim pulls one classifier of two classes, and says its weights itself')
  numbers = {} if aim is not None else rows(m, weights)
  leaves, program = exported(m, solver, at, aim, numbers, batch, asked)
  schedule, T = chain(m.config['denoiser'])
  header = {
    'kind': KIND, 'batch': batch, 'shape': m.shape, 'steps': len(m.process), 'schedule': schedule,
    'T': T, 'solver': solver, 'at': at, 'aim': aim, 'weights': numbers, 'platforms': asked,
    'classifiers': {k: c.net.classes for k, c in m.classifier.items()},
    'sources': {k: {'file': v['file'], **v.get('source', {})} for k, v in m.config.items()},
    'stamp': stamp(device=False),
  }  # fmt: skip
  arrays = {f'{k}': np.asarray(leaf) for k, leaf in enumerate(leaves)}
  files.write(dst, arrays | {PROGRAM: np.frombuffer(program, np.uint8)}, header)
  told = 'kind', 'batch', 'steps', 'solver', 'classifiers', 'weights', 'aim', 'platforms'
  return '\n'.join([f'{dst}: {dst.stat().st_size} bytes', *(f'  {k} = {header[k]}' for k in told)])


def nets(m: Model) -> list[Any]:
  return [c.net for c in m.classifier.values()]


def rows(m: Model, weights: Sequence[Any] | None) -> dict[str, list[float]]:
  """Weights of each classifier by its name."""
  if weights is None:
    return {name: [STRENGTH] * c.net.classes for name, c in m.classifier.items()}
  said = [weights] if len(m.classifier) == 1 and np.ndim(weights[0]) == 0 else list(weights)
  wanted = [net.classes for net in nets(m)]
  if [np.size(row) for row in said] != wanted or not np.isfinite(np.hstack(said)).all():
    names = ', '.join(f'{k} {c.net.classes}' for k, c in m.classifier.items())
    raise ValueError(f'weights = {weights}: finite, and as many as classes, of {names or "none"}')
  return {name: [float(w) for w in row] for name, row in zip(m.classifier, said, strict=True)}


def exported(
  m: Model, solver: str, at: str, aim: float | None, numbers: Any, batch: int, platforms: list[str]
) -> tuple[list[Any], bytes]:
  """The networks' variables, and a function of them, a seed, the first image and what guides it."""
  from jax import export

  how = solver_of(solver)()
  leaves, tree = jax.tree.flatten((m.denoiser, m.classifier))

  def draw(leaves: list[Any], seed: Any, first: Any, said: dict[str, Any]) -> jax.Array:
    denoiser, classifiers = jax.tree.unflatten(tree, leaves)
    towards = {name: Aim(aim) for name in classifiers} if aim is not None else said
    terms = [c.replace(at=at).towards(towards[name]) for name, c in classifiers.items()]
    images: jax.Array = sample(
      keys(seed, batch, first), m.process, denoiser, sum(terms[1:], terms[0]) if terms else None,
      how, shape=m.shape, given=said if aim is not None else None,
    )  # fmt: skip
    return images

  def like(value: Any) -> Any:
    return jax.ShapeDtypeStruct(np.shape(value), np.float32)

  said = (
    {'aim': like(np.zeros(batch))} if aim is not None else {k: like(v) for k, v in numbers.items()}
  )
  args = leaves, np.uint32(0), np.int32(0), said
  try:
    return leaves, bytes(export.export(jax.jit(draw), platforms=platforms)(*args).serialize())
  except ImportError:
    raise WeightsError(LACKS) from None
