"""Data sets in memory and in one .npz: the same records where tfds and array_record are not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax import whole
from zsi_jax.data import check, npz
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Field, Record, Skipped, Source, kept, place

HEADER = 'zsi'  # the entry of an .npz that holds name, parameters and fields as JSON


@dataclasses.dataclass(frozen=True, eq=False)
class Memory:
  """A source of columns: name -> [N, ...], 'image' uint8 [N, H, W, C]; they become read-only."""

  columns: Mapping[str, np.ndarray]
  fields: Mapping[str, Field]
  parameters: Mapping[str, Any]
  name: str = 'memory'
  skipped: Skipped = ()

  def __post_init__(self) -> None:
    if absent := sorted(self.fields.keys() - self.columns.keys()):
      raise DataError(f'{self.name}: it declares {", ".join(absent)} and does not hold them.')
    lengths = {name: self.columns[name].shape[:1] for name in self.fields}
    if len(set(lengths.values())) != 1:
      raise DataError(f'{self.name}: columns of different lengths: {lengths}.')
    for name, field in self.fields.items():
      found, column = column_field(self.columns[name], field.kind), self.columns[name]
      if (found.shape, found.dtype) != (field.shape, field.dtype):
        raise DataError(
          f'{self.name}: the column {name!r} holds {found.dtype} {found.shape}, not {field.dtype} '
          f'{field.shape}.'
        )
      column.flags.writeable = False
    check.source(self)

  @property
  def source_index(self) -> np.ndarray:
    """The number in the source of each record: int64 [N]."""
    return kept(len(self), self.skipped)

  def __len__(self) -> int:
    return len(self.columns['image'])

  def __getitem__(self, index: int) -> Record:
    return self._row(index, list(self.fields))

  def attributes(self, index: int) -> Record:
    return self._row(index, [name for name, field in self.fields.items() if field.shape == ()])

  def table(self) -> dict[str, np.ndarray]:
    numbers = [n for n, f in self.fields.items() if f.shape == () and f.dtype != 'str']
    return {name: self.columns[name] for name in numbers}

  def _row(self, index: int, names: list[str]) -> Record:
    i = place(index, len(self))
    text = {name for name in names if self.fields[name].dtype == 'str'}
    return {n: str(self.columns[n][i]) if n in text else self.columns[n][i] for n in names}


def column_field(column: np.ndarray, kind: str = 'array') -> Field:
  """What one entry of a column [N, ...] is."""
  return Field(
    column.shape[1:], 'str' if column.dtype.kind == 'U' else column.dtype.name, kind=kind
  )


def load(source: Source, *, skip_corrupt: bool = False) -> Memory:
  """All records of a source, drawn once and checked; corrupt ones left out where that is asked."""
  check.source(source)
  skipped: list[tuple[int, str]] = []
  rows = list(check.records(source, skip_corrupt, skipped, range(len(source))))
  columns = {name: np.array([row[name] for row in rows]) for name in source.fields}
  return Memory(columns, dict(source.fields), dict(source.parameters), source.name, tuple(skipped))


def write_npz(source: Source, path: str | Path, *, skip_corrupt: bool = False) -> Path:
  """All records of a source in one .npz for `Npz`; what lay there stays until it is whole."""
  path, loaded = Path(path).expanduser(), load(source, skip_corrupt=skip_corrupt)
  fields = {name: dataclasses.asdict(field) for name, field in loaded.fields.items()}
  header = {
    'name': loaded.name,
    'parameters': loaded.parameters,
    'fields': fields,
    'skipped': loaded.skipped,
  }
  try:
    with whole.opened(path) as stream:
      npz.write(stream, {HEADER: np.array(json.dumps(header)), **loaded.columns})
  except OSError as error:
    raise DataError(f'{path}: it cannot be written ({error.strerror or error}).') from None
  return path


def read_npz(path: Path) -> Memory:
  """The whole of an .npz, every byte checked by its CRC; one of others needs 'image' at least."""
  if not path.is_file():
    raise DataError(
      f'{path}: there is no such file (the working directory is {Path.cwd()}). '
      'Write it with zsi_jax.data.memory.write_npz(source, path).'
    )
  columns = npz.read(path, 'Write or copy it again.')
  try:
    header = json.loads(str(columns.pop(HEADER))) if HEADER in columns else _foreign(path, columns)
    named = header['fields'].items()
    fields = {n: Field(**{**f, 'shape': tuple(f['shape'])}) for n, f in named}
    skipped = tuple((int(i), str(why)) for i, why in header.get('skipped', ()))
    return Memory(columns, fields, header['parameters'], header['name'], skipped)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    if isinstance(error, DataError):
      raise
    raise DataError(f'{path}: its entry {HEADER!r} is not that of a data set ({error}).') from None


def _foreign(path: Path, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """What an .npz that others wrote is: named by its stem, known by its bytes."""
  if 'image' not in columns:
    raise DataError(f"{path}: no array 'image' [N, H, W, C] but {sorted(columns)}.")
  with open(path, 'rb') as stream:
    sha256 = hashlib.file_digest(stream, 'sha256').hexdigest()
  fields = {
    n: dataclasses.asdict(column_field(c, 'image' if n == 'image' else 'array'))
    for n, c in columns.items()
  }
  name = re.sub(r'\W+', '_', path.stem.lower()).strip('_')
  name = name if name[:1].isalpha() else f'npz_{name}'
  return {'name': name, 'parameters': {'sha256': sha256}, 'fields': fields}


class Npz:
  """The source of one .npz; each process reads the file once, when it first needs it."""

  def __init__(self, path: str | Path) -> None:
    self.path = Path(path).expanduser().absolute()
    self._memory: Memory | None = read_npz(self.path)

  def __getstate__(self) -> dict[str, Any]:
    return {'path': self.path, '_memory': None}

  @property
  def memory(self) -> Memory:
    if self._memory is None:
      self._memory = read_npz(self.path)
    return self._memory

  @property
  def name(self) -> str:
    return self.memory.name

  @property
  def fields(self) -> Mapping[str, Field]:
    return self.memory.fields

  @property
  def parameters(self) -> Mapping[str, Any]:
    return self.memory.parameters

  @property
  def skipped(self) -> Skipped:
    return self.memory.skipped

  @property
  def source_index(self) -> np.ndarray:
    return self.memory.source_index

  def __len__(self) -> int:
    return len(self.memory)

  def __getitem__(self, index: int) -> Record:
    return self.memory[index]

  def attributes(self, index: int) -> Record:
    return self.memory.attributes(index)

  def table(self) -> dict[str, np.ndarray]:
    return self.memory.table()
