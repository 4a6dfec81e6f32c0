"""Networks of others that energies ask, from the user's files: who, where, which pixels, how alike.

Nothing is downloaded, nothing in a file is executed; kinds follow from names, sizes from shapes.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.build.features import Source, digest_of
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.nets.arcface import IR_SE, IRESNET, ArcFace
from zsi_jax.nets.bisenet import BiSeNet
from zsi_jax.nets.mobileface import MobileFaceNet, Stage
from zsi_jax.nets.vgg import VGG, VGG16, VGG19, plan

BISENET = 'a BiSeNet on ResNet-18 (13,300,416 parameters at 19 classes; cp.resnet.conv1.weight, …)'
ARCFACE = (
  'an ArcFace: IR-SE50 (43,797,696 parameters; input_layer.0.weight, …) or IResNet-100 '
  '(65,156,160; layer1.0.prelu.weight, …)'
)
MOBILE = 'a MobileFaceNet of 68 points (1,007,248 parameters; output_layer.linear.weight, …)'
VGGS = "torchvision's VGG19 (20,024,384 parameters of features; features.34.weight, …)"
TORCHVISION = 'dcbb9e9d', '397923af'  # how the sha256 of its VGG19 and VGG16 begin


@dataclasses.dataclass(frozen=True)
class Guide:
  """A network with its weights; what it wants to see is a view of zsi_jax.guide.views."""

  net: nn.Module
  variables: Mapping[str, Any]
  source: Source


@dataclasses.dataclass(frozen=True)
class File:
  """The arrays of a file that is said to be `what`."""

  path: Path
  what: str
  arrays: Mapping[str, np.ndarray]

  @classmethod
  def read(cls, path: str | Path, what: str, without: tuple[str, ...] = ()) -> File:
    path = Path(path).expanduser()
    arrays = {
      key: array
      for key, array in weights.read(path)[0].items()
      if not key.endswith('num_batches_tracked') and not key.startswith(without)
    }
    return cls(path, what, arrays)

  def error(self, found: str) -> WeightsError:
    return WeightsError(f'{self.path}: {found}; expected {self.what}')

  def shape(self, key: str, rank: int) -> tuple[int, ...]:
    if key not in self.arrays:
      raise self.error(f'there is no {key} (it has {weights.first(self.arrays)})')
    shape = self.arrays[key].shape
    if len(shape) != rank:
      raise self.error(f'{key} has the shape {list(shape)}, not one of {rank} sides')
    return shape

  def count(self, names: str) -> int:
    """How many numbers n there are for which '{names}'.format(n) starts a name."""
    form = re.compile(re.escape(names).replace(r'\{\}', r'(\d+)'))
    found = {int(m[1]) for key in self.arrays if (m := form.match(key))}
    return max(found, default=-1) + 1

  def filled(self, net: nn.Module, side: int, known: tuple[str, ...] = ()) -> Guide:
    """All or nothing, before anything compiles."""
    tree = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    try:
      variables = weights.fill(tree, self.arrays, file=self.path)
    except WeightsError as error:
      raise WeightsError(f'{error}\n  Expected: {self.what}.') from None
    sure = bool(known) and weights.sha256(self.path).startswith(known)
    return Guide(net, variables, Source((str(self.path),), digest_of(variables), sure))


def segmenter(path: str | Path) -> Guide:
  """BiSeNet, of as many classes as its last layer has."""
  file = File.read(path, BISENET)
  width = file.shape('cp.resnet.conv1.weight', 4)[0]
  return file.filled(BiSeNet(file.shape('conv_out.conv_out.weight', 4)[0], width), 32)


def identity(path: str | Path) -> Guide:
  """IR-SE or IResNet, as the names tell, of any depth."""
  file = File.read(path, ARCFACE)
  if 'layer1.0.prelu.weight' in file.arrays:
    width, linear = file.shape('conv1.weight', 4)[0], 'fc.weight'
    stages = file.count('layer{}.')
    depths = tuple(file.count(f'layer{s}.{{}}.') for s in range(1, stages))
    net = ArcFace(IRESNET, depths, width)
  else:
    width, linear = file.shape('input_layer.0.weight', 4)[0], 'output_layer.3.weight'
    blocks = range(file.count('body.{}.'))
    widths = [file.shape(f'body.{i}.res_layer.1.weight', 4)[0] for i in blocks]
    shrunk = file.shape('body.0.res_layer.5.fc1.weight', 4)[0]
    depths = tuple(len(list(same)) for _, same in itertools.groupby(widths))
    net = ArcFace(IR_SE, depths, width, shrink=max(1, width // max(1, shrunk)))
  out, columns = file.shape(linear, 2)
  side = max(1, math.isqrt(columns // (width * 2 ** (len(depths) - 1))))
  net = net.clone(out=out, size=side * 2 ** len(depths))
  return file.filled(net, net.size)


def landmarker(path: str | Path) -> Guide:
  """MobileFaceNet, of as many points as its last layer has pairs."""
  file = File.read(path, MOBILE)
  out, last = file.shape('output_layer.linear.weight', 2)
  if out % 2:
    raise file.error(f'it has {out} outputs, no pairs (x, y)')
  stages = tuple(
    Stage(
      file.shape(f'conv_{s - 1}{s}.project.conv.weight', 4)[0],
      file.shape(f'conv_{s - 1}{s}.conv.conv.weight', 4)[0],
      file.shape(f'conv_{s}.model.0.conv.conv.weight', 4)[0],
      file.count(f'conv_{s}.model.{{}}.'),
    )
    for s in (3, 4, 5)
  )
  side = file.shape('output_layer.conv_6_dw.conv.weight', 4)[2] * 16
  net = MobileFaceNet(out // 2, stages, file.shape('conv1.conv.weight', 4)[0], last, side)
  return file.filled(net, side)


def vgg(path: str | Path) -> Guide:
  """The features of VGG19 or VGG16, with or without the classifier behind them."""
  file = File.read(path, VGGS, without=('classifier.',))
  numbers = {int(m[1]) for key in file.arrays if (m := re.fullmatch(r'features\.(\d+)\.\w+', key))}
  kinds = {depths: [of for of in plan(depths) if of is not None] for depths in (VGG19, VGG16)}
  for depths, layers in kinds.items():
    if numbers == {of.number for of in layers}:
      shapes = {of.block: file.shape(f'features.{of.number}.weight', 4) for of in layers}
      net = VGG(depths=depths, widths=tuple(shape[0] for shape in shapes.values()))
      return file.filled(net, 16, TORCHVISION)
  raise file.error(f'its layers features.{sorted(numbers)} are those of no VGG without batch norm')
