"""Pickles are programs: none of these runs, and each refusal names the file and what it asked."""

from __future__ import annotations

import collections
import os
import pickle
import struct
import subprocess
import sys

import pytest

from tests.io import made
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.unpickle import ALLOWED, unpickle


class Call:
  """Pickles as the call of a function."""

  def __init__(self, function, *args):
    self.call = function, args

  def __reduce__(self):
    return self.call


def text(string: str) -> bytes:
  return b'V' + string.encode() + b'\n'


@pytest.fixture
def canary(tmp_path):
  path = tmp_path / 'canary'
  yield path
  assert not path.exists(), 'something of the pickle was executed'


def programs(canary) -> dict[str, tuple[bytes, str]]:
  """Attacks, and the global or opcode that the refusal must name."""
  shell = f'touch {canary}'
  code = f"open({str(canary)!r}, 'w')"
  command = text(shell)
  system = f'{os.system.__module__}.system'  # posix.system or nt.system
  return {
    'reduce': (pickle.dumps({'w': Call(os.system, shell)}, 2), system),
    'protocol 0': (pickle.dumps({'w': Call(os.system, shell)}, 0), system),
    'protocol 4': (pickle.dumps({'w': Call(os.system, shell)}, 4), system),
    'protocol 5': (pickle.dumps({'w': Call(subprocess.call, shell)}, 5), 'subprocess.call'),
    'eval': (pickle.dumps(Call(eval, code), 4), 'builtins.eval'),
    'exec': (pickle.dumps(Call(exec, code), 2), '__builtin__.exec'),
    'open': (made.program(made.name('io', 'open') + b'(' + text(str(canary)) + text('w') + b'tR'),
             'io.open'),
    'getattr': (pickle.dumps(Call(getattr, '', 'join'), 4), 'builtins.getattr'),
    'inst': (made.program(b'(' + command + b'ios\nsystem\n'), 'os.system'),
    'obj': (made.program(b'(' + made.name('os', 'system') + command + b'o'), 'os.system'),
    'newobj': (made.program(made.name('subprocess', 'Popen') + b'(' + command + b't\x81'),
               'subprocess.Popen'),
    'stack global': (b'\x80\x04\x8c\x02os\x8c\x06system\x93' + command + b'\x85R.', 'os.system'),
    'dotted': (b'\x80\x04\x8c\x0bcollections\x8c\x20OrderedDict.fromkeys.__globals__\x93.',
               'OrderedDict.fromkeys.__globals__'),
    'dotted module': (made.program(made.name('torch._utils', '_rebuild_tensor_v2.__globals__')),
                      '_rebuild_tensor_v2.__globals__'),
    'torch itself': (made.program(made.name('torch', 'load') + b'(' + command + b'tR'),
                     'torch.load'),
    'from bytes': (made.program(made.name('torch.storage', '_load_from_bytes')),
                   'torch.storage._load_from_bytes'),
    'extension': (made.program(b'\x82\x01'), 'EXT1'),
    'persid': (made.program(b'Pstorage\n'), 'PERSID'),
    'newobj of allowed': (made.program(made.name('collections', 'OrderedDict') + b')\x81'),
                          'NEWOBJ'),
    'buffers': (b'\x80\x05\x97.', 'NEXT_BUFFER'),
  }  # fmt: skip


@pytest.mark.parametrize('attack', programs('x'))
@pytest.mark.parametrize('form', ['zip', 'stream', 'first'])
def test_refused(tmp_path, canary, attack, form):
  program, named = programs(canary)[attack]
  path = tmp_path / 'w.pt'
  if form == 'zip':
    made.save_zip(path, program, {})
  elif form == 'stream':
    made.save_stream(path, program, {}, {})
  else:
    path.write_bytes(program)
  with pytest.raises(WeightsError) as info:
    weights.read(path)
  assert str(path) in str(info.value)
  if form != 'first' or program[:1] == b'\x80':  # text pickles do not look like a file of torch
    assert named in str(info.value) and 'Nothing was executed' in str(info.value)


def test_the_attacks_work_on_the_usual_unpickler(tmp_path):
  """The canary can sing: the same program, given to pickle, makes the file."""
  path = tmp_path / 'sung'
  subprocess.run(
    [sys.executable, '-c', 'import pickle, sys; pickle.loads(sys.stdin.buffer.read())'],
    input=programs(path)['reduce'][0], check=True,
  )  # fmt: skip
  assert path.exists()


def test_nothing_is_imported(tmp_path):
  module = 'zsi_canary_module'
  (tmp_path / f'{module}.py').write_text("raise SystemExit('imported')")
  with pytest.raises(WeightsError, match=f'{module}.f'):
    sys.path.insert(0, str(tmp_path))
    try:
      unpickle(made.program(made.name(module, 'f')), 'w.pt')
    finally:
      sys.path.remove(str(tmp_path))
  assert module not in sys.modules


def test_allowed_is_short_and_its_functions_are_our_own():
  assert len(ALLOWED) == 16
  for name, entry in ALLOWED.items():
    assert (entry.call is None) != (entry.dtype is None), name
    assert entry.call is None or entry.call.__module__ == 'zsi_jax.io.unpickle'


MALFORMED = {
  'call of a string': made.program(made.word('x') + b')R'),
  'call of a storage type': made.program(made.name('torch', 'FloatStorage') + b')R'),
  'call with a list': made.program(made.name('collections', 'OrderedDict') + b']R'),
  'state of a function': made.program(made.name('torch._utils', '_rebuild_tensor_v2') + b'}b'),
  'state of a tensor': made.program(made.tensor(made.storage('0', 'f4', 1), (1,)) + b'}b'),
  'append to a tensor': made.program(made.tensor(made.storage('0', 'f4', 1), (1,)) + b'Na'),
  'unknown memo': made.program(b'h\x07'),
  'empty stack': made.program(b''),
  'pop of nothing': made.program(b'0'),
  'mark as value': made.program(b'('),
  'no mark': made.program(b'Nt'),
  'odd items': made.program(b'}(Nu'),
  'list as key': made.program(b'}(]Nu'),
  'tuple as key': made.program(b'}()Nu'),
  'item of a list': made.program(b']NNs'),
  'storage that is none': made.program(b'(' + made.word('module') + b'tQ'),
  'storage of a function': made.program(
    b'(' + made.word('storage') + made.name('torch', 'Size') + made.word('0') * 2 + b'K\x01tQ'
  ),
  'negative storage': made.program(made.storage('0', 'f4', -1)),
  'size of strings': made.program(made.name('torch', 'Size') + b'(' + made.word('abc') + b'tR'),
  'parameter of nothing': made.program(made.name('torch._utils', '_rebuild_parameter') + b'(NtR'),
  'tensor of nothing': made.program(made.name('torch._utils', '_rebuild_tensor_v2') + b'(NNNNtR'),
  'global of no string': b'\x80\x04]K\x01\x93.',
  'long string': b'\x80\x02X' + struct.pack('<I', 2**31) + b'abc.',
  'long number': made.program(b'L' + b'9' * 10000 + b'L\n'),
  'unknown opcode': b'\x80\x02\xfe.',
  'no stop': b'\x80\x02N',
  'nothing': b'',
}


@pytest.mark.parametrize('which', MALFORMED)
def test_malformed(which):
  with pytest.raises(WeightsError, match='(?s)^w.pt: .*(damaged|opcode)'):
    unpickle(MALFORMED[which], 'w.pt')


def test_back_references_do_not_explode():
  """2^60 leaves in 60 tuples: never walked, hashed or printed."""
  deep = b')q\x00' + b''.join(b'h%ch%c\x86q%c' % (i, i, i + 1) for i in range(60))
  with pytest.raises(WeightsError, match='damaged'):
    unpickle(made.program(b'}(' + deep + b'Nu'), 'w.pt')
  with pytest.raises(WeightsError, match='damaged'):
    unpickle(made.program(deep + deep + b'\x93'), 'w.pt')


@pytest.mark.parametrize('protocol', range(6))
def test_plain_values_as_pickle_gives_them(protocol):
  value = {
    'a': [1, -1, 2**40, -(2**80), 1.5, None, True, False], 'b': {'c': ('x', 'ü', (), (1, 2, 3, 4))},
    1: [[], {}], 'd': collections.OrderedDict(x=1),
  }  # fmt: skip
  assert unpickle(pickle.dumps(value, protocol), 'w.pt') == value
