"""What each image of a set is given: the value it is aimed at, or the records it starts from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import sampling
from zsi_jax.build.keys import ConfigError
from zsi_jax.core.tree import fold
from zsi_jax.data.chance import uniforms
from zsi_jax.data.transforms import normalise
from zsi_jax.io.stamp import digest
from zsi_jax.stages import prepare

PICKED = 41  # the stream of chance that orders the records of a label
ROLE = 'classifier'  # whose records a task starts from


def uniform(keys: jax.Array) -> np.ndarray:
  """z ~ U(0, 1) of each image, float32 [n], by its key and by no other noise."""
  own = fold(fold(keys, 'given'), 'aim')
  return np.asarray(jax.vmap(lambda key: jax.random.uniform(key))(own))


@dataclasses.dataclass(frozen=True)
class Dial:
  """What was got for what was asked: turned by its inverse, what is asked is got."""

  asked: np.ndarray
  got: np.ndarray

  @property
  def digest(self) -> str:
    """Of its numbers."""
    return digest({'asked': self.asked.tolist(), 'got': self.got.tolist()})

  def __call__(self, z: np.ndarray) -> np.ndarray:
    """What to ask for; at the ends, what was asked there."""
    return np.interp(z, self.got, self.asked).astype(np.float32)


def dial(config: ConfigDict, workdir: Path) -> Dial | None:
  """A ConfigError where it is no curve that rises."""
  said = config.sample.dial
  if said is None:
    return None
  if (path := sampling.dial_at(said, workdir)) is None:
    raise ConfigError(
      f'sample.dial: {said} is neither here nor in {workdir}: --stage=evaluate writes one where a '
      'set is aimed'
    )
  try:
    told = json.loads(path.read_text())
    asked, got = (np.asarray(told[key], np.float64) for key in ('asked', 'got'))
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ConfigError(
      f'{path}: no dial, {{"asked": [...], "got": [...]}} ({error!r:.200})'
    ) from None
  fits = asked.ndim == 1 and asked.shape == got.shape and len(asked) > 1
  rises = fits and (np.diff(asked) > 0).all() and (np.diff(got) >= 0).all() and got[-1] > got[0]
  if not rises or not (np.isfinite(asked).all() and np.isfinite(got).all()):
    raise ConfigError(f'{path}: no dial: asked must rise, and got must not fall, over 2 or more')
  level, where = np.unique(got, return_inverse=True)  # of a plateau, its middle
  return Dial(np.bincount(where, asked) / np.bincount(where), level)


@dataclasses.dataclass(frozen=True)
class Records:
  """Records of given labels, as many as there are images: [n], or [n, 2] for pairs."""

  source: Any
  index: np.ndarray
  told: dict[str, Any]  # JSON: which they are

  def images(self, rows: np.ndarray) -> np.ndarray:
    """float32 [..., H, W, C] in [-1, 1]."""
    numbers = self.index[rows]
    pixels = np.stack([self.source[int(i)]['image'] for i in numbers.ravel()])
    return normalise(pixels).reshape(*numbers.shape, *pixels.shape[1:])


def records(config: ConfigDict, workdir: Path, n: int) -> Records:
  """Of the classifier's split: an edit's in turn of its labels, a slerp's in pairs."""
  own, stream = config.sample, prepare.pipeline(config, workdir, ROLE).stream
  told = prepare.read(workdir)
  assert told is not None
  labels = np.full(len(stream.index), -1) if stream.label is None else stream.label
  chosen = [picked(np.unique(stream.index[labels == k]), config.seed) for k in own.labels]
  pairs = own.task == 'slerp'
  for k, found in zip(own.labels, chosen, strict=True):
    needed = 2 if pairs and own.labels.count(k) > 1 else 1
    if len(found) < needed:
      raise ConfigError(
        f'sample.labels = {tuple(own.labels)}: {len(found)} records of {ROLE} have the label {k}; '
        f'{("one is", "two are")[needed - 1]} needed'
      )
  image = np.arange(n)
  if pairs:
    chosen[1] = np.roll(chosen[1], 1) if own.labels[0] == own.labels[1] else chosen[1]
    pair = image // own.points
    index = np.stack([found[pair % len(found)] for found in chosen], 1)
  else:
    turn, kinds = image // len(chosen), image % len(chosen)
    index = np.array([chosen[k][t % len(chosen[k])] for t, k in zip(turn, kinds, strict=True)])
  dataset, role = told['dataset'], told['roles'][ROLE]
  identity = {key: dataset[key] for key in ('name', 'digest', 'numbering')}
  return Records(stream.source, index, {**identity, ROLE: role['sha256']})


def picked(index: np.ndarray, seed: int) -> np.ndarray:
  """The records in an order of chance; each rank is that of its number alone."""
  rank = np.array([uniforms(seed, int(i), 1, PICKED)[0] for i in index])
  return index[np.argsort(rank, kind='stable')]


def fraction(n: int, points: int) -> np.ndarray:
  """Of the way from one record of a pair to the other, float32 [n]."""
  return (np.arange(n) % points / (points - 1)).astype(np.float32)


def same_size(source: Any, shape: Sequence[int]) -> None:
  found = tuple(source.fields['image'].shape)
  if found != tuple(shape):
    raise ConfigError(
      f'sample starts from records of {list(found)}, and the denoiser draws {list(shape)}'
    )
