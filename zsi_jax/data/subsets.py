"""Which records, and with what label: pure functions from attributes or scores to indices.

Label 1 is the upper end of an attribute and 0 the lower one, as a judge's score P(1) grows with the
attribute; −1 is unlabelled. Subsets that are chosen here name each record once, in ascending order;
only `balance` repeats any. Yaw is in degrees, positive to the image's left as in `portraits`: of
real images look at a few first, estimators differ in the sign.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zsi_jax.data import limits
from zsi_jax.data.chance import uniforms
from zsi_jax.data.errors import DataError
from zsi_jax.data.support import inside

NUMBERINGS = ('binary', 'peer')  # of corners


@dataclasses.dataclass(frozen=True, eq=False)
class Subset:
  """Numbers of records, and the label of each."""

  index: np.ndarray  # int64 [n]
  label: np.ndarray  # int32 [n]: −1 where unlabelled

  def __post_init__(self) -> None:
    index, label = np.asarray(self.index), np.asarray(self.label)
    if index.ndim != 1 or not index.size or index.shape != label.shape:
      raise DataError(
        f'a subset has a label for each of its records, not {label.shape} for {index.shape}'
      )
    if (
      index.dtype.kind not in 'iu'
      or label.dtype.kind not in 'iub'
      or index.min() < 0
      or label.min() < -1
    ):
      raise DataError('a subset has whole numbers of records from 0 on, and labels from -1 on')
    object.__setattr__(self, 'index', index.astype(np.int64))
    object.__setattr__(self, 'label', label.astype(np.int32))

  def __len__(self) -> int:
    return len(self.index)

  def of(self, n: int) -> Subset:
    """Itself, of a data set of n records."""
    if self.index.max() >= n:
      raise DataError(f'a subset with record {self.index.max()} of a data set of {n}')
    return self


def column(name: str, values: Any, n: int | None = None) -> np.ndarray:
  """One finite number for each record, [N]."""
  values = np.asarray(values)
  if values.ndim != 1 or values.dtype.kind not in 'iufb' or not values.size:
    raise DataError(f'{name}: one number for each record, not {values.dtype} {values.shape}')
  if n is not None and len(values) != n:
    raise DataError(f'{name}: {len(values)} numbers for {n} records')
  wrong = np.flatnonzero(~np.isfinite(values))
  if wrong.size:
    raise DataError(
      f'{name}: {wrong.size} of {values.size} are NaN or infinite; the first is record {wrong[0]}'
    )
  return values


def join(what: str, *sides: np.ndarray, unlabelled: np.ndarray | None = None) -> Subset:
  """Records of label 0, 1, … and of none; every label must have some."""
  if not all(len(side) for side in sides):
    counts = ', '.join(f'{len(side)} of label {k}' for k, side in enumerate(sides))
    raise DataError(f'{what}: {counts}; each needs at least one')
  loose = np.zeros(0, np.int64) if unlabelled is None else unlabelled
  index = np.concatenate([*sides, loose]).astype(np.int64)
  label = np.repeat([*range(len(sides)), -1], [*map(len, sides), len(loose)]).astype(np.int32)
  order = np.argsort(index, kind='stable')
  return Subset(index[order], label[order])


def labelled(index: np.ndarray, labels: np.ndarray | None = None) -> Subset:
  """A list of records with the labels that `labels` [N] gives them, or with none."""
  subset = Subset(index, np.full(np.shape(index), -1))
  if labels is None:
    return subset
  labels = column('labels', labels)
  if (labels != np.round(labels)).any():
    raise DataError('labels are whole numbers; of scores use within, tails or top_k')
  return Subset(subset.index, labels[subset.of(len(labels)).index].astype(np.int32))


def either(one: np.ndarray, zero: np.ndarray) -> np.ndarray:
  """Labels [N]: 1 where only `one` holds, 0 where only `zero`, else −1 (black or blond hair)."""
  one = column('one', one) > 0
  zero = column('zero', zero, len(one)) > 0
  return np.where(one == zero, -1, one).astype(np.int32)


def within(values: np.ndarray, delta: float = 0.1) -> Subset:
  """Extremes by value: [0, δ] is 0 and [1 − δ, 1] is 1, ends included."""
  values = column('values', values)
  if not 0 <= delta < 0.5:
    raise DataError(f'delta {delta} is not in [0, .5): the two sides would meet')
  wrong = np.flatnonzero((values < 0) | (values > 1))
  if wrong.size:
    raise DataError(
      f'values: {wrong.size} lie outside [0, 1]; the first is record {wrong[0]} with '
      f'{values[wrong[0]]:g}'
    )
  low, high = inside(values, ((0, delta),)), inside(values, ((1 - delta, 1),))
  return join(f'values within {delta:g} of the ends', np.flatnonzero(low), np.flatnonzero(high))


def tails(values: np.ndarray, share: float = 0.2) -> Subset:
  """Extremes by rank: the smallest and the largest `share` of all records (rounded down)."""
  values = column('values', values)
  if not 0 < share <= 0.5:
    raise DataError(f'a share of {share} on each side is not in (0, .5]')
  return top_k(values, int(share * len(values) + 1e-9))


def top_k(scores: np.ndarray, k: int | tuple[int, int], among: Subset | None = None) -> Subset:
  """The k lowest scores are 0 and the k highest are 1; k may be a pair, low then high.

  Of equal scores the low side takes the smaller index and the high side the larger one, so that
  fewer are always a part of more. With `among` only its records are ranked, each within its
  own label if it has labels. The published scripts for age and hair sort the wrong way and keep
  the *least* certain records of class 0; that is not copied, read their lists instead.
  """
  scores = column('scores', scores)
  low, high = (k, k) if isinstance(k, int | np.integer) else k
  if min(low, high) < 1:
    raise DataError(f'k is {low} on the low side and {high} on the high side; at least 1 is needed')
  pool = np.arange(len(scores))
  zeros = ones = pool
  if among is not None:
    pool = np.unique(among.of(len(scores)).index)
    zeros, ones = (np.unique(among.index[among.label == side]) for side in (0, 1))
    if (among.label < 0).all():
      zeros = ones = pool
    elif not np.isin(among.label, (0, 1)).all():
      raise DataError(
        'top_k ranks within the labels 0 and 1, or a subset of which none is labelled'
      )
  if low > len(zeros) or high > len(ones) or (zeros is ones and low + high > len(pool)):
    have = f'{len(pool)}' if zeros is ones else f'{len(zeros)} of label 0, {len(ones)} of label 1'
    raise DataError(f'{low} on the low side and {high} on the high side are asked of {have}')
  lowest = zeros[np.argsort(scores[zeros], kind='stable')][:low]
  highest = ones[np.argsort(scores[ones], kind='stable')][len(ones) - high :]
  return join('top_k', lowest, highest)


def corners(a: Subset, b: Subset, numbering: str = 'binary') -> Subset:
  """Records extreme in both: label 2·a + b, or with 'peer' 3 − (2·a + b).

  The published lists number smiling and black-haired 0, smiling and not 1, black and not smiling
  2, neither 3: `corners(smile, black, 'peer')`.
  """
  limits.one_of('numbering', numbering, NUMBERINGS)
  a, b = _once(a), _once(b)
  if not np.isin(np.concatenate([a.label, b.label]), (0, 1)).all():
    raise DataError('corners are of two subsets with the labels 0 and 1')
  _, i, j = np.intersect1d(a.index, b.index, assume_unique=True, return_indices=True)
  corner = 2 * a.label[i] + b.label[j]
  corner = 3 - corner if numbering == 'peer' else corner
  return join('corners', *(a.index[i][corner == c] for c in range(4)))


def _once(subset: Subset) -> Subset:
  """Each record once, in ascending order."""
  index, at = np.unique(subset.index, return_index=True)
  return Subset(index, subset.label[at])


def balance(subset: Subset, rates: str | Mapping[int, int] | None = None) -> Subset:
  """Rarer labels repeated until all are as frequent: each record n or n + 1 times, spread evenly.

  `rates` repeats by whole numbers instead, as the peer does: '0:2,1:1'. Unlabelled ones stay once.
  """
  times = np.ones(len(subset.index), np.int64)
  found, counts = np.unique(subset.label[subset.label >= 0], return_counts=True)
  if not found.size:
    raise DataError('balance: no record has a label')
  if isinstance(rates, str):
    if not re.fullmatch(r'\d+:\d+(,\d+:\d+)*', rates):
      raise DataError(f"balance: rates are 'label:times,…' such as '0:2,1:1', not {rates!r}")
    rates = {int(pair.split(':')[0]): int(pair.split(':')[1]) for pair in rates.split(',')}
  if rates is not None and (set(rates) != {*found.tolist()} or min(rates.values()) < 1):
    raise DataError(f'balance: rates {dict(rates)} for labels {found.tolist()}, each at least 1')
  for label, count in zip(found.tolist(), counts, strict=True):
    total = counts.max() if rates is None else rates[label] * count
    times[subset.label == label] = np.diff(np.arange(count + 1) * total // count)
  return Subset(np.repeat(subset.index, times), np.repeat(subset.label, times))


def nested(
  subset: Subset,
  sizes: Sequence[int] = (60_000, 30_000, 10_000, 5_000),
  scores: np.ndarray | None = None,
  seed: int | None = None,
) -> dict[int, Subset]:
  """Of each size half on each side, every one a part of the larger ones.

  By `scores` the most extreme stay (as in the paper), by `seed` any: one of the two is given.
  """
  if (scores is None) == (seed is None):
    raise ValueError('nested takes scores, or a seed for parts at random')
  if seed is not None:
    if (subset.label < 0).any():
      raise DataError('nested at random: every record needs a label')
    scores = uniforms(seed, 0, int(subset.index.max()) + 1)
  assert scores is not None
  return {size: top_k(scores, (size // 2, size - size // 2), subset) for size in sizes}


def split_a(
  yaw: np.ndarray, extreme: float = 30.0, dropped: float = 0.2, dropping: str = 'mildest'
) -> Subset:
  """Extreme right (yaw ≤ −`extreme`) is 0 and extreme left (≥ `extreme`) is 1.

  Then the share `dropped` of each side goes: the 'mildest', or the 'outermost', since the report
  says both. It also counts the mildest from 25° on: `extreme=25`.
  """
  yaw = _degrees(yaw)
  if dropping not in ('mildest', 'outermost') or not 0 <= dropped < 1 or extreme <= 0:
    raise DataError(
      f'split A: extreme {extreme} > 0, dropped {dropped} in [0, 1), dropping {dropping!r} '
      "'mildest' or 'outermost'"
    )
  return join('split A', *(_beyond(yaw, s, extreme, dropped, dropping) for s in (-1, 1)))


def split_b(
  yaw: np.ndarray,
  share: float = 0.05,
  frontal: float = 10.0,
  seed: int = 0,
  extreme: float = 30.0,
  dropped: float = 0.2,
  dropping: str = 'mildest',
) -> tuple[Subset, Subset]:
  """The denoiser's and the classifier's subset: split A, and in the denoiser's frontal ones too.

  A `share` of the denoiser's records (rounded down) have |yaw| ≤ `frontal` and no label; which ones
  is by `seed`. The report gives 'around 5 %' and no band.
  """
  sides = split_a(yaw, extreme, dropped, dropping)
  if not 0 < share < 1 or not 0 <= frontal < extreme:
    raise DataError(f'split B: share {share} in (0, 1), frontal {frontal} in [0, {extreme:g})')
  front = np.flatnonzero(np.abs(_degrees(yaw)) <= frontal)
  count = int(share / (1 - share) * len(sides) + 1e-9)
  if not 1 <= count <= len(front):
    raise DataError(
      f'split B: {count} frontal records are {share:.1%} beside {len(sides)} extreme ones; '
      f'{len(front)} have |yaw| <= {frontal:g}, and at least 1 is needed'
    )
  drawn = front[np.argsort(uniforms(seed, 0, len(front)), kind='stable')[:count]]
  zeros, ones = (sides.index[sides.label == side] for side in (0, 1))
  return join('split B', zeros, ones, unlabelled=drawn), sides


def split_c(
  yaw: np.ndarray,
  slight: tuple[float, float] = (-15.0, -5.0),
  extreme: float = 30.0,
  dropped: float = 0.2,
  dropping: str = 'mildest',
) -> Subset:
  """Slightly right, almost frontal (yaw in `slight`) is 0 and extreme left is 1.

  The report gives no band for 'slightly right'.
  """
  yaw = _degrees(yaw)
  if not -extreme < slight[0] <= slight[1] <= 0:
    raise DataError(f'split C: slight {slight} lies in (−{extreme:g}, 0], the milder end last')
  near = np.flatnonzero(inside(yaw, (slight,)))
  return join('split C', near, _beyond(yaw, 1, extreme, dropped, dropping))


def _beyond(
  yaw: np.ndarray, side: int, extreme: float, dropped: float, dropping: str
) -> np.ndarray:
  """Records beyond ±extreme on one side, but for a share of them."""
  turned = np.flatnonzero(side * yaw >= extreme)
  turned = turned[np.argsort(side * yaw[turned], kind='stable')]
  gone = int(dropped * len(turned) + 1e-9)
  return turned[gone:] if dropping == 'mildest' else turned[: len(turned) - gone]


def _degrees(yaw: np.ndarray) -> np.ndarray:
  yaw = column('yaw', yaw)
  if np.abs(yaw).max() > 180:
    raise DataError(f'yaw: {np.abs(yaw).max():g} is no angle in degrees')
  return yaw
