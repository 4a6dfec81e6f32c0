"""BiSeNet on ResNet-18 (Yu et al. 2018), as face-parsing has it: the class of each pixel.

(1) context: ResNet at 1/8, 1/16, 1/32; each of the last two is gated, the coarser one is added to
    the finer, doubled
(2) gate(h) = h sigmoid(norm(conv(mean of h over pixels)))
(3) fusion of 1/8 and its context: h (1 + sigmoid(conv2(relu(conv1(mean of h over pixels)))))
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.nets.blocks import double
from zsi_jax.nets.layers import Kernel, Norm, check_images, max_pool, pooled

Array = jax.Array


class ConvNorm(nn.Module):
  """relu(norm(conv(x)))."""

  features: int
  size: int = 3

  @nn.compact
  def __call__(self, x: Array) -> Array:
    return nn.relu(Norm(name='bn')(Kernel(self.features, self.size, name='conv')(x)))


class Basic(nn.Module):
  """A block of ResNet-18."""

  features: int
  stride: int = 1

  @nn.compact
  def __call__(self, x: Array) -> Array:
    h = Kernel(self.features, 3, self.stride, name='conv1')(x)
    h = Kernel(self.features, name='conv2')(nn.relu(Norm(name='bn1')(h)))
    h = Norm(name='bn2')(h)
    if self.stride > 1 or x.shape[-1] != self.features:
      x = Kernel(self.features, 1, self.stride, name='downsample.0')(x)
      x = Norm(name='downsample.1')(x)
    return nn.relu(h + x)


class Refine(nn.Module):
  """(2)"""

  features: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    h = ConvNorm(self.features, name='conv')(x)
    gate = Norm(name='bn_atten')(Kernel(self.features, 1, name='conv_atten')(pooled(h)))
    return h * nn.sigmoid(gate)


class Fuse(nn.Module):
  """(3)"""

  features: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    h = ConvNorm(self.features, 1, name='convblk')(x)
    gate = nn.relu(Kernel(self.features // 4, 1, name='conv1')(pooled(h)))
    return h * (1 + nn.sigmoid(Kernel(self.features, 1, name='conv2')(gate)))


class Head(nn.Module):
  """Logits at the resolution of x."""

  middle: int
  classes: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = ConvNorm(self.middle, name='conv')(x)
    return Kernel(self.classes, 1, name='conv_out')(x)


class BiSeNet(nn.Module):
  """x [B, H, W, 3], sides multiples of 32 -> logits [B, H, W, classes].

  `every`: a tuple, with those of the two heads that only training asks.
  """

  classes: int = 19
  width: int = 64

  @nn.compact
  def __call__(self, x: Array, every: bool = False) -> Array | tuple[Array, ...]:
    check_images(self, x, 32, multiple=32)
    w = self.width
    h = Kernel(w, 7, 2, name='cp.resnet.conv1')(x)
    h = max_pool(nn.relu(Norm(name='cp.resnet.bn1')(h)), 3, 2, 1)
    levels = []
    for s in range(4):
      for i in range(2):
        stride = 2 if s and not i else 1
        h = Basic(w * 2**s, stride, name=f'cp.resnet.layer{s + 1}.{i}')(h)
      levels.append(h)
    _, at8, at16, at32 = levels
    whole = ConvNorm(2 * w, 1, name='cp.conv_avg')(pooled(at32))
    h = double(Refine(2 * w, name='cp.arm32')(at32) + whole)
    context16 = ConvNorm(2 * w, name='cp.conv_head32')(h)
    h = double(Refine(2 * w, name='cp.arm16')(at16) + context16)
    context8 = ConvNorm(2 * w, name='cp.conv_head16')(h)
    fused = Fuse(4 * w, name='ffm')(jnp.concatenate([at8, context8], -1))
    heads = (  # all of them, so that the variables hold what the file holds
      Head(4 * w, self.classes, name='conv_out')(fused),
      Head(w, self.classes, name='conv_out16')(context8),
      Head(w, self.classes, name='conv_out32')(context16),
    )
    if every:
      return tuple(stretched(h, x.shape[1:3]) for h in heads)
    return stretched(heads[0], x.shape[1:3])


def stretched(x: Array, size: Sequence[int]) -> Array:
  """Bilinear, corners on corners: output i lies at i (in - 1) / (out - 1)."""
  rows, columns = (hats(n, m) for n, m in zip(x.shape[1:3], size, strict=True))
  x = jnp.einsum('ih,bhwc->biwc', rows, x, precision='highest')
  return jnp.einsum('jw,biwc->bijc', columns, x, precision='highest')


def hats(n: int, m: int) -> np.ndarray:
  """max(0, 1 - |place - pixel|), [m, n]."""
  place = np.linspace(0, n - 1, m)[:, None]
  return np.maximum(0, 1 - np.abs(place - np.arange(n))).astype(np.float32)
