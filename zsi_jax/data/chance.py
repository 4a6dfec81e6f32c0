"""Chance by position: the numbers of record i never depend on who else was drawn, or where."""

from __future__ import annotations

import numpy as np


def uniforms(seed: int, index: int, n: int, stream: int = 0) -> np.ndarray:
  """n float64 in [0, 1), a function of (seed, stream, index): raw Philox, stable over versions."""
  if not (0 <= seed < 2**32 and 0 <= stream < 2**32 and 0 <= index < 2**63):
    raise ValueError(f'seed {seed} and stream {stream} are below 2**32, index {index} not negative')
  raw = np.random.Philox(key=[(seed << 32) | stream, index]).random_raw(n)
  return (raw >> np.uint64(11)) * 2.0**-53
