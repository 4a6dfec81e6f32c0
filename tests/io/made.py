"""torch.save files made by hand: an assembler of pickles, so that a test can also lie."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np

TYPES = {'f4': 'FloatStorage', 'f8': 'DoubleStorage', 'f2': 'HalfStorage', 'i8': 'LongStorage',
         'bf': 'BFloat16Storage', 'u1': 'ByteStorage'}  # fmt: skip
MAGIC = 0x1950A86A20F9469CFC6C


def word(text: str) -> bytes:
  return b'X' + struct.pack('<I', len(text.encode())) + text.encode()


def number(n: int) -> bytes:
  short = n.to_bytes(n.bit_length() // 8 + 1, 'little', signed=True)
  return b'\x8a' + bytes([len(short)]) + short


def numbers(values) -> bytes:
  return b'(' + b''.join(map(number, values)) + b't'


def name(module: str, attribute: str) -> bytes:
  return f'c{module}\n{attribute}\n'.encode()


ORDERED = name('collections', 'OrderedDict') + b')R'


def storage(key: str, kind: str, numel: int, view: bytes = b'') -> bytes:
  return b'(' + word('storage') + name('torch', TYPES[kind]) + word(key) + word('cpu') + number(
    numel) + view + b'tQ'  # fmt: skip


def tensor(at: bytes, shape, stride=None, offset: int = 0) -> bytes:
  if stride is None:
    stride = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
  rebuild = name('torch._utils', '_rebuild_tensor_v2')
  inside = at + number(offset) + numbers(shape) + numbers(stride) + b'\x89' + ORDERED
  return rebuild + b'(' + inside + b'tR'


def table(entries: dict[str, bytes]) -> bytes:
  return b'}(' + b''.join(word(k) + v for k, v in entries.items()) + b'u'


def program(value: bytes) -> bytes:
  return b'\x80\x02' + value + b'.'


def plain(arrays: dict[str, np.ndarray], kind: str = 'f4') -> tuple[bytes, dict[str, bytes]]:
  """A dict of arrays, each with a storage of its own: the pickle and the storages."""
  blocks = {str(i): a.tobytes() for i, a in enumerate(arrays.values())}
  entries = {
    k: tensor(storage(str(i), kind, a.size), a.shape) for i, (k, a) in enumerate(arrays.items())
  }
  return program(table(entries)), blocks


def save_zip(path: Path, pickle: bytes, blocks: dict[str, bytes], root='archive', order=b'little',
             packed=zipfile.ZIP_STORED, extra=()) -> Path:  # fmt: skip
  with zipfile.ZipFile(path, 'w', packed) as archive:
    archive.writestr(f'{root}/data.pkl', pickle)
    if order is not None:
      archive.writestr(f'{root}/byteorder', order)
    for key, block in blocks.items():
      archive.writestr(f'{root}/data/{key}', block)
    for entry, text in extra:
      archive.writestr(entry, text)
    archive.writestr(f'{root}/version', b'3\n')
  return path


def save_stream(path: Path, pickle: bytes, blocks: dict[str, bytes], sizes: dict[str, int]) -> Path:
  """`sizes`: bytes of one element by key."""
  facts = program(table({'protocol_version': number(1001), 'little_endian': b'\x88'}))
  keys = program(b']' + b''.join(word(k) + b'a' for k in blocks))
  data = [program(number(MAGIC)), program(number(1001)), facts, pickle, keys]
  for key, block in blocks.items():
    data += [struct.pack('<q', len(block) // sizes[key]), block]
  path.write_bytes(b''.join(data))
  return path
