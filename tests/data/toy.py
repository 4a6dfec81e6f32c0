"""A small source with every kind of field, and what may go wrong with one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from zsi_jax.data.chance import uniforms
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Field, Record, place


@dataclasses.dataclass(frozen=True)
class Toy:
  n: int = 23
  size: int = 8
  channels: int = 3
  corrupt: tuple[int, ...] = ()  # records that raise
  seed: int = 0

  name = 'toy'

  @property
  def fields(self) -> Mapping[str, Field]:
    return {
      'image': Field((self.size, self.size, self.channels), 'uint8', kind='image'),
      'mask': Field((self.size, self.size, 1), 'uint8', kind='image', mirrored=True, cropped=True),
      'age': Field(low=0.0, high=1.0),
      'yaw': Field(mirrored=True, low=-90.0, high=90.0),
      'exact': Field(dtype='float64'),
      'number': Field(dtype='int64'),
      'even': Field(dtype='bool'),
      'caption': Field(dtype='str'),
      'landmarks': Field((5, 2), mirrored=True, cropped=True),
      'tokens': Field((4,), 'int32', low=0),
    }

  @property
  def parameters(self) -> Mapping[str, Any]:
    return dataclasses.asdict(self)

  def __len__(self) -> int:
    return self.n

  def attributes(self, index: int) -> Record:
    i = place(index, self.n)
    u = uniforms(self.seed, i, 3)
    return {
      'age': np.float32(u[0]),
      'yaw': np.float32(180 * u[1] - 90),
      'exact': np.float64(u[2]),
      'number': np.int64(2**40 + i),
      'even': np.bool_(i % 2 == 0),
      'caption': f'face {i}, ünïcode',
    }

  def __getitem__(self, index: int) -> Record:
    i = place(index, self.n)
    if i in self.corrupt:
      raise DataError(f'photo {i}: broken')
    pixels = uniforms(self.seed, i, self.size**2 * (self.channels + 1), 1).reshape(
      self.size, self.size, -1
    )
    pixels = (pixels * 256).astype(np.uint8)
    return {
      **self.attributes(i),
      'image': pixels[..., :-1],
      'mask': pixels[..., -1:],
      'landmarks': np.full((5, 2), i / 3, np.float32),
      'tokens': np.arange(i, i + 4, dtype=np.int32),
    }


@dataclasses.dataclass(frozen=True)
class Changed:
  """A source with one entry of one record replaced, or removed (None)."""

  source: Any
  record: int
  entry: str
  value: Any

  name = 'toy'

  @property
  def fields(self) -> Mapping[str, Field]:
    return self.source.fields

  @property
  def parameters(self) -> Mapping[str, Any]:
    return {**self.source.parameters, 'changed': self.entry}

  def __len__(self) -> int:
    return len(self.source)

  def attributes(self, index: int) -> Record:
    return self.source.attributes(index)

  def __getitem__(self, index: int) -> Record:
    record = self.source[index]
    if index == self.record:
      record = {**record, self.entry: self.value}
      if self.value is None:
        del record[self.entry]
    return record


def same(a: Record, b: Record) -> None:
  """Equal entries of equal types."""
  assert a.keys() == b.keys()
  for name in a:
    assert type(a[name]) is type(b[name]), (name, type(a[name]), type(b[name]))
    if not isinstance(a[name], str):
      assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
    np.testing.assert_array_equal(a[name], b[name], name)
