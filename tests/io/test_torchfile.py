"""torch.save files: what they hold is read exactly; what they should not hold is refused."""

from __future__ import annotations

import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from tests.io import made
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError

RNG = np.random.default_rng(0)
ARRAYS = {'a.weight': RNG.normal(size=(3, 4)).astype('f4'), 'a.bias': np.arange(3, dtype='f4')}


def refused(path, *words: str) -> str:
  with pytest.raises(WeightsError) as info:
    weights.read(path)
  text = str(info.value)
  for word in (str(path), *words):
    assert word in text, (word, text)
  assert len(text) < 700
  return text


def same(found, want):
  assert list(found) == list(want)
  for key in want:
    assert found[key].dtype == want[key].dtype and np.array_equal(found[key], want[key])


@pytest.mark.parametrize('order', [b'little', None])
@pytest.mark.parametrize('packed', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip(tmp_path, order, packed):
  path = made.save_zip(tmp_path / 'w.pt', *made.plain(ARRAYS), order=order, packed=packed)
  found, facts = weights.read(path)
  same(found, ARRAYS)
  assert facts == {'format': 'torch', 'notes': [], 'header': None}


def test_big_endian(tmp_path):
  big = {k: a.astype('>f4') for k, a in ARRAYS.items()}
  same(weights.read(made.save_zip(tmp_path / 'w.pt', *made.plain(big), order=b'big'))[0], ARRAYS)
  refused(made.save_zip(tmp_path / 'v.pt', *made.plain(big), order=b'middle'), 'middle')


def test_stream(tmp_path):
  pickle, blocks = made.plain(ARRAYS)
  path = made.save_stream(tmp_path / 'w.pt', pickle, blocks, dict.fromkeys(blocks, 4))
  same(weights.read(path)[0], ARRAYS)


def test_stream_view(tmp_path):
  view = b'(' + made.word('part') + made.number(2) + made.number(6) + b't'
  entries = {'w': made.tensor(made.storage('0', 'f4', 10, view), (2, 3))}
  blocks = {'0': np.arange(10, dtype='f4').tobytes()}
  path = made.save_stream(tmp_path / 'w.pt', made.program(made.table(entries)), blocks, {'0': 4})
  assert weights.read(path)[0]['w'].tolist() == [[2, 3, 4], [5, 6, 7]]


def test_strides_offsets_and_shared_storages(tmp_path):
  at = made.storage('0', 'f4', 12)
  entries = {
    'whole': made.tensor(at, (3, 4)),
    'turned': made.tensor(at, (4, 3), (1, 4)),
    'row': made.tensor(at, (4,), (1,), offset=8),
    'same': made.tensor(at, (2, 2), (0, 1)),
    'one': made.tensor(at, (), (), offset=11),
    'none': made.tensor(at, (0, 5), (5, 1), offset=12),
  }
  data = ARRAYS['a.weight']
  path = made.save_zip(tmp_path / 'w.pt', made.program(made.table(entries)), {'0': data.tobytes()})
  flat = data.ravel()
  same(weights.read(path)[0], {
    'whole': data, 'turned': data.T, 'row': flat[8:], 'same': np.stack([flat[:2]] * 2),
    'one': flat[11].reshape(()), 'none': np.zeros((0, 5), 'f4'),
  })  # fmt: skip


@pytest.mark.parametrize('kind, dtype', [('f8', 'f8'), ('f2', 'f2'), ('bf', ml_dtypes.bfloat16)])
def test_dtypes(tmp_path, kind, dtype):
  arrays = {k: a.astype(dtype) for k, a in ARRAYS.items()}
  same(weights.read(made.save_zip(tmp_path / 'w.pt', *made.plain(arrays, kind)))[0], arrays)


@pytest.mark.parametrize(
  'shape, stride, offset',
  [
    ((3, 4), (4, 1), 1),
    ((13,), (1,), 0),
    ((2,), (12,), 0),
    ((2,), (2**61,), 2**61),
    ((2**40,), (0,), 0),
    ((2**20, 2**20), (0, 0), 0),
    ((3,), (-1,), 2),
    ((-3,), (1,), 0),
    ((3,), (1, 1), 0),
    ((1,) * 40, (1,) * 40, 0),
  ],
)
@pytest.mark.parametrize('form', ['zip', 'stream'])
def test_no_tensor_reaches_outside_its_storage(tmp_path, form, shape, stride, offset):
  entries = {'evil': made.tensor(made.storage('0', 'f4', 12), shape, stride, offset)}
  pickle, blocks = made.program(made.table(entries)), {'0': bytes(48)}
  if form == 'zip':
    refused(made.save_zip(tmp_path / 'w.pt', pickle, blocks))
  else:
    refused(made.save_stream(tmp_path / 'w.pt', pickle, blocks, {'0': 4}))


def test_storages_must_be_there_and_long_enough(tmp_path):
  pickle, blocks = made.plain(ARRAYS)
  refused(made.save_zip(tmp_path / 'a.pt', pickle, {'0': blocks['0']}), 'archive/data/1', 'missing')
  refused(made.save_zip(tmp_path / 'b.pt', pickle, {**blocks, '1': b'12'}), 'a.bias', '2 bytes')
  sizes = dict.fromkeys(blocks, 4)
  refused(made.save_stream(tmp_path / 'c.pt', pickle, {'1': b''}, sizes), 'a.weight')
  refused(made.save_stream(tmp_path / 'd.pt', pickle, {'x': b''}, {'x': 4}), "'x'", 'no tensor')
  path = made.save_stream(tmp_path / 'e.pt', pickle, blocks, sizes)
  path.write_bytes(path.read_bytes().replace(struct.pack('<q', 12), struct.pack('<q', 2**60)))
  refused(path, 'truncated')
  path.write_bytes(path.read_bytes().replace(struct.pack('<q', 2**60), struct.pack('<q', -1)))
  refused(path, 'truncated')


def test_a_zip_that_claims_too_much(tmp_path):
  pickle, _ = made.plain({'a': np.zeros(1 << 20, 'f4')})
  path = made.save_zip(
    tmp_path / 'w.pt', pickle, {'0': bytes(4 << 20)}, packed=zipfile.ZIP_DEFLATED
  )
  refused(path, 'claim more than 100 times')


def test_names_of_a_zip_are_only_looked_up(tmp_path):
  (tmp_path / 'in').mkdir()
  entries = {'w': made.tensor(made.storage('../../../evil', 'f4', 1), (1,))}
  blocks = {'../../../evil': struct.pack('<f', 5)}
  path = made.save_zip(
    tmp_path / 'in' / 'w.pt', made.program(made.table(entries)), blocks, extra=[('/evil', 'x')]
  )
  assert weights.read(path)[0]['w'] == [5]
  assert sorted(p.name for p in tmp_path.rglob('*')) == ['in', 'w.pt']


def test_damage(tmp_path):
  pickle, blocks = made.plain(ARRAYS)
  whole = made.save_zip(tmp_path / 'w.pt', pickle, blocks).read_bytes()
  bad = tmp_path / 'bad.pt'
  for keep in (2, 3, 10, len(whole) // 2, len(whole) - 1, len(whole) - 30):
    bad.write_bytes(whole[:keep])
    refused(bad, 'truncated', 'sha256')
  data = blocks['0']
  bad.write_bytes(whole.replace(data, data[:-1] + bytes([data[-1] ^ 1])))
  refused(bad, 'CRC')
  stream = made.save_stream(
    tmp_path / 's.pt', pickle, blocks, dict.fromkeys(blocks, 4)
  ).read_bytes()
  for keep in (2, 10, 30, 80, len(stream) // 2, len(stream) - 30, len(stream) - 1):
    bad.write_bytes(stream[:keep])
    refused(bad, 'truncated')
  with pytest.warns(UserWarning, match='Duplicate'):
    made.save_zip(bad, pickle, blocks, extra=[('archive/data.pkl', pickle)])
  refused(bad, 'two records')


@pytest.mark.filterwarnings('ignore:invalid escape')  # a byte may turn into an old text string
@pytest.mark.parametrize('form', ['zip', 'stream'])
def test_any_changed_byte_is_an_error_or_harmless(tmp_path, form):
  """One byte anywhere in the file: a WeightsError or arrays, never another exception."""
  pickle, blocks = made.plain({'a': np.arange(3, dtype='f4')})
  path = tmp_path / 'w.pt'
  if form == 'zip':
    made.save_zip(path, pickle, blocks)
  else:
    made.save_stream(path, pickle, blocks, {'0': 4})
  whole = path.read_bytes()
  for i in range(len(whole)):
    path.write_bytes(whole[:i] + bytes([whole[i] ^ int(RNG.integers(1, 256))]) + whole[i + 1 :])
    try:
      weights.read(path)
    except WeightsError:
      pass


def test_other_things_under_the_name_of_weights(tmp_path):
  def write(text: bytes, name='w.pt'):
    (tmp_path / name).write_bytes(text)
    return tmp_path / name

  refused(tmp_path / 'none.pt', 'no such file')
  refused(tmp_path, 'directory')
  refused(write(b''), 'empty')
  refused(write(b'version https://git-lfs.github.com/spec/v1\noid sha256:00\n'), 'git lfs pull')
  refused(write(b'\n<!DOCTYPE html><html></html>'), 'HTML')
  refused(write(b'{"error": "not found"}'), 'neither')
  refused(write(b'\x89HDF\r\n\x1a\n'), 'neither')
  refused(write(pickle.dumps({'a': 1})), 'not one of torch.save')
  with zipfile.ZipFile(tmp_path / 'x.pt', 'w') as archive:
    archive.writestr('a.npy', b'')
  refused(tmp_path / 'x.pt', 'not one of torch.save', 'a.npy')
  pickle_, blocks = made.plain(ARRAYS)
  program = [('archive/constants.pkl', b'')]
  refused(made.save_zip(tmp_path / 'j.pt', pickle_, blocks, extra=program), 'TorchScript')
  old = made.program(made.number(made.MAGIC)) + made.program(made.number(7)) * 4
  refused(write(old), 'version 7')
