"""A data set on disk as a source."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.data import manifest, npz, shards
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Field, Record, Skipped, kept, place


class Stored:
  """A source again: one directory, its sizes checked when it is opened, read when it is asked."""

  def __init__(self, path: Path) -> None:
    self.path = path
    self.manifest = manifest.read(path)
    self._reader: shards.Reader | None = None
    self._columns: dict[str, np.ndarray] | None = None
    self._pid = os.getpid()

  def __getstate__(self) -> dict[str, Any]:
    return {**self.__dict__, '_reader': None, '_columns': None, '_pid': None}

  @property
  def name(self) -> str:
    return self.manifest.name

  @property
  def fields(self) -> Mapping[str, Field]:
    return self.manifest.fields

  @property
  def parameters(self) -> Mapping[str, Any]:
    return self.manifest.parameters

  @property
  def skipped(self) -> Skipped:
    """Records of the source that could not be read: (number, why)."""
    return self.manifest.skipped

  @property
  def source_index(self) -> np.ndarray:
    """The number in the source of each record: int64 [N]."""
    return kept(len(self), self.skipped)

  def __len__(self) -> int:
    return self.manifest.count

  def __getitem__(self, index: int) -> Record:
    return self.entries(index, self.fields)

  def entries(self, index: int, names: Iterable[str]) -> Record:
    """Some entries of a record; the others are not decoded."""
    i, reader = place(index, len(self)), self._open()
    try:
      return reader.read(i, names)
    except Exception as error:  # of array_record, protobuf, tfds: each has its own
      raise DataError(
        f'{self._shard(i)}: record {i} cannot be read ({_first(error)}). verify() tells which '
        f'files are damaged; readable() which records are left. {manifest.AGAIN}'
      ) from None

  def attributes(self, index: int) -> Record:
    i = place(index, len(self))
    columns = self._table()
    return {n: str(c[i]) if c.dtype.kind == 'U' else c[i] for n, c in columns.items()}

  def table(self) -> dict[str, np.ndarray]:
    return {n: c.copy() for n, c in self._table().items() if c.dtype.kind != 'U'}

  def verify(self) -> None:
    """A DataError that names the files of another sha256 than the manifest's."""
    if names := manifest.broken(self.path, self.manifest):
      raise DataError(
        f'{self.path}: {", ".join(names)}: the sha256 is not that of the file that was written. '
        f'{manifest.AGAIN}'
      )

  def readable(self) -> np.ndarray:
    """The numbers of the records that can be read, each tried: int64 [M]."""
    self._open()
    return np.array([i for i in range(len(self)) if self._can_read(i)], np.int64)

  def ready(self) -> None:
    """Opened here and now. tfds swaps `__import__` while it is imported: beside another thread
    that imports, too, that one is given lazy modules where it asked for functions."""
    self._open()

  def _can_read(self, index: int) -> bool:
    try:
      self[index]
    except DataError:
      return False
    return True

  def _shard(self, index: int) -> Path:
    for name, records in self.manifest.shards.items():
      if index < records:
        return self.path / name
      index -= records
    raise IndexError(index)

  def _open(self) -> shards.Reader:
    if self._reader is None or self._pid != os.getpid():  # a fork must not share file positions
      shards.need()
      wanted = list(self.manifest.shards.values())
      try:
        reader = shards.Reader(self.path, self.fields)
        if reader.lengths != wanted:
          raise ValueError(f'shards of {reader.lengths} records where {wanted} were written')
      except Exception as error:
        raise DataError(
          f'{self.path}: the data set cannot be opened ({_first(error)}). {manifest.AGAIN}'
        ) from None
      self._reader, self._pid = reader, os.getpid()
    return self._reader

  def _table(self) -> dict[str, np.ndarray]:
    if self._columns is None:
      self._columns = npz.read(self.path / manifest.ATTRIBUTES, manifest.AGAIN)
    return self._columns


def _first(error: Exception) -> str:
  """The first line of what an error says."""
  return f'{error}'.splitlines()[0][:200] if f'{error}' else repr(error)
