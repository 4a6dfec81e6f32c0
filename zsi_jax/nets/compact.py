"""A small judge: residual blocks on halved images, then layers that know what is where.

It sees a centred image, so a channel has weights of its own at each place: a mean over places would
have to find a mouth first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsi_jax.nets.blocks import Conv, Dense, GroupNorm, halve

Array = jax.Array
Norm = partial(GroupNorm, groups=8)  # fewer groups than channels: contrast counts


class Compact(nn.Module):
  """x [B, size, size, C] -> (outputs [B, out], features [B, hidden]), both float32."""

  size: int = 32
  out: int = 1
  width: int = 32
  blocks: tuple[int, ...] = (1, 1, 1)  # of each level; the next has half the side, twice the width
  spots: int = 32  # channels that are told apart by their place
  hidden: int = 128
  dropout: float = 0.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> tuple[Array, Array]:
    self._check(x)
    widths = [self.width * 2**level for level in range(len(self.blocks))]
    h = trunk(x, widths, self.blocks, self.dtype)[-1]
    h = places(h, self.spots, self.hidden, self.dtype)
    y = nn.Dropout(self.dropout, deterministic=not train)(h)
    return Dense(self.out, name='head')(y), h

  def _check(self, x: Array) -> None:
    multiple = 2 ** len(self.blocks)
    if x.ndim != 4 or x.shape[1:3] != (self.size, self.size) or self.size % multiple:
      raise ValueError(
        f'Compact(size={self.size}) of {len(self.blocks)} levels takes x [B, {self.size}, '
        f'{self.size}, C], a multiple of {multiple}, not {x.shape}'
      )


def trunk(x: Array, widths: Sequence[int], blocks: Sequence[int], dtype: Any) -> list[Array]:
  """What each level sees, the first at half the side; called by a network."""
  make = partial(Conv, dtype=dtype)
  h, seen = make(widths[0], stride=2, name='stem')(x), []
  for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
    for i in range(count):
      h = residual(h, width, f'blocks.{level}.{i}', dtype, down=level > 0 and i == 0)
    seen.append(h)
  return seen


def residual(h: Array, width: int, name: str, dtype: Any, down: bool = False) -> Array:
  """h + conv(silu(norm(conv(silu(norm(h)))))), perhaps halved; called by a network."""
  make = partial(Conv, dtype=dtype)
  y = nn.silu(Norm(name=f'{name}.norm1')(h)).astype(dtype)
  y = make(width, stride=2 if down else 1, name=f'{name}.conv1')(y)
  y = nn.silu(Norm(name=f'{name}.norm2')(y)).astype(dtype)
  y = make(width, kernel_init=nn.initializers.zeros, name=f'{name}.conv2')(y)
  h = halve(h) if down else h
  if h.shape[-1] != width:
    h = make(width, size=1, name=f'{name}.skip')(h)
  return h + y


def places(h: Array, spots: int, hidden: int, dtype: Any) -> Array:
  """[B, H, W, C] -> float32 [B, hidden], each place with weights of its own; as `trunk`."""
  h = nn.silu(Norm(name='norm')(h)).astype(dtype)
  h = Conv(spots, size=1, name='spots', dtype=dtype)(h).reshape(len(h), -1)
  return nn.silu(Dense(hidden, name='hidden', dtype=dtype)(h)).astype(jnp.float32)
