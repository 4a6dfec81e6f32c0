"""What a split is made from: attributes of records, and lists and sheets about them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.build.keys import ConfigError, near
from zsi_jax.data import lists
from zsi_jax.data.errors import DataError
from zsi_jax.data.subsets import Subset


@dataclasses.dataclass(frozen=True)
class Records:
  """What is known of a data set without its images; lists and sheets are looked for in `home`."""

  table: Mapping[str, np.ndarray]  # [N]
  files: Sequence[str] | None  # its 'file' entries
  numbers: np.ndarray  # the number in the source of each record, where some were skipped
  total: int  # records of the source
  home: Path
  lost: Callable[[int], bool] = lambda i: False  # whether a record will be skipped when it is read
  judged: Subset | None = None  # what the judges of `prepare` left; None: they were not asked yet
  read: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)  # bytes, sha256 by name

  def column(self, name: str) -> np.ndarray:
    if name not in self.table:
      raise ConfigError(f'the data set has no attribute {name!r}{near(name, self.table)}')
    return self.table[name]

  def yes_or_no(self, name: str) -> np.ndarray:
    """A column of 0, 1 or, where neither is meant, −1: int32 [N]."""
    found = self.column(name)
    values = np.unique(found).tolist()
    if not {0, 1} <= {*values} <= {-1, 0, 1}:
      said = ', '.join(f'{v:g}' for v in values[:4]) + (', …' if len(values) > 4 else '')
      raise ConfigError(
        f'split.label: judges learn 0 and 1 (-1: neither), and {name!r} has the values {said}'
      )
    return found.astype(np.int32)

  def path(self, name: str) -> Path:
    """Of a list or sheet, which is known by its bytes from now on."""
    path = found(name, self.home)
    if path is None:
      tried = ' nor '.join(str(p.absolute()) for p in _places(name, self.home))
      raise DataError(f'there is no file {tried}, which split names')
    self.read[name] = seal(path)
    return path

  def listed(self, name: str, duplicates: str) -> np.ndarray:
    """An index list; it counts as the source does, and what was skipped there is gone here."""
    wanted = lists.read_indices(self.path(name), self.total, duplicates)
    here = np.full(self.total, -1, np.int64)
    here[self.numbers] = np.arange(len(self.numbers))
    left = here[wanted]
    return left[left >= 0]

  def scores(self, name: str, column: str) -> np.ndarray:
    """A sheet of scores; it may have rows for what was skipped."""
    numbers = self.numbers.tolist()
    files = self.files or [str(n) for n in numbers]
    return lists.read_scores(
      self.path(name),
      files,
      column,
      numbers=numbers,
      skipped=self.total - len(numbers),
      lost=self.lost,
    )

  def marked(self, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Records that were labelled by hand, and their labels."""
    numbers = self.numbers.tolist()
    return lists.read_marks(self.path(name), self.files or [str(n) for n in numbers], numbers)


def found(name: str, home: Path) -> Path | None:
  """A list or sheet as it is, or below the data root."""
  return next((p for p in _places(name, home) if p.is_file()), None)


def _places(name: str, home: Path) -> list[Path]:
  return list(dict.fromkeys([Path(name).expanduser(), home / name]))


def seal(path: Path) -> dict[str, Any]:
  try:
    data = path.read_bytes()
  except OSError as error:
    raise DataError(f'{path}: it cannot be read ({error.strerror})') from None
  return {'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()}
