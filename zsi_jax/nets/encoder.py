"""The noisy classifier of guided-diffusion: the U-Net's descent and an attention pool."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsi_jax.nets.attention import AttentionPool
from zsi_jax.nets.blocks import GroupNorm, check_halves, check_image, time_embed
from zsi_jax.nets.spectral import Spectral
from zsi_jax.nets.unet import Parts, descend, middle

Array = jax.Array


class Encoder(nn.Module):
  """(x [B, size, size, C], t [B]) -> logits [B, classes] float32."""

  size: int = 64
  width: int = 128
  mults: tuple[float, ...] = (1, 2, 3, 4)
  blocks: int = 2
  attend: tuple[int, ...] = (2, 4, 8)  # downsampling factors with attention
  heads: int = 4
  head_width: int | None = 64  # wins over heads
  new_order: bool = False
  scale_shift: bool = True
  updown: bool = True  # residual blocks resize, instead of a strided convolution
  classes: int = 1000
  dropout: float = 0.0
  spectral: Spectral | None = None
  remat: str | None = None  # what blocks compute again: None, 'full' or a checkpoint policy
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, t: Array, train: bool = False) -> Array:
    check_image(self, x, t)
    check_halves(self, x)
    if x.shape[1:3] != (self.size, self.size):
      raise ValueError(
        f'Encoder(size={self.size}) has one positional embedding for each of its pixels, not for '
        f'{x.shape[1]} x {x.shape[2]}: resize the image, or make Encoder(size={x.shape[1]})'
      )
    make = Parts.of(self, train)
    emb = time_embed(t, self.width, spectral=self.spectral, train=train)
    hs, _ = descend(self, make, x, emb)
    h = nn.silu(GroupNorm(name='out.0')(middle(make, hs[-1], emb)))
    pool = AttentionPool(self.classes, self.heads, self.head_width, self.dtype, name='out.2')
    return pool(h).astype(jnp.float32)
