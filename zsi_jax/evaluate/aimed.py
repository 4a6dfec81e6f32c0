"""Asked for against got: how well a target in [0, 1] is met, and a dial that meets it better.

(1) rank correlation: Pearson's of the ranks, ties at their mean rank (Spearman)
(2) dial: got as a function of asked, made monotone by pooling adjacent violators, so that it can be
    read backwards: to get z, ask for dial^-1(z)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Curve(NamedTuple):
  """Of each bin of what was asked for; NaN where nothing was."""

  asked: np.ndarray  # [bins] middle of the bin
  got: np.ndarray  # mean
  low: np.ndarray  # 10 % of the examples lie below
  high: np.ndarray  # and 10 % above
  number: np.ndarray  # of examples


def pairs(asked: np.ndarray, got: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Those of which both are known."""
  asked, got = (np.asarray(a, np.float64).ravel() for a in (asked, got))
  if asked.shape != got.shape:
    raise ValueError(f'{len(asked)} targets and {len(got)} values: one value for each target')
  known = np.isfinite(asked) & np.isfinite(got)
  if known.sum() < 2:
    raise ValueError('fewer than two examples have both a target and a value')
  return asked[known], got[known]


def ranks(values: np.ndarray) -> np.ndarray:
  """0 … n-1 in rising order; equal values share the mean of theirs."""
  _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
  ends = np.cumsum(counts)
  mean: np.ndarray = (ends - (counts + 1) / 2)[inverse]
  return mean


def correlation(asked: np.ndarray, got: np.ndarray) -> float:
  """(1); NaN where either is constant."""
  a, b = map(ranks, pairs(asked, got))
  a, b = a - a.mean(), b - b.mean()
  scale = np.sqrt((a @ a) * (b @ b))
  return float(a @ b / scale) if scale else float('nan')


def error(asked: np.ndarray, got: np.ndarray) -> float:
  """Root mean square of the difference."""
  a, b = pairs(asked, got)
  return float(np.sqrt(np.mean((a - b) ** 2)))


def curve(asked: np.ndarray, got: np.ndarray, bins: int = 20) -> Curve:
  """Mean and spread of what was got, by what was asked for in [0, 1]."""
  a, b = pairs(asked, got)
  if a.min() < 0 or a.max() > 1:
    raise ValueError(f'targets lie in [0, 1], not {a.min():g} … {a.max():g}')
  at = np.minimum((a * bins).astype(int), bins - 1)
  parts = [b[at == k] for k in range(bins)]

  def at_share(share: float) -> np.ndarray:
    return np.array([np.quantile(p, share) if len(p) else np.nan for p in parts])

  mean = np.array([p.mean() if len(p) else np.nan for p in parts])
  number = np.array([len(p) for p in parts])
  return Curve((np.arange(bins) + 0.5) / bins, mean, at_share(0.1), at_share(0.9), number)


class Dial(NamedTuple):
  """(2): got rises with asked."""

  asked: np.ndarray
  got: np.ndarray

  def __call__(self, wanted: np.ndarray) -> np.ndarray:
    """What to ask for; beyond what was ever got, its end."""
    told: np.ndarray = np.interp(wanted, self.got, self.asked)
    return told


def dial(asked: np.ndarray, got: np.ndarray, bins: int = 40) -> Dial:
  """By the means of bins of equal numbers of examples."""
  a, b = pairs(asked, got)
  order = np.argsort(a, kind='stable')
  parts = np.array_split(order, min(bins, len(order)))
  middles = np.array([a[p].mean() for p in parts])
  means = monotone(np.array([b[p].mean() for p in parts]), np.array([len(p) for p in parts]))
  keep = np.concatenate([[True], np.diff(means) > 1e-9])  # read backwards it must be a function
  return Dial(middles[keep], means[keep])


def monotone(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """The nearest rising values, by pooling adjacent violators."""
  blocks = list[list[float]]()  # mean, weight, members
  for value, weight in zip(values, weights, strict=True):
    blocks.append([float(value), float(weight), 1])
    while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
      m1, w1, n1 = blocks.pop()
      m0, w0, n0 = blocks.pop()
      blocks.append([(m0 * w0 + m1 * w1) / (w0 + w1), w0 + w1, n0 + n1])
  return np.repeat([b[0] for b in blocks], [int(b[2]) for b in blocks])
