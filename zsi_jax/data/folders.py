"""Any folder of images as a data set, with a sheet of labels or with folders as classes.

CelebA-HQ: `Folder('CelebA-HQ-img', 64, labels='scores.csv')`, a sheet with `file` and a column for
each attribute or score. LFR: `Folder('LFR', 64, labels='yaw.csv', classes=True)`, with the folders
Left, Front and Right as classes and a sheet `file,yaw` of the degrees that a pose estimator gave,
positive to the image's left; then `subsets.split_a(table(source)['yaw'])` picks the records.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.data import limits
from zsi_jax.data.errors import DataError
from zsi_jax.data.lists import Sheet, few
from zsi_jax.data.pictures import Directory, Sums, seal, square
from zsi_jax.data.record import Field, Record, place

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
MIRRORED = ('yaw', 'roll')  # columns that a left-right flip changes


class Folder:
  """A Source of the images below `root`, in the order of their relative paths.

  `crop=None` takes all but the ends of the longer side (halved by boxes, then bicubic), `crop=n`
  the middle n² bilinear. `labels` is a CSV with `file` (relative to root) and numbers, a row for
  each image. `classes` gives `class`, the number of the first folder of the path, in the order of
  their names. `mirrored` names what a flip changes; by default yaw, roll, and `class` where a class
  is called left or right. Hidden files and other suffixes than SUFFIXES are passed over. Where
  root has a SHA256SUMS, each image is compared with it as it is read.
  """

  def __init__(
    self,
    root: str | Path,
    size: int = 64,
    labels: str | Path | None = None,
    crop: int | None = None,
    classes: bool = False,
    mirrored: Sequence[str] | None = None,
    name: str = 'folder',
  ) -> None:
    root = Path(root).expanduser()
    limits.whole('size', size, 1, limits.SIDE)
    if crop is not None:
      limits.whole('crop', crop, 1)
    if not root.is_dir():
      raise DataError(f'{root}: there is no such folder (the working directory is {Path.cwd()})')
    self.name, self.size, self.crop = name, size, crop
    self._shelf = Directory(root)
    sizes = dict(sorted(_images(root)))
    if not sizes:
      raise DataError(f'{root}: no image in it or below; known are {", ".join(SUFFIXES)}')
    self._files = list(sizes)
    self._sums = Sums.listed(root, self._files)
    self._columns: dict[str, np.ndarray] = {}
    self.classes: tuple[str, ...] = ()
    if classes:
      self.classes, self._columns['class'] = _classes(root, self._files)
    if labels is not None:
      self._columns |= _labels(Sheet.read(labels), self._files, {'image', 'file', *self._columns})
    turned = any(re.fullmatch('left|right', c, re.IGNORECASE) for c in self.classes)
    if mirrored is None:
      mirrored = [c for c in self._columns if c.lower() in MIRRORED or (c == 'class' and turned)]
    elif absent := [c for c in mirrored if c not in self._columns]:
      raise DataError(f'{root}: mirrored names {few(absent)}; there are {", ".join(self._columns)}')
    self.mirrored = tuple(mirrored)
    known = [np.array([*sizes.values()], np.int64), *self._columns.values()]
    self._content = seal([*self._files, *self.classes], known)

  @property
  def parameters(self) -> Mapping[str, Any]:
    return {
      'size': self.size,
      'crop': self.crop,
      'columns': list(self._columns),
      'classes': list(self.classes),
      'mirrored': list(self.mirrored),
      'content': self._content,  # of names, bytes of each file, and labels
      **({'sha256sums': self._sums.own} if self._sums else {}),
    }

  @property
  def fields(self) -> Mapping[str, Field]:
    columns = {
      name: Field(dtype=column.dtype.name, mirrored=name in self.mirrored)
      for name, column in self._columns.items()
    }
    image = Field((self.size, self.size, 3), 'uint8', 'image')
    return {'image': image, 'file': Field(dtype='str'), **columns}

  def __len__(self) -> int:
    return len(self._files)

  def attributes(self, index: int) -> Record:
    i = place(index, len(self))
    return {'file': self._files[i], **{name: c[i] for name, c in self._columns.items()}}

  def __getitem__(self, index: int) -> Record:
    i = place(index, len(self))
    where = f'{self._shelf.where(self._files[i])} (record {i})'
    data = self._shelf.read(self._files[i])
    if self._sums:
      self._sums.check(i, data, where)
    image = square(data, where, self.size, self.crop)
    return {'image': image, **self.attributes(i)}


def _images(root: Path) -> Iterator[tuple[str, int]]:
  """Relative path and bytes of each image below, through links too."""

  def refuse(error: OSError) -> None:
    raise DataError(f'{error.filename}: cannot be read ({error.strerror})')

  for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
    folders[:] = [f for f in folders if not f.startswith('.')]
    for path in (Path(folder, f) for f in folders):
      here = Path(folder).resolve()
      if path.is_symlink() and path.resolve() in (here, *here.parents):
        raise DataError(f'{path}: a link to a folder that it lies in')
    for path in (Path(folder, n) for n in names if not n.startswith('.')):
      if path.suffix.lower() in SUFFIXES:
        if not path.is_file():
          raise DataError(f'{path}: a link to nothing, or no file')
        name = path.relative_to(root).as_posix()
        if not name.isprintable():
          raise DataError(f'{name!r} below {root}: rename it, it has no printable name')
        yield name, path.stat().st_size


def _classes(root: Path, files: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
  if loose := [f for f in files if '/' not in f]:
    raise DataError(f'{root}: {len(loose)} images lie in no class folder: {few(loose)}')
  tops = [f.split('/')[0] for f in files]
  names = tuple(sorted(set(tops)))
  return names, np.array([names.index(top) for top in tops], np.int32)


def _labels(sheet: Sheet, files: Sequence[str], taken: set[str]) -> dict[str, np.ndarray]:
  """float32 columns of a sheet, in the order of the files."""
  names = [n for n in sheet.names if n != 'file']
  wrong = [n for n in names if not re.fullmatch(r'\w+', n) or n in taken]
  if wrong or not names:
    raise DataError(
      f'{sheet.path}: columns besides file are called by letters, digits and _, and none of '
      f'{", ".join(sorted(taken))}; it has {few(wrong or ["none"])}'
    )
  order = sheet.order(files)
  return {n: sheet.numbers(n)[order].astype(np.float32) for n in names}
