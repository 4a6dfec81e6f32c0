"""Solvers inject: how x_t becomes x_s, and where a score enters.

 (1) x_s = land(x_t) + gain * s                              `add` knows the gain; it is linear in s
 (2) x_s ~ N(mean(x0_hat, x_t) + gain s, Sigma)              ancestral
 (3) x_s = (sigma_s / sigma) x_t + alpha_s (1 - e^-h) x0     DDIM, h = lambda_s - lambda_t
 (4) 'mean': gain = Sigma       Dhariwal & Nichol, Alg. 1: what the published multi-guidance runs
     'eps': eps - sigma s       Alg. 2, so x0_hat + (sigma^2 / alpha) s
     'sample': gain = 1         FreeDoM, Z-Magic
 (5) x0_hat is clipped before the score enters, never after: (1) stays linear

| solver           | injects           | memory |
|------------------|-------------------|--------|
| Ancestral        | mean, eps, sample | none   |
| ReverseDiffusion | mean, sample      | none   |
| DDIM, DDNM       | eps, sample       | none   |
| DPMSolverPP      | eps               | x0, h  |
| Heun             | eps               | none   |
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from zsi_jax.core.guidance import Field, Notes
from zsi_jax.core.predict import Prediction, value, whole_batch
from zsi_jax.core.process import Level, Move
from zsi_jax.core.tree import Array, Tree, bcast, fold, normal, oneline, root, static, weight


class Landing(NamedTuple):
  """Where a solver lands, what it remembers, and what the field had said at the start."""

  x: Array
  carry: Any
  pred: Prediction
  score: Array
  noise: Array  # what of x was drawn, as it was added
  notes: Notes

  def __repr__(self) -> str:
    return oneline(self)


class Solver(Tree):
  """(keys, field, x, carry, move, given) -> Landing; `add` is where a score enters (1)."""

  injects: ClassVar[tuple[str, ...]] = ()
  upward: ClassVar[bool] = False  # may also climb towards the noise

  def __post_init__(self) -> None:
    super().__post_init__()
    inject = getattr(self, 'inject', None)
    if self.injects and inject not in self.injects:
      name = type(self).__name__
      raise ValueError(
        f"{name} injects {self.injects}, not {inject!r}: {name}(inject='{self.injects[0]}')"
      )

  @property
  def climbs(self) -> bool:
    return self.upward

  def init(self, x: Array) -> Any:
    """What the solver remembers before the first move."""
    return ()

  def add(self, x: Array, score: Array, move: Move, pred: Prediction) -> Array:
    raise TypeError(f'{type(self).__name__} is abstract: give it an add(x, score, move, pred)')

  def __call__(
    self, keys: Array, field: Field, x: Array, carry: Any, move: Move, given: Any = None
  ) -> Landing:
    raise TypeError(f'{type(self).__name__} is abstract: give it a __call__')


def seen(pred: Prediction, clip: bool) -> Array:
  return jnp.clip(pred.x0, -1, 1) if clip else pred.x0


def shifted(x0: Array, score: Array, level: Level) -> Array:
  """x0_hat after eps - sigma s (4)."""
  return x0 + level.sigma**2 / level.alpha * score


def ddim(x: Array, x0: Array, move: Move) -> Array:
  """(3), in a form that is exact for neighbouring levels, finite at x_0, and runs both ways."""
  return move.to.sigma / move.level.sigma * x - move.to.alpha * jnp.expm1(-move.h) * x0


class Ancestral(Solver):
  """x' ~ N(mean + gain s, Sigma) (2).

  The gain of 'eps' is beta / sqrt(1 - beta), capped at 1: uncapped it reaches hundreds on the first
  row of a respaced cosine chain, and nothing clips x again after it.
  """

  clip: bool = static(True)
  inject: str = static('mean')
  injects = ('mean', 'eps', 'sample')

  def add(self, x: Array, score: Array, move: Move, pred: Prediction) -> Array:
    match self.inject:
      case 'mean':
        return x + jnp.exp(pred.logvar) * score
      case 'eps':
        return x + jnp.minimum(move.beta / move.alpha_ratio, 1) * score
      case _:
        return x + score

  def __call__(
    self, keys: Array, field: Field, x: Array, carry: Any, move: Move, given: Any = None
  ) -> Landing:
    pred, score, notes = field(keys, x, move.level, given)
    mean = self.add(move.level.mean(seen(pred, self.clip), x), score, move, pred)
    std = (move.to.sigma > 0) * jnp.exp(0.5 * pred.logvar)
    noise = std * normal(fold(keys, 'noise'), x)
    return Landing(mean + noise, carry, pred, score, noise, notes)


class ReverseDiffusion(Solver):
  """x' = (2 - sqrt(1 - beta)) x + beta (s_model + s) + sqrt(beta) z  (Song et al., App. E)."""

  inject: str = static('mean')
  injects = ('mean', 'sample')

  def add(self, x: Array, score: Array, move: Move, pred: Prediction) -> Array:
    return x + (bcast(move.beta, x) if self.inject == 'mean' else 1) * score

  def __call__(
    self, keys: Array, field: Field, x: Array, carry: Any, move: Move, given: Any = None
  ) -> Landing:
    pred, score, notes = field(keys, x, move.level, given)
    drift = (2 - move.alpha_ratio) * x - move.beta / move.level.sigma * pred.eps
    std = (move.to.sigma > 0) * jnp.sqrt(move.beta)
    noise = std * normal(fold(keys, 'noise'), x)
    land = self.add(drift, score, move, pred) + noise
    return Landing(land, carry, pred, score, noise, notes)


class DDIM(Solver):
  """(3) with fresh noise in place of some of the old  (DDIM Eq. 12; Dhariwal & Nichol, Alg. 2).

  `noise`: eta times the std of the posterior, or of the next level (DDNM). Upward moves draw none.
  """

  eta: Any = weight(0.0)  # a number or a schedule
  clip: bool = static(True)
  inject: str = static('eps')
  noise: str = static('posterior')
  injects = ('eps', 'sample')
  upward = True

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.noise not in ('posterior', 'level'):
      raise ValueError(f"DDIM.noise is 'posterior' or 'level', not {self.noise!r}")
    whole_batch(self.eta, 'DDIM.eta')

  def std(self, move: Move) -> tuple[Array, Array]:
    """Of the fresh noise, and of what is left for eps."""
    share = 1 / move.level.sigma * root(move.beta)
    if self.noise == 'level':
      share = (move.beta > 0).astype(share.dtype)
    std = value(self.eta, move.level) * move.to.sigma * share
    return std, root(move.to.sigma**2 - std**2)

  def add(self, x: Array, score: Array, move: Move, pred: Prediction) -> Array:
    if self.inject == 'sample':
      return x + score
    level, (_, left) = move.level, self.std(move)
    on_x0 = -move.to.alpha * jnp.expm1(-move.h) + (move.to.sigma - left) * level.alpha / level.sigma
    return x + on_x0 * (level.sigma**2 / level.alpha) * score

  def __call__(
    self, keys: Array, field: Field, x: Array, carry: Any, move: Move, given: Any = None
  ) -> Landing:
    pred, score, notes = field(keys, x, move.level, given)
    x0, (std, left) = seen(pred, self.clip), self.std(move)
    eps = (x - move.level.alpha * x0) / move.level.sigma
    land = ddim(x, x0, move) + (left - move.to.sigma) * eps
    noise = std * normal(fold(keys, 'noise'), x)
    land = self.add(land, score, move, pred) + noise
    return Landing(land, carry, pred, score, noise, notes)


def DDNM(eta: Any = 0.5, clip: bool = True, inject: str = 'sample') -> DDIM:
  """x' = alpha' x0 + sigma' (sqrt(1 - eta^2) eps + eta z): the step of FreeDoM's faces."""
  return DDIM(eta, clip, inject, 'level')


class DPMSolverPP(Solver):
  """2M: (3) with x0 extrapolated from the last move; an infinite move behind weighs nothing."""

  clip: bool = static(True)
  inject: str = static('eps')
  injects = ('eps',)
  upward = True

  def init(self, x: Array) -> tuple[Array, Array]:
    return jnp.zeros_like(x), jnp.full((), jnp.inf, x.dtype)

  def add(self, x: Array, score: Array, move: Move, pred: Prediction) -> Array:
    return x + deterministic(score, move)

  def __call__(
    self, keys: Array, field: Field, x: Array, carry: Any, move: Move, given: Any = None
  ) -> Landing:
    pred, score, notes = field(keys, x, move.level, given)
    x0, (x0_old, h_old) = shifted(seen(pred, self.clip), score, move.level), carry
    r = jnp.where(jnp.isfinite(move.h), move.h / (2 * h_old), 0)
    land = ddim(x, x0 + r * (x0 - x0_old), move)
    return Landing(land, (x0, move.h), pred, score, jnp.zeros_like(x), notes)


class Heun(Solver):
  """(3) with the mean of x0 at both ends; the move to x_0 is Euler's."""

  clip: bool = static(True)
  inject: str = static('eps')
  injects = ('eps',)
  upward = True

  def add(self, x: Array, score: Array, move: Move, pred: Prediction) -> Array:
    return x + deterministic(score, move)

  def __call__(
    self, keys: Array, field: Field, x: Array, carry: Any, move: Move, given: Any = None
  ) -> Landing:
    pred, score, notes = field(keys, x, move.level, given)
    x0 = shifted(seen(pred, self.clip), score, move.level)
    euler = ddim(x, x0, move)

    def corrected() -> Array:
      there, s, _ = field(keys, euler, move.to, given)
      return ddim(x, (x0 + shifted(seen(there, self.clip), s, move.to)) / 2, move)

    land = jax.lax.cond(move.to.sigma > 0, corrected, lambda: euler)
    return Landing(land, carry, pred, score, jnp.zeros_like(x), notes)


def deterministic(score: Array, move: Move) -> Array:
  """What a score adds to (3)."""
  zero = jnp.zeros_like(score)
  return ddim(zero, shifted(zero, score, move.level), move)
