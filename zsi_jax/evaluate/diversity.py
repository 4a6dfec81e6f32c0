"""How different the images of one set are from each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from zsi_jax.evaluate import given
from zsi_jax.evaluate.errors import MetricError


class Diversity(NamedTuple):
  """Mean distance over random pairs, and its 95 % interval."""

  mean: float
  low: float
  high: float
  pairs: int


def pairs(n: int, most: int, seed: int = 0) -> np.ndarray:
  """[P, 2]: so many different pairs i < j of n, or all; each image once before any comes twice."""
  if n < 3 or most < 2:
    raise MetricError(f'an interval takes two pairs, so three images: {n} images, {most} pairs')
  rng = np.random.default_rng([seed, n])
  if n * (n - 1) // 2 <= most:
    return np.stack(np.triu_indices(n, 1), axis=1)
  found: dict[tuple[int, int], None] = {}
  while len(found) < most:
    rows = np.sort(rng.permutation(n)[: n // 2 * 2].reshape(-1, 2), axis=1)
    found |= dict.fromkeys(map(tuple, rows.tolist()))
  return np.array(list(found)[:most])


def mean_lpips(
  distance: Callable[[np.ndarray, np.ndarray], Any], images: Any, most: int = 2000, seed: int = 0
) -> Diversity:
  """Mean of distance(images [P, …], images [P, …]) -> [P] over `pairs`; LPIPS is one such."""
  found = given.images(images)
  chosen = pairs(len(found), most, seed)
  values = given.floats(
    distance(found[chosen[:, 0]], found[chosen[:, 1]]), 'distances of pairs', 1, '[P]'
  ).astype(np.float64)
  if len(values) != len(chosen):
    raise MetricError(f'{len(chosen)} pairs were asked and {len(values)} distances came back')
  reach = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
  mean = values.mean()
  return Diversity(float(mean), float(mean - reach), float(mean + reach), len(values))
