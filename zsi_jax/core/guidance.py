"""Scores add: a guidance says in which direction you want more of what you want.

(1) s = direct + (d x0_hat / d x_t)^T on_x0     a Score: slots add, one pull-back for all of them
(2) a + b, w * a                                sums and multiples of guidances are guidances
(3) s = sum_k w_k(G) g_k, G_kl = <g_k, g_l>     a merge reads its weights off the Gram matrix
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core.predict import Given, Prediction, value
from zsi_jax.core.process import Level
from zsi_jax.core.tree import (
  Array,
  Tree,
  bcast,
  fold,
  oneline,
  positive,
  rms,
  root,
  static,
  weight,
)

Notes = dict[str, Array]


class Score(NamedTuple):
  """grad_{x_t}, in two slots (1): one as it is, one still to be pulled back. None is zero."""

  direct: Array | None = None
  on_x0: Array | None = None

  def plus(self, other: Score) -> Score:
    def add(a: Array | None, b: Array | None) -> Array | None:
      return b if a is None else a if b is None else a + b

    return Score(add(self.direct, other.direct), add(self.on_x0, other.on_x0))

  def __repr__(self) -> str:
    return oneline(self)


class Step(NamedTuple):
  """All that a term may look at."""

  keys: Array
  x: Array
  level: Level
  pred: Prediction
  pullback: Callable[[Array], Array]  # g on x0_hat -> J^T g on x_t
  at: Callable[[Array], Step]  # the same step at another x_t
  given: Any

  def key(self, name: str) -> Array:
    """Randomness belongs to a name, not to a place in a sum: a + b = b + a."""
    return fold(fold(self.keys, 'term'), name)  # no term can name the noise of a solver

  def total(self, score: Score) -> Array:
    pulled = None if score.on_x0 is None else self.pullback(score.on_x0)
    g = score.plus(Score(direct=pulled)).direct
    return jnp.zeros_like(self.x) if g is None else g

  def totals(self, scores: tuple[Score, ...]) -> Array:
    """Each score by itself, [K, B, ...], in one batched pull-back."""
    zero = jnp.zeros_like(self.x)
    direct = jnp.stack([zero if s.direct is None else s.direct for s in scores])
    on = [s.on_x0 for s in scores if s.on_x0 is not None]
    if not on:
      return direct
    where = np.flatnonzero([s.on_x0 is not None for s in scores])
    return direct.at[where].add(jax.vmap(self.pullback)(jnp.stack(on)))

  def __repr__(self) -> str:
    return oneline(self)


class Guidance(Tree):
  """Step -> (Score, notes): the direction in which you want more."""

  __array_ufunc__ = None  # numpy leaves `weights * term` to us

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    raise TypeError(f'{type(self).__name__} is abstract: give it a __call__(step)')

  def __add__(self, other: Guidance) -> Combine:
    if not isinstance(other, Guidance):
      return NotImplemented
    return Combine((*summands(self), *summands(other)))

  def __radd__(self, other: Any) -> Guidance:
    return self if isinstance(other, int) and other == 0 else NotImplemented  # sum([a, b, c])

  def __sub__(self, other: Guidance) -> Combine:
    return self + -1.0 * other

  def __neg__(self) -> Scale:
    return self * -1.0

  def __mul__(self, factor: Any) -> Scale:
    return NotImplemented if isinstance(factor, Guidance) else Scale(self, factor)

  __rmul__ = __mul__


class Nothing(Guidance):
  """No guidance."""

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    return Score(), {}


class Scale(Guidance):
  """weight * term (2)."""

  term: Guidance
  weight: Any = weight()  # a number, one per example from `From`, or a schedule

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    score, notes = self.term(s)
    w = jnp.asarray(value(self.weight, s.level, s.given))
    if w.ndim and w.shape != s.x.shape[:1]:
      raise ValueError(f'a weight is a number or [B], one for each of {len(s.x)}; got {w.shape}')
    w = bcast(w, s.x)
    return jax.tree.map(lambda g: w * g, score), notes


class Combine(Guidance):
  """Scores add slot by slot; a merge sees each of them (3), in x_t or before the pull-back."""

  terms: tuple[Guidance, ...]
  merge: Any = None  # Gram [B, K, K] -> weights [B, K]
  space: str = static('xt')  # 'x0': of energies alone; one pull-back for any number

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.space not in ('xt', 'x0'):
      raise ValueError(f"space is 'xt' or 'x0', not {self.space!r}")
    if isinstance(self.terms, tuple) and not self.terms:
      raise ValueError('Combine needs at least one term: Combine((a, b), merge=CAGrad(.5))')
    check_merge(self.merge)

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    scores, notes = zip(*(term(s) for term in self.terms), strict=True)
    if self.merge is None:
      return functools.reduce(Score.plus, scores), gather(*notes)
    if self.space == 'xt':
      g, extra = merged(self.merge, s.totals(scores))
      return Score(direct=g), gather(*notes, extra)
    g, extra = merged(self.merge, jnp.stack([seen(score) for score in scores]))
    return Score(on_x0=g), gather(*notes, extra)


def seen(score: Score) -> Array:
  """What is still to be pulled back of a score that is nothing else."""
  if score.on_x0 is None or score.direct is not None:
    raise ValueError(
      "space='x0' and mode='x0' are of energies on x0_hat, Energy(...) or LogProb(..., at='x0'): "
      "another term has a score in x_t; take space='xt', or another mode"
    )
  return score.on_x0


def check_merge(merge: Any) -> None:
  if merge is not None and not callable(merge):
    raise ValueError(f'a merge is a value such as Sum(), Mean() or CAGrad(.5), not {merge!r}')


def summands(term: Guidance) -> tuple[Guidance, ...]:
  return term.terms if isinstance(term, Combine) and term.merge is None else (term,)


def gather(*notes: Notes) -> Notes:
  """Numbers [B] of one name add; matrices, as of two merges, become name, name/2, ..."""
  out: Notes = {}
  for name, a in itertools.chain.from_iterable(n.items() for n in notes):
    if name in out and a.ndim == 1:
      out[name] = out[name] + a
    else:
      taken = sum(k == name or k.startswith(f'{name}/') for k in out)
      out[f'{name}/{taken + 1}' if taken else name] = a
  return out


def merged(merge: Any, G: Array) -> tuple[Array, Notes]:
  """(3) for each example, with cosines and weights as notes. G: [K, B, ...]."""
  flat = G.reshape(*G.shape[:2], -1)
  gram = jnp.einsum('kbd,lbd->bkl', flat, flat, precision='highest')
  w = merge(gram)  # [B, K]
  norm = root(jnp.diagonal(gram, axis1=1, axis2=2)) + jnp.finfo(G.dtype).tiny
  cos = gram / norm[:, :, None] / norm[:, None, :]
  total = jnp.einsum('bk,kbd->bd', w, flat, precision='highest').reshape(G.shape[1:])
  return total, {'cos': cos, 'merge': w}


class Still(Guidance):
  """A term whose score is held: what is differentiated through it passes by."""

  term: Guidance

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    score, notes = self.term(s)
    return Score(direct=jax.lax.stop_gradient(s.total(score))), notes


def brought(given: Any) -> Any:
  """A dict of what the examples bring says what is missing."""
  return Given(given or {}) if given is None or isinstance(given, dict) else given


class Field(Tree):
  """(keys, x, level, given) -> (Prediction, score, notes): what a solver integrates."""

  denoiser: Any
  guidance: Guidance

  def __call__(
    self, keys: Array, x: Array, level: Level, given: Any = None
  ) -> tuple[Prediction, Array, Notes]:
    step = self.step(keys, x, level, given)
    score, notes = self.guidance(step)
    return step.pred, step.total(score), notes

  def each(
    self, terms: tuple[Guidance, ...], keys: Array, x: Array, level: Level, given: Any = None
  ) -> tuple[Array, Notes]:
    """The score of each term by itself, [K, B, ...]: one forward pass, one batched pull-back."""
    step = self.step(keys, x, level, given)
    scores, notes = zip(*(term(step) for term in terms), strict=True)
    return step.totals(scores), gather(*notes)

  def step(self, keys: Array, x: Array, level: Level, given: Any = None) -> Step:
    """What a term is asked with at x."""
    given = brought(given)
    cond = given.get('conds') if isinstance(given, Given) else None

    def believe(x: Array) -> tuple[Array, Prediction]:
      pred = self.denoiser(x, level, cond)
      return pred.x0, pred

    def at(x: Array) -> Step:
      _, pull, pred = jax.vjp(believe, x, has_aux=True)
      return Step(keys, x, level, pred, lambda g: pull(g)[0], at, given)

    return at(x)


class Rms(Guidance):
  """A term rescaled to a fraction of the model's own score, eps / sigma (FreeDoM's rho)."""

  term: Guidance
  fraction: Any = weight()

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    score, notes = self.term(s)
    g = s.total(score)
    scale = rms(s.pred.eps) / (positive(rms(g)) * bcast(positive(s.level.sigma), g))
    return Score(direct=bcast(value(self.fraction, s.level, s.given), g) * scale * g), notes


class Clip(Guidance):
  """A term whose root mean square over an example is at most `most`."""

  term: Guidance
  most: Any = weight()

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    score, notes = self.term(s)
    g = s.total(score)
    most = bcast(value(self.most, s.level, s.given), g)
    return Score(direct=g * jnp.minimum(1, most / positive(rms(g)))), notes
