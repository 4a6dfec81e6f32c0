"""`split` and `support` of a config: the records of each role, their labels, and what is promised.

A kind is a function; its keyword arguments are the keys of the group beside `kind`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from zsi_jax.build.keys import ConfigError, near
from zsi_jax.build.records import Records
from zsi_jax.data import filtering, limits, subsets, support
from zsi_jax.data.subsets import Subset
from zsi_jax.data.support import Support

ROLES = 'denoiser', 'classifier'


@dataclasses.dataclass(frozen=True)
class Split:
  """The records of each role, and the attributes that their labels are made from."""

  denoiser: Subset
  classifier: Subset
  about: tuple[str, ...] = ()


def make(of: Records, kind: str, options: Mapping[str, Any]) -> Split:
  return splitter(kind)(of, **options)


def promised(kind: str, options: Mapping[str, Any], role: str) -> Support:
  return promiser(kind)(role, **options)


def splitter(kind: str) -> Callable[..., Split]:
  match kind:
    case 'all':
      return everything
    case 'chosen':
      return chosen
    case 'within':
      return within
    case 'tails':
      return tails
    case 'list':
      return listed
    case 'top_k':
      return top_k
    case 'agree':
      return agree
    case 'judged':
      return judged
    case 'extrapolated':
      return extrapolated
    case 'yaw_a':
      return yaw_a
    case 'yaw_b':
      return yaw_b
    case 'yaw_c':
      return yaw_c
  kinds = 'all chosen within tails list top_k agree judged extrapolated yaw_a yaw_b yaw_c'.split()
  raise ConfigError(f'split.kind: there is no split {kind!r}{near(kind, kinds)}')


def promiser(kind: str) -> Callable[..., Support]:
  match kind:
    case 'all':
      return lambda role: support.everything()
    case 'listed':
      return lambda role: support.listed()
    case 'extremes':
      return extremes
    case 'one_label':
      return one_label
    case 'turned':
      return turned
    case 'split_b':
      return split_b
    case 'split_c':
      return split_c
  kinds = 'all listed extremes one_label turned split_b split_c'.split()
  raise ConfigError(f'support.kind: there is no support {kind!r}{near(kind, kinds)}')


def both(subset: Subset, about: Sequence[str], balance: str | None = None) -> Split:
  """One subset for both roles; `balance='even'` repeats rarer labels, '0:2,1:1' as it says."""
  if balance is not None:
    subset = subsets.balance(subset, None if balance == 'even' else balance)
  return Split(subset, subset, tuple(about))


def everything(of: Records, *, label: str | None = None, balance: str | None = None) -> Split:
  """All records, with the labels that an attribute gives or with none."""
  index = np.arange(len(of.numbers))
  if label is None:
    return both(subsets.labelled(index), ())
  return both(subsets.labelled(index, of.column(label)), (label,), balance)


def chosen(of: Records, *, label: str, values: Sequence[int], balance: str | None = None) -> Split:
  """Records whose attribute is one of `values`; their label is its place there."""
  column = of.column(label)
  sides = [np.flatnonzero(column == value) for value in values]
  return both(subsets.join(f'{label} of {tuple(values)}', *sides), (label,), balance)


def within(
  of: Records,
  *,
  attributes: Sequence[str],
  delta: float = 0.1,
  size: int | None = None,
  numbering: str = 'binary',
  balance: str | None = None,
) -> Split:
  """[0, δ] and [1 − δ, 1] of an attribute, or the four corners of two; `size` keeps so many.

  The most extreme of one attribute are kept, so that fewer are always a part of more.
  """
  parts = [subsets.within(of.column(name), delta) for name in attributes]
  found = _joined(parts, numbering)
  if size is not None:
    if len(parts) != 1:
      raise ConfigError('split.size keeps the most extreme of one attribute, not of two')
    found = subsets.nested(found, (size,), of.column(attributes[0]))[size]
  return both(found, attributes, balance)


def tails(of: Records, *, attributes: Sequence[str], share: float = 0.2) -> Split:
  """The smallest and the largest share of all records, by one attribute or two."""
  return both(_joined([subsets.tails(of.column(a), share) for a in attributes]), attributes)


def _joined(parts: Sequence[Subset], numbering: str = 'binary') -> Subset:
  if len(parts) not in (1, 2):
    raise ConfigError(f'split.attributes names one attribute or two, not {len(parts)}')
  limits.one_of('split.numbering', numbering, subsets.NUMBERINGS)
  return parts[0] if len(parts) == 1 else subsets.corners(parts[0], parts[1], numbering)


def listed(
  of: Records,
  *,
  list: str,
  label: str | Sequence[str],
  duplicates: str = 'keep',
  numbering: str = 'peer',
  balance: str | None = None,
) -> Split:
  """The records of an index list, labelled by an attribute, or by the corners of two."""
  index = of.listed(list, duplicates)
  names = (label,) if isinstance(label, str) else tuple(label)
  parts = [subsets.labelled(index, of.column(name)) for name in names]
  return both(_joined(parts, numbering), names, balance)


def top_k(
  of: Records,
  *,
  k: int,
  scores: str | None = None,
  column: str = 'score',
  attribute: str | None = None,
) -> Split:
  """The k lowest and the k highest, by the scores of a sheet or by an attribute."""
  if (scores is None) == (attribute is None):
    raise ConfigError('split.scores (a CSV) or split.attribute says what top_k ranks: one of them')
  values = of.scores(scores, column) if scores is not None else of.column(str(attribute))
  return both(subsets.top_k(values, k), () if attribute is None else (attribute,))


def agree(
  of: Records,
  *,
  label: str,
  judge: str,
  ensemble: Sequence[str],
  column: str = 'score',
  tau: tuple[float, float] = (0.95, 0.9999),
  over: str = 'confident',
  k: int | None = None,
  balance: str | None = None,
) -> Split:
  """Where a judge and all of an ensemble agree with the label; of them the judge's k a side."""
  scores = of.scores(judge, column)
  every = np.stack([of.scores(name, column) for name in ensemble])
  found = filtering.agree(of.column(label), scores, every, tau, over)
  found = found if k is None else subsets.top_k(scores, k, found)
  return both(found, (label,), balance)


def judged(
  of: Records,
  *,
  label: str,
  scores: str | None = None,
  column: str = 'score',
  holdout: str | None = None,
  tau: tuple[float, float] | None = None,
  judges: int = 5,
  over: str = 'confident',
  k: int | None = None,
  apart: float = 0.1,
  balance: str | None = None,
) -> Split:
  """As `agree`, by judges that `prepare` trains; `stages/filtering.py` says how.

  Of the thresholds `tau` are the least, and the marks of a `holdout` sheet raise them to precision
  1. `scores` is the sheet of a model from elsewhere, instead of the first judge. No judge is
  trained on the share `apart`, from which the records to label by hand are proposed.
  """
  yes_or_no = of.yes_or_no(label)
  limits.real('split.apart', apart, 0, 0.9)
  limits.whole('split.judges', judges, 1)
  if k is not None:
    limits.whole('split.k', k, 1)
  limits.one_of('split.over', over, ('confident', 'all'))
  if tau is not None and not all(0.5 <= t < 1 for t in tau):
    raise ConfigError(f'split.tau = {tau}: both are in [.5, 1)')
  if holdout is not None:
    of.marked(holdout)
  if scores is not None:
    of.scores(scores, column)
  if of.judged is not None:
    return both(of.judged, (label,), balance)
  return both(subsets.labelled(np.flatnonzero(yes_or_no >= 0), yes_or_no), (label,))


def extrapolated(of: Records, *, label: str, seen: int = 0) -> Split:
  """The denoiser sees the records of one label, without it; the classifier all, with theirs."""
  column = of.column(label)
  wide = subsets.labelled(np.flatnonzero(column >= 0), column)
  if not (wide.label == seen).any() or (wide.label == seen).all():
    raise ConfigError(f'split.seen = {seen}: some records have that {label}, and some another')
  return Split(subsets.labelled(wide.index[wide.label == seen]), wide, (label,))


def yaw_a(
  of: Records,
  *,
  attribute: str = 'yaw',
  extreme: float = 30.0,
  dropped: float = 0.2,
  dropping: str = 'mildest',
) -> Split:
  """Miele's split A: extreme right and extreme left."""
  yaw = of.column(attribute)
  return both(subsets.split_a(yaw, extreme, dropped, dropping), (attribute,))


def yaw_b(
  of: Records,
  *,
  attribute: str = 'yaw',
  extreme: float = 30.0,
  dropped: float = 0.2,
  dropping: str = 'mildest',
  share: float = 0.05,
  frontal: float = 10.0,
  seed: int = 0,
) -> Split:
  """Miele's split B: A, and a share of frontal ones without a label in the denoiser's set alone."""
  yaw = of.column(attribute)
  wide, sides = subsets.split_b(yaw, share, frontal, seed, extreme, dropped, dropping)
  return Split(wide, sides, (attribute,))


def yaw_c(
  of: Records,
  *,
  attribute: str = 'yaw',
  slight: tuple[float, float] = (-15.0, -5.0),
  extreme: float = 30.0,
  dropped: float = 0.2,
  dropping: str = 'mildest',
) -> Split:
  """Miele's split C: slightly right, almost frontal, and extreme left."""
  yaw = of.column(attribute)
  return both(subsets.split_c(yaw, slight, extreme, dropped, dropping), (attribute,))


def extremes(role: str, *, attributes: Sequence[str], delta: float = 0.1) -> Support:
  return support.extremes(*attributes, delta=delta)


def one_label(role: str, *, attribute: str, seen: int = 0) -> Support:
  """The denoiser sees one value of an attribute, the classifier all of them."""
  if role != 'denoiser':
    return support.everything()
  return Support('one label', {attribute: ((seen, seen),)})


def turned(role: str, *, attribute: str = 'yaw', extreme: float = 30.0) -> Support:
  """Beyond ±`extreme` degrees."""
  sides = ((-180.0, -extreme), (extreme, 180.0))
  return Support('extremes', {attribute: sides})


def split_b(
  role: str,
  *,
  attribute: str = 'yaw',
  extreme: float = 30.0,
  frontal: float = 10.0,
  share: float = 0.05,
) -> Support:
  """The denoiser may see some frontal ones; the classifier is beyond ±`extreme`, as in A."""
  if role != 'denoiser':
    return turned(role, attribute=attribute, extreme=extreme)
  return support.split_b(attribute, extreme, frontal, share)


def split_c(
  role: str,
  *,
  attribute: str = 'yaw',
  slight: tuple[float, float] = (-15.0, -5.0),
  extreme: float = 30.0,
) -> Support:
  return Support('split C', {attribute: (slight, (extreme, 180.0))})
