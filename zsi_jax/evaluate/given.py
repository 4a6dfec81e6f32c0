"""What every metric does first: arrays as float64, and those that it cannot judge refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from zsi_jax.evaluate.errors import MetricError


def floats(values: Any, what: str, ndim: int, shape: str) -> np.ndarray:
  """An array of finite floats with at least one row; of the dtype that it has."""
  found = np.asarray(values)
  if found.dtype.kind != 'f':
    raise MetricError(f'{what} are floats (16, 32 or 64 bits), not {found.dtype}')
  if found.ndim != ndim:
    raise MetricError(f'{what} have shape {shape}, not {list(found.shape)}')
  if 0 in found.shape:
    raise MetricError(f'{what}: an empty set, shape {list(found.shape)}; nothing can be said of it')
  rows = np.isfinite(found).reshape(len(found), -1).all(axis=1)
  if not rows.all():
    bad = np.flatnonzero(~rows)
    raise MetricError(
      f'{what}: {len(bad)} of {len(found)} hold NaN or infinity, the first is {bad[0]}'
    )
  return found


def scores(p: Any, what: str = 'scores') -> np.ndarray:
  """Probabilities [N] in float64."""
  found = floats(p, what, 1, '[N]').astype(np.float64)
  if len(bad := np.flatnonzero((found < 0) | (found > 1))):
    raise MetricError(
      f'{what} are in [0, 1]; {len(bad)} of {len(found)} are not, number {bad[0]} is '
      f'{found[bad[0]]:.6g}: give probabilities, not logits'
    )
  return found


def features(x: Any, what: str = 'features', least: int = 1) -> np.ndarray:
  """Features [N, D], at least so many rows."""
  found = floats(x, what, 2, '[N, D]')
  if len(found) < least:
    raise MetricError(f'{what}: {len(found)} rows, and at least {least} are needed')
  return found


def same_width(x: np.ndarray, y: np.ndarray, first: str, second: str) -> None:
  if x.shape[1:] != y.shape[1:]:
    raise MetricError(
      f'{first} have shape {list(x.shape[1:])} each and {second} {list(y.shape[1:])}: two networks '
      'or two image sizes made them; take one for both'
    )


def images(x: Any, what: str = 'images') -> np.ndarray:
  """uint8 [N, H, W, C], C = 1 or 3."""
  found = np.asarray(x)
  if found.dtype != np.uint8:
    raise MetricError(f'{what} are uint8, 0 … 255, not {found.dtype}')
  if found.ndim != 4 or found.shape[3] not in (1, 3):
    raise MetricError(f'{what} have shape [N, H, W, 1 or 3], not {list(found.shape)}')
  if 0 in found.shape:
    raise MetricError(f'{what}: an empty set, shape {list(found.shape)}')
  return found
