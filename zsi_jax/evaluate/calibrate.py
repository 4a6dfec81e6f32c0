"""Temperature scaling, ranks, and how far probabilities agree with what is true.

(1) nll(T) = -mean_n sum_k y_nk log softmax(l_n / T)_k;  y is one-hot, or the known P of each class
(2) T by L-BFGS on b = 1 / T, in which (1) is convex, from T = 1.5. In one dimension its memory is
    the slope of the last secant; a step that does not lower (1) is halved. Float64, on the host
(3) ece = sum_bins share_b |mean of p in b - mean of what was true in b|, 15 equal bins on [0, 1]
(4) ranks: P(z | x) is drawn to the middle by all that a judge cannot see, so the ends of a uniform
    set stay empty however well it is calibrated. F(P), F the distribution of P on records whose z
    is uniform, is uniform on every such set. F is linear between quantiles, logits against logits
(5) for a yes or no p is P(yes), which should be flat; for classes it is that of the chosen one
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from zsi_jax.evaluate import given
from zsi_jax.evaluate.errors import MetricError

START, BINS = 1.5, 15
LEAST, MOST = 0.01, 20.0  # 1 / T; near these no temperature was found, but an end
STEPS, HALVINGS, EXACT = 100, 40, 1e-12


LEVELS = *(0.005, 0.02, 0.05), *(k / 10 for k in range(1, 10)), *(0.95, 0.98, 0.995)
Knots = tuple[tuple[float, float], ...]  # (logit of P, logit of its rank)


class NoTemperature(MetricError):
  """No temperature lowers the error the most."""


class Bin(NamedTuple):
  """Of a reliability curve."""

  p: float  # mean probability said
  share: float  # of it that was true
  records: int


class Calibration(NamedTuple):
  """What a temperature changes: (before, after)."""

  temperature: float
  nll: tuple[float, float]
  ece: tuple[float, float]
  reliability: list[Bin]  # after


def calibrated(tuned: tuple[Any, Any], tested: tuple[Any, Any], yes: bool = False) -> Calibration:
  """T of the (logits, target) that tune it, and what it does to the others that test it.

  With `yes` logits [N] and targets [N] are of a yes, else logits [N, K] and labels [N].
  """
  T = temperature(*(yes_or_no(*tuned) if yes else classes(*tuned)))
  return at(T, tested, yes)


def at(T: float, tested: tuple[Any, Any], yes: bool = False) -> Calibration:
  """What a temperature does."""
  logits, target = yes_or_no(*tested) if yes else classes(*tested)
  curves = [reliability(*said(logits / t, target, yes)) for t in (1.0, T)]
  errors = ece(curves[0]), ece(curves[1])
  return Calibration(T, (nll(logits, target), nll(logits / T, target)), errors, curves[1])


def yes_or_no(logits: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
  """Logits of yes [N] and its P or answer [N], as two classes."""
  found = given.floats(logits, 'logits', 1, '[N]').astype(np.float64)
  z = given.scores(np.asarray(target, np.float64), 'targets')
  _same(found, z)
  return np.stack([np.zeros_like(found), found], 1), np.stack([1 - z, z], 1)


def classes(logits: Any, label: Any) -> tuple[np.ndarray, np.ndarray]:
  """Logits [N, K] and labels [N], as distributions."""
  found, label = given.floats(logits, 'logits', 2, '[N, K]').astype(np.float64), np.asarray(label)
  _same(found, label)
  K = found.shape[1]
  if label.dtype.kind not in 'iu' or label.min() < 0 or label.max() >= K:
    raise MetricError(f'labels are whole numbers from 0 to {K - 1}, as there are {K} logits')
  return found, np.eye(K)[label]


def _same(logits: np.ndarray, target: np.ndarray) -> None:
  if target.shape != logits.shape[:1]:
    raise MetricError(f'{len(logits)} rows of logits need as many targets, not {target.shape}')


def log_softmax(logits: np.ndarray) -> np.ndarray:
  moved = logits - logits.max(1, keepdims=True)
  return moved - np.log(np.exp(moved).sum(1, keepdims=True))


def nll(logits: np.ndarray, target: np.ndarray) -> float:
  """(1) at T = 1, of distributions [N, K]."""
  return float(-(target * log_softmax(logits)).sum(1).mean())


def temperature(logits: np.ndarray, target: np.ndarray, start: float = START) -> float:
  """(2), of logits and distributions [N, K]; a MetricError where none is best."""

  def look(b: float) -> tuple[float, float]:
    logp = log_softmax(logits * b)
    slope = ((np.exp(logp) - target) * logits).sum(1).mean()
    return float(-(target * logp).sum(1).mean()), float(slope)

  scale = float(np.abs(logits).mean()) or 1.0
  b, inverse = 1 / start, 1 / scale**2
  value, slope = look(b)
  for _ in range(STEPS):
    if abs(slope) <= EXACT * scale:
      break
    step = -inverse * slope
    for _ in range(HALVINGS):
      after, tilt = look(b + step) if LEAST < b + step < MOST else (np.inf, 0.0)
      if after <= value:
        break
      step /= 2
    else:
      break  # as low as float64 can tell
    bend = (tilt - slope) / step if step else 0.0
    inverse = 1 / bend if bend > 0 else 2 * inverse
    b, value, slope = b + step, after, tilt
  if not 2 * LEAST < b < MOST / 2:
    raise NoTemperature(
      f'no temperature lowers the error of these logits the most: they are '
      f'{"all right" if b > 1 else "no better than chance"} on {len(logits)} records. Take more of '
      'them, or train the judge otherwise'
    )
  return 1 / b


def said(logits: np.ndarray, target: np.ndarray, yes: bool) -> tuple[np.ndarray, np.ndarray]:
  """(5): p [N], and what was true [N]."""
  p = np.exp(log_softmax(logits))
  chosen = np.ones(len(p), int) if yes else p.argmax(1)
  rows = np.arange(len(p))
  return p[rows, chosen], target[rows, chosen]


def reliability(p: np.ndarray, true: np.ndarray, bins: int = BINS) -> list[Bin]:
  """Of each bin that is not empty."""
  place = np.minimum((p * bins).astype(int), bins - 1)
  inside = [place == b for b in range(bins)]
  return [Bin(float(p[i].mean()), float(true[i].mean()), int(i.sum())) for i in inside if i.any()]


def ece(curve: list[Bin]) -> float:
  """(3)"""
  total = sum(b.records for b in curve)
  return sum(b.records * abs(b.p - b.share) for b in curve) / total


def ranks(logits: np.ndarray) -> Knots:
  """(4), of the logits of a uniform set [N]."""
  at = np.quantile(given.floats(logits, 'logits', 1, '[N]').astype(np.float64), LEVELS)
  if not (np.diff(at) > 0).all():
    raise MetricError(
      f'{len(logits)} logits have quantiles that are equal: a judge that gives many records one '
      'score has no ranks. Train it on more, or with judge.ranked=False'
    )
  levels = np.array(LEVELS)
  return tuple(zip(at.tolist(), np.log(levels / (1 - levels)).tolist(), strict=True))


def ranked(logits: np.ndarray, knots: Knots) -> np.ndarray:
  """Logits of F(P); beyond the last knots as between the last two."""
  x, y = np.array(knots).T
  place = np.clip(np.searchsorted(x, logits) - 1, 0, len(x) - 2)
  slope = (y[place + 1] - y[place]) / (x[place + 1] - x[place])
  return np.asarray(y[place] + slope * (logits - x[place]))
