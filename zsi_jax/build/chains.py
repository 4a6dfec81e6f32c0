"""What a micro-batch goes through: `sample` from noise, or up from given images and down again.

(1) slerp: (sin((1 - f) w) a + sin(f w) b) / sin w, w the angle between a and b
(2) eta_t = eta t / (share T), from the row where an edit turns  (Deschenaux et al., App. N)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zsi_jax.core import DDIM, Level, Mix, sample
from zsi_jax.core.tree import Array, bcast, fold, normal

Shared = tuple[Any, Any, Any, Any]  # process, denoiser, guidance, solver
Given = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Draw:
  """From noise."""

  shape: tuple[int, ...]

  def __call__(self, shared: Shared, words: Array, given: Given) -> Array:
    drawn: Array = sample(
      jax.random.wrap_key_data(words), *shared, shape=self.shape, given=dict(given)
    )
    return drawn


@dataclasses.dataclass(frozen=True)
class Slerp:
  """Two images up to row `stop`, the latent between them at `fraction`, and down (1)."""

  stop: int

  def __call__(self, shared: Shared, words: Array, given: Given) -> Array:
    process, denoiser, guidance, solver = shared
    keys, up = jax.random.wrap_key_data(words), process.forward(self.stop)
    a, b = (sample(keys, up, denoiser, None, solver, x=given['image'][:, k]) for k in (0, 1))
    x = slerp(a, b, given['fraction'])
    drawn: Array = sample(keys, process.reverse(self.stop), denoiser, guidance, solver, x=x)
    return drawn


@dataclasses.dataclass(frozen=True)
class Edit:
  """An image up to row `stop`, unguided, and down with guidance."""

  stop: int
  upward: str
  mixed: bool  # the denoiser is a mix over "no condition" and classes; upward it has none

  def __call__(self, shared: Shared, words: Array, given: Given) -> Array:
    process, denoiser, guidance, solver = shared
    keys, rest = jax.random.wrap_key_data(words), dict(given)
    x = rest.pop('image')
    if self.upward == 'noise':
      x = process[self.stop].noised(x, normal(fold(keys, self.stop + 1), x))
    else:
      plain = denoiser.denoiser if self.mixed and isinstance(denoiser, Mix) else denoiser
      x = sample(keys, process.forward(self.stop), plain, None, solver, x=x)
    down = process.reverse(self.stop)
    drawn: Array = sample(keys, down, denoiser, guidance, solver, x=x, given=rest)
    return drawn


def slerp(a: Array, b: Array, fraction: Array) -> Array:
  """(1), of each example; a straight line where a and b point the same way."""

  def flat(v: Array) -> Array:
    return v.reshape(len(v), -1)

  norms = jnp.linalg.norm(flat(a), axis=1) * jnp.linalg.norm(flat(b), axis=1)
  cosine = jnp.sum(flat(a) * flat(b), 1) / jnp.where(norms > 0, norms, 1)
  w = jnp.arccos(jnp.clip(cosine, -1, 1))
  near = jnp.sin(w) < 1e-4
  sine = jnp.where(near, 1, jnp.sin(w))
  left, right = (jnp.where(near, f, jnp.sin(f * w) / sine) for f in (1 - fraction, fraction))
  return bcast(left, a) * a + bcast(right, b) * b


def decaying(solver: Any, span: float) -> Any:
  """A DDIM whose noise fades by (2); `span` is in timesteps. Others draw no noise."""
  if not isinstance(solver, DDIM):
    return solver
  peak = jnp.asarray(solver.eta)
  return solver.replace(eta=jax.tree_util.Partial(fade, peak, jnp.asarray(span, peak.dtype)))


def fade(peak: Array, span: Array, level: Level) -> Array:
  return peak * level.t / span
