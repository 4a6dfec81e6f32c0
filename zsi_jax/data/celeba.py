"""CelebA from the files that a person has: the official ones or Kaggle's, unpacked or zipped.

Record i of a split is the i-th line of the partition list that belongs to it. Of 'train' it is the
file i + 1, so that the published index lists apply as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.data import celeba_files, limits
from zsi_jax.data.celeba_files import OFFICIAL, Expected, Files
from zsi_jax.data.errors import DataError
from zsi_jax.data.lists import few
from zsi_jax.data.pictures import seal, square
from zsi_jax.data.record import Field, Record, place

ALIGNED = (178, 218)  # width and height of the published images
SPLITS = ('train', 'valid', 'test')
EXTRAS = {'identity': (celeba_files.IDENTITY, 1), 'landmarks': (celeba_files.LANDMARKS, 10)}


class CelebA:
  """A Source of 202,599 faces: the middle `crop`² of 178×218, bilinear to `size`².

  `root` is a folder (official: img_align_celeba/ or its zip beside list_*.txt; Kaggle: list_*.csv
  and img_align_celeba/img_align_celeba/) or Kaggle's whole zip. `attributes` are 0 or 1, all 40
  unless named. `extras`: 'identity'; 'landmarks', [5, 2] in pixels of the result, the centres of
  pixels at whole numbers. `expect=None` takes any part or copy; `check=False` skips sha256, not
  sizes. Kaggle's lists have no published sha256: their numbers of records are checked. Unpacked
  images are compared with SHA256SUMS or img_align_celeba.zip as they are read, where one is there.
  """

  name = 'celeba'

  def __init__(
    self,
    root: str | Path,
    size: int = 64,
    split: str = 'train',
    attributes: Sequence[str] | None = None,
    extras: Sequence[str] = (),
    crop: int = 178,
    check: bool = True,
    expect: Expected | None = OFFICIAL,
  ) -> None:
    if split not in (*SPLITS, 'all'):
      raise DataError(f'the split {split!r} is none of {", ".join(SPLITS)}, all')
    if unknown := [e for e in extras if e not in EXTRAS]:
      raise DataError(f'no extra {few(unknown)}; there are {", ".join(EXTRAS)}')
    limits.whole('size', size, 1, limits.SIDE)
    limits.whole('crop', crop, 1)
    self.split, self.size, self.crop = split, size, crop
    files = Files(Path(root).expanduser(), check, expect)
    labels = files.table(celeba_files.ATTRIBUTES)
    wanted = tuple(labels.head if attributes is None else attributes)
    if unknown := [a for a in wanted if a not in labels.head]:
      raise DataError(
        f'{labels.where}: no attribute {few(unknown)}; there are {", ".join(labels.head)}'
      )
    partition = files.table(celeba_files.PARTITION, labels.files).only(0, 1, 2)[:, 0]
    counts = files.splits(partition)
    kept = np.flatnonzero(partition == SPLITS.index(split) if split != 'all' else partition >= 0)
    if not kept.size:
      raise DataError(f'{files.layout}: no record of {split}; {counts} of {", ".join(SPLITS)}')
    bits = labels.only(-1, 1)[kept] > 0
    self._labels = {a: bits[:, labels.head.index(a)].astype(np.uint8) for a in wanted}
    self._extras = {e: self._extra(files, e, labels.files)[kept] for e in extras}
    self._rows: np.ndarray = kept.astype(np.int32)
    self._files = [labels.files[i] for i in kept]
    self._shelf, self._folder, sizes = files.images(self._files)
    self._sums = files.sums(self._shelf, self._folder, self._files)
    self.layout = f'{files.layout}, images of {self._shelf.where(self._folder)}'
    lists = [self._rows, *self._labels.values(), *self._extras.values()]
    self._content = seal(self._files, [np.array(sizes, np.int64), *lists])

  @staticmethod
  def _extra(files: Files, name: str, order: list[str]) -> np.ndarray:
    stem, width = EXTRAS[name]
    table = files.table(stem, order)
    if table.numbers.shape[1] != width:
      raise DataError(f'{table.where}: {table.numbers.shape[1]} numbers a row, not {width}')
    return table.numbers

  @property
  def parameters(self) -> Mapping[str, Any]:
    return {
      'split': self.split,
      'size': self.size,
      'crop': self.crop,
      'attributes': list(self._labels),
      'extras': list(self._extras),
      'content': self._content,  # names, sizes and labels: the same in every layout
      **({'sha256sums': self._sums.own} if self._sums and self._sums.own else {}),
    }

  @property
  def fields(self) -> Mapping[str, Field]:
    extras = {
      'identity': Field(dtype='int32', low=0),
      'landmarks': Field((5, 2), mirrored=True, cropped=True),
    }
    return {
      'image': Field((self.size, self.size, 3), 'uint8', 'image'),
      'file': Field(dtype='str'),
      'row': Field(dtype='int32', low=0),  # in the lists of all splits, from 0
      **{a: Field(dtype='uint8', low=0, high=1) for a in self._labels},
      **{e: extras[e] for e in self._extras},
    }

  def __len__(self) -> int:
    return len(self._files)

  def attributes(self, index: int) -> Record:
    i = place(index, len(self))
    record: Record = {'file': self._files[i], 'row': self._rows[i]}
    record |= {a: column[i] for a, column in self._labels.items()}
    if 'identity' in self._extras:
      record['identity'] = self._extras['identity'][i, 0]
    return record

  def __getitem__(self, index: int) -> Record:
    i = place(index, len(self))
    path = f'{self._folder}/{self._files[i]}'
    where = f'{self._shelf.where(path)} (record {i} of {self.split})'
    data = self._shelf.read(path)
    if self._sums:
      self._sums.check(i, data, where)
    image = square(data, where, self.size, self.crop)
    record = {**self.attributes(i), 'image': image}
    if 'landmarks' in self._extras:
      corner = np.array([round((side - self.crop) / 2) for side in ALIGNED])
      points = self._extras['landmarks'][i].reshape(5, 2) - corner + 0.5
      record['landmarks'] = (points * (self.size / self.crop) - 0.5).astype(np.float32)
    return record
