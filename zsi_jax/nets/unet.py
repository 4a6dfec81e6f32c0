"""The U-Net of guided-diffusion (ADM) and the descent that its noisy classifier shares."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsi_jax.nets.attention import Attention
from zsi_jax.nets.blocks import (
  Conv,
  Downsample,
  GroupNorm,
  ResBlock,
  Upsample,
  check_cond,
  check_halves,
  check_image,
  double,
  halve,
  label_embed,
  time_embed,
)
from zsi_jax.nets.spectral import Spectral

Array = jax.Array
POLICIES = 'dots_saveable', 'dots_with_no_batch_dims_saveable'  # 'full' saves nothing


def remat(block: Callable, name: str | None) -> Callable:
  """The block, with what its backward pass makes again: nothing, 'full', or by policy."""
  if name is None:
    return block
  if name != 'full' and name not in POLICIES:
    raise ValueError(f"remat is None, 'full' or one of {POLICIES}, not {name!r}")
  return nn.remat(block, policy=getattr(jax.checkpoint_policies, name, None))


class Parts(NamedTuple):
  """Constructors of layers and blocks, with what a network's blocks have in common bound once."""

  conv: Callable
  res: Callable
  attention: Callable

  @classmethod
  def of(cls, net: nn.Module, train: bool) -> Parts:
    share = dict(spectral=net.spectral, train=train, dtype=net.dtype)
    return cls(
      conv=partial(Conv, **share),
      res=partial(
        remat(ResBlock, net.remat),
        scale_shift=net.scale_shift,
        dropout=net.dropout,
        **share,
      ),
      attention=partial(
        remat(Attention, net.remat),
        heads=net.heads,
        head_width=net.head_width,
        new_order=net.new_order,
        dtype=net.dtype,
      ),
    )


def descend(net: nn.Module, make: Parts, x: Array, emb: Array) -> tuple[list[Array], int]:
  """All states on the way down, and the last downsampling factor; called by a network."""
  h = make.conv(int(net.mults[0] * net.width), name='input_blocks.0.0')(x)
  hs, factor = [h], 1
  for level, mult in enumerate(net.mults):
    for _ in range(net.blocks):
      name = f'input_blocks.{len(hs)}'
      h = make.res(int(mult * net.width), name=f'{name}.0')(h, emb)
      if factor in net.attend:
        h = make.attention(name=f'{name}.1')(h)
      hs.append(h)
    if level < len(net.mults) - 1:
      name = f'input_blocks.{len(hs)}.0'
      if net.updown:
        h = make.res(h.shape[-1], resize=halve, name=name)(h, emb)
      else:
        h = Downsample(make.conv, name=name)(h)
      hs.append(h)
      factor *= 2
  return hs, factor


def middle(make: Parts, h: Array, emb: Array) -> Array:
  """Residual block, attention, residual block."""
  h = make.res(h.shape[-1], name='middle_block.0')(h, emb)
  h = make.attention(name='middle_block.1')(h)
  return make.res(h.shape[-1], name='middle_block.2')(h, emb)


class UNet(nn.Module):
  """(x [B, H, W, C], t [B], cond [B]) -> [B, H, W, out] float32: eps, then variance channels."""

  width: int = 128
  mults: tuple[float, ...] = (1, 2, 3, 4)
  blocks: int = 3
  attend: tuple[int, ...] = (4, 8)  # downsampling factors with attention
  heads: int = 4
  head_width: int | None = None  # wins over heads
  new_order: bool = False
  scale_shift: bool = True
  updown: bool = False  # residual blocks resize, instead of a strided or an extra convolution
  out: int = 6
  labels: int | None = None  # rows of label_emb: K + 1 where the last is "no condition"
  dropout: float = 0.0
  spectral: Spectral | None = None
  remat: str | None = None  # what blocks compute again: None, 'full' or a checkpoint policy
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, t: Array, cond: Array | None = None, train: bool = False) -> Array:
    check_image(self, x, t)
    check_halves(self, x)
    check_cond(self, cond)
    make = Parts.of(self, train)
    emb = time_embed(t, self.width, spectral=self.spectral, train=train)
    emb = label_embed(self, emb, cond)

    hs, factor = descend(self, make, x, emb)
    h = middle(make, hs[-1], emb)
    n = 0
    for level, mult in reversed(list(enumerate(self.mults))):
      for i in range(self.blocks + 1):
        name, width = f'output_blocks.{n}', int(mult * self.width)
        h = make.res(width, name=f'{name}.0')(jnp.concatenate([h, hs.pop()], -1), emb)
        child = 1
        if factor in self.attend:
          h = make.attention(name=f'{name}.1')(h)
          child = 2
        if level and i == self.blocks:
          if self.updown:
            h = make.res(width, resize=double, name=f'{name}.{child}')(h, emb)
          else:
            h = Upsample(make.conv, name=f'{name}.{child}')(h)
          factor //= 2
        n += 1
    assert not hs

    h = nn.silu(GroupNorm(name='out.0')(h))
    return make.conv(self.out, kernel_init=nn.initializers.zeros, dtype=jnp.float32, name='out.2')(
      h
    )
