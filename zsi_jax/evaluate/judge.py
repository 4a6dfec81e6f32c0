"""Judges: what they are trained by, what they say of images, and whether they may say it.

(1) binary: y = mean of `draws` new Bernoulli(z) for each example of the stream, or z itself;
    cross-entropy of sigmoid(l) with y for each attribute. So P is z, and not a step at 1/2.
(2) classes: cross-entropy with the label.   (3) regression: |l - (a - mean) / scale|^2
(4) may judge: on records that are uniform in z its P is, too, to .03 in L2 and .03 in KLD. Ranks
    are uniform of any judge, so of one that has them the error counts, too
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core.losses import applied
from zsi_jax.core.tree import fold
from zsi_jax.evaluate import calibrate, given
from zsi_jax.evaluate.errors import MetricError

KINDS = 'binary', 'classes', 'regression'
BATCH = 256
GATE = {'l2': 0.03, 'kld': 0.03}
OFF = 0.05  # rms error, at most, of a judge with ranks: a guess has .29


@dataclasses.dataclass(frozen=True)
class Task:
  """What a judge is asked, by the names of a batch's entries."""

  kind: str
  attributes: tuple[str, ...]
  draws: int | None = None
  mean: tuple[float, ...] = ()  # of a regression's attributes
  scale: tuple[float, ...] = ()

  def __post_init__(self) -> None:
    if self.kind not in KINDS:
      raise ValueError(f'a judge is one of {", ".join(KINDS)}, not {self.kind!r}')


@dataclasses.dataclass(frozen=True)
class JudgeLoss:
  """(1-3) of batch['image'], with the attributes or the label of the batch; no noise on images."""

  net: Any
  task: Task
  shift: int = 0  # pixels: moved by up to so many, the edge repeated

  def __call__(self, variables: Any, batch: Any, keys: jax.Array, train: bool = True) -> Any:
    x, own = batch['image'], self.task
    x = moved(fold(keys, 'shift'), x, self.shift) if train and self.shift else x
    (out, _), changed = applied(self.net, variables, x, key=keys[0], train=train)
    if own.kind == 'classes':
      logp, label = jax.nn.log_softmax(out), batch['label']
      losses = -jnp.take_along_axis(logp, label[:, None], 1)[:, 0]
      told = {'accuracy': (out.argmax(-1) == label).astype(out.dtype)}
    else:
      z = jnp.stack([batch[name] for name in own.attributes], -1).astype(out.dtype)
      if own.kind == 'binary':
        y = drawn(fold(keys, 'label'), z, own.draws)
        losses = -(y * jax.nn.log_sigmoid(out) + (1 - y) * jax.nn.log_sigmoid(-out)).mean(-1)
        told = {'square': ((jax.nn.sigmoid(out) - z) ** 2).mean(-1)}
      else:
        mean, scale = jnp.array(own.mean), jnp.array(own.scale)
        losses = ((out - (z - mean) / scale) ** 2).mean(-1)
        told = {}
    return losses.mean(), ({'loss': losses, **told}, changed)


def drawn(keys: jax.Array, z: jax.Array, draws: int | None) -> jax.Array:
  """(1), z [B, A]."""
  if draws is None:
    return z

  def one(key: jax.Array, z: jax.Array) -> jax.Array:
    return jax.random.bernoulli(key, z, (draws, *z.shape)).astype(z.dtype).mean(0)

  return jax.vmap(one)(keys, z)


def moved(keys: jax.Array, x: jax.Array, most: int) -> jax.Array:
  """Each image by its own whole number of pixels."""
  wide = jnp.pad(x, ((0, 0), (most, most), (most, most), (0, 0)), mode='edge')

  def one(key: jax.Array, image: jax.Array) -> jax.Array:
    at = jax.random.randint(key, (2,), 0, 2 * most + 1)
    return jax.lax.dynamic_slice(image, (at[0], at[1], 0), x.shape[1:])

  return jax.vmap(one)(keys, wide)


@dataclasses.dataclass(frozen=True)
class Judge:
  """A trained judge; `temperature` and `ranks` are of each output, or are empty."""

  net: Any
  variables: Mapping[str, Any]
  task: Task
  size: int
  channels: int
  temperature: tuple[float, ...] = ()
  ranks: tuple[calibrate.Knots, ...] = ()
  batch: int = BATCH

  @property
  def kind(self) -> str:
    return self.task.kind

  @property
  def attributes(self) -> tuple[str, ...]:
    return self.task.attributes

  @functools.cached_property
  def digest(self) -> str:
    """sha256 of the weights, of what is done to logits and of what is asked."""
    whole = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(self.variables):
      array = np.ascontiguousarray(leaf)
      whole.update(f'{jax.tree_util.keystr(path)} {array.dtype} {array.shape}'.encode())
      whole.update(array.tobytes())
    whole.update(repr((self.task, self.temperature, self.ranks)).encode())
    return whole.hexdigest()

  def logits(self, images: Any) -> np.ndarray:
    """uint8 [N, H, W, C] -> float64 [N, outputs], without the temperature."""
    return self.both(images)[0]

  def scores(self, images: Any) -> np.ndarray:
    """float64: P of each attribute [N, A], of each class [N, K], or the attributes [N, A]."""
    return self.read(self.logits(images))

  def features(self, images: Any) -> np.ndarray:
    """float32 [N, D], before the head."""
    return self.both(images)[1]

  def read(self, logits: np.ndarray, ranked: bool = True) -> np.ndarray:
    """Scores of logits; what it says before ranks, if it has any, where not `ranked`."""
    scaled = logits / np.array(self.temperature or 1.0)
    if self.kind == 'binary':
      for k, knots in enumerate(self.ranks if ranked else ()):
        scaled[:, k] = calibrate.ranked(scaled[:, k], knots) if knots else scaled[:, k]
      return np.exp(-np.logaddexp(0, -scaled))
    if self.kind == 'classes':
      e = np.exp(scaled - scaled.max(1, keepdims=True))
      return np.asarray(e / e.sum(1, keepdims=True))
    return np.asarray(scaled * np.array(self.task.scale) + np.array(self.task.mean))

  def both(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
    """(logits, features)."""
    x = given.images(images)
    want = self.size, self.size, self.channels
    if x.shape[1:] != want:
      raise MetricError(
        f'a judge of {", ".join(self.attributes)} for images {list(want)} was given images '
        f'{list(x.shape[1:])}; train one on images of that size'
      )
    rows = [
      [np.asarray(a)[:n] for a in self._apply(self.variables, b)] for b, n in cut(x, self.batch)
    ]
    out, seen = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return out.astype(np.float64), seen

  @functools.cached_property
  def _apply(self) -> Any:
    def seen(variables: Any, x: jax.Array) -> Any:
      return self.net.apply(variables, x.astype(jnp.float32) / 127.5 - 1)

    return jax.jit(seen)


def cut(x: np.ndarray, batch: int) -> Iterator[tuple[np.ndarray, int]]:
  """Batches of one size, the last filled up: one program."""
  for at in range(0, len(x), batch):
    rows = np.minimum(np.arange(at, at + batch), len(x) - 1)
    yield x[rows], min(batch, len(x) - at)


def may_judge(told: Mapping[str, Any]) -> str | None:
  """(4) of a judge.json: why not, else None. Where no uniform set is known, there is no gate; that
  of a regression is uniform in its range."""
  for name, row in told.get('each', {}).items():
    uniform = row.get('uniform')
    if uniform is None:
      continue
    over = [f'{k.upper()} {uniform[k]:.4f}' for k, most in GATE.items() if not uniform[k] <= most]
    if over:
      most = ' / '.join(f'{v:g}' for v in GATE.values())
      floors = ' / '.join(f'{uniform[f"floor_{k}"]:.4f}' for k in GATE)
      return (
        f'{name}: {" and ".join(over)} on {uniform["n"]} records that are uniform, where {most} '
        f'is the most (perfect ones would score {floors})'
      )
    if row.get('ranks') and not row['error']['rmse'] <= OFF:
      return f'{name}: its rms error is {row["error"]["rmse"]:.3f}, where {OFF:g} is the most'
  return None


def fits(judge: Judge, kind: str, attributes: Sequence[str], size: int) -> str | None:
  """What differs between a judge and what is asked, both said; None where nothing does."""
  mine = {'kind': judge.kind, 'attributes': judge.attributes, 'size': judge.size}
  asked = {'kind': kind, 'attributes': tuple(attributes), 'size': size}
  wrong = [f'{k} {asked[k]}, it was trained for {mine[k]}' for k in mine if mine[k] != asked[k]]
  return f'asked for {"; ".join(wrong)}' if wrong else None
