"""The Inception network of FID: published names, 2048 features of uint8 images.

(1) uint8 -> float32 -> 299 x 299 -> about [-1, 1] -> convolutions -> mean over space
(2) 'tf1': source pixel i * in / out, then (x - 128) / 128: what FID was first computed with
(3) 'pytorch-fid': source pixel max(0, (i + .5) in / out - .5), then 2 x / 255 - 1
(4) average pools do not count the frame; the last block's pool is a maximum, as in the original
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
SIZE = 299
CLASSES = 1008
VARIANTS = 'tf1', 'pytorch-fid'
Make = Callable[..., Array]


class Features(NamedTuple):
  pooled: Array  # [B, 2048]
  logits: Array  # [B, 1008]


class BatchNorm(nn.Module):
  """(x - running mean) / sqrt(running var + eps) * weight + bias: never trained here."""

  eps: float = 1e-3

  @nn.compact
  def __call__(self, x: Array) -> Array:
    zeros, ones, n = nn.initializers.zeros, nn.initializers.ones, (x.shape[-1],)
    scale, bias = self.param('scale', ones, n), self.param('bias', zeros, n)
    mean, var = self.param('running_mean', zeros, n), self.param('running_var', ones, n)
    return (x - mean) * (scale * jax.lax.rsqrt(var + self.eps)) + bias


class Conv(nn.Module):
  """Convolution without bias, normalisation, ReLU."""

  out: int
  window: tuple[int, int]
  stride: int
  pad: tuple[int, int]

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = nn.Conv(
      self.out,
      self.window,
      self.stride,
      [(p, p) for p in self.pad],
      use_bias=False,
      precision='highest',  # 10 bits of mantissa would move the features by 1e-3
      name='conv',
    )(x)
    return nn.relu(BatchNorm(name='bn')(x))


def conv(
  x: Array,
  name: str,
  out: int,
  window: int | tuple[int, int] = 1,
  stride: int = 1,
  same: bool = True,
) -> Array:
  sides = (window, window) if isinstance(window, int) else window
  pad = ((sides[0] - 1) // 2, (sides[1] - 1) // 2) if same else (0, 0)
  return Conv(out, sides, stride, pad, name=name)(x)


def shrink(x: Array) -> Array:
  return nn.max_pool(x, (3, 3), (2, 2))


def mean_pool(x: Array) -> Array:
  return nn.avg_pool(x, (3, 3), (1, 1), [(1, 1)] * 2, count_include_pad=False)


def max_pool(x: Array) -> Array:
  return nn.max_pool(x, (3, 3), (1, 1), [(1, 1)] * 2)


def join(*parts: Array) -> Array:
  return jnp.concatenate(parts, axis=-1)


class A(nn.Module):
  """35 x 35."""

  pool: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    five = conv(conv(x, 'branch5x5_1', 48), 'branch5x5_2', 64, 5)
    three = conv(conv(x, 'branch3x3dbl_1', 64), 'branch3x3dbl_2', 96, 3)
    three = conv(three, 'branch3x3dbl_3', 96, 3)
    pooled = conv(mean_pool(x), 'branch_pool', self.pool)
    return join(conv(x, 'branch1x1', 64), five, three, pooled)


class B(nn.Module):
  """35 x 35 to 17 x 17."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    double = conv(conv(x, 'branch3x3dbl_1', 64), 'branch3x3dbl_2', 96, 3)
    double = conv(double, 'branch3x3dbl_3', 96, 3, 2, same=False)
    return join(conv(x, 'branch3x3', 384, 3, 2, same=False), double, shrink(x))


class C(nn.Module):
  """17 x 17."""

  width: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    c = self.width
    seven = conv(conv(x, 'branch7x7_1', c), 'branch7x7_2', c, (1, 7))
    seven = conv(seven, 'branch7x7_3', 192, (7, 1))
    double = conv(conv(x, 'branch7x7dbl_1', c), 'branch7x7dbl_2', c, (7, 1))
    double = conv(conv(double, 'branch7x7dbl_3', c, (1, 7)), 'branch7x7dbl_4', c, (7, 1))
    double = conv(double, 'branch7x7dbl_5', 192, (1, 7))
    pooled = conv(mean_pool(x), 'branch_pool', 192)
    return join(conv(x, 'branch1x1', 192), seven, double, pooled)


class D(nn.Module):
  """17 x 17 to 8 x 8."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    three = conv(conv(x, 'branch3x3_1', 192), 'branch3x3_2', 320, 3, 2, same=False)
    seven = conv(conv(x, 'branch7x7x3_1', 192), 'branch7x7x3_2', 192, (1, 7))
    seven = conv(seven, 'branch7x7x3_3', 192, (7, 1))
    return join(three, conv(seven, 'branch7x7x3_4', 192, 3, 2, same=False), shrink(x))


class E(nn.Module):
  """8 x 8."""

  pool: Callable[[Array], Array]

  @nn.compact
  def __call__(self, x: Array) -> Array:
    def fork(x: Array, name: str) -> Array:
      return join(conv(x, f'{name}a', 384, (1, 3)), conv(x, f'{name}b', 384, (3, 1)))

    three = fork(conv(x, 'branch3x3_1', 384), 'branch3x3_2')
    double = conv(conv(x, 'branch3x3dbl_1', 448), 'branch3x3dbl_2', 384, 3)
    double = fork(double, 'branch3x3dbl_3')
    pooled = conv(self.pool(x), 'branch_pool', 192)
    return join(conv(x, 'branch1x1', 320), three, double, pooled)


class Inception(nn.Module):
  """Images uint8 [B, H, W, 3] -> Features (1)."""

  variant: str = 'tf1'  # or 'pytorch-fid'

  @nn.compact
  def __call__(self, images: Array) -> Features:
    x = prepared(images, self.variant)
    x = conv(x, 'Conv2d_1a_3x3', 32, 3, 2, same=False)
    x = conv(conv(x, 'Conv2d_2a_3x3', 32, 3, same=False), 'Conv2d_2b_3x3', 64, 3)
    x = conv(conv(shrink(x), 'Conv2d_3b_1x1', 80), 'Conv2d_4a_3x3', 192, 3, same=False)
    blocks: Sequence[nn.Module] = [
      *(A(pool, name=f'Mixed_5{i}') for i, pool in zip('bcd', (32, 64, 64), strict=True)),
      B(name='Mixed_6a'),
      *(
        C(width, name=f'Mixed_6{i}') for i, width in zip('bcde', (128, 160, 160, 192), strict=True)
      ),
      D(name='Mixed_7a'),
      E(mean_pool, name='Mixed_7b'),
      E(max_pool, name='Mixed_7c'),
    ]
    x = shrink(x)
    for block in blocks:
      x = block(x)
    pooled = x.mean(axis=(1, 2))
    return Features(pooled, nn.Dense(CLASSES, precision='highest', name='fc')(pooled))


def prepared(images: Array, variant: str) -> Array:
  """(2) or (3), float32 [B, 299, 299, 3]."""
  if variant not in VARIANTS:
    raise ValueError(f'variant is one of {VARIANTS}, not {variant!r}')
  if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[3] != 3:
    raise ValueError(
      f'Inception takes uint8 images [B, H, W, 3], not {images.dtype} {list(images.shape)}: '
      'repeat the one channel of grey ones'
    )
  x = images.astype(jnp.float32)
  for axis in (2, 1):
    x = resize(x, axis, SIZE, corners=variant == 'tf1')
  return (x - 128) / 128 if variant == 'tf1' else 2 * (x / 255) - 1


def resize(x: Array, axis: int, size: int, corners: bool) -> Array:
  """Bilinear along an axis, without antialiasing: at i * in / out (`corners`), or pixel centres."""
  n = x.shape[axis]
  i, ratio = np.arange(size, dtype=np.float32), np.float32(n / size)
  place = i * ratio if corners else np.maximum((i + np.float32(0.5)) * ratio - np.float32(0.5), 0)
  low = place.astype(int)
  shape = [1] * x.ndim
  shape[axis] = size
  share = (place - low).astype(np.float32).reshape(shape)
  a, b = (jnp.take(x, j, axis=axis) for j in (low, np.minimum(low + 1, n - 1)))
  return a + (b - a) * share
