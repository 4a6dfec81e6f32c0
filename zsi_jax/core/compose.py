"""Solvers around solvers: corrected, repeated, looked ahead, paired, switched.

(1) x <- x + e s + sqrt(2 e) z, e = 2 (1 - beta) (snr min(1 / |s|, sigma))^2       Langevin
(2) x_t <- sqrt(1 - beta) x_s + sqrt(beta) z                                       TimeTravel
(3) x_s = land_a + gain * (d land_a / d x_t)^T s_b(land_a)                         Lookahead, Pairs
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core.guidance import (
  Combine,
  Field,
  Guidance,
  Notes,
  Nothing,
  Score,
  Step,
  check_merge,
  gather,
  merged,
  summands,
)
from zsi_jax.core.merge import CAGrad
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

MODES = ('exact', 'first_order')


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


def ahead(
  solver: Solver,
  keys: Array,
  field: Field,
  then: Guidance,
  x: Array,
  move: Move,
  given: Any,
  mode: str,
) -> tuple[Landing, Array, Notes]:
  """The landing, and the score of `then` there, pulled back through the whole move (3)."""

  def go(x: Array) -> tuple[Array, Landing]:
    land = solver(keys, field, x, (), move, given)
    return land.x, land

  if mode == 'exact':
    x_hat, pull, land = jax.vjp(go, x, has_aux=True)
  else:  # 'first_order': the Jacobian frozen at the identity
    (x_hat, land), pull = go(x), lambda g: (g,)
  there = field.replace(guidance=then)
  _, score, notes = there(fold(keys, 'then'), x_hat, move.to, given)
  return land, pull(score)[0], {f'then/{k}': v for k, v in notes.items()}


def check_ahead(solver: Any, mode: str) -> None:
  if mode not in MODES:
    raise ValueError(f'mode is one of {MODES}, not {mode!r}')
  if jax.tree.leaves(solver.init(jnp.zeros(()))):
    raise ValueError(
      f'{type(solver).__name__} has a memory and cannot be differentiated alone: '
      "look ahead through Ancestral(inject='sample') or DDIM()"
    )


class Lookahead(Around):
  """p(a, b | x) = p(a | x) p(b | a, x): b is asked where the move guided by a lands (3)."""

  then: Guidance
  mode: str = static('exact')
  upward = True

  def __post_init__(self) -> None:
    super().__post_init__()
    check_ahead(self.solver, self.mode)
    if not callable(self.then) or role(self.then) == 'solver':
      raise ValueError(f'Lookahead asks a guidance where it lands, not {self.then!r}')

  def __call__(
    self, keys: Array, field: Field, x: Array, carry: Any, move: Move, given: Any = None
  ) -> Landing:
    land, score, notes = ahead(self.solver, keys, field, self.then, x, move, given, self.mode)
    x = self.add(land.x, score, move, land.pred)
    total = land.score + score
    return land._replace(x=x, carry=carry, score=total, notes=gather(land.notes, notes))


class Pairs(Around):
  """Each term leads once, the others follow from where it lands; one merge  (Z-Magic, Alg. 2).

  'star': g_i + sum_j g_j|i, as mean-like as the sum; 'pairs': every g_i + g_j|i, times n / 2.
  With Mean() and no look-ahead both are the sum. The notes of lead i are i/name and i/then/name.
  """

  terms: tuple[Guidance, ...]
  pairing: str = static('star')
  merge: Any = dataclasses.field(default_factory=CAGrad)
  mode: str = static('exact')
  upward = True

  def __post_init__(self) -> None:
    super().__post_init__()
    check_ahead(self.solver, self.mode)
    check_merge(self.merge)
    if self.pairing not in ('star', 'pairs'):
      raise ValueError(f"pairing is 'star' or 'pairs', not {self.pairing!r}")
    if isinstance(self.terms, tuple) and len(self.terms) < 2:
      raise ValueError('Pairs needs two terms or more: Pairs(solver, (a, b))')
    if isinstance(self.solver, TimeTravel):  # its score is that of its last round, somewhere else
      raise ValueError('Pairs compares scores at one x: TimeTravel(Pairs(solver, terms), n)')

  def __call__(
    self, keys: Array, field: Field, x: Array, carry: Any, move: Move, given: Any = None
  ) -> Landing:
    land = self.solver(keys, field, x, (), move, given)
    tasks: list[Array] = []
    notes: Notes = {}
    for i, first in enumerate(self.terms):
      rest = self.terms[:i] + self.terms[i + 1 :]
      lead = field.replace(guidance=Combine((*summands(field.guidance), first)))
      for then in (Combine(rest),) if self.pairing == 'star' else rest:
        led, score, more = ahead(self.solver, keys, lead, then, x, move, given, self.mode)
        tasks.append(led.score - land.score + score)
        notes |= {f'{i}/{k}': v for k, v in (led.notes | more).items()}
    g, extra = merged(self.merge, jnp.stack(tasks))
    g = g if self.pairing == 'star' else g * len(self.terms) / 2
    x = self.add(land.x, g, move, land.pred)
    return land._replace(
      x=x, carry=carry, score=land.score + g, notes=gather(land.notes, notes, extra)
    )


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
