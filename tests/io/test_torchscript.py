"""TorchScript archives: the tensors of their modules are read, their program is not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import made
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError

ARRAYS = {
  'top': np.arange(6, dtype='f2').reshape(2, 3),
  'inner.0.w': np.ones(4, 'f2'),
  'inner.0.tied': np.arange(6, dtype='f2').reshape(2, 3),  # the storage of 'top'
  'inner.n': np.array(2, 'f2'),
}
PROGRAM = [('m/constants.pkl', b'not a pickle'), ('m/code/__torch__.py', b'raise SystemExit')]


def module(attributes: dict[str, bytes], name='__torch__.a.___torch_mangle_3 Net') -> bytes:
  return made.name(*name.split()) + b')\x81' + made.table(attributes) + b'b'


def tensor(key: str) -> bytes:
  array = ARRAYS[key]
  at = made.storage('0' if key.endswith('tied') else str(list(ARRAYS).index(key)), 'f2', array.size)
  return made.tensor(at, array.shape)


def save(path, value: bytes):
  blocks = {str(i): a.tobytes() for i, a in enumerate(ARRAYS.values()) if i != 2}
  return made.save_zip(path, made.program(value), blocks, root='m', order=None, extra=PROGRAM)


def whole(**more: bytes) -> bytes:
  ints = made.name('torch.jit._pickle', 'build_intlist') + b'(]' + made.number(3) + b'atR'
  first = module({'w': tensor('inner.0.w'), 'tied': tensor('inner.0.tied'), 'sizes': ints})
  inner = module({'0': first, 'training': b'\x88', 'n': tensor('inner.n'), 'none': b'N'})
  return module({'top': tensor('top'), 'inner': inner, 'name': made.word('x'), **more})


def test_the_tensors_of_modules_by_their_names(tmp_path):
  found, facts = weights.read(save(tmp_path / 's.pt', whole()))
  assert set(found) == set(ARRAYS) and facts['format'] == 'torch'
  for key, array in ARRAYS.items():
    assert found[key].dtype == array.dtype
    np.testing.assert_array_equal(found[key], array)


def refused(path, value: bytes, *words: str):
  with pytest.raises(WeightsError) as info:
    weights.read(save(path, value))
  for word in (str(path), *words):
    assert word in str(info.value), info.value


def test_nothing_but_modules_is_built(tmp_path):
  path = tmp_path / 's.pt'
  call = made.name('os', 'system') + b'(' + made.word('true') + b'tR'
  refused(path, whole(x=call), 'os.system', 'Nothing was executed')
  refused(path, whole(x=module({}, 'os environ')), 'os.environ')
  refused(path, module({}, 'torch.nn Linear'), 'torch.nn.Linear')
  called = made.name('__torch__.a', 'Net') + b')R'
  refused(path, whole(x=called), 'cannot be called')
  given = made.name('__torch__.a', 'Net') + b'(' + made.number(1) + b't\x81'
  refused(path, whole(x=given), 'no module')
  refused(path, whole(x=made.ORDERED.replace(b')R', b')\x81')), 'no module')
  stated = made.name('__torch__.a', 'Net') + b')\x81' + made.number(1) + b'b'
  refused(path, whole(x=stated), 'no dict of attributes')
  refused(path, made.table({'top': tensor('top')}), 'TorchScript', 'state_dict')
  refused(path, module({'training': b'\x88'}), 'no dict of tensors')


def test_modules_without_end(tmp_path):
  itself = made.name('__torch__.a', 'Net') + b')\x81q\x01' + made.table({'again': b'h\x01'}) + b'b'
  refused(tmp_path / 's.pt', itself, 'without end')
  doubled = module({'top': tensor('top')}) + b'q\x01'
  for n in range(2, 40):  # 2^38 names in a small file
    got = b'h' + bytes([n - 1])
    doubled += b'0' + module({'a': got, 'b': got}) + b'q' + bytes([n])
  refused(tmp_path / 's.pt', doubled, 'without end')


def test_modules_belong_to_archives_of_torchscript(tmp_path):
  blocks = {'0': ARRAYS['top'].tobytes()}
  program = made.program(module({'top': tensor('top')}))
  path = made.save_zip(tmp_path / 'w.pt', program, blocks)
  with pytest.raises(WeightsError, match='__torch__.*Nothing was executed'):
    weights.read(path)
