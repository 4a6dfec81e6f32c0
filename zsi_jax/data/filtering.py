"""Extremes of records with a yes-or-no label, by judges: Deschenaux et al., §4.3, D.1 and D.3.

Scores are P(1 | x). p(y) is the probability of a record's own label.
  (1) S  = {p_judge(y) > τ1}                          confident, and right by the label
  (2) S' = {min over the ensemble of p_k(y) > τ2}     all agree; of S, or of all records
  (3) S* = the k most extreme of S' on each side: `subsets.top_k(scores, k, among=S')`
  (4) τ1, τ2: the least of precision 1 on records that were labelled by hand and trained nobody
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from zsi_jax.data.chance import uniforms
from zsi_jax.data.errors import DataError
from zsi_jax.data.subsets import Subset, column, join

APART, PARTS = 4, 5  # streams of chance


def agree(
  label: np.ndarray,
  judge: np.ndarray,
  ensemble: np.ndarray,
  tau: tuple[float, float] = (0.95, 0.9999),
  over: str = 'confident',
) -> Subset:
  """S' of (2) with its labels; `over='confident'` filters S, as the paper, 'all' the whole set.

  The published code filters the whole set. τ are its own numbers; the paper names none, it takes
  them from `threshold`. Records labelled −1 belong to neither side and are left out.
  """
  label = column('label', label)
  if over not in ('confident', 'all'):
    raise ValueError(f"over is 'confident' or 'all', not {over!r}")
  if not all(0.5 <= t < 1 for t in tau):
    raise DataError(f'tau {tau}: both are in [.5, 1)')
  if not np.isin(label, (-1, 0, 1)).all():
    raise DataError('agree: labels are 0, 1 or −1')
  first = own('judge', np.asarray(judge)[None], label) > tau[0]
  every = own('ensemble', ensemble, label) > tau[1]
  kept = (every & first if over == 'confident' else every) & (label >= 0)
  what = (
    f'agreement above {tau[0]:g} and {tau[1]:g} ({first.sum()} and {every.sum()} of {len(label)})'
  )
  return join(what, *(np.flatnonzero(kept & (label == side)) for side in (0, 1)))


def own(name: str, scores: np.ndarray, label: np.ndarray) -> np.ndarray:
  """min over models of p(label): [M, N] -> [N]."""
  scores = np.asarray(scores)
  if scores.ndim != 2 or not len(scores):
    raise DataError(f'{name}: scores are [models, records], not {scores.shape}')
  rows = [column(f'{name} {k}', row, len(label)).astype(np.float64) for k, row in enumerate(scores)]
  stack = np.stack(rows)
  if stack.min() < 0 or stack.max() > 1:
    raise DataError(f'{name}: scores {stack.min():g} … {stack.max():g} are no probabilities')
  return np.where(label == 1, stack, 1 - stack).min(0)


def threshold(scores: np.ndarray, truth: np.ndarray, names: Sequence[str] | None = None) -> float:
  """The least τ ≥ ½ such that all that is predicted with p > τ is right: precision 1.

  `scores`: P(1) on records labelled by hand, [N], or [M, N] of an ensemble that must agree.
  `names` of these records are for the error.
  """
  truth = column('truth', truth)
  if not np.isin(truth, (0, 1)).all():
    raise DataError('threshold: the truth is 0 or 1')
  scores = np.atleast_2d(np.asarray(scores))
  right, wrong = own('scores', scores, truth), own('scores', scores, 1 - truth.astype(int))
  tau = float(max(0.5, wrong.max()))
  kept = [int(((right > tau) & (truth == side)).sum()) for side in (0, 1)]
  if not all(kept):
    worst = int(wrong.argmax())
    name = worst if names is None else names[worst]
    raise DataError(
      f'no threshold has precision 1: record {name} is of label {truth[worst]:g} and taken for '
      f'the other with p = {wrong[worst]:.6g}; above {tau:.6g} lie {kept[0]} of '
      f'{(truth == 0).sum()} records of label 0 and {kept[1]} of {(truth == 1).sum()} of label 1. '
      'Check its label, or train a better judge'
    )
  return tau


def apart(label: np.ndarray, share: float, seed: int) -> np.ndarray:
  """bool [N]: that share of each label, at random (rounded down), on which no judge is trained."""
  label, found = column('label', label), np.zeros(len(label), bool)
  if not 0 <= share < 1:
    raise DataError(f'a share of {share} apart is not in [0, 1)')
  rank = uniforms(seed, 0, len(label), APART)
  for side in np.unique(label[label >= 0]):
    index = np.flatnonzero(label == side)
    index = index[np.argsort(rank[index], kind='stable')]
    found[index[: int(share * len(index) + 1e-9)]] = True
  return found


def parts(subset: Subset, n: int, seed: int) -> list[Subset]:
  """n disjoint parts at random; of each label all have the same number, or one more."""
  rank = uniforms(seed, 0, len(subset), PARTS)
  order = np.argsort(rank, kind='stable')
  sides = [order[subset.label[order] == side] for side in (0, 1)]
  if min(map(len, sides)) < n:
    raise DataError(
      f'{n} parts of {len(sides[0])} records of label 0 and {len(sides[1])} of label 1: each part '
      'needs one of both at least'
    )
  every = [np.sort(np.concatenate([side[k::n] for side in sides])) for k in range(n)]
  return [Subset(subset.index[part], subset.label[part]) for part in every]


def candidates(scores: np.ndarray, label: np.ndarray, pool: np.ndarray, n: int = 200) -> np.ndarray:
  """Records of `pool` that a person should label: of each label n/2 of which the judge is sure.

  Of those on which it is surer than on half of their label, evenly over its scores, ends included:
  the thresholds hang on where it is surest that a label is wrong. int64, by label and score.
  """
  found = []
  for side in (0, 1):
    index = pool[label[pool] == side]
    sure = np.abs(scores[index] - 0.5)
    index = index[sure >= np.median(sure)] if len(index) else index
    index = index[np.argsort(scores[index], kind='stable')]
    at = np.linspace(0, len(index) - 1, min(n // 2, len(index))).round().astype(int)
    found.append(index[at])
  return np.concatenate(found)


def chernoff(n: int, p: float, k: int) -> float:
  """P(X ≥ k) ≤ e^(k − μ) (μ/k)^k for X ~ Binomial(n, p), k > μ = n·p; else 1.

  With n = 60,000, p = .15⁵: .0892, 5.9e−4, 7.2e−7 for k = 10, 15, 20. D.3 prints .089, 5e−4
  (cut, not rounded) and 7.2e−7.
  """
  mean = _mean(n, p, k)
  return 1.0 if k <= mean else math.exp(k - mean + k * math.log(mean / k)) if mean else 0.0


def binomial_tail(n: int, p: float, k: int) -> float:
  """P(X ≥ k) itself, summed in logarithms: what `chernoff` bounds."""
  _mean(n, p, k)
  if k == 0 or p in (0.0, 1.0):
    return float(k == 0 or p == 1)
  j = np.arange(k, n + 1)
  steps = np.log(n - j[:-1]) - np.log(j[1:]) if len(j) > 1 else np.zeros(0)
  first = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
  logs = first + np.concatenate([[0.0], np.cumsum(steps)])
  logs += j * math.log(p) + (n - j) * math.log1p(-p)
  top = logs.max()
  return min(1.0, float(np.exp(logs - top).sum() * math.exp(top)))


def _mean(n: int, p: float, k: int) -> float:
  if not 1 <= n or not 0 <= p <= 1 or not 0 <= k <= n:
    raise ValueError(f'n = {n} >= 1, p = {p} in [0, 1] and k = {k} in 0 … n are needed')
  return n * p
