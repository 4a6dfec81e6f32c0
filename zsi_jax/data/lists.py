"""Lists of indices and sheets of scores or labels, from text files; what is wrong has a line."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from zsi_jax import whole
from zsi_jax.data.errors import DataError


def read_indices(path: str | Path, n: int, duplicates: str = 'keep') -> np.ndarray:
  """int64 [m] in the order of the file: one number of 0 … n - 1 a line.

  `duplicates`: 'keep' (the published age list names nine records twice or thrice; `repeated`
  counts them) or 'drop' (all but the first).
  """
  if duplicates not in ('keep', 'drop'):
    raise ValueError(f"duplicates are 'keep' or 'drop', not {duplicates!r}")
  path = Path(path).expanduser()
  index = []
  for number, line in enumerate(text(path).removesuffix('\n').split('\n'), 1):
    word = line.strip()
    if not re.fullmatch(r'-?[0-9]{1,18}', word):
      raise DataError(f'{path}:{number}: {line!r:.60} is no index; a list has one number a line')
    if not 0 <= int(word) < n:
      raise DataError(
        f'{path}:{number}: index {word} of a data set of {n}; the list is of another data set or '
        'split, or counts from 1'
      )
    index.append(int(word))
  found = np.array(index, np.int64)
  if duplicates == 'drop':
    found = found[np.sort(np.unique(found, return_index=True)[1])]
  return found


def write_indices(path: str | Path, index: np.ndarray) -> None:
  """The inverse of `read_indices`, with no newline at the end, as the published lists."""
  index = np.asarray(index)
  if index.ndim != 1 or not index.size or index.dtype.kind not in 'iu' or index.min() < 0:
    raise DataError(f'{path}: a list of indices is [m], whole, not negative and not empty')
  path = Path(path).expanduser()
  try:
    whole.write(path, '\n'.join(str(i) for i in index.tolist()).encode())
  except OSError as error:
    raise DataError(f'{path}: it cannot be written ({error.strerror or error}).') from None


def repeated(index: np.ndarray) -> int:
  """How many entries of a list repeat an earlier one."""
  return len(index) - len(np.unique(index))


def text(path: Path) -> str:
  """The text of a file, with newlines as \\n and without a byte-order mark."""
  if not path.is_file():
    raise DataError(f'{path}: there is no such file (the working directory is {Path.cwd()})')
  try:
    found = path.read_text(encoding='utf-8-sig')
  except UnicodeDecodeError as error:
    raise DataError(f'{path}: not a text file in UTF-8 (byte {error.start})') from None
  if not found.strip():
    raise DataError(f'{path}: the file is empty')
  return found


@dataclasses.dataclass(frozen=True)
class Sheet:
  """A CSV file: a head of names, then a row for each record."""

  path: Path
  names: tuple[str, ...]
  rows: list[list[str]]
  lines: list[int]  # the line of each row

  @classmethod
  def read(cls, path: str | Path) -> Sheet:
    path = Path(path).expanduser()
    reader = csv.reader(io.StringIO(text(path)), skipinitialspace=True, strict=True)
    rows, lines = [], []
    try:
      for row in reader:
        if any(cell.strip() for cell in row):
          rows.append([cell.strip() for cell in row])
          lines.append(reader.line_num)
    except csv.Error as error:
      raise DataError(f'{path}:{reader.line_num}: {error}') from None
    names = tuple(rows[0])
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
      raise DataError(f'{path}:{lines[0]}: two columns are called {twice[0]!r}')
    for row, line in zip(rows, lines, strict=True):
      if len(row) != len(names):
        raise DataError(f'{path}:{line}: {len(row)} cells, the head has {len(names)}')
    if len(rows) < 2:
      raise DataError(f'{path}: a head and no rows')
    return cls(path, names, rows[1:], lines[1:])

  def column(self, name: str) -> list[str]:
    if name not in self.names:
      raise DataError(f'{self.path}: no column {name!r} but {", ".join(self.names)}')
    at = self.names.index(name)
    return [row[at] for row in self.rows]

  def numbers(self, name: str, low: float = -math.inf, high: float = math.inf) -> np.ndarray:
    """float64 [rows] of a column whose cells lie in [low, high]."""
    cells = self.column(name)
    found = np.empty(len(cells))
    for i, cell in enumerate(cells):
      try:
        found[i] = float(cell)
      except ValueError:
        found[i] = math.nan
      if not math.isfinite(found[i]):
        raise DataError(f'{self.path}:{self.lines[i]}: {name} {cell!r:.60} is not a number')
      if not low <= found[i] <= high:
        raise DataError(f'{self.path}:{self.lines[i]}: {name} {cell} is not in [{low:g}, {high:g}]')
    return found

  def order(
    self,
    files: Sequence[str],
    key: str = 'file',
    numbers: Sequence[int] | None = None,
    skipped: int = 0,
    lost: Callable[[int], bool] = lambda i: False,
  ) -> np.ndarray:
    """Row order[i] is that of files[i], by name; or of the number numbers[i] if `key` is 'index'.

    So many rows as were `skipped` may be of records that are not here. A record without a row that
    is `lost` has the order −1.
    """
    if key == 'index':
      numbers = range(len(files)) if numbers is None else numbers
      wanted = {str(n): i for i, n in enumerate(numbers)}
      cells = self.column(key)
    else:
      wanted = {name: i for i, name in enumerate(files)}
      cells = [os.path.normpath(c.replace('\\', '/')) for c in self.column(key)]
    first: dict[str, int] = {}
    for row, cell in enumerate(cells):
      if cell in first:
        raise DataError(
          f'{self.path}:{self.lines[row]}: {cell} was on line {self.lines[first[cell]]} already'
        )
      first[cell] = row
    absent = [c for c in cells if c not in wanted]
    if len(absent) > skipped:
      but = f', from which {skipped} were skipped' if skipped else ''
      raise DataError(
        f'{self.path}:{self.lines[first[absent[0]]]}: {len(absent)} of {len(cells)} rows name what '
        f'is not in the data set of {len(files)}{but}: {few(absent)}'
      )
    missing = [c for c, i in wanted.items() if c not in first and not lost(i)]
    if missing:
      raise DataError(f'{self.path}: no row for {len(missing)} of {len(files)}: {few(missing)}')
    return np.array([first.get(c, -1) for c in wanted], np.int64)


def read_scores(
  path: str | Path,
  files: Sequence[str],
  column: str = 'score',
  low: float = 0.0,
  high: float = 1.0,
  numbers: Sequence[int] | None = None,
  skipped: int = 0,
  lost: Callable[[int], bool] = lambda i: False,
) -> np.ndarray:
  """float64 [N] in the order of `files`: a CSV with `file` or `index`, and a column of scores.

  `numbers`, `skipped` and `lost` are of `Sheet.order`; what is lost has the score between.
  """
  sheet = Sheet.read(path)
  key = next((k for k in ('file', 'index') if k in sheet.names), None)
  if key is None:
    raise DataError(f"{sheet.path}: no column 'file' or 'index' but {', '.join(sheet.names)}")
  scores = sheet.numbers(column, low, high)
  order = sheet.order(files, key, numbers, skipped, lost)
  return np.where(order < 0, (low + high) / 2, scores[order])


def read_marks(
  path: str | Path, files: Sequence[str], numbers: Sequence[int], column: str = 'label'
) -> tuple[np.ndarray, np.ndarray]:
  """(records, their marks 0 or 1) of a CSV with `file` or `index`: some of the data set, by hand.

  Rows whose mark is left empty are of records in doubt, and left out.
  """
  sheet = Sheet.read(path)
  key = next((k for k in ('file', 'index') if k in sheet.names), None)
  if key is None:
    raise DataError(f"{sheet.path}: no column 'file' or 'index' but {', '.join(sheet.names)}")
  known = {str(c): i for i, c in enumerate(files if key == 'file' else numbers)}
  index, marks, seen = [], [], dict[str, int]()
  for cell, mark, line in zip(sheet.column(key), sheet.column(column), sheet.lines, strict=True):
    name = os.path.normpath(cell.replace('\\', '/')) if key == 'file' else cell
    if name not in known:
      raise DataError(f'{sheet.path}:{line}: {key} {cell!r:.120} is not in the data set')
    if name in seen:
      raise DataError(f'{sheet.path}:{line}: {cell} was on line {seen[name]} already')
    if mark not in ('', '0', '1'):
      raise DataError(
        f"{sheet.path}:{line}: {column} is 0, 1 or, in doubt, empty, not '{mark:.60}'"
      )
    seen[name] = line
    if mark:
      index.append(known[name])
      marks.append(int(mark))
  if len({*marks}) < 2:
    raise DataError(
      f'{sheet.path}: {marks.count(0)} records are marked 0 and {marks.count(1)} are marked 1; '
      'both are needed'
    )
  return np.array(index, np.int64), np.array(marks, np.int32)


def few(names: Sequence[str], n: int = 3) -> str:
  """The first few, and how many more."""
  more = f' and {len(names) - n} more' if len(names) > n else ''
  return ', '.join(f'{name:.120}' for name in names[:n]) + more
