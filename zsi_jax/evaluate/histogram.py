"""How far scores in [0, 1] are from uniform: 100 bins, two distances, intervals, and the floor.

(1) l2 = sqrt(sum_i (p_i - 1/B)^2)     the papers print it as MSE; one bin .99499, two ends .7000
(2) kld = sum_i p_i ln(p_i B)          nats; one bin 4.60517, two equal end bins 3.91202
(3) 'fixed': B bins on [0, 1].  'peer': B bins on [min p, max p], as the published scripts count
(4) floor: the mean of (1) and (2) over truly uniform samples of the same N; for 'fixed'
    E l2^2 = (1 - 1/B) / N and E kld ~ (B - 1) / (2 N)
(5) a resample is rougher than its sample by as much as that is than its source, so intervals are
    the percentiles of resamples less their mean excess: where the score of another N would fall.
    For 'peer' they are too narrow where the least and the largest score are rare
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from zsi_jax.evaluate import given
from zsi_jax.evaluate.errors import MetricError

BINS = 100
MILD = 0.2, 0.8
MIDDLE = 0.49, 0.51
UNIFORMS = 400  # samples that a floor is the mean of: its error is 0.4 % of it


class Score(NamedTuple):
  """Distances to uniform with 95 % intervals and floors, and the shares of the middle."""

  l2: float
  kld: float
  l2_low: float
  l2_high: float
  kld_low: float
  kld_high: float
  floor_l2: float
  floor_kld: float
  n: int
  mild: float  # share in [.2, .8]
  middle: float  # share in [.49, .51]


def counts(p: Any, bins: int = BINS, how: str = 'fixed') -> np.ndarray:
  """(3), int64 [bins]."""
  return _counts(given.scores(p), _checked(bins, how), how)


def distances(counts: Any) -> tuple[np.ndarray, np.ndarray]:
  """(1) and (2) of counts [..., B]."""
  found = np.asarray(counts, np.float64)
  p = found / found.sum(axis=-1, keepdims=True)
  bins = p.shape[-1]
  l2 = np.sqrt(((p - 1 / bins) ** 2).sum(axis=-1))
  return l2, (p * np.log(np.where(p > 0, p * bins, 1))).sum(axis=-1)


@functools.lru_cache(maxsize=256)
def floor(n: int, bins: int = BINS, how: str = 'fixed', seed: int = 0) -> tuple[float, float]:
  """(4): l2 and kld that n truly uniform scores have on average."""
  rng = np.random.default_rng([seed, n])
  if _checked(bins, how) and how == 'fixed':
    drawn = rng.multinomial(n, np.full(bins, 1 / bins), UNIFORMS)
  else:
    drawn = np.stack([_counts(rng.random(n), bins, how) for _ in range(UNIFORMS)])
  l2, kld = distances(drawn)
  return float(l2.mean()), float(kld.mean())


def share(p: Any, low: float, high: float) -> float:
  """Of scores in [low, high]."""
  found = given.scores(p)
  return float(((found >= low) & (found <= high)).mean())


def score(
  p: Any, bins: int = BINS, how: str = 'fixed', bootstrap: int = 1000, seed: int = 0
) -> Score:
  """Everything of (1-5) for scores p [N]; without resamples (`bootstrap=0`) intervals are NaN."""
  found = given.scores(p)
  n = len(found)
  if n < _checked(bins, how):
    raise MetricError(
      f'{n} scores and {bins} bins: with fewer scores than bins the distance to uniform is noise; '
      f'draw {bins} or more, or give fewer bins'
    )
  rng = np.random.default_rng([seed, n])
  here = _counts(found, bins, how)
  if how == 'fixed':
    drawn = rng.multinomial(n, here / n, bootstrap)
  else:
    again = (found[rng.integers(n, size=n)] for _ in range(bootstrap))
    drawn = np.array([_counts(q, bins, how) for q in again]).reshape(bootstrap, bins)
  l2, kld = (float(v) for v in distances(here))
  by_l2, by_kld = distances(drawn)
  shares = share(found, *MILD), share(found, *MIDDLE)
  return Score(
    l2, kld, *_interval(l2, by_l2), *_interval(kld, by_kld), *floor(n, bins, how), n, *shares
  )


def _interval(value: float, drawn: np.ndarray) -> tuple[float, float]:
  """(5)"""
  if not len(drawn):
    return float('nan'), float('nan')
  low, high = np.percentile(drawn - drawn.mean(), [2.5, 97.5]) + value
  return max(float(low), 0.0), float(high)


def _counts(p: np.ndarray, bins: int, how: str) -> np.ndarray:
  return np.histogram(p, bins, (0, 1) if how == 'fixed' else None)[0]


def _checked(bins: int, how: str) -> int:
  if how not in ('fixed', 'peer'):
    raise MetricError(
      f"how is 'fixed' (bins on [0, 1]) or 'peer' (on the scores' range), not {how!r}"
    )
  if bins < 2:
    raise MetricError(f'a histogram has at least two bins, not {bins}')
  return bins
