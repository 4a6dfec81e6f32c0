"""The U-Net of DDPM, as SDEdit, FreeDoM and `ddpm-celebahq-256` have it (the size by default)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.nets.attention import attend
from zsi_jax.nets.blocks import (
  Conv,
  Dense,
  GroupNorm,
  Names,
  ResBlock,
  Upsample,
  check_cond,
  check_halves,
  check_image,
  label_embed,
)
from zsi_jax.nets.unet import remat

Array = jax.Array
EPS = 1e-6
NAMES = Names('norm1', 'conv1', 'temb_proj', 'norm2', 'conv2', 'nin_shortcut')


def sinusoids(t: Array, width: int) -> Array:
  """[sin(t f_k), cos(t f_k)] with f_k = 10000^(-k / (half - 1)), [B] -> [B, width]."""
  half = width // 2
  # rounded to float32 before the exponential, as PyTorch does: t reaches 1000, so an ulp shows
  power = np.arange(half, dtype=np.float32) * np.float32(-math.log(10000) / (half - 1))
  args = t.astype(jnp.float32)[:, None] * np.exp(power.astype(np.float64)).astype(np.float32)
  return jnp.concatenate([jnp.sin(args), jnp.cos(args)], -1)


def shrink(x: Array, conv: Callable[[Array], Array]) -> Array:
  """y_i = sum_k x_(2 i + k) w_k, k = 0, 1, 2: stride 2, padded at the right and the bottom only.

  `conv` has stride 2 and starts a pixel before x; from x moved by one that pixel is -2, so that its
  answers after the first are these.
  """
  return conv(jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0))))[:, 1:, 1:]


class Attention(nn.Module):
  """x + proj(softmax(q k^T / sqrt(c)) v), q, k and v of norm(x): one head over all pixels."""

  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    b, high, wide, c = x.shape
    make = partial(Conv, c, size=1, dtype=self.dtype)
    h = GroupNorm(eps=EPS, name='norm')(x)
    qkv = jnp.concatenate([make(name=name)(h) for name in 'qkv'], -1)
    h = attend(qkv.reshape(b, high * wide, 3 * c), heads=1, new_order=True).reshape(x.shape)
    return x + make(kernel_init=nn.initializers.zeros, name='proj_out')(h)


class DDPM(nn.Module):
  """(x [B, H, W, C], t [B], cond [B]) -> [B, H, W, out] float32: eps."""

  width: int = 128
  mults: tuple[float, ...] = (1, 1, 2, 2, 4, 4)
  blocks: int = 2
  attend: tuple[int, ...] = (16,)  # downsampling factors with attention
  out: int = 3
  labels: int | None = None  # rows of label_emb: K + 1 where the last is "no condition"
  dropout: float = 0.0
  remat: str | None = None  # what blocks compute again: None, 'full' or a checkpoint policy
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, t: Array, cond: Array | None = None, train: bool = False) -> Array:
    check_image(self, x, t, stem='conv_in')
    check_halves(self, x)
    check_cond(self, cond)
    conv = partial(Conv, dtype=self.dtype)
    res = partial(
      remat(ResBlock, self.remat),
      scale_shift=False,
      dropout=self.dropout,
      names=NAMES,
      eps=EPS,
      train=train,
      dtype=self.dtype,
    )
    attention = partial(remat(Attention, self.remat), dtype=self.dtype)
    emb = Dense(4 * self.width, name='temb.dense.0')(sinusoids(t, self.width))
    emb = Dense(4 * self.width, name='temb.dense.1')(nn.silu(emb))
    emb = label_embed(self, emb, cond)

    def block(h: Array, way: str, level: int, j: int) -> Array:
      h = res(int(self.mults[level] * self.width), name=f'{way}.{level}.block.{j}')(h, emb)
      return attention(name=f'{way}.{level}.attn.{j}')(h) if 2**level in self.attend else h

    hs, last = [conv(self.width, name='conv_in')(x)], len(self.mults) - 1
    for level in range(last + 1):
      for j in range(self.blocks):
        hs.append(block(hs[-1], 'down', level, j))
      if level < last:
        make = conv(hs[-1].shape[-1], stride=2, name=f'down.{level}.downsample.conv')
        hs.append(shrink(hs[-1], make))

    h = res(hs[-1].shape[-1], name='mid.block_1')(hs[-1], emb)
    h = res(h.shape[-1], name='mid.block_2')(attention(name='mid.attn_1')(h), emb)

    for level in range(last, -1, -1):
      for j in range(self.blocks + 1):
        h = block(jnp.concatenate([h, hs.pop()], -1), 'up', level, j)
      if level:
        h = Upsample(conv, name=f'up.{level}.upsample')(h)
    assert not hs

    h = nn.silu(GroupNorm(eps=EPS, name='norm_out')(h))
    zeros = nn.initializers.zeros
    return conv(self.out, kernel_init=zeros, dtype=jnp.float32, name='conv_out')(h)
