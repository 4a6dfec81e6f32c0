"""Squared distances between many rows, in blocks: 50,000 × 50,000 fit a small memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CELLS = 1 << 24  # of a block: 128 MB of float64


def squared(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
  """(rows of x, |x_i − y_j|² [rows, len(y)]) in float64; |x|² − 2xy + |y|², never below 0."""
  centre = y.mean(axis=0, dtype=np.float64)  # what is common to all would only cancel
  y = y - centre
  yy = np.einsum('nd,nd->n', y, y)
  step = max(1, CELLS // len(y))
  for at in range(0, len(x), step):
    rows = slice(at, min(at + step, len(x)))
    part = np.asarray(x[rows], np.float64) - centre
    block = part @ y.T
    block *= -2
    block += np.einsum('nd,nd->n', part, part)[:, None]
    block += yy
    yield rows, np.maximum(block, 0, out=block)
