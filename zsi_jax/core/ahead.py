"""Looking ahead: a condition is asked where the step that obeys the others lands (Z-Magic).

(1) x' = x_hat + gain * J^T s_b(x_hat),  x_hat = land_a(x_t),  J = d x_hat / d x_t
(2) J^T v = A^T v + gain * H v,  H = d s_a / d x_t, A the move in which s_a is held    Eq. 6 and 7

| mode              | what stands for J                                | two energies cost |
|-------------------|--------------------------------------------------|-------------------|
| x0                | that of a's step on x0_hat, no denoiser in it    | 1.0 F             |
| first_order       | 1                                                | 4.0 F             |
| no_hessian        | A                                                | 5.1 F             |
| finite_difference | (x_hat(x + d v) - x_hat) / d: J v, little memory | 6.1 F             |
| exact             | itself, in one vjp of the whole move             | 6.1 F             |

F is a forward pass of the denoiser, and what the energies cost comes on top (bench/zmagic_cost).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zsi_jax.core.compose import Around, role
from zsi_jax.core.guidance import (
  Field,
  Guidance,
  Notes,
  Nothing,
  Step,
  Still,
  brought,
  gather,
  seen,
)
from zsi_jax.core.process import Level, Move
from zsi_jax.core.solvers import Landing
from zsi_jax.core.tree import (
  Array,
  Number,
  at_least,
  bcast,
  finite,
  fold,
  positive,
  rms,
  root,
  static,
  weight,
)

MODES = 'exact', 'no_hessian', 'first_order', 'finite_difference', 'x0'
PRODUCTS = 'vjp', 'jvp', 'linearize', 'inner'
NOISES = 'shared', 'zero', 'fresh'
FORBIDS = (
  'custom_vjp',
  'do not support JVP',
  'do not support reverse',
  'not implemented',
)  # jax says
NUDGE = 1e-2  # of |x|: how far a finite difference goes
Pull = Callable[[Array], Array]


class Lead(NamedTuple):
  """Where a move lands that obeys some terms, and the way back from there."""

  x: Array  # x_hat, or x0_hat of mode 'x0'
  pull: Pull
  score: Array
  notes: Notes
  land: Landing


class Ahead(Around):
  """Around a solver without a memory.

  mode: what stands for J, as in the table.
  noise: of x_hat where the next condition is asked: that of the move, none, or other noise.
  gain: how far ahead, as a multiple of the score that leads.
  most: |J^T v| is at most so many |v|; None: as it comes.
  product: J^T v of mode 'exact' in one vjp, or by (2) with H v as jvp of the gradient, linearised,
  or as the gradient of an inner product: the same numbers where H is symmetric, and dearer.
  """

  mode: str = static('exact', kw_only=True)
  noise: str = static('shared', kw_only=True)
  gain: Number = weight(1.0, kw_only=True)
  most: Any = dataclasses.field(default=None, kw_only=True)
  product: str = static('vjp', kw_only=True)
  upward = True

  def __post_init__(self) -> None:
    super().__post_init__()
    for name, known in (('mode', MODES), ('noise', NOISES), ('product', PRODUCTS)):
      if (said := getattr(self, name)) not in known:
        raise ValueError(f'{name} is one of {known}, not {said!r}')
    if jax.tree.leaves(self.solver.init(jnp.zeros(()))):
      raise ValueError(
        f'{type(self.solver).__name__} has a memory and cannot be differentiated alone: '
        "look ahead through Ancestral(inject='sample') or DDIM()"
      )
    plain = self.noise == 'shared' and self.product == 'vjp' and self.mode != 'x0'
    if isinstance(self.solver, Around) and not plain:
      raise ValueError(
        f'{type(self.solver).__name__} takes more than one step: noise, product and mode='
        f"'x0' go around a bare solver, as in {type(self).__name__}(Ancestral(inject='sample'), …)"
      )
    if self.product != 'vjp' and self.mode != 'exact':
      raise ValueError(f"product={self.product!r} is a way of mode='exact', not of {self.mode!r}")
    at_least(self.gain, 0, f'{type(self).__name__}.gain')
    if self.most is not None:
      object.__setattr__(self, 'most', finite(self.most, f'{type(self).__name__}.most'))
      at_least(self.most, 0, f'{type(self).__name__}.most')

  def lead(self, keys: Array, field: Field, x: Array, move: Move, given: Any) -> Lead:
    """The move with the field's guidance, and J^T of where the others are asked (1, 2)."""
    with forbidden(self.mode, self.product):
      return self.led(keys, field, x, move, given)

  def led(self, keys: Array, field: Field, x: Array, move: Move, given: Any) -> Lead:
    if self.mode == 'x0':
      return self.lead_x0(keys, field, x, move, given)

    def go(x: Array, still: bool = False) -> tuple[Array, Landing]:
      return self.first(keys, field, x, move, given, still)

    if self.product == 'vjp':
      x_hat, pull, land = pulled(go, x, self.mode)
      return Lead(x_hat, self.bounded(pull), land.score, land.notes, land)

    def score(x: Array) -> Array:
      return field(keys, x, move.level, given)[1]

    x_hat, held, land = pulled(go, x, 'no_hessian')
    times = hessian(score, x, self.product)

    def both(v: Array) -> Array:
      entered = self.add(jnp.zeros_like(v), self.gain * v, move, land.pred)
      return held(v) + times(entered)

    return Lead(x_hat, self.bounded(both), land.score, land.notes, land)

  def first(
    self, keys: Array, field: Field, x: Array, move: Move, given: Any, still: bool
  ) -> tuple[Array, Landing]:
    """(x_hat, where the move lands); `still`: with scores that are held."""
    own = field.replace(guidance=Still(field.guidance)) if still else field
    land = self.solver(keys, own, x, (), move, given)
    x_hat = self.add(land.x, (self.gain - 1) * land.score, move, land.pred)
    if self.noise != 'shared':
      x_hat = x_hat - land.noise
    if self.noise == 'fresh':
      bare = field.replace(guidance=Nothing())
      x_hat = x_hat + self.solver(fold(keys, 'fresh'), bare, x, (), move, given).noise
    return x_hat, land

  def lead_x0(self, keys: Array, field: Field, x: Array, move: Move, given: Any) -> Lead:
    """A step of the energies on x0_hat alone, d x0_hat / d x_t taken for alpha.

    That it is for data of variance one; 1 / alpha, of an eps that stays, explodes in noise.
    """
    land = self.solver(keys, field.replace(guidance=Nothing()), x, (), move, given)

    def go(x0: Array) -> tuple[Array, tuple[Array, Notes]]:
      u, notes = on_x0(field.guidance, keys, x0, land, move.level, given)
      there = self.add(jnp.zeros_like(x), move.level.alpha * u, move, land.pred)
      return x0 + self.gain * move.to.alpha * there, (u, notes)

    x0_hat, pull, (u, notes) = jax.vjp(go, land.pred.x0, has_aux=True)
    return Lead(x0_hat, self.bounded(lambda v: pull(v)[0]), u, notes, land)

  def bounded(self, pull: Pull) -> Pull:
    """With `most`."""
    if self.most is None:
      return pull

    def held(v: Array) -> Array:
      g = pull(v)
      return g * jnp.minimum(1, bcast(self.most, g) * rms(v) / positive(rms(g)))

    return held

  def ask(
    self,
    terms: tuple[Guidance, ...],
    keys: Array,
    field: Field,
    lead: Lead,
    move: Move,
    given: Any,
  ) -> tuple[Array, Notes]:
    """What terms say at x_hat, pulled back: [K, B, ...] (1)."""
    keys = fold(keys, 'then')
    if self.mode == 'x0':
      told = [on_x0(t, keys, lead.x, lead.land, move.to, given) for t in terms]
      scores, notes = jnp.stack([u for u, _ in told]), gather(*(n for _, n in told))
    else:
      scores, notes = field.each(terms, keys, lead.x, move.to, given)
    with forbidden(self.mode, self.product):
      back = jax.vmap(lead.pull)(scores) if len(terms) > 1 else lead.pull(scores[0])[None]
    return back, {f'then/{name}': v for name, v in notes.items()}

  def put(self, land: Landing, score: Array, total: Array, move: Move, notes: Notes) -> Landing:
    """`score` is added to what has landed, `total` is what all terms say together."""
    if self.mode == 'x0':
      score, total = move.level.alpha * score, move.level.alpha * total
    x = self.add(land.x, score, move, land.pred)
    return land._replace(x=x, score=total, notes=notes)


class Lookahead(Ahead):
  """p(a, b | x) = p(a | x) p(b | a, x): b is asked where the move guided by a lands (1).

  The note ahead/cos is that of both parts of the score.
  """

  then: Guidance

  def __post_init__(self) -> None:
    super().__post_init__()
    if not callable(self.then) or role(self.then) == 'solver':
      raise ValueError(f'Lookahead asks a guidance where it lands, not {self.then!r}')

  def __call__(
    self, keys: Array, field: Field, x: Array, carry: Any, move: Move, given: Any = None
  ) -> Landing:
    lead = self.lead(keys, field, x, move, given)
    (back,), notes = self.ask((self.then,), keys, field, lead, move, given)
    total = lead.score + back
    score = total if self.mode == 'x0' else back  # there the landing obeys nobody yet
    told = gather(lead.notes, notes, {'ahead/cos': between(lead.score, back)})
    land = self.put(lead.land, score, total, move, told)
    return land._replace(carry=carry)


def pulled(go: Callable[..., tuple[Array, Any]], x: Array, mode: str) -> tuple[Array, Pull, Any]:
  """go(x), and v -> J^T v as the mode has it; go(x, True) holds its scores."""
  if mode in ('exact', 'no_hessian'):
    x_hat, pull, more = jax.vjp(lambda x: go(x, mode == 'no_hessian'), x, has_aux=True)
    return x_hat, lambda v: pull(v)[0], more
  x_hat, more = go(x)
  if mode == 'first_order':
    return x_hat, lambda v: v, more

  def nudged(v: Array) -> Array:
    d = NUDGE * rms(x) / positive(rms(v))
    return (go(x + d * v)[0] - x_hat) / positive(d)

  return x_hat, nudged, more


@contextlib.contextmanager
def forbidden(mode: str, product: str) -> Iterator[None]:
  """What a network forbids is said of the mode that asked for it."""
  try:
    yield
  except (TypeError, ValueError, NotImplementedError) as error:
    words = ' '.join(str(error).split())
    if not any(said in words for said in FORBIDS):
      raise
    way = "product='vjp'" if product != 'vjp' else "mode='first_order' or 'finite_difference'"
    raise ValueError(
      f'mode={mode!r}, product={product!r} takes a derivative that a network in the move forbids '
      f'({words:.160}): take {way}'
    ) from error


def between(a: Array, b: Array) -> Array:
  """The cosine of two scores of each example, [B]; 0 where one is zero."""
  a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
  lengths = positive(root(jnp.sum(a**2, -1)) * root(jnp.sum(b**2, -1)))
  return jnp.sum(a * b, -1) / lengths


def hessian(score: Callable[[Array], Array], x: Array, product: str) -> Pull:
  """v -> H v, H = d score / d x, which is symmetric where the score is a gradient."""
  if product == 'jvp':
    return lambda v: jax.jvp(score, (x,), (v,))[1]
  if product == 'linearize':
    return jax.linearize(score, x)[1]
  return lambda v: jax.grad(lambda x: jnp.vdot(score(x), jax.lax.stop_gradient(v)))(x)


def on_x0(
  term: Guidance, keys: Array, x0: Array, land: Landing, level: Level, given: Any
) -> tuple[Array, Notes]:
  """What energies say of x0_hat, before any way back."""

  def refuse(_: Array) -> Any:
    raise ValueError(
      "mode='x0' asks no denoiser: its terms are energies, and their sums and multiples"
    )

  pred = land.pred._replace(x0=x0)
  score, notes = term(Step(keys, x0, level, pred, refuse, refuse, brought(given)))
  silent = score.direct is None and score.on_x0 is None
  return jnp.zeros_like(x0) if silent else seen(score), notes
