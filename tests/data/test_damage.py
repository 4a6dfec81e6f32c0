"""Damage to a data set on disk: found when it is opened, when it is read, or by verify."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.data.toy import Toy, same
from zsi_jax.data import store, stored
from zsi_jax.data.errors import DataError


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  return store.write(Toy(), tmp_path_factory.mktemp('damage'), shard_bytes=4000)


@pytest.fixture
def directory(finished, tmp_path):
  shutil.copytree(finished.parents[1], tmp_path / 'toy')
  return tmp_path.joinpath('toy', *finished.parts[-2:])


def shard(directory: Path, number: int) -> Path:
  return sorted(directory.glob('*.array_record-*'))[number]


def test_truncated_removed_and_changed_files(directory):
  path = shard(directory, 1)
  whole = path.read_bytes()
  path.write_bytes(whole[:-7])
  with pytest.raises(DataError, match=rf'{path.name}: {len(whole) - 7} bytes where {len(whole)} '):
    store.open(directory)
  with pytest.raises(DataError, match='bytes where'):  # neither used nor written over
    store.write(Toy(), directory.parents[2])
  path.unlink()
  with pytest.raises(DataError, match=f'{path.name}: the file is gone'):
    store.open(directory)
  path.write_bytes(whole)
  store.open(directory).verify()
  text = (directory / 'zsi.json').read_text()
  (directory / 'zsi.json').write_text(text.replace('"size": 8', '"size": 9'))
  with pytest.raises(DataError, match='changed after it was written'):
    store.open(directory)
  (directory / 'zsi.json').write_text(text[:-9])
  with pytest.raises(DataError, match='it cannot be read'):
    store.open(directory)
  (directory / 'zsi.json').unlink()
  with pytest.raises(DataError, match='is no finished data set'):
    store.write(Toy(), directory.parents[2])


def test_a_flipped_byte_is_found(directory):
  """Any bit of a shard: verify names the file; a record reads as it was, or not at all."""
  path = shard(directory, 2)
  whole, hurt = path.read_bytes(), 0
  data = np.flatnonzero(np.frombuffer(whole, np.uint8))
  for at in data[:: max(1, len(data) // 40)]:
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :])
    stored = store.open(directory)
    with pytest.raises(DataError, match=path.name):
      stored.verify()
    left = stored.readable()
    for i in left:
      same(stored[i], Toy()[i])
    for i in set(range(23)) - set(left.tolist()):
      hurt += 1
      with pytest.raises(DataError, match=rf'{path.name}: record {i} cannot be read \('):
        stored[i]
  assert hurt > 20


def test_damaged_attributes(directory):
  path = directory / 'attributes.npz'
  whole = path.read_bytes()
  path.write_bytes(whole[:90] + bytes([whole[90] ^ 1]) + whole[91:])
  with pytest.raises(DataError, match='attributes.npz'):
    store.open(directory).attributes(0)
  with pytest.raises(DataError, match='attributes.npz'):
    store.open(directory).verify()


def test_a_changed_digit_of_a_json_file_is_found_when_it_is_opened(directory):
  """One record fewer in a shard, and all after it would be others."""
  path = directory / 'dataset_info.json'
  whole = path.read_text()
  for lengths in json.loads(whole)['splits'][0]['shardLengths'][:2]:
    changed = whole.replace(f'"{lengths}"', f'"{int(lengths) - 1}"', 1)
    assert len(changed) == len(whole) != changed
    path.write_text(changed)
    for use in (store.open, lambda _: store.write(Toy(), directory.parents[2])):
      with pytest.raises(DataError, match='dataset_info.json: it was changed after'):
        use(directory)
  path.write_text(whole)
  path = directory / 'features.json'
  text = path.read_bytes()
  for at in range(0, len(text), 97):
    path.write_bytes(text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :])
    with pytest.raises(DataError, match='features.json: it was changed after'):
      store.open(directory)


@pytest.mark.parametrize(
  'file, old, new, said',
  [
    ('dataset_info.json', '"5"', '"4"', r'shards of \[4, .* records where \[5, '),
    ('dataset_info.json', '{', '[', 'cannot be opened'),
    ('dataset_info.json', 'splits', 'splats', 'cannot be opened'),
    ('features.json', '{', '(', 'cannot be opened'),
  ],
)
def test_damage_after_the_opening_is_one_error_that_names_the_directory(
  directory, file, old, new, said
):
  given = store.open(directory)
  path = directory / file
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new, 1))
  for other in (given, pickle.loads(pickle.dumps(given))):  # as a worker gets it
    for use in (lambda s: s[0], stored.Stored.readable):
      with pytest.raises(DataError, match=f'{directory}: .*{said}'):
        use(other)


def test_a_file_that_cannot_be_read_is_named(directory, monkeypatch):
  def fail(*_):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(store.manifest, 'facts', fail)
  with pytest.raises(DataError, match='.json: it cannot be read .Permission denied'):
    store.open(directory)


def test_a_fork_opens_its_own_files(finished, monkeypatch):
  given = store.open(finished)
  ours = given._open()
  assert given._open() is ours
  monkeypatch.setattr(stored.os, 'getpid', lambda: -1)
  theirs = given._open()
  assert theirs is not ours and given._open() is theirs
  same(given[22], Toy()[22])
