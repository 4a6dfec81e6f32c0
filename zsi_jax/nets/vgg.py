"""VGG (Simonyan & Zisserman 2015) without its classifier: a picture layer by layer.

Blocks of 3 x 3 convolutions with ReLU, a max pool of 2 between them. relu3_2 is the second of block
three; torchvision counts convolutions, ReLUs and pools in one row, `features.12`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax

from zsi_jax.nets.blocks import Conv
from zsi_jax.nets.layers import check_images, max_pool

Array = jax.Array
WIDTHS = (64, 128, 256, 512, 512)
VGG16, VGG19 = (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)
STYLE = ('relu1_1', 'relu2_1', 'relu3_1', 'relu4_1', 'relu5_1')  # Gatys et al. 2016
CONTENT = ('relu4_2',)


class Layer(NamedTuple):
  """A convolution: its block, its number in torchvision's `features`, its sizes."""

  block: int
  number: int
  features: int
  size: int
  stride: int
  pad: int


def plan(depths: Sequence[int], widths: Sequence[int] = WIDTHS) -> tuple[Layer | None, ...]:
  """The layers of a VGG in their order; None: a pool."""
  layers: list[Layer | None] = []
  number = 0
  for block, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
    layers += [None] if layers else []
    for _ in range(depth):
      layers.append(Layer(block, number, width, 3, 1, 1))
      number += 2
    number += 1
  return tuple(layers)


def walk(
  h: Array, layers: Sequence[Layer | None], make: Callable[[Layer], nn.Module], pool: int = 2
) -> Iterator[tuple[Layer, Array]]:
  """Each convolution with what comes out of its ReLU."""
  for layer in layers:
    if layer is None:
      h = max_pool(h, pool, 2)
    else:
      h = nn.relu(make(layer)(h))
      yield layer, h


class VGG(nn.Module):
  """x [B, H, W, 3], by ImageNet's mean and std -> {tap: activation [B, H', W', C]}."""

  taps: tuple[str, ...] = STYLE + CONTENT
  depths: tuple[int, ...] = VGG19
  widths: tuple[int, ...] = WIDTHS

  @nn.compact
  def __call__(self, x: Array) -> dict[str, Array]:
    check_images(self, x, 2 ** (len(self.depths) - 1))
    names = [f'relu{b}_{i + 1}' for b, n in enumerate(self.depths, start=1) for i in range(n)]
    if unknown := [tap for tap in self.taps if tap not in names]:
      raise ValueError(f'VGG {self.depths} has the taps {", ".join(names)}, not {unknown}')

    def make(layer: Layer) -> nn.Module:
      return Conv(layer.features, name=f'features.{layer.number}')

    # all of them: the variables hold what the file holds, and jit drops what no tap needs
    found = {
      name: h
      for name, (_, h) in zip(names, walk(x, plan(self.depths, self.widths), make), strict=True)
    }
    return {tap: found[tap] for tap in self.taps}
