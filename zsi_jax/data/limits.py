"""Parameters of a drawn data set, refused by name before the first record is drawn."""

from __future__ import annotations

import math
from typing import Any

from zsi_jax.data.errors import DataError

SEEDS = 2**32 - 1  # `chance.uniforms` takes no larger one
SIDE = 2048  # px of an image; more is a slip, found before it fills the memory


def whole(name: str, value: Any, low: int, high: int | None = None) -> None:
  """A DataError unless the value is an int in [low, high]."""
  kind = isinstance(value, int) and not isinstance(value, bool)
  if not kind or value < low or (high is not None and value > high):
    upto = f'at least {low}' if high is None else f'in [{low}, {high}]'
    raise DataError(f'{name} = {value!r} is not a whole number {upto}.')


def real(name: str, value: Any, low: float, high: float) -> None:
  """A DataError unless the value is a finite number in [low, high]."""
  kind = isinstance(value, int | float) and not isinstance(value, bool)
  if not kind or not math.isfinite(value) or not low <= value <= high:
    raise DataError(f'{name} = {value!r} is not a number in [{low:g}, {high:g}].')


def one_of(name: str, value: Any, choices: tuple[Any, ...]) -> None:
  """A DataError unless the value is one of the choices."""
  if value not in choices:
    raise DataError(f'{name} = {value!r} is not one of {", ".join(map(str, choices))}.')


def span(name: str, value: Any, low: float, high: float) -> tuple[float, float]:
  """The pair (from, to) within [low, high] as floats; else a DataError."""
  pair = tuple(value) if isinstance(value, tuple | list) else ()
  if len(pair) != 2:
    raise DataError(f'{name} = {value!r} is no pair (from, to).')
  for end in pair:
    real(name, end, low, high)
  if pair[0] > pair[1]:
    raise DataError(f'{name} = {value!r} goes down, not up.')
  return float(pair[0]), float(pair[1])
