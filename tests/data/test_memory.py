"""Data sets in one .npz: whole or not at all, and what others wrote."""

from __future__ import annotations

import numpy as np
import pytest

from tests.data.toy import Changed, Toy, same
from zsi_jax.data import memory, npz
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Field


def test_npz_of_others_and_damaged_ones(tmp_path):
  path = tmp_path / '3 Faces.npz'
  columns = {'image': Toy().fields['image'], 'age': np.linspace(0, 1, 3)}
  columns['image'] = np.stack([Toy()[i]['image'] for i in range(3)])
  np.savez(path, **columns)
  source = memory.Npz(path)
  assert source.name == 'npz_3_faces' and len(source) == 3 and source[1]['age'] == 0.5
  assert source.fields['age'] == Field(dtype='float64')
  with pytest.raises(ValueError, match='read-only'):
    source[0]['image'][:] = 0
  np.savez(path, image=columns['image'], age=columns['age'][:2])
  with pytest.raises(DataError, match='different lengths'):
    memory.Npz(path)
  np.savez(path, pictures=columns['image'])
  with pytest.raises(DataError, match="no array 'image'"):
    memory.Npz(path)
  whole = memory.write_npz(Toy(), path).read_bytes()
  for broken in (b'', whole[: len(whole) // 2], b'text', whole[:-1]):
    path.write_bytes(broken)
    with pytest.raises(DataError, match=rf'damaged one .*{len(broken)} bytes'):
      memory.Npz(path)
  found = 0
  for at in range(0, len(whole), 211):
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    try:
      source = memory.Npz(path)
    except DataError:
      found += 1
    else:  # a time stamp or the like
      same(source[3], Toy()[3])
  assert found > 20


def test_a_failed_npz_leaves_the_old_one(tmp_path):
  path = memory.write_npz(Toy(), tmp_path / 'a.npz')
  before = path.read_bytes()
  with pytest.raises(DataError, match='record 3'):
    memory.write_npz(Changed(Toy(), 3, 'age', None), path)
  assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ['a.npz']
  with pytest.raises(DataError, match='cannot be written'):
    memory.write_npz(Toy(), path / 'b.npz')


def test_any_name_of_a_field_can_be_kept(tmp_path):
  names = ['file', 'self', 'args', 'allow_pickle', 'arr_0']
  npz.write(tmp_path / 'a.npz', {name: np.arange(i) for i, name in enumerate(names)})
  read = npz.read(tmp_path / 'a.npz', '')
  assert [len(read[name]) for name in names] == [0, 1, 2, 3, 4]
