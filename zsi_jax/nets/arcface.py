"""Who a face is: IR-SE50 and IResNet-100, residual networks of ArcFace (Deng et al. 2019).

(1) a block: shortcut(x) + norm(conv(prelu(conv(norm(x))))), the second convolution with the stride
(2) IResNet has a norm before the PReLU, too; IR-SE has last h sigmoid(fc2(relu(fc1(mean of h))))
(3) shortcut: x at every stride-th pixel, or norm(conv 1 x 1) where the width changes; in IResNet
    also where only the stride does
(4) e / sqrt(|e|^2 + 1e-12): smooth at zero
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsi_jax.nets.blocks import Dense
from zsi_jax.nets.layers import Kernel, Norm, PReLU, check_face, pooled

Array = jax.Array
DEPTHS = {'ir_se50': (3, 4, 14, 3), 'iresnet100': (3, 13, 30, 3)}


class Names(NamedTuple):
  """What a file calls the layers, in their order; None: it has no such layer."""

  stem: tuple[str, str, str]
  block: tuple[str, str, str | None, str, str, str]
  gate: str | None
  shortcut: str
  tail: tuple[str, str, str]


IR_SE = Names(
  ('input_layer.0', 'input_layer.1', 'input_layer.2'),
  ('res_layer.0', 'res_layer.1', None, 'res_layer.2', 'res_layer.3', 'res_layer.4'),
  'res_layer.5',
  'shortcut_layer',
  ('output_layer.0', 'output_layer.3', 'output_layer.4'),
)
IRESNET = Names(
  ('conv1', 'bn1', 'prelu'),
  ('bn1', 'conv1', 'bn2', 'prelu', 'conv2', 'bn3'),
  None,
  'downsample',
  ('bn2', 'fc', 'features'),
)


class Gate(nn.Module):
  """(2)"""

  shrink: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    c = x.shape[-1]
    h = nn.relu(Kernel(c // self.shrink, 1, name='fc1')(pooled(x)))
    return x * nn.sigmoid(Kernel(c, 1, name='fc2')(h))


class Block(nn.Module):
  """(1)"""

  features: int
  stride: int
  names: Names
  shrink: int = 16

  @nn.compact
  def __call__(self, x: Array) -> Array:
    names = self.names
    norm1, conv1, norm2, prelu, conv2, norm3 = names.block
    h = Kernel(self.features, name=conv1)(Norm(name=norm1)(x))
    if norm2 is not None:
      h = Norm(name=norm2)(h)
    h = Kernel(self.features, 3, self.stride, name=conv2)(PReLU(name=prelu)(h))
    h = Norm(name=norm3)(h)
    if names.gate is not None:
      h = Gate(self.shrink, name=names.gate)(h)
    if x.shape[-1] != self.features or (names == IRESNET and self.stride > 1):
      x = Kernel(self.features, 1, self.stride, name=f'{names.shortcut}.0')(x)
      return h + Norm(name=f'{names.shortcut}.1')(x)
    return h + x[:, :: self.stride, :: self.stride]


class ArcFace(nn.Module):
  """x [B, size, size, 3] in [-1, 1] -> embedding [B, out] of length 1 (4)."""

  names: Names = IR_SE  # or IRESNET
  depths: tuple[int, ...] = DEPTHS['ir_se50']
  width: int = 64
  out: int = 512
  size: int = 112
  shrink: int = 16

  @nn.compact
  def __call__(self, x: Array) -> Array:
    check_face(self, x, self.size)
    conv, norm, prelu = self.names.stem
    h = PReLU(name=prelu)(Norm(name=norm)(Kernel(self.width, name=conv)(x)))
    number = 0
    for s, depth in enumerate(self.depths):
      for i in range(depth):
        name = f'layer{s + 1}.{i}' if self.names == IRESNET else f'body.{number}'
        stride = 1 if i else 2
        h = Block(self.width * 2**s, stride, self.names, self.shrink, name=name)(h)
        number += 1
    norm, linear, last = self.names.tail
    h = Norm(name=norm)(h).transpose(0, 3, 1, 2)  # the linear layer counts channel by channel
    e = Norm(name=last)(Dense(self.out, name=linear)(h.reshape(len(h), -1)))
    return e * jax.lax.rsqrt(jnp.sum(e**2, -1, keepdims=True) + 1e-12)
