"""Files of torch.save without PyTorch: the zip format (1.6 and later) and the stream before it.

A zip holds `<root>/data.pkl`, one record `<root>/data/<key>` per storage, and `<root>/byteorder`.
One with `<root>/constants.pkl` is of TorchScript: the value is a module, its attributes tensors and
modules again. What lies beside it is a program, in `<root>/code`, and is never looked at.
A stream is five pickles (a magic number, a version, facts of the machine, the value, the list of
keys), then per key an int64 count and the elements, little endian.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from zsi_jax.io.errors import WeightsError
from zsi_jax.io.unpickle import Module, Storage, Tensor, unpickle

MAGIC = 0x1950A86A20F9469CFC6C
AGAIN = 'Download or copy the file again and compare its size and sha256 with the source.'
INFLATE = 100  # a zip whose records claim more than this times the file's size is no weights file
LONGEST, ENTRIES = 1 << 12, 1 << 16  # names of TorchScript: letters of one, and how many
OVERLAP = 1 << 24  # elements that a tensor of repeated elements (stride 0) may have


def read(path: Path, pick: Callable[[Any], Mapping[str, Tensor]]) -> dict[str, np.ndarray]:
  """The arrays of the tensors that `pick` chooses from the stored value; views of its storages."""
  with open(path, 'rb') as stream:
    head = stream.read(2)
    stream.seek(0)
    return (_read_zip if head == b'PK' else _read_stream)(stream, str(path), pick)


def _read_zip(stream: BinaryIO, file: str, pick: Callable[..., Any]) -> dict[str, np.ndarray]:
  try:
    with zipfile.ZipFile(stream) as archive:
      return _read_records(archive, os.fstat(stream.fileno()).st_size, file, pick)
  except WeightsError:
    raise
  except Exception as error:  # zipfile lets struct, zlib, EOF and other errors of damage through
    raise WeightsError(
      f'{file}: a zip file that is truncated or damaged ({error}). {AGAIN}'
    ) from None


def _read_records(
  archive: zipfile.ZipFile, size: int, file: str, pick: Callable[..., Any]
) -> dict[str, np.ndarray]:
  records = {info.filename: info for info in archive.infolist()}
  pickles = [name for name in records if name.endswith('/data.pkl') and name.count('/') == 1]
  if len(pickles) != 1:
    raise WeightsError(
      f'{file}: a zip file, but not one of torch.save: it has {len(pickles)} records data.pkl '
      f'(it holds {", ".join(list(records)[:3]) or "nothing"}). Give the .pt file itself.'
    )
  root = pickles[0].removesuffix('data.pkl')
  if len(records) != len(archive.infolist()):
    raise WeightsError(f'{file}: a zip file with two records of one name. {AGAIN}')
  if sum(info.file_size for info in records.values()) > INFLATE * size:
    raise WeightsError(
      f'{file}: its records claim more than {INFLATE} times the {size} bytes of the file. {AGAIN}'
    )
  order = archive.read(f'{root}byteorder') if f'{root}byteorder' in records else b'little'
  if order not in (b'little', b'big'):
    raise WeightsError(f'{file}: the byte order {order[:20]!r} is neither little nor big. {AGAIN}')
  script = f'{root}constants.pkl' in records
  value = unpickle(archive.read(pickles[0]), file, script)
  tensors = pick(_attributes(value, file) if script else value)
  blocks: dict[str, bytes] = {}
  for storage in (t.storage for t in tensors.values()):
    name = f'{root}data/{storage.key}'
    if name not in records:
      raise WeightsError(f'{file}: the storage {name!r} is missing from the file. {AGAIN}')
    if storage.key not in blocks:
      blocks[storage.key] = archive.read(name)  # checks the record's crc
  return _arrays(tensors, blocks, file, swap=order == b'big')


def _attributes(top: Any, file: str) -> dict[str, Tensor]:
  """The tensors of a module and of the modules in it, by the names of PyTorch's state dict."""
  if not isinstance(top, Module):
    raise WeightsError(
      f'{file}: a TorchScript archive whose value is no module but a {type(top).__name__}. Save '
      "the tensors alone from PyTorch (`torch.save(state_dict, 'weights.pt')`)."
    )
  found: dict[str, Tensor] = {}
  todo, count = [('', top)], 0
  while todo:
    prefix, module = todo.pop()
    count += 1 + len(module)
    if len(prefix) > LONGEST or count > ENTRIES:  # a module within itself has names without end
      raise WeightsError(f'{file}: its modules are nested without end. {AGAIN}')
    for name, value in module.items():
      if isinstance(value, Tensor):
        found[f'{prefix}{name}'] = value
      elif isinstance(value, Module):
        todo.append((f'{prefix}{name}.', value))
  return found


def _read_stream(stream: BinaryIO, file: str, pick: Callable[..., Any]) -> dict[str, np.ndarray]:
  size = os.fstat(stream.fileno()).st_size
  magic = unpickle(stream, file)
  if magic != MAGIC:
    raise WeightsError(
      f'{file}: a pickle, but not one of torch.save. Save the weights with '
      "`torch.save(model.state_dict(), 'weights.pt')` or as safetensors."
    )
  version, _, value, keys = (unpickle(stream, file) for _ in range(4))
  if version != 1001 or not isinstance(keys, list):
    raise WeightsError(f'{file}: version {version!r} of the torch.save stream is unknown.')
  tensors = pick(value)
  width = {s.key: _dtype(s).itemsize for s in _storages(value)}
  blocks: dict[str, bytes] = {}
  for key in keys:
    if not isinstance(key, str) or key not in width:
      raise WeightsError(f'{file}: the storage {str(key)[:80]!r} belongs to no tensor. {AGAIN}')
    nbytes = int.from_bytes(stream.read(8), 'little', signed=True) * width[key]
    if not 0 <= nbytes <= size - stream.tell():
      raise WeightsError(
        f'{file}: truncated: the storage {key!r} has {nbytes} bytes, {size - stream.tell()} are '
        f'left. {AGAIN}'
      )
    blocks[key] = stream.read(nbytes)
  return _arrays(tensors, blocks, file, swap=False)


def _storages(value: Any) -> list[Storage]:
  """Every storage in nested dicts and lists, each container once."""
  found, todo, seen = [], [value], set()
  while todo:
    node = todo.pop()
    if isinstance(node, (Tensor, Storage)):
      found.append(node.storage if isinstance(node, Tensor) else node)
    elif isinstance(node, (dict, list, tuple)) and id(node) not in seen:
      seen.add(id(node))
      todo.extend(node.values() if isinstance(node, dict) else node)
  return found


def _dtype(storage: Storage) -> np.dtype[Any]:
  if storage.dtype == 'bfloat16':
    return np.dtype(ml_dtypes.bfloat16)
  return np.dtype(storage.dtype)


def _arrays(
  tensors: Mapping[str, Tensor], blocks: Mapping[str, bytes], file: str, swap: bool
) -> dict[str, np.ndarray]:
  out = {}
  words: dict[tuple[str, str], np.ndarray] = {}
  for name, (storage, offset, shape, stride) in tensors.items():
    dtype = _dtype(storage)
    block = blocks.get(storage.key, b'')
    if (storage.first + storage.numel) * dtype.itemsize > len(block):
      raise WeightsError(
        f'{file}: {name}: its storage should have {storage.numel} × {storage.dtype}, the file has '
        f'{len(block)} bytes. {AGAIN}'
      )
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    size = math.prod(shape)
    if size and (last >= storage.numel or size > max(storage.numel, OVERLAP)):
      raise WeightsError(
        f'{file}: {name}: shape {list(shape)} with stride {list(stride)} from element {offset} '
        f'reaches outside its storage of {storage.numel} elements (or repeats it without end). '
        f'{AGAIN}'
      )
    if (storage.key, storage.dtype) not in words:
      word = np.frombuffer(block, f'u{dtype.itemsize}', len(block) // dtype.itemsize)
      words[storage.key, storage.dtype] = (word.byteswap() if swap else word).view(dtype)
    flat = words[storage.key, storage.dtype]
    out[name] = (
      np.ndarray(  # numpy checks the bounds once more
        shape,
        dtype,
        buffer=flat,
        offset=(storage.first + offset) * dtype.itemsize,
        strides=[s * dtype.itemsize for s in stride],
      )
      if size
      else np.zeros(shape, dtype)
    )
  return out
