"""Small twins of the networks that guide faces, smooth everywhere.

(1) unit(v) = v / sqrt(|v|^2 + eta^2): of length one but near v = 0, where it is flat
(2) points are parts of the image's side: pixel p of n lies at (p + 1/2) / n
"""

from __future__ import annotations

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsi_jax.nets.blocks import Conv, Dense, double
from zsi_jax.nets.compact import Norm, places, residual, trunk

Array = jax.Array
SIZES = 32, 64, 128
LAST = 4  # pixels of the last level's side
WARMEST = math.log(100.0)


def unit(v: Array, eta: float = 1e-3) -> Array:
  """(1) of the last axis."""
  return v * jax.lax.rsqrt(jnp.sum(v**2, -1, keepdims=True) + eta**2)


class Tower(nn.Module):
  """x [B, size, size, C] -> [B, out]: a layer behind residual blocks that know what is where.

  By itself it names: logits of `out` classes, of which one is true.
  """

  size: int = 32
  out: int = 8
  width: int = 32
  spots: int = 32
  hidden: int = 128
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    check(self, x)
    widths = levels(self.size, self.width)
    h = trunk(x, widths, (1,) * len(widths), self.dtype)[-1]
    return Dense(self.out, name='head')(places(h, self.spots, self.hidden, self.dtype))


class Embedder(nn.Module):
  """x -> [B, out] of length one: near to each other for images of one person."""

  size: int = 32
  width: int = 32
  out: int = 128
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    return unit(Tower(self.size, self.out, self.width, dtype=self.dtype, name='tower')(x))


class Named(nn.Module):
  """x -> cosines [B, persons] with a direction for each, which only training needs."""

  net: Embedder
  persons: int

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    shape = self.persons, self.net.out
    ways = self.param('persons', nn.initializers.normal(1.0), shape)
    return self.net(x, train) @ unit(ways).T


class Pointer(nn.Module):
  """x -> points [B, points, 2], x and y by (2)."""

  size: int = 32
  width: int = 32
  points: int = 68
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    tower = Tower(self.size, 2 * self.points, self.width, dtype=self.dtype, name='tower')
    return 0.5 + tower(x).reshape(len(x), self.points, 2)


class Parser(nn.Module):
  """x -> logits [B, size, size, classes]: down by halves, and up beside what was on the way.

  `texture`: x -> [B, size/2, size/2, width], what the first level sees.
  """

  size: int = 32
  width: int = 16
  classes: int = 19
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, train: bool = False, texture: bool = False) -> Array:
    check(self, x)
    make = partial(Conv, dtype=self.dtype)
    widths = levels(self.size, self.width)
    first = make(self.width, name='first')(x)
    hs = trunk(x, widths, (1,) * len(widths), self.dtype)
    if texture:
      return hs[0].astype(jnp.float32)
    h = hs.pop()
    for level, width in reversed(list(enumerate(widths[:-1]))):
      h = jnp.concatenate([double(h), hs.pop()], -1)
      h = residual(h, width, f'up.{level}', self.dtype)
    assert not hs
    h = jnp.concatenate([double(h), first], -1)
    h = residual(h, self.width, 'last', self.dtype)
    h = nn.silu(Norm(name='norm')(h)).astype(self.dtype)
    return make(self.classes, size=1, name='out')(h).astype(jnp.float32)

  def texture(self, x: Array) -> Array:
    return self(x, texture=True)


class Reader(nn.Module):
  """`image`: x -> [B, out]; `words`: whole numbers [B, L] -> [B, out]; of length one, and near to
  each other where the words are true of the image."""

  size: int = 32
  width: int = 32
  vocabulary: int = 31
  out: int = 64
  dtype: jnp.dtype = jnp.float32

  def setup(self) -> None:
    self.tower = Tower(self.size, self.out, self.width, dtype=self.dtype)
    self.table = nn.Embed(self.vocabulary, self.out, embedding_init=nn.initializers.normal(0.5))
    self.hidden = Dense(2 * self.out)
    self.head = Dense(self.out)
    self.warmth = self.param('warmth', nn.initializers.constant(math.log(10.0)), ())

  def __call__(self, x: Array, tokens: Array, train: bool = False) -> tuple[Array, Array, Array]:
    """(image, words, what their cosine is multiplied by)."""
    return self.image(x), self.words(tokens), jnp.exp(jnp.minimum(self.warmth, WARMEST))

  def image(self, x: Array) -> Array:
    return unit(self.tower(x))

  def words(self, tokens: Array) -> Array:
    h = self.table(tokens).sum(1)
    return unit(self.head(nn.silu(self.hidden(h))))


def levels(size: int, width: int) -> list[int]:
  """Channels of each level from half the side to LAST pixels; at most four times the first's."""
  count = (size // LAST).bit_length() - 1
  return [width * min(2**level, 4) for level in range(count)]


def check(net: nn.Module, x: Array) -> None:
  """Shapes are known when a network is traced: a ValueError then."""
  name, size = type(net).__name__, net.size
  if size not in SIZES:
    raise ValueError(f'{name}: images have one of the sides {SIZES}, not {size}')
  if x.ndim != 4 or x.shape[1:3] != (size, size):
    raise ValueError(f'{name}(size={size}) takes x [B, {size}, {size}, C], not {list(x.shape)}')
