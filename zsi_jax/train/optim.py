"""Adam or momentum, with weight decay, behind clipping, under a learning rate of closed form.

(1) rate(k) = lr w(k) d((k - warmup) / (steps - warmup)), the place held within [0, 1]
(2) w(k) = min(1, (k + 1) / warmup)
(3) d(s) = 1, 1 - s or (1 + cos(pi s)) / 2
(4) sgd: m <- momentum m + g, and a step of rate m; its weight decay is added to g, as published
(5) g <- g min(1, clip / |g|), |g| over all parameters
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Rate = Callable[[Any], jax.Array]
DECAYS: dict[str, Callable[[Any], Any]] = {
  'constant': jnp.ones_like,
  'linear': lambda s: 1 - s,
  'cosine': lambda s: (1 + jnp.cos(jnp.pi * s)) / 2,
}


def optimizer(
  lr: float,
  *,
  warmup: int = 0,
  decay: str = 'constant',
  steps: int | None = None,
  clip: float | None = None,
  weight_decay: float = 0.0,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  kind: str = 'adam',
  momentum: float = 0.9,
) -> tuple[optax.GradientTransformation, Rate]:
  """(the transformation, step -> learning rate): (1-5)."""
  rate = schedule(lr, warmup, decay, steps)
  if clip is not None and not clip > 0:
    raise ValueError(f'clip = {clip}: a norm above 0, or None for no clipping')
  if weight_decay < 0:
    raise ValueError(f'weight_decay = {weight_decay}: 0 is the least')
  if kind not in ('adam', 'sgd'):
    raise ValueError(f"kind = {kind!r}: 'adam' or 'sgd'")
  if not 0 <= momentum < 1:
    raise ValueError(f'momentum = {momentum} is not in [0, 1)')
  if kind == 'adam':
    tx = optax.adamw(rate, b1, b2, eps, weight_decay=weight_decay)
  else:
    tx = optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(rate, momentum))
  return tx if clip is None else optax.chain(optax.clip_by_global_norm(clip), tx), rate


def schedule(lr: float, warmup: int, decay: str, steps: int | None) -> Rate:
  """(1)"""
  if decay not in DECAYS:
    raise ValueError(f'decay is one of {", ".join(DECAYS)}, not {decay!r}')
  if not lr > 0:
    raise ValueError(f'lr = {lr}: a learning rate is above 0')
  if warmup < 0:
    raise ValueError(f'warmup = {warmup}: 0 is the least')
  if decay != 'constant' and (steps is None or steps <= warmup):
    raise ValueError(f'decay = {decay!r} ends at steps = {steps}, after a warmup of {warmup}')
  length = 1 if steps is None else max(steps - warmup, 1)

  def rate(step: Any) -> jax.Array:
    k = jnp.asarray(step, jnp.float32)
    place = jnp.clip((k - warmup) / length, 0, 1)
    return lr * jnp.minimum(1.0, (k + 1) / max(warmup, 1)) * DECAYS[decay](place)

  return rate
