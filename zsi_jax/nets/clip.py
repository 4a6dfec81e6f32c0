"""CLIP with vision transformers (Radford et al. 2021), with OpenAI's names.

(1) block: x += attn(ln_1 x), then x += c_proj quick(c_fc ln_2 x); quick(x) = x sigmoid(1.702 x)
(2) image: [class, patches] + positions, ln_pre, blocks, ln_post of the class token, @ proj
(3) text: tokens + positions, causal blocks, ln_final at argmax(ids), @ text_projection

Others trained the same names and shapes with the plain GELU: those weights do not belong here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsi_jax.nets.attention import attend
from zsi_jax.nets.blocks import Dense, fan_uniform, patches

Array = jax.Array
normal, zeros = nn.initializers.normal, nn.initializers.zeros
Norm = partial(nn.LayerNorm, epsilon=1e-5, use_fast_variance=False)
LARGE = {'embed': 768, 'patch': 14, 'width': 1024, 'depth': 24, 'text_width': 768}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
  'ViT-B/32': {'patch': 32},
  'ViT-B/16': {},
  'ViT-L/14': LARGE,
  'ViT-L/14@336px': {**LARGE, 'size': 336},
}
exact = partial(jax.default_matmul_precision, 'highest')  # 10 bits of mantissa move embeddings


class Attention(nn.Module):
  """Self-attention with the projection of PyTorch's: rows (q k v, head, channel)."""

  head: int
  causal: bool

  @nn.compact
  def __call__(self, x: Array) -> Array:
    c = x.shape[-1]
    weight = self.param('in_proj_weight', fan_uniform(c), (3 * c, c))
    qkv = x @ weight.T + self.param('in_proj_bias', zeros, (3 * c,))
    h = attend(qkv, c // self.head, new_order=True, causal=self.causal)
    return Dense(c, name='out_proj')(h)


class Block(nn.Module):
  """(1)"""

  head: int
  causal: bool

  @nn.compact
  def __call__(self, x: Array) -> Array:
    c = x.shape[-1]
    x = x + Attention(self.head, self.causal, name='attn')(Norm(name='ln_1')(x))
    h = Dense(4 * c, name='mlp.c_fc')(Norm(name='ln_2')(x))
    return x + Dense(c, name='mlp.c_proj')(h * nn.sigmoid(1.702 * h))


class Transformer(nn.Module):
  """Its blocks, or the first `depth` of them."""

  depth: int
  head: int
  causal: bool = False

  @nn.compact
  def __call__(self, x: Array, depth: int | None = None) -> Array:
    for i in range(self.depth if depth is None else depth):
      x = Block(self.head, self.causal, name=f'resblocks.{i}')(x)
    return x


class Patches(nn.Module):
  """A convolution that steps by its own window, as one product: fast within a scan."""

  features: int
  size: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (self.size, self.size, x.shape[-1], self.features)
    kernel = self.param('kernel', fan_uniform(math.prod(shape[:3])), shape)
    h = patches(x, self.size) @ kernel.reshape(-1, self.features)
    return h.reshape(x.shape[0], -1, self.features)


class Vision(nn.Module):
  """(2); or, of a `block`, its patch tokens [B, (size / patch)^2, width]."""

  out: int
  size: int
  patch: int
  width: int
  depth: int
  head: int

  @nn.compact
  def __call__(self, x: Array, block: int | None = None) -> Array:
    draw, count = normal(self.width**-0.5), (self.size // self.patch) ** 2 + 1
    first = self.param('class_embedding', draw, (self.width,))
    places = self.param('positional_embedding', draw, (self.width, count))  # files: the transpose
    h = Patches(self.width, self.patch, name='conv1')(x)
    first = jnp.broadcast_to(first, (len(x), 1, self.width))
    h = Norm(name='ln_pre')(jnp.concatenate([first, h], 1) + places.T)
    transformer = Transformer(self.depth, self.head, name='transformer')
    if block is not None:
      return transformer(h, block + 1)[:, 1:]
    h = Norm(name='ln_post')(transformer(h)[:, 0])
    return h @ self.param('proj', draw, (self.width, self.out))


class Clip(nn.Module):
  """Embeddings `image` and `text` [B, embed], not normalised; called, their scaled cosines."""

  embed: int = 512
  size: int = 224
  patch: int = 16
  width: int = 768
  depth: int = 12
  text_width: int = 512
  text_depth: int = 12
  vocabulary: int = 49408
  length: int = 77
  head: int = 64  # channels of one

  @classmethod
  def variant(cls, name: str) -> Clip:
    """By OpenAI's name."""
    if name not in VARIANTS:
      raise ValueError(f'the variants of CLIP are {", ".join(VARIANTS)}, not {name!r}')
    return cls(**VARIANTS[name])

  def setup(self) -> None:
    if self.size % self.patch or self.width % self.head or self.text_width % self.head:
      raise ValueError(
        f'Clip: patch={self.patch} must divide size={self.size}, and head={self.head} the widths '
        f'{self.width} and {self.text_width}'
      )
    draw, c = normal(0.01), self.text_width
    self.visual = Vision(self.embed, self.size, self.patch, self.width, self.depth, self.head)
    self.transformer = Transformer(self.text_depth, self.head, causal=True)
    self.token_embedding = nn.Embed(self.vocabulary, c, embedding_init=normal(0.02))
    self.positional_embedding = self.param('positional_embedding', draw, (c, self.length))
    self.ln_final = Norm()
    self.text_projection = self.param('text_projection', normal(c**-0.5), (c, self.embed))
    self.logit_scale = self.param('logit_scale', nn.initializers.constant(math.log(1 / 0.07)), ())

  def image(self, x: Array) -> Array:
    """(2) of images [B, size, size, 3], resized and normalised: [B, embed]."""
    self._check(x)
    with exact():
      return self.visual(x)

  def tokens(self, x: Array, block: int = 2) -> Array:
    """What leaves the block of this index (from 0), without the class token: [B, n, width]."""
    self._check(x)
    if not 0 <= block < self.depth:
      raise ValueError(f'block is one of 0 to {self.depth - 1}, not {block}')
    with exact():
      return self.visual(x, block)

  def text(self, ids: Array) -> Array:
    """(3) of token ids [B, length]: [B, embed]."""
    whole = jnp.issubdtype(ids.dtype, jnp.integer)
    if ids.ndim != 2 or ids.shape[1] != self.length or not whole:
      raise ValueError(
        f'Clip takes token ids [B, {self.length}], integers of its tokenizer, not {ids.dtype} '
        f'{list(ids.shape)}'
      )
    with exact():
      h = self.transformer(self.token_embedding(ids) + self.positional_embedding.T)
      h = self.ln_final(h[jnp.arange(len(ids)), ids.argmax(1)])
      return h @ self.text_projection

  def __call__(self, x: Array, ids: Array) -> Array:
    """exp(logit_scale) cos(image_i, text_j): [B, B']."""
    a, b = (e / jnp.linalg.norm(e, axis=1, keepdims=True) for e in (self.image(x), self.text(ids)))
    with exact():
      return jnp.exp(self.logit_scale) * a @ b.T

  def _check(self, x: Array) -> None:
    sides = (self.size, self.size, 3)
    if x.ndim != 4 or x.shape[1:] != sides or not jnp.issubdtype(x.dtype, jnp.floating):
      raise ValueError(
        f'Clip takes float images [B, {self.size}, {self.size}, 3], resized and normalised (by '
        f'clip_view), not {x.dtype} {list(x.shape)}'
      )
