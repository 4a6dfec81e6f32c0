"""What is true of an image of a data set, where that can be measured: a meter for each source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from zsi_jax.evaluate import circles, lips, sizes

Rows = Mapping[str, np.ndarray]  # name -> [N]
LATENT = {'circles': 'z', 'sizes': 'size'}  # the attribute that the meter of a source measures


class Meter(NamedTuple):
  """`read(images)` has what is seen, [N] each; 'z' is in [0, 1], NaN where it is not defined."""

  name: str
  read: Callable[[np.ndarray], Rows]


def meter(config: ConfigDict) -> Meter | None:
  """Of the data set of a config; None where only a network can tell."""
  options = config.data.options
  match config.data.source:
    case 'circles' if 1.5 <= options.radius <= circles.LARGEST:  # that the meter can tell
      name = f'circle meter, r = {options.radius:g}'
      return Meter(name, lambda images: circled(images, float(options.radius)))
    case 'sizes':
      ends = float(options.smallest), float(options.largest)
      return Meter(f'size meter, {ends[0]:g} … {ends[1]:g}', lambda images: sized(images, *ends))
    case 'lips':
      return Meter('lip meter', painted)
  return None


def circled(images: np.ndarray, radius: float) -> Rows:
  """z of the only circle, and how many there are."""
  found, size = circles.find(images, radius), images.shape[2]
  one = found.number == 1
  x = found.x[:, 0] if found.x.shape[1] else np.full(len(one), np.nan)
  y = found.y[:, 0] if found.y.shape[1] else np.full(len(one), np.nan)
  return {
    'z': np.where(one, (x + 0.5) / size, np.nan),
    'y': np.where(one, (y + 0.5) / size, np.nan),
    'number': found.number.astype(float),
  }


def sized(images: np.ndarray, smallest: float, largest: float) -> Rows:
  """z is the size of the only object."""
  found = sizes.measure(images, smallest, largest)
  one = found.objects == 1
  return {
    'z': np.where(one, np.clip(found.size, 0, 1), np.nan),
    'number': found.objects.astype(float),
  }


def painted(images: np.ndarray) -> Rows:
  """Whether lips are green; how green, there is no more of it or less."""
  return {'green lips': lips.measure(images).lips.astype(float)}
