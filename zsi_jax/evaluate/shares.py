"""How sure a share is."""

from __future__ import annotations

import math
from typing import NamedTuple


class Share(NamedTuple):
  """A share of n, and the ends of Wilson's 95 % interval."""

  value: float
  low: float
  high: float


def wilson(hits: float, n: int, z: float = 1.96) -> Share:
  """(p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)."""
  if n < 1 or not 0 <= hits <= n:
    raise ValueError(f'a share is of one at least: {hits} of {n}')
  p = hits / n
  middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
  low, high = ((middle + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
  return Share(p, max(0.0, low), min(1.0, high))
