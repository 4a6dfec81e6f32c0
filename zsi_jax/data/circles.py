"""White circles on black, left and right: the toy data of Deschenaux et al. §5.5, pixel for pixel.

The published sets, all at 64×64 with radius 2 and ε = .2 (`Circles()` and its arguments):

| here | published module | centres | records |
|---|---|---|---|
| `where='borders'` | `borders_circles` | x ∈ {2 … 11} ∪ {52 … 61}, y ∈ {2 … 61} | 1200 |
| `where='uniform'` | `binarized_uniform_circles` | x, y ∈ {2 … 61} | 3600 |
| | `quadrant_circle`, mode `all` | the same | 3600 |
| `where='quadrant'` | `quadrant_circle`, mode `bl` | x, y ∈ {2 … 29} | 784 |
| `where='uniform', squares=True` | `circles_squares_uniform` | x, y ∈ {2 … 61} | 7200 |

`bl` is called bottom-left there; rows count downward, so its circles are top-left, as here.
Each set is its whole grid, which the published shuffle only permutes; here by x, then by y.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from zsi_jax.data import limits
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Field, Record, place

WHERE = ('borders', 'uniform', 'quadrant')
DRAWING = 1  # of this code: other pixels for the same parameters are another number


@dataclasses.dataclass(frozen=True)
class Circles:
  """One shape of 2r + 1 pixels across, wholly inside the image, at every centre of a grid.

  z = (x + ½) / size, which a mirror takes to 1 − z, and label = [z > ½]. With squares, records of
  the second half are squares, and with stripe = ⌊size · ε⌋ labels are 0 | 1 | 2 for x ≤ stripe |
  between | x ≥ size − stripe, plus 3 for squares.
  """

  size: int = 64
  radius: int = 2
  epsilon: float = 0.2  # share of the width that `borders` fills on each side
  where: str = 'borders'
  squares: bool = False

  def __post_init__(self) -> None:
    limits.one_of('where', self.where, WHERE)
    limits.whole('radius', self.radius, 1, (limits.SIDE - 2) // 4)
    # Room for a shape on each side of the middle.
    limits.whole('size', self.size, 4 * self.radius + 2, limits.SIDE)
    limits.real('epsilon', self.epsilon, 0, 0.5)
    if not isinstance(self.squares, bool):
      raise DataError(f'squares = {self.squares!r} is not True or False.')
    if self.where == 'borders' and self.stripe <= self.radius:
      raise DataError(
        f'a border of {self.stripe} px, epsilon {self.epsilon:g} of {self.size}, holds no whole '
        f'circle of radius {self.radius}: epsilon > {(self.radius + 1) / self.size:.3g} is needed.'
      )

  @property
  def name(self) -> str:
    return f'{self.where}_circles' + '_squares' * self.squares

  @property
  def parameters(self) -> Mapping[str, Any]:
    return {**dataclasses.asdict(self), 'drawing': DRAWING}

  @property
  def fields(self) -> Mapping[str, Field]:
    low, high = float(self.radius), float(self.size - self.radius - 1)
    return {
      'image': Field((self.size, self.size, 3), 'uint8', 'image'),
      'x': Field((), 'int32', mirrored=True, cropped=True, low=low, high=high),  # px of the centre
      'y': Field((), 'int32', cropped=True, low=low, high=high),
      'z': Field(mirrored=True, cropped=True, low=0.0, high=1.0),
      'square': Field((), 'bool'),
      'label': Field(
        (), 'int32', mirrored=True, cropped=True, low=0.0, high=5.0 if self.squares else 1.0
      ),
    }

  @property
  def stripe(self) -> int:
    return int(self.size * self.epsilon)

  @functools.cached_property
  def centres(self) -> tuple[range | list[int], range]:
    """(every x, every y), px."""
    low, high = self.radius, self.size - self.radius
    match self.where:
      case 'borders':
        return [*range(low, self.stripe), *range(self.size - self.stripe, high)], range(low, high)
      case 'quadrant':
        half = range(low, self.size // 2 - self.radius)
        return half, half
    return range(low, high), range(low, high)

  def __len__(self) -> int:
    xs, ys = self.centres
    return len(xs) * len(ys) * (1 + self.squares)

  def attributes(self, index: int) -> Record:
    index = place(index, len(self))
    xs, ys = self.centres
    square, index = divmod(index, len(xs) * len(ys))
    x, y = xs[index // len(ys)], ys[index % len(ys)]
    if self.squares:
      label = 3 * square + (x > self.stripe) + (x >= self.size - self.stripe)
    else:
      label = int(2 * x + 1 > self.size)
    return {
      'x': np.int32(x),
      'y': np.int32(y),
      'z': np.float32((x + 0.5) / self.size),
      'square': np.bool_(square),
      'label': np.int32(label),
    }

  def __getitem__(self, index: int) -> Record:
    record = self.attributes(index)
    image = np.zeros((self.size, self.size, 3), np.uint8)
    top, left = record['y'] - self.radius, record['x'] - self.radius
    across = 2 * self.radius + 1
    shape = 255 if record['square'] else _disc(self.radius)[..., None]
    image[top : top + across, left : left + across] = shape
    return {'image': image, **record}


@functools.lru_cache
def _disc(radius: int) -> np.ndarray:
  """The pixels of PIL's `ellipse([cx - r, cy - r, cx + r, cy + r])`: 0 or 255, 2r + 1 across."""
  image = Image.new('L', (2 * radius + 1,) * 2)
  ImageDraw.Draw(image).ellipse((0, 0, 2 * radius, 2 * radius), fill=255)
  return np.asarray(image)
