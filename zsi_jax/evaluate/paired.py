"""What one method does better than another on the same tuples and seeds, and how sure that is.

(1) difference: mean of a_i - b_i; relative: that by the mean of b
(2) intervals: the middle 95 % of both, of pairs drawn again with replacement
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from zsi_jax.evaluate.errors import MetricError

MIDDLE = 2.5, 97.5


class Mean(NamedTuple):
  value: float
  low: float
  high: float


class Paired(NamedTuple):
  n: int  # pairs of which both are known
  difference: Mean
  relative: Mean


def mean(values: Any, draws: int = 1000, seed: int = 0) -> Mean:
  """Of what is known, with its interval (2)."""
  known = np.asarray(values, np.float64)
  known = known[np.isfinite(known)]
  if not len(known):
    raise MetricError('a mean of nothing: no value is a number')
  again = known[picked(len(known), draws, seed)].mean(axis=1)
  return Mean(float(known.mean()), *map(float, np.percentile(again, MIDDLE)))


def paired(a: Any, b: Any, draws: int = 1000, seed: int = 0) -> Paired:
  """(1, 2) of a against b, one value of each for each tuple."""
  a, b = (np.asarray(v, np.float64) for v in (a, b))
  if a.shape != b.shape or a.ndim != 1:
    raise MetricError(f'pairs are of the same tuples: {a.shape} and {b.shape} are not')
  both = np.isfinite(a) & np.isfinite(b)
  if not both.any():
    raise MetricError('pairs of nothing: no tuple has both values')
  a, b = a[both], b[both]
  again = picked(len(a), draws, seed)
  gaps, bases = (a - b)[again].mean(axis=1), b[again].mean(axis=1)
  with np.errstate(divide='ignore', invalid='ignore'):
    shares, share = gaps / bases, (a - b).mean() / b.mean()
  return Paired(
    len(a),
    Mean(float((a - b).mean()), *map(float, np.percentile(gaps, MIDDLE))),
    Mean(float(share), *map(float, np.percentile(shares, MIDDLE))),
  )


def picked(n: int, draws: int, seed: int) -> np.ndarray:
  """The same pairs for every metric of the same number."""
  return np.random.default_rng([seed, n]).integers(0, n, (draws, n))
