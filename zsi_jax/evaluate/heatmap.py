"""Two attributes at once: counts on a square of bins, as the published scripts draw them."""

from __future__ import annotations

from typing import Any

import numpy as np

from zsi_jax.evaluate import given
from zsi_jax.evaluate.errors import MetricError

BINS = 20


def counts(x: Any, y: Any, bins: int = BINS) -> np.ndarray:
  """int64 [bins, bins]: column by x, row by y, and row 0 (the least y) is drawn at the top."""
  x, y = given.scores(x, 'scores of the first attribute'), given.scores(y, 'of the second')
  if len(x) != len(y):
    raise MetricError(f'{len(x)} scores of the first attribute and {len(y)} of the second')
  if bins < 2:
    raise MetricError(f'a heat map has at least two bins a side, not {bins}')
  column, row = ((np.minimum(v, 1 - 1e-6) * bins).astype(int) for v in (x, y))
  return np.bincount(row * bins + column, minlength=bins**2).reshape(bins, bins)
