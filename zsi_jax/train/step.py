"""One optimizer step: pure, the same on any number of devices, in one part or in several.

(1) the key of an example's noise is fold(fold(key, step), its place in the stream)
(2) ema <- d ema + (1 - d) params, after every step, from the initial weights, uncorrected
(3) accumulated: the mean over equal parts is the mean over the batch. Every part starts from the
    collections of before, and the last one's are kept: spectral norm iterates once for each step.
Of dropout neither holds: its mask is drawn for a part, by the key of its first example, so that
numbers depend on `accumulate` and, with more parts than one, on how many devices share the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from zsi_jax.train.sharding import Layout
from zsi_jax.train.state import TrainState

QUARTERS = 4
Metrics = dict[str, jax.Array]  # name: [sum, count], so that windows of steps add up
Step = Callable[[TrainState, Any, jax.Array], tuple[TrainState, Metrics]]


def make_step(
  loss: Callable[..., Any],
  tx: optax.GradientTransformation,
  ema: float | None = None,
  accumulate: int = 1,
  *,
  rate: Callable[[Any], Any] | None = None,
  T: int | None = None,
  layout: Layout | None = None,
) -> Step:
  """(state, batch, key) -> (state, metrics); with `rate` they tell lr, with T quarters of t."""

  def part(params: Any, collections: Any, batch: Any, keys: jax.Array) -> Any:
    value, (told, changed) = loss({'params': params, **collections}, batch, keys, True)
    return value, (sums(told, T), {**collections, **changed})

  gradient = jax.grad(part, has_aux=True)

  def step(state: TrainState, batch: Any, key: jax.Array) -> tuple[TrainState, Metrics]:
    rows = batch, noise(key, state.step, batch['example'])
    params = state.params if layout is None else layout.gathered(state.params)
    if accumulate == 1:
      grads, (told, collections) = gradient(params, state.collections, *rows)
    else:
      grads, told, collections = several(params, state, rows)
    grads = grads if layout is None else layout.divided(grads)
    updates, opt = tx.update(grads, state.opt, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.ema
    if ema is not None:
      average = jax.tree.map(lambda a, p: ema * a + (1 - ema) * p, average, params)
    norms = {'grad_norm': grads, 'param_norm': params, 'update_norm': updates}
    once = {name: optax.tree.norm(tree) for name, tree in norms.items()}
    if rate is not None:
      once['lr'] = rate(state.step)
    told |= {name: jnp.stack([value, jnp.ones_like(value)]) for name, value in once.items()}
    return TrainState(state.step + 1, params, average, opt, collections), told

  def several(params: Any, state: TrainState, rows: Any) -> Any:
    """(3), one part at a time."""

    def add(carry: Any, rows: Any) -> Any:
      grads, told = gradient(params, state.collections, *rows)
      grads = grads if layout is None else layout.divided(grads)
      return jax.tree.map(jnp.add, carry, grads), told

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    total, (told, collections) = jax.lax.scan(add, zeros, split(rows))
    grads = jax.tree.map(lambda g: g / accumulate, total)
    summed = {name: pairs.sum(0) for name, pairs in told.items()}
    return grads, summed, jax.tree.map(lambda a: a[-1], collections)

  def split(rows: Any) -> Any:
    if layout is not None:
      return layout.parts(rows, accumulate)
    return jax.tree.map(lambda a: a.reshape(accumulate, -1, *a.shape[1:]), rows)

  return step


def noise(key: jax.Array, step: Any, examples: jax.Array) -> jax.Array:
  """(1), [B]."""
  return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, step), examples)


def sums(told: Mapping[str, jax.Array], T: int | None) -> Metrics:
  """[sum, count] of each metric [B], and of its examples in each quarter of t: 'loss/q1' …"""
  rows = {name: a for name, a in told.items() if name != 't'}
  pairs = {name: jnp.stack([a.sum(), a.size * jnp.ones_like(a.sum())]) for name, a in rows.items()}
  if T is None or 't' not in told:
    return pairs
  quarter = jnp.clip(told['t'] * QUARTERS // T, 0, QUARTERS - 1)
  for q in range(QUARTERS):
    inside = (quarter == q).astype(told['t'].dtype)
    for name, a in rows.items():
      pairs[f'{name}/q{q + 1}'] = jnp.stack([jnp.where(inside > 0, a, 0).sum(), inside.sum()])
  return pairs
