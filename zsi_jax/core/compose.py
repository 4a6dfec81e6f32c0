"""Solvers around solvers: corrected, repeated, switched; those that look ahead are in `ahead`.

(1) x <- x + e s + sqrt(2 e) z, e = 2 (1 - beta) (snr min(1 / |s|, sigma))^2       Langevin
(2) x_t <- sqrt(1 - beta) x_s + sqrt(beta) z                                       TimeTravel
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core.guidance import Field, Guidance, Notes, Nothing, Score, Step
from zsi_jax.core.predict import Prediction, whole_batch
from zsi_jax.core.process import Level, Move
from zsi_jax.core.solvers import Landing, Solver
from zsi_jax.core.tree import (
  Array,
  Number,
  at_least,
  bcast,
  brief,
  fold,
  normal,
  positive,
  rms,
  root,
  static,
  weight,
)


def role(v: Any) -> str:
  """'solver' or 'guidance': a During is what it switches."""
  inner = v.then if isinstance(v, During) else v
  return 'solver' if isinstance(inner, Solver) else 'guidance'


class Around(Solver):
  """A solver around another: what it remembers and where a score enters are the other's."""

  solver: Solver

  def __post_init__(self) -> None:
    super().__post_init__()
    name = type(self).__name__
    if not isinstance(self.solver, Solver) or role(self.solver) != 'solver':
      raise ValueError(
        f'{name} goes around a solver, {name}(Ancestral(), ...), not {self.solver!r}'
      )

  def init(self, x: Array) -> Any:
    return self.solver.init(x)

  def add(self, x: Array, score: Array, move: Move, pred: Prediction) -> Array:
    return self.solver.add(x, score, move, pred)

  @property
  def climbs(self) -> bool:
    return self.upward and self.solver.climbs


class Langevin(Around):
  """A move, then `n` corrections where it landed (1); none at x_0, where no noise is left.

  The steps of Song et al. with root mean squares for norms (that of z is 1), for each example by
  its own score, and never longer than a score of 1 / sigma asks for: a vanishing score would ask
  for an endless one. A step that depends on x is biased in few dimensions, not in an image.
  """

  n: int = static(1)
  snr: Number = weight(0.16)

  def __post_init__(self) -> None:
    super().__post_init__()
    whole_batch(self.snr, 'Langevin.snr')
    if not isinstance(self.n, int) or self.n < 1:
      raise ValueError(f'Langevin corrects a move n >= 1 times, not {self.n}')

  def __call__(
    self, keys: Array, field: Field, x: Array, carry: Any, move: Move, given: Any = None
  ) -> Landing:
    land = self.solver(keys, field, x, carry, move, given)

    def correct(x: Array, r: Array) -> tuple[Array, None]:
      k = fold(fold(keys, 'langevin'), r)
      pred, score, _ = field(k, x, move.to, given)
      s = score - pred.eps / bcast(positive(move.to.sigma), x)
      z = normal(k, x)
      reach = jnp.minimum(1 / positive(rms(s)), move.to.sigma)
      e = 2 * move.alpha_ratio**2 * (self.snr * reach) ** 2
      return x + e * s + root(2 * e) * z, None

    def corrected() -> Array:
      return jax.lax.scan(correct, land.x, jnp.arange(self.n))[0]

    return land._replace(x=jax.lax.cond(move.to.sigma > 0, corrected, lambda: land.x))


class TimeTravel(Around):
  """A move taken n times, with the noise put back in between (2)  (FreeDoM, Alg. 2)."""

  n: int = static(2)

  def __post_init__(self) -> None:
    super().__post_init__()
    if not isinstance(self.n, int) or self.n < 1:
      raise ValueError(f'TimeTravel takes a move n >= 1 times, not {self.n}')

  def __call__(
    self, keys: Array, field: Field, x: Array, carry: Any, move: Move, given: Any = None
  ) -> Landing:
    def go(keys: Array, x: Array) -> Landing:
      return self.solver(keys, field, x, carry, move, given)

    def again(last: tuple[Array, Landing], r: Array) -> tuple[tuple[Array, Landing], None]:
      # The first round is the bare solver's: its key is not folded.
      k = jax.lax.select(jnp.broadcast_to(r == 0, keys.shape), keys, fold(keys, r))
      land = go(k, last[0])
      noise = root(move.beta) * normal(fold(k, 'travel'), x)
      return (move.alpha_ratio * land.x + noise, land), None

    like = jax.eval_shape(go, keys, x)
    blank: Landing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
    (_, land), _ = jax.lax.scan(again, (x, blank), jnp.arange(self.n))
    return land


class During(Guidance, Solver):
  """`then` where t[0] <= t < t[1], `otherwise` elsewhere: guidance or solver, a branch on the row.

  Guidance is pulled back inside the branch, so what is skipped costs nothing.
  """

  t: Any = weight()  # [2]
  then: Any = Nothing()
  otherwise: Any = Nothing()

  def __post_init__(self) -> None:
    super().__post_init__()
    solvers = [role(v) == 'solver' for v in (self.then, self.otherwise)]
    if any(solvers) and not all(solvers):
      raise ValueError(
        'During a solver needs the other one: During(t, then=solver, otherwise=solver)'
      )
    if np.shape(self.t) != (2,):
      raise ValueError(f'During.t is a range (low, high) of timesteps, not {brief(self.t)}')
    at_least(self.t[1] - self.t[0], 0, 'the length of During.t')
    if all(solvers):
      x = jnp.zeros(())
      if str(jax.tree.structure(self.init(x))) != str(jax.tree.structure(self.otherwise.init(x))):
        raise ValueError(
          f'{type(self.then).__name__} and {type(self.otherwise).__name__} remember different '
          'things and cannot take turns: During(t, then=TimeTravel(s), otherwise=s)'
        )

  @property
  def climbs(self) -> bool:
    return bool(self.then.climbs and self.otherwise.climbs)

  def on(self, level: Level) -> Array:
    return jnp.logical_and(self.t[0] <= level.t, level.t < self.t[1])

  def init(self, x: Array) -> Any:
    return self.then.init(x)

  def add(self, x: Array, score: Array, move: Move, pred: Prediction) -> Array:
    args = x, score, move, pred
    return jnp.where(self.on(move.level), self.then.add(*args), self.otherwise.add(*args))

  def __call__(self, *args: Any) -> Any:
    if len(args) > 1:  # a solver's (keys, field, x, carry, move, given)
      return self.either(args[4].level, lambda this: this(*args))
    step: Step = args[0]

    def ask(this: Guidance) -> tuple[Score, Notes]:
      score, notes = this(step)
      return Score(step.total(score)), notes

    return self.either(step.level, ask)

  def either(self, level: Level, ask: Any) -> Any:
    """One of two answers, notes last; a cond has one shape, so the notes of the other are zeros."""
    asks = [functools.partial(ask, this) for this in (self.then, self.otherwise)]
    silent: Notes = {}
    for branch in asks:
      notes = jax.eval_shape(branch)[-1]
      silent |= {k: jnp.zeros(a.shape, a.dtype) for k, a in notes.items()}

    def full(branch: Any) -> Any:
      answer = branch()
      *out, notes = answer
      out = (*out, silent | notes)
      return type(answer)(*out) if hasattr(answer, '_fields') else out

    return jax.lax.cond(self.on(level), *(functools.partial(full, b) for b in asks))
