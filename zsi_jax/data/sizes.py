"""Objects of a known size: what Deschenaux et al. App. K do with photographs of resized things.

Theirs is "a dataset of real-world objects resized to various dimensions", not named and not
published; the extremes are the 20 % smallest and largest. Here the things are drawn, so that the
size of each is exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from zsi_jax.data import limits, objects, shapes
from zsi_jax.data.chance import uniforms
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Field, Record, place

DRAWING = 1  # of this code: other pixels for the same parameters are another number


@dataclasses.dataclass(frozen=True)
class Sizes:
  """One object before a pale background; size, even in [0, 1), does not depend on anything else.

  The longer side of its bounding box = (smallest + size · (largest − smallest)) of the image.
  """

  n: int = 15_000
  size: int = 64
  seed: int = 0
  smallest: float = 0.2  # share of the image at size 0: 12.8 px of 64
  largest: float = 0.8
  jitter: float = 0.05  # of the middle of the box, both ways, share of the image

  def __post_init__(self) -> None:
    limits.whole('n', self.n, 1)
    limits.whole('size', self.size, 16, limits.SIDE)
    limits.whole('seed', self.seed, 0, limits.SEEDS)
    for name in ('smallest', 'largest'):
      limits.real(name, getattr(self, name), 0, 1)
    limits.real('jitter', self.jitter, 0, 0.5)
    if not 3 / self.size <= self.smallest < self.largest or self.largest / 2 + self.jitter > 0.5:
      raise DataError(
        f'sizes from smallest = {self.smallest:g} to largest = {self.largest:g} with a jitter of '
        f'{self.jitter:g}: at least 3 px of {self.size} are needed, smallest < largest, and '
        'largest / 2 + jitter <= .5, or the object leaves the image.'
      )

  @property
  def name(self) -> str:
    return 'sizes'

  @property
  def parameters(self) -> Mapping[str, Any]:
    return {**dataclasses.asdict(self), 'drawing': DRAWING}

  @property
  def fields(self) -> Mapping[str, Field]:
    return {
      'image': Field((self.size, self.size, 3), 'uint8', 'image'),
      'size': Field(cropped=True, low=0.0, high=1.0),
      'x': Field(
        mirrored=True, cropped=True, low=0.0, high=self.size - 1.0
      ),  # px of the middle of the box
      'y': Field(cropped=True, low=0.0, high=self.size - 1.0),
      'kind': Field((), 'int32', low=0.0, high=len(objects.KINDS) - 1.0),  # place in objects.KINDS
      'hue': Field(low=0.0, high=360.0),  # degrees
      'pattern': Field((), 'int32', low=0.0, high=len(objects.PATTERNS) - 1.0),
      'mirrored': Field((), 'int32', mirrored=True, low=0.0, high=1.0),
    }

  def __len__(self) -> int:
    return self.n

  def attributes(self, index: int) -> Record:
    index = place(index, self.n)
    size, across, down, kind, hue, pattern, mirrored = uniforms(self.seed, index, 7)
    x, y = (0.5 + self.jitter * (2 * u - 1) for u in (across, down))
    return {
      'size': np.float32(int(size * 2**16) / 2**16),
      'x': np.float32(shapes.on_grid(x * self.size - 0.5)),
      'y': np.float32(shapes.on_grid(y * self.size - 0.5)),
      'kind': np.int32(int(kind * len(objects.KINDS))),
      'hue': np.float32(int(hue * 360)),
      'pattern': np.int32(int(pattern * len(objects.PATTERNS))),
      'mirrored': np.int32(int(mirrored * 2)),
    }

  def __getitem__(self, index: int) -> Record:
    record = self.attributes(index)
    hue, slope = uniforms(self.seed, place(index, self.n), 2, stream=1)
    _, y = shapes.pixels(self.size)
    dim = 1 - (0.02 + 0.1 * slope) * (y + 0 * y.T) / self.size  # darker towards the ground
    image = dim[..., None] * shapes.rgb(float(int(hue * 360)), 0.07, 0.97)
    share = self.smallest + float(record['size']) * (self.largest - self.smallest)
    objects.draw(
      image,
      list(objects.KINDS)[record['kind']],
      (float(record['x']), float(record['y'])),
      share * self.size,
      float(record['hue']),
      pattern=objects.PATTERNS[record['pattern']],
      mirrored=bool(record['mirrored']),
    )
    return {'image': shapes.to_uint8(image), **record}
