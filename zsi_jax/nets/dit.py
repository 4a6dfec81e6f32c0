"""DiT: a transformer on patches whose norms are steered by time and label (adaLN-zero).

(1) h = W patch + b + pos, pos a fixed table of sines and cosines of the patch's column and row
(2) c = mlp(sinusoids(t)) + table[label]
(3) s1, a1, g1, s2, a2, g2 = linear(silu(c)), zero at the start
    h <- h + g1 attention(norm(h) (1 + a1) + s1);  h <- h + g2 mlp(norm(h) (1 + a2) + s2)
(4) y = linear(norm(h) (1 + a) + s), zero at the start, put back at the patch's place
"""

from __future__ import annotations

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.nets.attention import attend, count_heads
from zsi_jax.nets.blocks import Affine, check_cond, check_image, timestep_embedding

Array = jax.Array
SINUSOIDS = 256
SIZES = {  # depth, width, heads
  'S': (12, 384, 6),
  'B': (12, 768, 12),
  'L': (24, 1024, 16),
  'XL': (28, 1152, 16),
}
zeros = nn.initializers.zeros
small = nn.initializers.normal(0.02)


def xavier(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
  """U(+-sqrt(6 / (in + out))), a window counted as inputs."""
  flat = (math.prod(shape[:-1]), shape[-1])
  return nn.initializers.xavier_uniform()(key, flat, dtype).reshape(shape)


def positions(side: int, width: int) -> np.ndarray:
  """[side^2, width]: sin, cos of the column, then of the row, at width / 4 frequencies; float64."""
  omega = 10000.0 ** (-np.arange(width // 4) / (width // 4))
  line = np.arange(side)[:, None] * omega
  line = np.concatenate([np.sin(line), np.cos(line)], -1)
  grid = (side, side, width // 2)
  column, row = np.broadcast_to(line[None], grid), np.broadcast_to(line[:, None], grid)
  return np.concatenate([column, row], -1).reshape(side * side, width)


def norm(x: Array) -> Array:
  """LayerNorm in float32, eps 1e-6, without weights."""
  x = x.astype(jnp.float32)
  x = x - x.mean(-1, keepdims=True)
  return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6)


class Block(nn.Module):
  """(3)."""

  heads: int
  mlp: float = 4.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, h: Array, c: Array) -> Array:
    width = h.shape[-1]
    make = partial(Affine, kernel_init=xavier, dtype=self.dtype)
    steer = Affine(6 * width, kernel_init=zeros, name='adaLN_modulation.1')(nn.silu(c))[:, None]
    s1, a1, g1, s2, a2, g2 = jnp.split(steer, 6, -1)
    qkv = make(3 * width, name='attn.qkv')(norm(h) * (1 + a1) + s1)
    h = h + g1 * make(width, name='attn.proj')(attend(qkv, self.heads, new_order=True))
    m = make(int(self.mlp * width), name='mlp.fc1')(norm(h) * (1 + a2) + s2)
    return h + g2 * make(width, name='mlp.fc2')(nn.gelu(m, approximate=True))


class DiT(nn.Module):
  """(x [B, size, size, C], t [B], cond [B]) -> [B, size, size, out] float32: eps, then variance."""

  size: int = 64
  patch: int = 4
  width: int = 768
  depth: int = 12
  heads: int = 12
  mlp: float = 4.0
  labels: int | None = None  # rows of the label table: K + 1 where the last is "no condition"
  out: int = 6
  dtype: jnp.dtype = jnp.float32

  @classmethod
  def variant(cls, name: str, **fields) -> DiT:
    """`DiT.variant('B/4', size=64)`: S, B, L or XL by patch."""
    size, _, patch = name.partition('/')
    if size not in SIZES or not patch.isdigit():
      raise ValueError(f"no DiT {name!r}: one of {', '.join(SIZES)} by patch, DiT.variant('B/4')")
    depth, width, heads = SIZES[size]
    return cls(patch=int(patch), depth=depth, width=width, heads=heads, **fields)

  def constants(self) -> dict[str, np.ndarray]:
    """What published files hold beside the weights: it is computed here."""
    return {'pos_embed': positions(self.size // self.patch, self.width)[None].astype(np.float32)}

  @nn.compact
  def __call__(self, x: Array, t: Array, cond: Array | None = None, train: bool = False) -> Array:
    self._check(x, t, cond)
    b, side, p = x.shape[0], self.size // self.patch, self.patch
    h = Affine(
      self.width, 'patch', p, kernel_init=xavier, dtype=self.dtype, name='x_embedder.proj'
    )(x).reshape(b, side * side, self.width)
    h = h.astype(jnp.float32) + self.constants()['pos_embed']
    c = Affine(self.width, kernel_init=small, name='t_embedder.mlp.0')(
      timestep_embedding(t, SINUSOIDS)
    )
    c = Affine(self.width, kernel_init=small, name='t_embedder.mlp.2')(nn.silu(c))
    if self.labels is not None:
      table = 'y_embedder.embedding_table'
      c = c + nn.Embed(self.labels, self.width, embedding_init=small, name=table)(cond)

    for i in range(self.depth):
      h = Block(self.heads, self.mlp, self.dtype, name=f'blocks.{i}')(h, c)

    steer = Affine(2 * self.width, kernel_init=zeros, name='final_layer.adaLN_modulation.1')(
      nn.silu(c)
    )
    shift, scale = jnp.split(steer[:, None], 2, -1)
    y = norm(h) * (1 + scale) + shift
    y = Affine(p * p * self.out, kernel_init=zeros, name='final_layer.linear')(y)
    y = y.reshape(b, side, side, p, p, self.out).swapaxes(2, 3)
    return y.reshape(b, self.size, self.size, self.out)

  def _check(self, x: Array, t: Array, cond: Array | None) -> None:
    check_image(self, x, t, stem='x_embedder.proj')
    check_cond(self, cond)
    if self.size % self.patch or x.shape[1:3] != (self.size, self.size):
      raise ValueError(
        f'DiT(size={self.size}, patch={self.patch}) takes {self.size} x {self.size} images, a '
        f'multiple of the patch, not {x.shape[1]} x {x.shape[2]}: resize, or make DiT(size=...)'
      )
    if self.width % 4:
      raise ValueError(f'width={self.width} must be a multiple of 4 for sines of row and column')
    count_heads(self.width, self.heads, None)
