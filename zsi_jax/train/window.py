"""The metrics of steps, fetched behind the device and added up to lines."""

from __future__ import annotations

import time
from typing import NamedTuple

import jax
import numpy as np

from zsi_jax.train.step import Metrics

STOP = 'stop'  # among the metrics: whether some process was asked to end


class Told(NamedTuple):
  """The metrics of one step."""

  values: dict[str, float]  # of what was counted at all
  stop: bool


class Window:
  """Steps since the last line."""

  def __init__(self) -> None:
    self.clear()

  def clear(self) -> None:
    self.sums: dict[str, np.ndarray] = {}
    self.steps = 0
    self.start = time.perf_counter()

  def add(self, metrics: Metrics) -> Told:
    """Waits for the step."""
    fetched = jax.device_get(metrics)
    pairs = {name: np.asarray(pair, np.float64) for name, pair in fetched.items()}
    stop = bool(pairs.pop(STOP)[0] > 0)
    self.sums = {name: pair + self.sums.get(name, 0) for name, pair in pairs.items()}
    self.steps += 1
    return Told(means(pairs), stop)

  def line(self) -> tuple[dict[str, float], float]:
    """(the mean of each metric, steps per second), and a new window."""
    values = means(self.sums)
    rate = self.steps / max(time.perf_counter() - self.start, 1e-9)
    self.clear()
    return values, rate


def means(pairs: dict[str, np.ndarray]) -> dict[str, float]:
  return {name: float(total / count) for name, (total, count) in pairs.items() if count}
