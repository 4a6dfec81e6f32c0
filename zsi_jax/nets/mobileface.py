"""MobileFaceNet (Chen et al. 2018) of landmarks: 68 points of a face of 112 pixels.

(1) a block: project(depthwise 3x3(expand 1x1(x))), each with its norm, the first two with a PReLU;
    + x in the blocks of a stage after the first
(2) the last window is as large as the image; then a linear layer without bias, and a norm
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax

from zsi_jax.nets.layers import Depthwise, Kernel, Norm, PReLU, Whole, check_face

Array = jax.Array


class Stage(NamedTuple):
  """A block of stride 2 and `depth` of stride 1; `first` and `wide`: what they expand to."""

  width: int
  first: int
  wide: int
  depth: int


STAGES = Stage(64, 128, 128, 4), Stage(128, 256, 256, 6), Stage(128, 512, 256, 2)


class ConvNorm(nn.Module):
  """prelu(norm(conv(x))), or without prelu; `make(name=…)` is the convolution."""

  make: Callable[..., nn.Module]
  prelu: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    h = Norm(name='bn')(self.make(name='conv')(x))
    return PReLU(name='prelu')(h) if self.prelu else h


class Block(nn.Module):
  """(1)"""

  features: int
  wide: int
  stride: int = 1

  @nn.compact
  def __call__(self, x: Array) -> Array:
    h = ConvNorm(partial(Kernel, self.wide, 1), name='conv')(x)
    h = ConvNorm(partial(Depthwise, self.stride), name='conv_dw')(h)
    h = ConvNorm(partial(Kernel, self.features, 1), prelu=False, name='project')(h)
    return h if self.stride > 1 else x + h


class Head(nn.Module):
  """(2), [B, H, W, C] -> [B, out]."""

  out: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    h = ConvNorm(Whole, prelu=False, name='conv_6_dw')(x)
    h = nn.Dense(self.out, use_bias=False, name='linear')(h[:, 0, 0])
    return Norm(name='bn')(h)


class MobileFaceNet(nn.Module):
  """x [B, size, size, 3] in [0, 1] -> points [B, points, 2]: (x, y) as parts of the crop."""

  points: int = 68
  stages: tuple[Stage, ...] = STAGES
  stem: int = 64
  last: int = 512
  size: int = 112

  @nn.compact
  def __call__(self, x: Array) -> Array:
    check_face(self, x, self.size)
    h = ConvNorm(partial(Kernel, self.stem, 3, 2), name='conv1')(x)
    h = ConvNorm(Depthwise, name='conv2_dw')(h)
    for s, of in enumerate(self.stages, start=3):
      h = Block(of.width, of.first, 2, name=f'conv_{s - 1}{s}')(h)
      for i in range(of.depth):
        h = Block(of.width, of.wide, name=f'conv_{s}.model.{i}')(h)
    h = ConvNorm(partial(Kernel, self.last, 1), name='conv_6_sep')(h)
    return Head(2 * self.points, name='output_layer')(h).reshape(len(x), self.points, 2)
