"""Self-attention over pixels, and the attention pool of the encoder."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsi_jax.nets.blocks import GroupNorm, Point

Array = jax.Array


def count_heads(channels: int, heads: int, head_width: int | None) -> int:
  """channels / head_width where it is given, else `heads`."""
  if head_width is None:
    if channels % heads:
      raise ValueError(f'{channels} channels do not split into heads={heads}: take a divisor')
    return heads
  if channels % head_width:
    raise ValueError(
      f'{channels} channels do not split into heads of head_width={head_width}: take a divisor, '
      f'or head_width=None, heads=1, or no attention at this level (attend)'
    )
  return channels // head_width


def attend(qkv: Array, heads: int, new_order: bool, causal: bool = False) -> Array:
  """softmax(q k^T / sqrt(c)) v for qkv [B, T, 3 H c] -> [B, T, H c]; causal: none looks ahead.

  Channels of the projection run (q k v, head, c) in the new order, (head, q k v, c) in the legacy.
  """
  b, length, width = qkv.shape
  c = width // 3 // heads
  split = (3, heads, c) if new_order else (heads, 3, c)
  q, k, v = jnp.moveaxis(qkv.reshape(b, length, *split), 2 if new_order else 3, 0)
  scale = c**-0.25  # on both sides: in half precision the product would overflow first
  logits = jnp.einsum('bthc,bshc->bhts', q * scale, k * scale)
  if causal:
    logits = jnp.where(jnp.tri(length, dtype=bool), logits, -jnp.inf)
  weights = jax.nn.softmax(logits.astype(jnp.float32), -1).astype(qkv.dtype)
  return jnp.einsum('bhts,bshc->bthc', weights, v).reshape(b, length, width // 3)


class Attention(nn.Module):
  """x + proj(attend(qkv(norm(x))))."""

  heads: int = 4
  head_width: int | None = None
  new_order: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    c = x.shape[-1]
    heads = count_heads(c, self.heads, self.head_width)
    h = GroupNorm(name='norm')(x).reshape(x.shape[0], -1, c)
    h = attend(Point(3 * c, name='qkv', dtype=self.dtype)(h), heads, self.new_order)
    h = Point(c, kernel_init=nn.initializers.zeros, name='proj_out', dtype=self.dtype)(h)
    return x + h.reshape(x.shape)


class AttentionPool(nn.Module):
  """The mean pixel attends to all pixels and to itself; its projection is the answer, [B, out].

  Always in the new order: one published classifier holds both.
  """

  out: int
  heads: int
  head_width: int | None = None
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    b, h, w, c = x.shape
    x = x.reshape(b, h * w, c)
    x = jnp.concatenate([x.mean(1, keepdims=True), x], 1)

    def draw(key, shape):
      return jax.random.normal(key, shape) / jnp.sqrt(c)

    x = x + self.param('positional_embedding', draw, (h * w + 1, c))
    qkv = Point(3 * c, name='qkv_proj', dtype=self.dtype)(x)
    x = attend(qkv, count_heads(c, self.heads, self.head_width), new_order=True)[:, 0]
    return Point(self.out, name='c_proj', dtype=self.dtype)(x)
