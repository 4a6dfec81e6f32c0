"""The stream is one: on any topology, from any position, whoever moves it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data.reader import read
from tests.data.toy import Toy
from zsi_jax.data import memory, store, transforms
from zsi_jax.data.chance import uniforms
from zsi_jax.data.circles import Circles
from zsi_jax.data.discs import Discs
from zsi_jax.data.errors import DataError
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.data.portraits import Portraits
from zsi_jax.data.sizes import Sizes
from zsi_jax.data.stream import AUGMENT

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
  'toy': Toy(),
  'circles': Circles(size=16, radius=1),
  'discs': Discs(n=40, size=16),
  'sizes': Sizes(n=40, size=16),
  'portraits': Portraits(n=13, size=32),
}
AUGMENTED = {'batch': 6, 'seed': 3, 'crop': 0.8, 'flip': True, 'keep': ('age', 'tokens')}


def equal(ours, theirs):
  assert len(ours) == len(theirs)
  for a, b in zip(ours, theirs, strict=True):
    assert a.keys() == b.keys()
    for name in a:
      np.testing.assert_array_equal(a[name], b[name], name, strict=True)


def joined(parts):
  """Global batches from those of the processes; the last may be missing on some."""
  rows = itertools.zip_longest(*parts)
  return [
    {name: np.concatenate([b[name] for b in row if b is not None]) for name in row[0]}
    for row in rows
  ]


@pytest.fixture(scope='module')
def stores(tmp_path_factory):
  root = tmp_path_factory.mktemp('stores')
  return {n: store.write(s, root, shard_bytes=20_000) for n, s in SOURCES.items()}


@pytest.fixture(scope='module')
def topologies(stores, tmp_path_factory):
  """What each of 1, 2 and 3 real processes read: {n: {data set: [batches of process p]}}."""
  out = tmp_path_factory.mktemp('read')
  once = {'batch': 12, 'seed': 5, 'epochs': 1}
  tasks = {name: (str(path), once) for name, path in stores.items()}
  tasks['augmented'] = (str(stores['toy']), {**AUGMENTED, 'epochs': 3, 'pad': True})
  children = {}
  for p, n in ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)):
    command = [sys.executable, '-m', 'tests.data.reader', json.dumps(tasks), f'[{p}, {n}]']
    children[p, n] = subprocess.Popen([*command, str(out / f'{p}-{n}.npz')], cwd=ROOT)
    if p == n - 1:
      assert [children[q, n].wait() for q in range(n)] == [0] * n
  found = {n: {name: [] for name in tasks} for n in (1, 2, 3)}
  for (p, n), name in itertools.product(children, tasks):
    with np.load(out / f'{p}-{n}.npz') as file:
      keys = [k.split('/') for k in file.files]
      batches = [
        {k[2]: file['/'.join(k)] for k in keys if k[0] == name and k[1] == str(i)}
        for i in range(int(file[f'{name}/batches']))
      ]
      found[n][name].append((batches, int(file[f'{name}/position'])))
  return found


@pytest.mark.parametrize('n', [1, 2, 3])
@pytest.mark.parametrize('name', SOURCES)
def test_every_record_once_an_epoch(topologies, name, n):
  source = SOURCES[name]
  parts = topologies[n][name]
  numbers = np.concatenate([b['index'] for batches, _ in parts for b in batches])
  np.testing.assert_array_equal(np.sort(numbers), np.arange(len(source)))
  assert [position for _, position in parts] == [len(source)] * n
  whole = joined([batches for batches, _ in parts])
  equal(whole, topologies[1][name][0][0])
  assert [len(b['index']) for b in whole[:-1]] == [12] * (len(whole) - 1)
  for batch in whole:
    for row, i in enumerate(batch['index']):
      np.testing.assert_array_equal(
        batch['image'][row], source[i]['image'].astype(np.float32) / np.float32(127.5) - 1
      )


@pytest.mark.parametrize('n', [1, 2, 3])
def test_the_same_pixels_on_any_topology(topologies, n):
  """Crops, flips, kept fields and the padded last batch; and by a plain loop without grain."""
  parts = topologies[n]['augmented']
  assert {len(batches) for batches, _ in parts} == {12}  # 69 examples in batches of 6
  assert {b['image'].shape for batches, _ in parts for b in batches} == {(6 // n, 8, 8, 3)}
  whole = joined([batches for batches, _ in parts])
  equal(whole, read(Toy(), **AUGMENTED, epochs=3, pad=True, threads=0)[0])
  valid = np.concatenate([b['valid'] for b in whole])
  np.testing.assert_array_equal(valid, np.arange(72) < 69)
  assert (np.concatenate([b['index'] for b in whole])[69:] == -1).all()


def test_what_an_example_is():
  batches, _ = read(Toy(), **AUGMENTED, epochs=2, threads=0)
  examples = [{k: v[i] for k, v in b.items()} for b in batches for i in range(len(b['index']))]
  assert [e['example'] for e in examples] == list(range(46))
  orders = [[e['index'] for e in examples[:23]], [e['index'] for e in examples[23:]]]
  assert sorted(orders[0]) == sorted(orders[1]) == list(range(23))
  assert orders[0] != orders[1] != list(range(23)) != orders[0]
  flips = 0
  for e in examples:
    record, chance = Toy()[e['index']], uniforms(3, int(e['example']), 4, AUGMENT)
    image = transforms.random_crop(record['image'], 0.8, chance[1:])
    flips += chance[0] < 0.5
    image = image[:, ::-1] if chance[0] < 0.5 else image
    np.testing.assert_array_equal(e['image'], transforms.normalise(image))
    assert e['age'] == record['age'] and e['image'].dtype == np.float32
    np.testing.assert_array_equal(e['tokens'], record['tokens'])
  assert 12 < flips < 34


def test_shuffle_false_is_the_order_of_the_index():
  batches, _ = read(Toy(), batch=4, seed=0, index=[5, 2, 2, 9], shuffle=False, epochs=2)
  assert [b['index'].tolist() for b in batches] == [[5, 2, 2, 9]] * 2


def test_seeds_differ_and_augmentation_does_not_change_the_order():
  orders = [
    np.concatenate([b['index'] for b in read(Toy(), batch=5, epochs=1, **options)[0]]).tolist()
    for options in ({'seed': 0}, {'seed': 1}, {'seed': 0, 'flip': True, 'crop': 0.5})
  ]
  assert orders[0] != orders[1] and orders[0] == orders[2]


@pytest.mark.parametrize('then', [1, 2, 3, 6])
@pytest.mark.parametrize('stopped', [0, 1, 4, 9])
def test_stop_and_resume_is_not_stopping(stopped, then):
  """Mid-epoch and over its end, on another process count, from a position that went by JSON."""
  whole, _ = read(Toy(), **AUGMENTED, stop=12, threads=0)
  _, position = read(Toy(), **AUGMENTED, stop=stopped, process=(1, 2))
  position = json.loads(json.dumps(position))
  assert position['example'] == 6 * stopped
  parts = [
    read(Toy(), position, stop=12 - stopped, process=(p, then), **AUGMENTED)[0] for p in range(then)
  ]
  equal(joined(parts), whole[stopped:])


def test_one_two_three_processes_in_turn(stores):
  source, position, found = store.open(stores['toy']), 0, []
  for n in (1, 2, 3):
    parts = [read(source, position, stop=3, process=(p, n), **AUGMENTED) for p in range(n)]
    assert len({json.dumps(after) for _, after in parts}) == 1
    found += joined([batches for batches, _ in parts])
    position = parts[0][1]
  equal(found, read(source, **AUGMENTED, stop=9)[0])


def test_resume_with_another_batch():
  _, position = read(Toy(), **AUGMENTED, stop=3)
  rest, _ = read(Toy(), position, stop=4, **{**AUGMENTED, 'batch': 9})
  examples = np.concatenate([b['example'] for b in rest])
  np.testing.assert_array_equal(examples, np.arange(18, 54))
  whole = read(Toy(), **AUGMENTED, stop=9)[0]
  np.testing.assert_array_equal(
    np.concatenate([b['image'] for b in rest]), np.concatenate([b['image'] for b in whole])[18:]
  )


@pytest.mark.parametrize('options', [{}, {'threads': 0}])
def test_after_close_there_is_no_next_and_the_position_stays(options):
  batches = Pipeline(Toy(), **AUGMENTED, epochs=2, **options).batches()
  next(batches)
  batches.close()
  batches.close()
  assert next(batches, None) is None and batches.position['example'] == 6


def test_workers_threads_and_storages_are_the_same_stream(stores, tmp_path):
  wanted, after = read(Toy(), **AUGMENTED, epochs=2, threads=0)
  npz = memory.Npz(memory.write_npz(Toy(), tmp_path / 'toy.npz'))
  for source, options in (
    (Toy(), {'threads': 5}),
    (store.open(stores['toy']), {'workers': 2}),
    (npz, {'threads': 0}),
  ):
    found, position = read(source, **AUGMENTED, epochs=2, **options)
    equal(found, wanted)
    assert position == after and position['example'] == 46
  resumed, _ = read(npz, {**after, 'example': 30}, **AUGMENTED, epochs=2, workers=1)
  equal(resumed, wanted[5:])


def test_an_error_in_a_thread_or_a_worker_is_the_error():
  for options in ({'threads': 0}, {}, {'workers': 1}):
    with pytest.raises(DataError, match='photo 11: broken'):
      read(Toy(corrupt=(11,)), batch=5, seed=0, epochs=1, **options)


@pytest.mark.parametrize('epochs', [1, None])
@pytest.mark.parametrize('options', [{'threads': 0}, {}, {'workers': 1}])
def test_after_an_error_there_is_no_next_and_the_position_stays(options, epochs):
  source, index = Toy(corrupt=(11,)), range(8, 23)
  common = {'batch': 3, 'seed': 0, 'shuffle': False, 'index': index, 'epochs': epochs}
  batches = Pipeline(source, **common, **options).batches()
  next(batches)
  with pytest.raises(DataError, match='photo 11: broken'):
    next(batches)
  for _ in range(2):
    assert next(batches, None) is None and batches.position['example'] == 3
  with pytest.raises(DataError, match='photo 11: broken'):  # and from there it comes again
    read(source, batches.position, **common, **options)


@pytest.mark.parametrize('options', [{'threads': 0}, {}])
def test_the_position_after_a_short_last_batch_is_the_end(options):
  with Pipeline(Toy(), batch=5, seed=0, epochs=1, **options).batches() as batches:
    assert [len(next(batches)['index']) for _ in range(5)] == [5, 5, 5, 5, 3]
    assert batches.position['example'] == 23


def test_a_position_belongs_to_its_pipeline():
  _, position = read(Toy(), **AUGMENTED, stop=1)
  for change, said in (
    ({'seed': 4}, 'seed 3, here 4'),
    ({'flip': False}, 'flip True, here False'),
    ({'crop': None}, 'crop 0.8, here None'),
    ({'shuffle': False}, 'shuffle'),
    ({'index': range(22)}, 'index'),
    ({'label': np.zeros(23, int), 'about': 'age'}, 'label None, here'),
  ):
    with pytest.raises(DataError, match=f'belongs to another pipeline: .*{said}'):
      Pipeline(Toy(), **{**AUGMENTED, **change}).batches(position)

  class Longer(Toy):
    def __len__(self):
      return 24

  some = {**AUGMENTED, 'index': range(20)}
  _, after = read(Toy(), **some, stop=1)
  with pytest.raises(DataError, match='belongs to another pipeline: records 23, here 24'):
    Pipeline(Longer(), **some).batches(after)
  with pytest.raises(DataError, match="source 'toy/.*', here 'toy/"):
    Pipeline(Toy(seed=1), **AUGMENTED).batches(position)
  for start in ({}, {'example': 'x', 'of': {}}, {'example': 3}):
    with pytest.raises(DataError, match='none of Batches.position'):
      Pipeline(Toy(), **AUGMENTED).batches(start)
  for start in (-1, 47):
    with pytest.raises(DataError, match=f'{start} is outside the stream of 46'):
      Pipeline(Toy(), **AUGMENTED, epochs=2).batches(start)
  assert read(Toy(), 46, **AUGMENTED, epochs=2)[0] == []


def test_labels_and_repeats_go_with_the_index():
  index, label = [3, 3, 3, 8, 9], [1, 1, 1, 0, -1]
  batches, _ = read(Toy(), batch=5, seed=0, index=index, label=label, epochs=2)
  for b in batches:
    assert sorted(zip(b['index'], b['label'], strict=True)) == sorted(
      zip(index, label, strict=True)
    )
    assert b['label'].dtype == np.int32


IMPORTED = """
import sys, threading
class Noted:
  def find_spec(self, name, *_):
    seen.setdefault(name, threading.current_thread() is threading.main_thread())
seen = {}
sys.meta_path.insert(0, Noted())
from pathlib import Path
from zsi_jax.data import store
from zsi_jax.data.pipeline import Pipeline
with Pipeline(store.open(Path(sys.argv[1])), batch=4, seed=0).batches() as batches:
  next(batches)
assert seen['tensorflow_datasets'] and seen['grain']
print('ok')
"""


def test_what_swaps_import_is_imported_by_the_thread_that_asks(stores):
  """tfds does, for as long as it is imported; jax imports in the main thread meanwhile."""
  command = [sys.executable, '-c', IMPORTED, str(stores['circles'])]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
  assert done.stdout == 'ok\n', done.stderr
