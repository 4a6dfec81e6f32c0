"""All that training carries from step to step: arrays only, so that a checkpoint is the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class TrainState(NamedTuple):
  """After `step` updates."""

  step: jax.Array
  params: Any
  ema: Any  # like params, or None
  opt: Any
  collections: Any  # of the network, by name: {'spectral': …}


def create(
  init: Callable[[jax.Array], Any],
  tx: optax.GradientTransformation,
  ema: float | None,
  key: jax.Array,
) -> TrainState:
  """Step 0; the average starts as a copy of the weights."""
  collections = dict(init(key))
  params = collections.pop('params')
  average = None if ema is None else jax.tree.map(jnp.copy, params)
  return TrainState(jnp.zeros((), int), params, average, tx.init(params), collections)


def variables(state: TrainState, ema: bool = True) -> dict[str, Any]:
  """What a network is applied with: the averaged weights where there are any, or the last ones."""
  averaged = ema and state.ema is not None
  return {'params': state.ema if averaged else state.params, **state.collections}
