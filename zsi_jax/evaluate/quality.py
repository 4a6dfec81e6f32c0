"""Two sets of features against each other, in float64 on the host.

(1) FID = |m1 − m2|² + tr S1 + tr S2 − 2 tr (S1 S2)^½,  tr (S1 S2)^½ = Σ √eig(√S1 S2 √S1)
(2) KID: the unbiased MMD² with the kernel (x·y / D + 1)³, mean and deviation over random subsets
(3) precision: the share of fakes within some real one's k-th neighbour distance; recall: the
    share of real ones within some fake's
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from zsi_jax.evaluate import given
from zsi_jax.evaluate.distances import squared
from zsi_jax.evaluate.errors import MetricError

BLOCK = 10_000  # rows in float64 at a time


class Moments(NamedTuple):
  """A Gaussian's: all that FID asks of a set."""

  n: int
  mean: np.ndarray  # [D]
  cov: np.ndarray  # [D, D], of n − 1

  @classmethod
  def of(cls, features: Any, what: str = 'features') -> Moments:
    x = given.features(features, what, least=2)
    mean = x.mean(axis=0, dtype=np.float64)
    cov = np.zeros((x.shape[1], x.shape[1]))
    for at in range(0, len(x), BLOCK):
      part = x[at : at + BLOCK] - mean
      cov += part.T @ part
    return cls(len(x), mean, cov / (len(x) - 1))


class Kid(NamedTuple):
  """Mean and deviation over subsets; slightly negative where the sets are alike."""

  mean: float
  std: float


class Coverage(NamedTuple):
  """(3)"""

  precision: float
  recall: float


def fid(x: Any, y: Any) -> float:
  """(1) of two sets of features [N, D], or their Moments."""
  a, b = (
    v if isinstance(v, Moments) else Moments.of(v, what)
    for v, what in ((x, 'features of the first set'), (y, 'features of the second set'))
  )
  given.same_width(a.mean[None], b.mean[None], 'features of the first set', 'of the second')
  values, vectors = np.linalg.eigh(a.cov)
  root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
  cross = np.linalg.eigvalsh(root @ b.cov @ root)
  shift = a.mean - b.mean
  total = shift @ shift + np.trace(a.cov) + np.trace(b.cov) - 2 * np.sqrt(cross.clip(0)).sum()
  return max(float(total), 0.0)


def kid(x: Any, y: Any, subsets: int = 100, size: int = 1000, seed: int = 2020) -> Kid:
  """(2); seed and draws are torch-fidelity's."""
  first, second = 'features of the first set', 'features of the second set'
  if size < 2 or subsets < 1:
    raise MetricError(f'KID takes subsets of two or more, not {subsets} of {size}')
  x, y = given.features(x, first), given.features(y, second)
  given.same_width(x, y, first, second)
  if (n := min(len(x), len(y))) < size:
    raise MetricError(f'KID takes subsets of {size}, and one set has {n}: give size={n} or less')
  rng = np.random.RandomState(seed)
  values = []
  for _ in range(subsets):
    picked = (v[rng.choice(len(v), size, replace=False)].astype(np.float64) for v in (x, y))
    values.append(_mmd(*picked))
  return Kid(float(np.mean(values)), float(np.std(values)))


def _mmd(x: np.ndarray, y: np.ndarray) -> float:
  """Without the diagonals within a set, so that equal distributions give 0 on average."""
  n, width = x.shape

  def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / width + 1) ** 3

  xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
  within = xx.sum() - xx.trace() + yy.sum() - yy.trace()
  return float(within / (n * (n - 1)) - 2 * xy.mean())


def precision_recall(real: Any, fake: Any, k: int = 3) -> Coverage:
  """(3); a row is not its own neighbour."""
  if k < 1:
    raise MetricError(f'precision and recall take k = 1 or more neighbours, not {k}')
  real = given.features(real, 'features of the real set', k + 1)
  fake = given.features(fake, 'features of the fake set', k + 1)
  given.same_width(real, fake, 'features of the real set', 'of the fake set')
  of_real, of_fake = _radii(real, k), _radii(fake, k)
  precise, recalled = 0, np.zeros(len(real), bool)
  for rows, block in squared(fake, real):
    precise += int((block <= of_real).any(axis=1).sum())
    recalled |= (block <= of_fake[rows, None]).any(axis=0)
  return Coverage(precise / len(fake), float(recalled.mean()))


def _radii(x: np.ndarray, k: int) -> np.ndarray:
  """Squared distance of each row to its k-th neighbour; itself is number 0."""
  return np.concatenate([np.partition(block, k, axis=1)[:, k] for _, block in squared(x, x)])
