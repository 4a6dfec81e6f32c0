"""What a pipeline may show: the declared range of the truth, checked on the records themselves.

A denoiser or a guidance network of a zero-shot config has seen the extremes and nothing between
them. Its pipeline declares so, and `Support.check` reads the truth of every record that it hands
on. Where the truth is not known (real photographs) there is only a judge's score, or a list
that somebody made: `listed` says that nothing was checked.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from zsi_jax.data.errors import DataError

Intervals = tuple[tuple[float, float], ...]


def inside(values: np.ndarray, intervals: Intervals) -> np.ndarray:
  """Whether each value lies in one of the closed intervals; NaN in none.

  Ends are rounded to the type of the values: the float32 .1 lies in [0, .1].
  """
  values = np.asarray(values)
  kind = values.dtype if values.dtype.kind == 'f' else np.dtype(np.float64)
  hits = [(values >= kind.type(lo)) & (values <= kind.type(hi)) for lo, hi in intervals]
  return np.any(hits, axis=0) if hits else np.zeros(values.shape, bool)


@dataclasses.dataclass(frozen=True)
class Support:
  """Records lie where every attribute of `inside` is in one of its intervals.

  The share `apart` of them may lie in `band` instead, unlabelled. A corner of two attributes is
  two entries: `{'smile': ((0, .1), (.9, 1)), 'hair': ((0, .1), (.9, 1))}`.
  """

  name: str
  inside: Mapping[str, Intervals] = dataclasses.field(default_factory=dict)
  apart: float = 0.0
  band: Mapping[str, Intervals] = dataclasses.field(default_factory=dict)
  checked: bool = True  # False: no truth is known, only that somebody listed the records

  def __post_init__(self) -> None:
    if not self.name:
      raise DataError('a support needs a name')
    for where in ('inside', 'band'):
      ranges = getattr(self, where)
      if not isinstance(ranges, Mapping):
        raise DataError(f'support {self.name!r}: {where} maps attributes to intervals')
      tidy = {n: _intervals(self.name, n, ranges[n]) for n in sorted(ranges)}
      object.__setattr__(self, where, tidy)
    if not 0 <= self.apart < 1:
      raise DataError(f'support {self.name!r}: a share of {self.apart} apart is not in [0, 1)')
    if bool(self.band) != (self.apart > 0):
      raise DataError(f'support {self.name!r}: `apart` and `band` go together')
    if self.inside and not self.checked:
      raise DataError(f'support {self.name!r}: intervals are there to be checked')

  @property
  def attributes(self) -> tuple[str, ...]:
    """The truths that `check` reads."""
    return tuple(sorted({*self.inside, *self.band}))

  def check(self, values: Mapping[str, Any], index: Any = None, label: Any = None) -> str:
    """Raise a DataError unless the records `index` (default: all) lie inside; say what was found.

    `values[attribute]` holds the truth of all records, [N]; `label` the labels of those of
    `index`, < 0 where there is none: a record of the band must have none.
    """
    if not self.checked:
      return f'support {self.name!r}: nothing was checked, the truth of these records is not known'
    if not self.attributes:
      return f'support {self.name!r}: every record is allowed'
    columns = {name: self._column(values, name) for name in self.attributes}
    total = len(next(iter(columns.values())))
    for name, column in columns.items():
      if len(column) != total:
        raise DataError(
          f'support {self.name!r}: {len(column)} values of {name}, '
          f'{total} of {self.attributes[0]}; one for each record is needed'
        )
    index = np.arange(total) if index is None else np.asarray(index)
    if index.ndim != 1 or index.dtype.kind not in 'iu' or not index.size:
      raise DataError(f'support {self.name!r}: the index is a non-empty list of record numbers')
    wrong = (index < 0) | (index >= total)
    if wrong.any():
      raise DataError(
        f'support {self.name!r}: record {index[wrong][0]} of a data set of {total} '
        f'({wrong.sum()} such)'
      )
    columns = {name: column[index] for name, column in columns.items()}
    fits = _all_inside(columns, self.inside)
    allowed = _all_inside(columns, self.band) & ~fits if self.band else np.zeros_like(fits)
    self._refuse(~(fits | allowed), columns, index, f'outside {_text(self.inside)}'
                 + (f' and outside the band {_text(self.band)}' if self.band else ''))  # fmt: skip
    if label is not None:
      label = np.asarray(label)
      if label.shape != index.shape:
        raise DataError(
          f'support {self.name!r}: {label.size} labels for {index.size} records of the index'
        )
      self._refuse(
        allowed & (label >= 0), columns, index, f'in the band {_text(self.band)} with a label'
      )
    share = allowed.mean()
    if share > self.apart:
      raise DataError(
        f'support {self.name!r}: {allowed.sum()} of {index.size} records ({share:.2%}) lie in the '
        f'band {_text(self.band)}, more than {self.apart:.2%}; take fewer of them'
      )
    found = f'support {self.name!r}: {fits.sum()} of {index.size} records in {_text(self.inside)}'
    return found + (f', {allowed.sum()} in {_text(self.band)}' if self.band else '')

  def _column(self, values: Mapping[str, Any], name: str) -> np.ndarray:
    if name not in values:
      have = ', '.join(sorted(values)) or 'none'
      raise DataError(f'support {self.name!r} needs the truth of {name!r}; the records have {have}')
    column = np.asarray(values[name])
    if column.ndim != 1 or column.dtype.kind not in 'iufb':
      raise DataError(f'support {self.name!r}: {name} is one number for each record, [N]')
    return column

  def _refuse(
    self, wrong: np.ndarray, columns: Mapping[str, np.ndarray], index: np.ndarray, how: str
  ) -> None:
    if wrong.any():
      at = int(np.flatnonzero(wrong)[0])
      value = ', '.join(f'{name} = {column[at]:.6g}' for name, column in columns.items())
      raise DataError(
        f'support {self.name!r}: {wrong.sum()} of {index.size} records lie {how}; the first is '
        f'record {index[at]} with {value}. Filter the index, or declare what the pipeline holds'
      )

  def to_json(self) -> dict[str, Any]:
    """For a manifest: `Support.from_json` is its inverse."""
    ranges = {w: {n: [list(i) for i in r] for n, r in getattr(self, w).items()} for w in _RANGES}
    return {'name': self.name, **ranges, 'apart': self.apart, 'checked': self.checked}

  @classmethod
  def from_json(cls, value: Mapping[str, Any]) -> Support:
    known = {f.name for f in dataclasses.fields(cls)}
    if not isinstance(value, Mapping) or 'name' not in value or not set(value) <= known:
      raise DataError(f'a support has the entries {", ".join(sorted(known))}, not {value!r:.200}')
    return cls(**value)


_RANGES = ('inside', 'band')


def _intervals(support: str, name: str, value: Any) -> Intervals:
  try:
    pairs = tuple((float(lo), float(hi)) for lo, hi in value)
  except (TypeError, ValueError):
    pairs = ()
  if not pairs or not all(math.isfinite(hi - lo) and lo <= hi for lo, hi in pairs):
    raise DataError(f'support {support!r}: {name} lies in ((low, high), …), not {value!r:.200}')
  return pairs


def _all_inside(columns: Mapping[str, np.ndarray], ranges: Mapping[str, Intervals]) -> np.ndarray:
  """Whether each record lies in the ranges of every attribute that they name."""
  return np.all([inside(columns[name], ranges[name]) for name in ranges], axis=0)


def _text(ranges: Mapping[str, Intervals]) -> str:
  parts = [f'{n} {" or ".join(f"[{lo:g}, {hi:g}]" for lo, hi in r)}' for n, r in ranges.items()]
  return ' and '.join(parts)


def extremes(*attributes: str, delta: float = 0.1) -> Support:
  """Each attribute in [0, δ] or [1 − δ, 1]; of two attributes the four corners."""
  if not attributes or not 0 <= delta < 0.5:
    raise DataError(f'extremes are of an attribute, with delta in [0, .5), not {delta}')
  return Support('extremes', {a: ((0.0, delta), (1.0 - delta, 1.0)) for a in attributes})


def everything() -> Support:
  """No restriction: what judges are trained on, and what no zero-shot network may see."""
  return Support('all')


def listed() -> Support:
  """Records that somebody listed, of unknown truth: nothing can be checked."""
  return Support('listed', checked=False)


def split_b(
  attribute: str = 'yaw', extreme: float = 30.0, frontal: float = 10.0, share: float = 0.05
) -> Support:
  """Beyond ±`extreme` degrees, but for a share of at most 5 % within ±`frontal`, unlabelled."""
  sides = ((-180.0, -extreme), (extreme, 180.0))
  return Support('split B', {attribute: sides}, share, {attribute: ((-frontal, frontal),)})
