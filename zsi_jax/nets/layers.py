"""Layers of convolutional networks of others: no bias, and statistics that stand still.

(1) a window of size s on x: the s s shifted copies of x, strided; a depthwise convolution is their
    weighted sum, a max pool their maximum: fast in loops, and differentiable to any order
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial, reduce

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsi_jax.nets.conv import conv

Array = jax.Array
he = nn.initializers.he_normal()
Norm = partial(nn.BatchNorm, use_running_average=True, epsilon=1e-5)


class Kernel(nn.Module):
  """A convolution without bias, padded by (size - 1) / 2."""

  features: int
  size: int = 3
  stride: int = 1

  @nn.compact
  def __call__(self, x: Array) -> Array:
    kernel = self.param('kernel', he, (self.size, self.size, x.shape[-1], self.features))
    if self.size == 1:
      return x[:, :: self.stride, :: self.stride] @ kernel[0, 0]
    return conv(x, kernel, self.stride)


class Depthwise(nn.Module):
  """A 3 x 3 window for each channel, (1)."""

  stride: int = 1

  @nn.compact
  def __call__(self, x: Array) -> Array:
    kernel = self.param('kernel', he, (3, 3, 1, x.shape[-1])).reshape(9, -1)
    parts = (v * w for v, w in zip(windows(x, 3, self.stride, 1), kernel, strict=True))
    return reduce(jnp.add, parts)


class Whole(nn.Module):
  """A window for each channel, as large as the image: [B, H, W, C] -> [B, 1, 1, C]."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    kernel = self.param('kernel', he, (*x.shape[1:3], 1, x.shape[3]))
    return jnp.einsum('bhwc,hwc->bc', x, kernel[:, :, 0])[:, None, None]


class PReLU(nn.Module):
  """x where it is positive, else x times a weight of its channel."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    weight = self.param('weight', nn.initializers.constant(0.25), (x.shape[-1],))
    return jnp.where(x > 0, x, weight * x)


def max_pool(x: Array, size: int, stride: int, pad: int = 0) -> Array:
  """(1), of x >= 0 where it is padded: with zeros."""
  return reduce(jnp.maximum, windows(x, size, stride, pad))


def windows(x: Array, size: int, stride: int, pad: int) -> Iterator[Array]:
  """The copies of (1), row by row."""
  x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  high, wide = ((n - size) // stride * stride + 1 for n in x.shape[1:3])
  for i in range(size):
    for j in range(size):
      yield x[:, i : i + high : stride, j : j + wide : stride]


def pooled(x: Array) -> Array:
  """The mean over pixels, [B, H, W, C] -> [B, 1, 1, C]."""
  return x.mean((1, 2), keepdims=True)


def check_images(net: nn.Module, x: Array, least: int, multiple: int = 1) -> None:
  """[B, H, W, 3] with sides that the network can halve."""
  sides = x.shape[1:3]
  if x.ndim != 4 or x.shape[3] != 3 or min(sides) < least or any(n % multiple for n in sides):
    more = f', sides multiples of {multiple}' if multiple > 1 else ''
    raise ValueError(
      f'{type(net).__name__} takes images [B, H, W, 3] of {least} pixels or more{more}, not '
      f'{list(x.shape)}: see zsi_jax.guide.views'
    )


def check_face(net: nn.Module, x: Array, size: int) -> None:
  """The linear layers at the end have weights for one size."""
  if x.shape[1:] != (size, size, 3):
    raise ValueError(
      f'this {type(net).__name__} takes faces [B, {size}, {size}, 3], not {list(x.shape)}: see '
      'zsi_jax.guide.views'
    )
