"""EfficientNetV2-S (Tan & Le 2021), with the names and numbers of torchvision's.

(1) fused:  x -> project(expand 3x3);   where expand is 1, one 3x3 alone
(2) else:   x -> project(gate(depthwise 3x3(expand 1x1)))
(3) gate(h) = h sigmoid(fc2(silu(fc1(mean of h over pixels))))
(4) a block of stride 1 and equal widths is x + keep * block(x); keep is 0 for a share of examples
    that grows with depth to `drop_path`, else 1 / (1 - that share)
Batch norm is over all examples of the batch, on however many devices.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsi_jax.nets.blocks import Conv, Dense, fan_uniform

Array = jax.Array
he = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


class Stage(NamedTuple):
  """Blocks of one width; the first has the stride."""

  fused: bool
  expand: int
  stride: int
  width: int
  depth: int


SMALL = (
  Stage(True, 1, 1, 24, 2),
  Stage(True, 4, 2, 48, 4),
  Stage(True, 4, 2, 64, 4),
  Stage(False, 4, 2, 128, 6),
  Stage(False, 6, 1, 160, 9),
  Stage(False, 6, 2, 256, 15),
)
STEM, LAST = 24, 1280


class Kernel(nn.Module):
  """A convolution without bias; depthwise where `groups` is the number of channels."""

  features: int
  size: int = 3
  stride: int = 1
  groups: int = 1
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
    kernel = self.param('kernel', he, shape).astype(self.dtype)
    pad = ((self.size - 1) // 2,) * 2
    return jax.lax.conv_general_dilated(
      x.astype(self.dtype),
      kernel,
      (self.stride, self.stride),
      (pad, pad),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=self.groups,
    )


class ConvNorm(nn.Module):
  """silu(norm(conv(x))), or without silu."""

  features: int
  size: int = 3
  stride: int = 1
  groups: int = 1
  silu: bool = True
  train: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    h = Kernel(self.features, self.size, self.stride, self.groups, self.dtype, name='0')(x)
    h = nn.BatchNorm(not self.train, momentum=0.9, epsilon=1e-3, name='1')(h)
    return (nn.silu(h) if self.silu else h).astype(self.dtype)


class Gate(nn.Module):
  """(3)"""

  squeeze: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    fc = partial(Conv, size=1, kernel_init=he, dtype=self.dtype)
    h = nn.silu(fc(self.squeeze, name='fc1')(x.mean((1, 2), keepdims=True)))
    return x * nn.sigmoid(fc(x.shape[-1], name='fc2')(h))


class Block(nn.Module):
  """(1) or (2), then (4)."""

  of: Stage
  stride: int
  drop: float
  train: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    c, of = x.shape[-1], self.of
    make = partial(ConvNorm, train=self.train, dtype=self.dtype)
    wide = c * of.expand
    if of.fused and of.expand == 1:
      h = make(of.width, stride=self.stride, name='block.0')(x)
    elif of.fused:
      h = make(wide, stride=self.stride, name='block.0')(x)
      h = make(of.width, 1, silu=False, name='block.1')(h)
    else:
      h = make(wide, 1, name='block.0')(x)
      h = make(wide, stride=self.stride, groups=wide, name='block.1')(h)
      h = Gate(max(1, c // 4), self.dtype, name='block.2')(h)
      h = make(of.width, 1, silu=False, name='block.3')(h)
    if self.stride > 1 or c != of.width:
      return h
    return x + nn.Dropout(self.drop, (1, 2, 3), deterministic=not self.train)(h)


class EfficientNet(nn.Module):
  """x [B, H, W, C] -> (outputs [B, out], features [B, 1280]), both float32."""

  out: int = 2
  stages: tuple[Stage, ...] = SMALL
  stem: int = STEM
  last: int = LAST
  dropout: float = 0.2
  drop_path: float = 0.2
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> tuple[Array, Array]:
    make = partial(ConvNorm, train=train, dtype=self.dtype)
    h = make(self.stem, stride=2, name='features.0')(x)
    total, number = sum(stage.depth for stage in self.stages), 0
    for s, of in enumerate(self.stages):
      for i in range(of.depth):
        drop = self.drop_path * number / total
        stride = of.stride if i == 0 else 1
        h = Block(of, stride, drop, train, self.dtype, name=f'features.{s + 1}.{i}')(h)
        number += 1
    h = make(self.last, 1, name=f'features.{len(self.stages) + 1}')(h)
    h = h.astype(jnp.float32).mean((1, 2))
    y = nn.Dropout(self.dropout, deterministic=not train)(h)
    return Dense(self.out, kernel_init=fan_uniform(self.out), name='classifier.1')(y), h
