"""Data sets on disk: what was written is what is read, or a DataError says what is not."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.data.toy import Changed, Toy, same
from zsi_jax.data import memory, record, store
from zsi_jax.data.check import source as check_source
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Field

ROOT = Path(__file__).resolve().parents[2]
SHARD = 4000  # bytes: a few records


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  return store.write(Toy(), tmp_path_factory.mktemp('store'), shard_bytes=SHARD)


@pytest.fixture(params=['store', 'npz', 'memory', 'store of a store'])
def kept(request, finished, tmp_path):
  match request.param:
    case 'store':
      return store.open(finished)
    case 'npz':
      return memory.Npz(memory.write_npz(Toy(), tmp_path / 'deep' / 'toy.npz'))
    case 'memory':
      return memory.load(Toy())
  return store.open(store.write(store.open(finished), tmp_path))


def test_what_is_kept_is_the_source(kept):
  source = Toy()
  for other in (kept, pickle.loads(pickle.dumps(kept))):
    assert len(other) == len(source) and other.name == source.name
    assert dict(other.fields) == dict(source.fields)
    assert record.digest(other) == record.digest(source)
    for i in range(-len(source), len(source)):
      same(other[i], source[i])
      same(other.attributes(i), source.attributes(i))
    ours, theirs = record.table(other), record.table(source)
    assert ours.keys() == theirs.keys()
    for name, column in theirs.items():
      np.testing.assert_array_equal(ours[name], column, strict=True)
    for i in (len(source), -len(source) - 1):
      with pytest.raises(IndexError, match='of a data set of 23'):
        other[i]


def test_shards_are_the_same_bytes_in_every_process(finished, tmp_path):
  code = (
    'import sys; from tests.data.toy import Toy; from zsi_jax.data import store; '
    f'print(store.write(Toy(), sys.argv[1], shard_bytes={SHARD}))'
  )
  ran = [sys.executable, '-c', code, str(tmp_path)]
  again = Path(subprocess.run(ran, check=True, capture_output=True, text=True).stdout.strip())
  names = sorted(p.name for p in finished.iterdir() if p.name != 'zsi.json')
  assert len(names) > 4  # some shards
  assert [(again / n).read_bytes() for n in names] == [(finished / n).read_bytes() for n in names]


def test_tfds_reads_it_in_order_without_tensorflow(finished):
  import tensorflow_datasets as tfds

  assert len(list(finished.glob('*.array_record-*'))) > 3
  root, digest = finished.parents[2], finished.parent.name
  for data in (
    tfds.builder_from_directory(str(finished)).as_data_source('train'),
    tfds.data_source(f'toy/{digest}', data_dir=root, split='train'),
  ):
    assert len(data) == 23
    for i in range(23):
      wanted = Toy()[i]
      for name in ('image', 'mask', 'landmarks', 'tokens', 'exact', 'number', 'age', 'even'):
        np.testing.assert_array_equal(data[i][name], wanted[name])
      assert data[i]['caption'].decode() == wanted['caption']
  assert 'tensorflow' not in sys.modules


def test_a_finished_data_set_is_not_written_again(finished, monkeypatch):
  before = {p: p.stat().st_mtime_ns for p in finished.iterdir()}
  monkeypatch.setattr(store, '_write', None)
  assert store.write(Toy(), finished.parents[2]) == finished
  assert {p: p.stat().st_mtime_ns for p in finished.iterdir()} == before
  assert store.open(Toy(), finished.parents[2]).path == finished
  assert store.open(finished.parents[1]).path == store.open(finished.parent).path == finished


def test_the_manifest_and_verify(finished):
  stored = store.open(finished)
  assert stored.manifest.files.keys() == {p.name for p in finished.iterdir()} - {'zsi.json'}
  assert sum(stored.manifest.shards.values()) == 23
  packages = 'numpy pillow opencv-python-headless tensorflow-datasets array_record'.split()
  assert list(stored.manifest.versions) == packages and all(stored.manifest.versions.values())
  stored.verify()
  np.testing.assert_array_equal(stored.readable(), np.arange(23))


def test_two_writes_give_the_same_bytes(finished, tmp_path):
  again = store.write(Toy(), tmp_path, shard_bytes=SHARD, stamp={'commit': 'abc'})
  assert store.open(again).manifest.stamp == {'commit': 'abc'}
  ours, theirs = (store.open(p).manifest.files for p in (again, finished))
  assert ours == theirs


@pytest.mark.parametrize('kind', ['array_record', 'npz'])
def test_corrupt_records_are_skipped_only_if_asked(tmp_path, kind):
  source = Toy(corrupt=(0, 5, 22))

  def write(source, **more):
    if kind == 'npz':
      return memory.Npz(memory.write_npz(source, tmp_path / 'a.npz', **more))
    return store.open(store.write(source, tmp_path, shard_bytes=SHARD, **more))

  with pytest.raises(DataError, match='toy: record 0: photo 0: broken'):
    write(source)
  assert not [p for p in tmp_path.rglob('*') if p.is_file() and p.suffix in ('.json', '.npz')]
  stored = write(source, skip_corrupt=True)
  left = [i for i in range(23) if i not in (0, 5, 22)]
  assert stored.skipped == tuple((i, f'photo {i}: broken') for i in (0, 5, 22))
  np.testing.assert_array_equal(stored.source_index, left)
  for ours, theirs in enumerate(left):
    same(stored[ours], source[theirs])
    same(stored.attributes(ours), source.attributes(theirs))
  with pytest.raises(DataError, match='photo 0: broken'):
    write(source)
  with pytest.raises(DataError, match='no record can be read'):
    write(Toy(n=2, corrupt=(0, 1)), skip_corrupt=True)


NAN = np.full((5, 2), np.nan, np.float32)


@pytest.mark.parametrize('write', [store.write, lambda s, root: memory.write_npz(s, root / 'a')])
@pytest.mark.parametrize(
  'entry, value, said',
  [
    ('age', np.float32(1.25), r'record 7: age is 1.25, outside \[0, 1\]'),
    ('yaw', np.float32(-91), r'record 7: yaw is -91.0, outside \[-90, 90\]'),
    ('tokens', np.array([1, -2, 3, 4], np.int32), r'tokens is -2, outside \[0, inf\]'),
    ('landmarks', NAN, r'landmarks is not finite \(nan\)'),
    ('exact', np.float64('inf'), r'exact is not finite \(inf\)'),
    ('age', None, 'record 7: it lacks age'),
    ('more', 3, 'record 7: it has more, which its source does not declare'),
    ('age', np.float64(0.5), r'age is float64 \(\), not float32 \(\)'),
    ('image', np.zeros((8, 9, 3), np.uint8), r'image is uint8 \(8, 9, 3\), not uint8 \(8, 8, 3\)'),
    ('mask', np.zeros((8, 8, 1), np.float32), 'mask is float32'),
    ('caption', 3, 'caption is int, not text'),
    ('number', 'three', 'number is <U5'),
  ],
)
def test_a_record_that_breaks_its_word(tmp_path, write, entry, value, said):
  with pytest.raises(DataError, match=said):
    write(Changed(Toy(), 7, entry, value), tmp_path)
  assert not list(tmp_path.rglob('zsi.json')) and not list(tmp_path.rglob('*.part'))


@pytest.mark.parametrize(
  'change, said',
  [
    ({'name': 'My set'}, 'no snake_case'),
    ({'n': 0}, 'no records'),
    ({'fields': {'age': Field()}}, "no field 'image'"),
    ({'fields': {'image': Field((8, 8, 2), 'uint8', 'image')}}, '1, 3 or 4'),
    ({'fields': {**Toy().fields, 'words': Field((2,), 'str')}}, 'text has shape'),
    ({'fields': {**Toy().fields, 'words': Field(dtype='complex64')}}, 'complex64'),
  ],
)
def test_a_source_that_no_store_can_keep(tmp_path, change, said):
  class Odd:
    name, parameters, fields = 'toy', {}, Toy().fields
    n = 5

    def __len__(self):
      return self.n

  for name, value in change.items():
    setattr(Odd, name, value)
  with pytest.raises(DataError, match=said):
    check_source(Odd())


def test_what_is_not_there_is_told(finished, tmp_path):
  source = Toy(seed=9)
  with pytest.raises(DataError) as error:
    store.open(source, tmp_path)
  for told in (str(tmp_path), record.digest(source), 'zsi.json', 'attributes.npz', '--stage=prep'):
    assert told in str(error.value)
  with pytest.raises(DataError, match='the root'):
    store.open(source)
  with pytest.raises(DataError, match='no finished data set'):
    store.open(tmp_path / 'nowhere')
  for seed in (1, 2):
    store.write(Toy(n=1, seed=seed), tmp_path)
  with pytest.raises(DataError, match='several data sets'):
    store.open('toy', tmp_path)
  store.open(tmp_path / 'toy' / record.digest(Toy(n=1, seed=1))).verify()
  with pytest.raises(DataError, match='no such file.*write_npz'):
    memory.Npz(tmp_path / 'a.npz')


SLOW = """
import sys, time
from tests.data import toy
from zsi_jax.data import store
class Slow(toy.Toy):
  def __getitem__(self, index):
    time.sleep(0 if index < 20 else 60)
    return super().__getitem__(index)
store.write(Slow(), sys.argv[1], shard_bytes=4000)
"""


def test_killed_writes_and_two_at_once(tmp_path):
  child = subprocess.Popen([sys.executable, '-c', SLOW, str(tmp_path)], cwd=ROOT)
  try:
    until = time.monotonic() + 30
    while len(list(tmp_path.rglob('0000*'))) < 3:
      assert child.poll() is None and time.monotonic() < until
      time.sleep(0.02)
    with pytest.raises(DataError, match=rf'{record.digest(Toy())}.lock: pid {child.pid} on .* now'):
      store.write(Toy(), tmp_path)
    other = store.write(Toy(seed=1), tmp_path)  # another data set is free
  finally:
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
  assert list(tmp_path.rglob('zsi.json')) == [other / 'zsi.json']
  with pytest.raises(DataError, match='no finished data set'):
    store.open(Toy(), tmp_path)
  stored = store.open(store.write(Toy(), tmp_path))
  same(stored[22], Toy()[22])
  assert not list(tmp_path.rglob('*.part'))


FULL = """
import resource, sys
from tests.data.toy import Toy
from zsi_jax.data import store
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
store.write(Toy(n=60, size=32), sys.argv[1])
"""


def test_a_full_disk_and_an_unwritable_root(finished, tmp_path):
  done = subprocess.run(
    [sys.executable, '-c', FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 1
  last = done.stderr.strip().splitlines()[-1]
  assert 'DataError' in last and 'File too large' in last and 'GB free' in last
  assert [p.name for p in (tmp_path / 'toy').iterdir() if p.suffix != '.lock'] == []
  (tmp_path / 'file').write_text('')
  with pytest.raises(DataError, match='cannot be written .*(Not a directory|File exists)'):
    store.write(Toy(), tmp_path / 'file')
  with pytest.raises(DataError, match='cannot be written .*File name too long'):
    store.write(Toy(), tmp_path / ('n' * 300))


@pytest.mark.parametrize('at', ['toy', 'toy/DIGEST', 'toy/DIGEST/1.0.0', 'toy/.DIGEST.part'])
def test_a_file_where_a_folder_should_be(tmp_path, at):
  path = tmp_path / at.replace('DIGEST', record.digest(Toy()))
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text('mine')
  with pytest.raises(DataError, match=f'{tmp_path}.*(is no finished|cannot be written)'):
    store.write(Toy(), tmp_path)
  with pytest.raises(DataError, match='no finished data set'):
    store.open(Toy(), tmp_path)
  with pytest.raises(DataError, match='no finished data set'):
    store.open('toy', tmp_path)
  assert path.read_text() == 'mine'


def test_one_that_is_being_written_is_not_opened_by_name(finished, tmp_path):
  scratch = tmp_path / 'toy' / f'.{finished.parent.name}.part' / '1.0.0'
  shutil.copytree(finished, scratch)
  with pytest.raises(DataError, match='no finished data set'):
    store.open('toy', tmp_path)
  done = store.write(Toy(seed=1), tmp_path)
  assert store.open('toy', tmp_path).path == done


def test_a_failure_while_writing_touches_nothing_else(finished, tmp_path, monkeypatch):
  kept = store.write(Toy(seed=1), tmp_path)

  def fail(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(store.npz, 'write', fail)
  with pytest.raises(DataError, match='No space left on device; .* GB free'):
    store.write(Toy(), tmp_path)
  store.open(kept).verify()
  assert [p for p in (tmp_path / 'toy').iterdir() if p.is_dir()] == [kept.parent]


def test_parameters_that_are_no_json_say_so(tmp_path):
  class Odd(Toy):
    @property
    def parameters(self):
      return {**dataclasses.asdict(self), 'path': tmp_path}

  with pytest.raises(DataError, match='parameters are not JSON'):
    store.write(Odd(), tmp_path)


def test_other_code_of_the_same_parameters(finished):
  class Newer(Toy):
    @property
    def fields(self):
      return {**super().fields, 'age': Field(low=0.0, high=2.0), 'smile': Field()}

  for use in (store.open, store.write):
    with pytest.raises(DataError, match='other fields .*: age, smile'):
      use(Newer(), finished.parents[2])
