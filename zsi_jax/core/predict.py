"""Predictions mix: what a denoiser says of x_t, and every classifier-free guidance.

(1) eps, x0 and log Sigma are affine in the network's output, so predictions may be mixed
(2) v = alpha eps - sigma x0, so x0 = alpha x_t - sigma v and eps = sigma x_t + alpha v
(3) eps_mix = sum_k c_k eps_k, sum_k c_k = 1
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core.process import Level
from zsi_jax.core.tree import (
  Array,
  Number,
  Tree,
  bcast,
  brief,
  leaf,
  oneline,
  positive,
  repeat,
  static,
  weight,
)


def value(v: Any, level: Level, given: Any = None) -> Any:
  """A number, a schedule Level -> number, or a reader of what each example brings."""
  if hasattr(v, 'read'):
    v = v.read(given)
  return v(level) if callable(v) else v


class Blend(Tree):
  """Weights w (1 - lam, lam) of two classes; lam goes from `start` at u = 1 to `stop` at 0."""

  w: Number = weight()
  start: Number = weight(0.0)
  stop: Number = weight(1.0)

  def __call__(self, level: Level) -> Array:
    lam = self.stop + (self.start - self.stop) * level.u
    return self.w * jnp.stack([1 - lam, lam])


class Given(dict[str, Any]):
  """What the examples bring; a missing entry says what is there and how to pass it."""

  def __missing__(self, name: str) -> Any:
    raise ValueError(
      f'given[{name!r}] is missing; given has {sorted(self) or "nothing"}. '
      f"Pass it with the batch in front: sample(..., given={{'{name}': array}}), array [B, ...]"
    )


def given_items(given: Given) -> tuple[list[Any], tuple[str, ...]]:
  names = tuple(sorted(given))
  return [(jax.tree_util.DictKey(n), given[n]) for n in names], names


jax.tree_util.register_pytree_with_keys(  # terms may vmap and checkpoint over what is given
  Given, given_items, lambda names, values: Given(zip(names, values, strict=True))
)


def whole_batch(v: Any, where: str) -> None:
  """A ValueError for a dial that is one number for each example where there is one for all."""
  if hasattr(v, 'read') or (isinstance(v, jax.Array) and v.ndim):
    raise ValueError(f'{where} is one number or a schedule for the whole batch, not {brief(v)}')


class From(Tree):
  """given[name], [B, ...]."""

  name: str = static()

  def read(self, given: Any) -> Any:
    return (Given() if given is None else given)[self.name]


class Aim(Tree):
  """Two class weights strength (1 - z, z), z = given['aim'], [B]."""

  strength: Number = weight()

  def read(self, given: Any) -> Array:
    z = From('aim').read(given)
    if z.ndim != 1:
      raise ValueError(f"given['aim'] is one number for each example, [B], not {z.shape}")
    return self.strength * jnp.stack([1 - z, z], -1)


class Prediction(NamedTuple):
  """What a denoiser says of x_t (1)."""

  eps: Array
  x0: Array
  logvar: Array

  def __repr__(self) -> str:
    return oneline(self)


class Denoiser(Tree):
  """A net (x, t, cond) -> [B, H, W, C or 2C], and its variables; cond=None is the `null` row.

  `predicts`: 'eps', 'x0' or 'v' in the first C channels. `variance`: 'learned' reads the range
  from the other C; 'small' and 'large' are the posterior's and beta, and leave the other C unread.
  """

  variables: Any
  net: Any = static()
  null: Any = None  # [...], broadcast over the batch; None: the net is unconditional
  predicts: str = static('eps')
  variance: str = static('learned')

  def __post_init__(self) -> None:
    super().__post_init__()
    choices = {'predicts': ('eps', 'x0', 'v'), 'variance': ('learned', 'small', 'large')}
    for name, allowed in choices.items():
      if getattr(self, name) not in allowed:
        raise ValueError(f'Denoiser.{name} is one of {allowed}, not {getattr(self, name)!r}')

  def __call__(self, x: Array, level: Level, cond: Any = None) -> Prediction:
    B = x.shape[0]
    if cond is None and self.null is None and getattr(self.net, 'labels', None) is not None:
      raise ValueError(
        f"this denoiser has {self.net.labels} label rows and no cond: give given={{'conds': [B]}}, "
        'or say which row is none, Denoiser(..., null=K) or zsi.load(..., null=K)'
      )
    cond = repeat(self.null, B) if cond is None else cond
    out = self.net.apply(self.variables, x, jnp.broadcast_to(level.t, B), cond)
    return self.read(out, x, level)

  def read(self, out: Array, x: Array, level: Level) -> Prediction:
    """The network's output as a Prediction of x at `level` (1, 2)."""
    C = x.shape[-1]
    if out.shape[:-1] != x.shape[:-1] or out.shape[-1] not in (C, 2 * C):
      raise ValueError(f'a denoiser of {x.shape} gives {C} or {2 * C} channels, not {out.shape}')
    if self.variance == 'learned' and out.shape[-1] == C:
      raise ValueError(
        f"variance='learned' needs a net with {2 * C} output channels; this one has {C}: "
        "use Denoiser(..., variance='small') or 'large'"
      )
    out, v = out[..., :C], out[..., C:]
    alpha, sigma = bcast(level.alpha, x), bcast(level.sigma, x)
    match self.predicts:
      case 'eps':
        eps, x0 = out, level.x0(x, out)
      case 'x0':  # without noise x is x_0, whatever the net believes
        x0 = jnp.where(sigma > 0, out, x)
        eps = (x - alpha * x0) / positive(sigma)
      case _:
        eps, x0 = sigma * x + alpha * out, alpha * x - sigma * out
    if self.variance != 'learned':
      v = jnp.full_like(eps, 1.0 if self.variance == 'large' else -1.0)
    return Prediction(eps, x0, level.logvar(v))


class Mix(Tree):
  """sum_k c_k p(x_t | cond_k), sum_k c_k = 1 (3). One-hot c is the plain conditional.

  'clipped' keeps the log-variance within what the K rows themselves say; 'mixed' extrapolates it.
  """

  denoiser: Any
  coefs: Any = weight()  # [K], or a schedule; row 0 is the null row in `cfg`
  conds: Any = None  # [K, ...] shared by the batch; None: cond [B, K, ...], each example its own
  variance: str = static('clipped')

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.variance not in ('clipped', 'mixed'):
      raise ValueError(f"Mix.variance is 'clipped' or 'mixed', not {self.variance!r}")
    c = self.coefs
    if hasattr(c, 'read') or (isinstance(c, jax.Array) and c.ndim != 1):
      raise ValueError(
        f'Mix.coefs is [K], or a schedule of it, for the whole batch: not {brief(c)}'
      )
    if isinstance(c, jax.Array) and not isinstance(c, jax.core.Tracer):
      total = np.asarray(c, np.float64).sum()
      if abs(total - 1) > 1e-3 * (1 + np.abs(np.asarray(c)).max()):
        raise ValueError(f'the coefficients of a Mix sum to one, these to {total:g}: see cfg(w)')

  def shared(self, conds: Any) -> Mix:
    """The same mix with conditions [K, ...] that the whole batch shares."""
    return self.replace(conds=leaf(conds))

  def __call__(self, x: Array, level: Level, cond: Any = None) -> Prediction:
    B = x.shape[0]
    coefs = jnp.asarray(value(self.coefs, level), x.dtype)
    K = coefs.shape[-1]
    if cond is None and self.conds is None:
      raise ValueError("Mix needs given={'conds': [B, K, ...]} or Mix(...).shared([K, ...])")
    if cond is not None and self.conds is not None:
      raise ValueError("Mix has its conditions twice: leave out .shared(...) or given['conds']")
    if cond is None:
      cond = repeat(self.conds, B)
    for c in jax.tree.leaves(cond):
      if c.ndim < 2 or c.shape[1] != K:
        raise ValueError(
          f'Mix has {K} coefficients, so each example needs {K} conditions [B, {K}, ...]; '
          f'got {c.shape}'
        )
    # Example-major, so that B stays the sharded axis.
    flat = jax.tree.map(lambda c: c.reshape(B * K, *c.shape[2:]), cond)
    rows = self.denoiser(jnp.repeat(x, K, axis=0), level, flat)
    rows = jax.tree.map(lambda p: p.reshape(B, K, *p.shape[1:]), rows)
    c = coefs.reshape(K, *(1,) * (x.ndim - 1))
    pred: Prediction = jax.tree.map(lambda p: jnp.sum(c * p, 1), rows)
    if self.variance == 'mixed':
      return pred
    return pred._replace(logvar=jnp.clip(pred.logvar, rows.logvar.min(1), rows.logvar.max(1)))


def cfg(*weights: Any) -> Array:
  """eps_0 + sum_k w_k (eps_k - eps_0): coefficients of the null row and K conditions."""
  w = jnp.stack([jnp.asarray(w, float) for w in weights])
  return jnp.concatenate([1 - jnp.sum(w, keepdims=True), w])
