"""What a data set is: records by index, each with an image and attributes that are known."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Skipped = tuple[tuple[int, str], ...]  # records that could not be read: (number, why)
Record = dict[str, Any]  # 'image': uint8 [H, W, C]; numbers are numpy scalars, text is str


@dataclasses.dataclass(frozen=True)
class Field:
  """One entry of a record, and what changes it."""

  shape: tuple[int, ...] = ()
  dtype: str = 'float32'  # a numpy dtype, or 'str'
  kind: str = 'array'  # 'array', or 'image': uint8 [H, W, C], kept as PNG
  mirrored: bool = False  # a left-right flip of the image changes it
  cropped: bool = False  # and so does a window of the image, enlarged
  low: float | None = None  # the range that a value must lie in, ends included
  high: float | None = None


class Source(Protocol):
  """Random access to records: the same record for the same index, in any process, at any time."""

  @property
  def name(self) -> str:
    """snake_case; names the data set on disk."""
    ...

  @property
  def fields(self) -> Mapping[str, Field]: ...

  @property
  def parameters(self) -> Mapping[str, Any]:
    """JSON-ready; all that decides what the records hold."""
    ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Record:
    """The record; `index` may be any of -len … len - 1, else an IndexError."""
    ...

  def attributes(self, index: int) -> Record:
    """The entries of the record of shape (), without drawing or decoding its image."""
    ...


def table(source: Source) -> dict[str, np.ndarray]:
  """Every number of shape () of every record: name -> [N]; a source with a `table()` has it."""
  if own := getattr(source, 'table', None):
    return own()
  names = [n for n, f in source.fields.items() if f.shape == () and f.dtype != 'str']
  rows = [source.attributes(i) for i in range(len(source))]
  return {n: np.array([row[n] for row in rows], source.fields[n].dtype) for n in names}


def entries(source: Source, index: int, names: Sequence[str]) -> Record:
  """Some entries of a record; a source with an `entries(index, names)` spares itself the others."""
  if own := getattr(source, 'entries', None):
    return own(index, names)
  record = source[index]
  return {name: record[name] for name in names}


def stacked(source: Source, index: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
  """Some entries of some records: name -> [n, ...]."""
  rows = [entries(source, int(i), names) for i in index]
  return {name: np.stack([row[name] for row in rows]) for name in names}


def digest(source: Source) -> str:
  """8 hex digits of the name and parameters: two sources of one digest hold the same records."""
  text = json.dumps([source.name, dict(source.parameters)], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def place(index: int, n: int) -> int:
  """A possibly negative index as 0 … n - 1; an IndexError outside."""
  if not -n <= (at := operator.index(index)) < n:
    raise IndexError(f'record {index} of a data set of {n}')
  return at % n


def kept(count: int, skipped: Skipped) -> np.ndarray:
  """The number in the source of each of `count` records that are left: int64."""
  every = np.arange(count + len(skipped), dtype=np.int64)
  return np.delete(every, [i for i, _ in skipped])
