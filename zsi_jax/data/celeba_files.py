"""Where the files of CelebA lie in each layout that people have, and what its lists say."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from zsi_jax.data.errors import DataError
from zsi_jax.data.lists import few
from zsi_jax.data.pictures import Directory, Shelf, Sums, Zip

ATTRIBUTES, PARTITION, IDENTITY, LANDMARKS = LISTS = (
  'list_attr_celeba',
  'list_eval_partition',
  'identity_CelebA',
  'list_landmarks_align_celeba',
)
HEADLESS = (PARTITION, IDENTITY)  # the official ones; the others have a count and names on top
IMAGES = 'img_align_celeba'
PLACES = ('', 'celeba/', 'Anno/', 'Eval/', 'Img/')  # below the root
ARCHIVES = (f'{IMAGES}.zip', 'archive.zip', 'celeba-dataset.zip')
AGAIN = (
  'Fetch it again, or for a part or another copy pass expect=None (data.options.official=False)'
)


@dataclasses.dataclass(frozen=True)
class Expected:
  """What is known of a copy: bytes and sha256 of its files, records of train, valid and test."""

  files: Mapping[str, tuple[int, str]]
  splits: tuple[int, int, int]


OFFICIAL = Expected(
  {
    'list_attr_celeba.txt': (
      26_721_026,
      'f0e5da289d5ccf75ffe8811132694922b60f2af59256ed362afa03fefba324d0',
    ),
    'list_eval_partition.txt': (
      2_836_386,
      'fc955bcb3ef8fbdf7d5640d9a8693a8431b5f2ee291a5c1449a1549e7e073fe7',
    ),
    'identity_CelebA.txt': (
      3_424_458,
      'c6143857c3e2630ac2da9f782e9c1232e5e59be993a9d44e8a7916c78a6158c0',
    ),
    'list_landmarks_align_celeba.txt': (
      12_156_055,
      '6c02a87569907f6db2ba99019085697596730e8129f67a3d61659f198c48d43b',
    ),
    'img_align_celeba.zip': (
      1_443_490_838,
      '46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74',
    ),
  },
  (162_770, 19_867, 19_962),
)


@dataclasses.dataclass(frozen=True)
class Table:
  """One list: names of the columns (none where it has no head), files, numbers [N, columns]."""

  where: str
  head: tuple[str, ...]
  files: list[str]
  numbers: np.ndarray
  line: int  # of the first row

  def only(self, *allowed: int) -> np.ndarray:
    """The numbers, each of which is one of `allowed`."""
    wrong = np.argwhere(~np.isin(self.numbers, allowed))
    if len(wrong):
      row, column = wrong[0]
      raise DataError(
        f'{self.where}:{self.line + row}: {self.numbers[row, column]} is none of '
        f'{", ".join(map(str, allowed))} ({len(wrong)} such)'
      )
    return self.numbers


class Files:
  """The lists and images below a root, official before Kaggle's, unpacked before zipped."""

  def __init__(self, root: Path, check: bool, expect: Expected | None) -> None:
    self._root, self._check, self._expect = root, check, expect
    self._opened: dict[Path, Zip] = {}
    found = (
      (shelf, kind)
      for shelf in self._shelves()
      for kind in ('.txt', '.csv')
      if _find(shelf, ATTRIBUTES + kind) is not None
    )
    first = next(found, None)
    if first is None:
      raise DataError(self._absent(f'no {ATTRIBUTES}.txt nor .csv'))
    self._shelf, self._kind = first
    self.layout = f'{"official" if self._kind == ".txt" else "Kaggle"} lists of {self._shelf.path}'

  def _shelves(self) -> Iterator[Shelf]:
    if not self._root.exists():
      raise DataError(self._absent('there is no such folder or zip'))
    if self._root.is_dir():
      yield Directory(self._root)
    below = [self._root / place / name for name in ARCHIVES for place in PLACES]
    for path in below if self._root.is_dir() else [self._root]:
      if path.is_file():
        yield self._zip(path)

  def _zip(self, path: Path) -> Zip:
    if path not in self._opened:
      self._verify(path.name, str(path), path.stat().st_size)
      self._opened[path] = Zip.open(path)
    return self._opened[path]

  def table(self, stem: str, files: Sequence[str] | None = None) -> Table:
    """A list; its rows are of `files`, in their order."""
    name = _find(self._shelf, stem + self._kind)
    if name is None:
      raise DataError(self._absent(f'no {stem}{self._kind}'))
    data, where = self._shelf.read(name), self._shelf.where(name)
    self._verify(stem + self._kind, where, len(data), lambda: hashlib.sha256(data).hexdigest())
    table = _parse(data, where, ',' if self._kind == '.csv' else None, stem not in HEADLESS)
    if files is not None and table.files != files:
      pairs = zip(table.files, files, strict=False)
      at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(files), len(table.files)))
      raise DataError(
        f'{where}:{table.line + at}: it has {len(table.files)} rows, {ATTRIBUTES}{self._kind} '
        f'{len(files)}; from this line on they are of other files. The lists are not of one copy'
      )
    return table

  def splits(self, partition: np.ndarray) -> tuple[int, ...]:
    """Records of train, valid and test, as many as expected."""
    counts = tuple(int((partition == code).sum()) for code in range(3))
    if self._expect is not None and counts != self._expect.splits:
      raise DataError(
        f'{self.layout}: {counts} records of train, valid and test, not {self._expect.splits}. '
        f'{AGAIN}'
      )
    return counts

  def images(self, files: Sequence[str]) -> tuple[Shelf, str, list[int]]:
    """The shelf and folder that hold the images, and the bytes of each."""
    for shelf in self._shelves():
      for place in PLACES:
        for folder in (f'{place}{IMAGES}/{IMAGES}', f'{place}{IMAGES}'):
          held = shelf.inside(folder)
          missing = [name for name in files if name not in held]
          if len(missing) == len(files):
            continue
          if missing:
            raise DataError(
              f'{shelf.where(folder)}: {len(missing)} of {len(files)} images are missing: '
              f'{few(missing)}. Unpack or fetch the images again'
            )
          if isinstance(shelf, Zip):
            path = shelf.path
            self._verify(path.name, str(path), path.stat().st_size, shelf.sha256)
            shelf = shelf.keep([f'{folder}/{name}' for name in files])
          return shelf, folder, [held[name] for name in files]
    raise DataError(self._absent(f'none of the {len(files)} images ({few(files, 1)})'))

  def sums(self, shelf: Shelf, folder: str, files: Sequence[str]) -> Sums | None:
    """What unpacked images are compared with: the nearest SHA256SUMS, else their zip.

    The list lies in their folder or one above it up to the root; a zip checks its own members.
    """
    if not self._check or isinstance(shelf, Zip):
      return None
    parts = folder.split('/')
    for n in range(len(parts), -1, -1):
      inner = ''.join(f'{part}/' for part in parts[n:])
      names = [inner + name for name in files]
      if found := Sums.listed(shelf.path.joinpath(*parts[:n]), names):
        return found
    for place in PLACES:
      if (path := self._root / place / f'{IMAGES}.zip').is_file():
        return Sums.zipped(self._zip(path), [f'{IMAGES}/{name}' for name in files])
    return None

  def _verify(
    self, name: str, where: str, size: int, sha256: Callable[[], str] | None = None
  ) -> None:
    known = self._expect.files.get(name) if self._expect else None
    if known is None:
      return
    if size != known[0]:
      raise DataError(f'{where}: {size} bytes, not {known[0]}. {AGAIN}')
    if self._check and sha256 is not None and (found := sha256()) != known[1]:
      raise DataError(f'{where}: sha256 {found}, not {known[1]}. {AGAIN}')

  def _absent(self, why: str) -> str:
    known = (self._expect or OFFICIAL).files
    rows = [f'  {name}  {size} bytes  sha256 {sha256}' for name, (size, sha256) in known.items()]
    places = ', '.join(str(self._root / place) for place in PLACES)
    return '\n'.join(
      [
        f'CelebA: {why}; tried {places}. Put there the official files (identity and landmarks '
        f'are optional; {IMAGES}/ may be unpacked)',
        *rows,
        f'or those of Kaggle: {ATTRIBUTES}.csv, {PARTITION}.csv and {IMAGES}/{IMAGES}/, or its '
        f'whole zip as {" or ".join(ARCHIVES[1:])}',
      ]
    )


def _find(shelf: Shelf, name: str) -> str | None:
  return next((place + name for place in PLACES if shelf.has(place + name)), None)


def _parse(data: bytes, where: str, separator: str | None, headed: bool) -> Table:
  """Rows `file number …` by blanks, below a count and names if `headed`; or by commas (Kaggle)."""
  try:
    lines = data.decode('utf-8-sig').rstrip().splitlines()
  except UnicodeDecodeError as error:
    raise DataError(f'{where}: not a text file in UTF-8 (byte {error.start})') from None
  start, count = 0, None
  head: tuple[str, ...] = ()
  if separator:
    start, head = 1, tuple(cell.strip() for cell in (lines or [''])[0].split(separator)[1:])
  elif headed:
    if len(lines) < 3 or not lines[0].strip().isascii() or not lines[0].strip().isdigit():
      raise DataError(f'{where}:1: the number of images is expected, not {few(lines[:1])!r}')
    start, count, head = 2, int(lines[0]), tuple(lines[1].split())
  files, rows, width = [], [], len(head) or None
  for number, line in enumerate(lines[start:], start + 1):
    cells = line.split(separator)
    width = width or len(cells) - 1
    try:
      row = [int(cell) for cell in cells[1:]]
    except ValueError:
      row = []
    if not row or len(row) != width:
      raise DataError(f'{where}:{number}: a file and {width} whole numbers, not {line!r:.80}')
    files.append(cells[0].strip())
    rows.append(np.array(row, np.int32))
  if not rows or count not in (None, len(rows)):
    raise DataError(f'{where}: {len(rows)} rows{f" where it says {count}" if count else ""}')
  if len(set(files)) < len(files):
    first = {name: i for i, name in reversed([*enumerate(files)])}
    at = next(i for i, name in enumerate(files) if first[name] < i)
    raise DataError(f'{where}:{at + start + 1}: {files[at]} is listed twice')
  return Table(where, head, files, np.stack(rows), start + 1)
