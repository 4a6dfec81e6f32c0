"""A pickle reader that can only build tensors' descriptions.

1. A pickle is a program for a stack machine. The usual unpickler resolves any global by importing
   it, calls what REDUCE finds on the stack, and lets BUILD set attributes: that runs foreign code.
2. This machine knows numbers, strings, lists, tuples, dicts, and the table `ALLOWED`. A global is
   looked up in that table by its written name; nothing is imported, and no attribute is ever read
   or set. What REDUCE may call are the functions of this file.
3. So the result is plain data, with `Tensor` (a strided view of a storage) as the only own type.
4. TorchScript pickles modules, objects of classes that its code defines. Where `script` is asked
   for they become `Module`, a dict of their attributes; the classes and their code are not read.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from zsi_jax.io.errors import WeightsError

RESAVE = (
  'Nothing was executed. If you trust its source, save the tensors alone from PyTorch '
  "(`torch.save(model.state_dict(), 'weights.pt')`) or as safetensors, and load that."
)


class Storage(NamedTuple):
  """A stretch [first, first + numel) of the stored block `key`, counted in elements of `dtype`."""

  dtype: str  # a name of torch's: 'float32', 'bfloat16', …
  key: str
  numel: int
  first: int = 0


class Tensor(NamedTuple):
  """storage[offset + Σ index · stride], counted in elements."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  stride: tuple[int, ...]


class Module(dict[str, Any]):
  """The attributes of a module of TorchScript."""


class Allowed(NamedTuple):
  """A global that may be named: a dtype of storages, or something that REDUCE may call."""

  name: str
  call: Callable[..., Any] | None = None
  dtype: str | None = None
  module: bool = False  # a class of TorchScript, of which only its objects' attributes count


class _Mark:
  pass


_MARK = _Mark()


def _count(value: Any) -> bool:
  return type(value) is int and 0 <= value < 2**62


def _counts(value: Any) -> bool:
  return isinstance(value, (tuple, list)) and len(value) <= 32 and all(map(_count, value))


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor:
  ok = isinstance(storage, Storage) and _count(offset) and _counts(shape) and _counts(stride)
  if not ok or len(shape) != len(stride):
    raise ValueError('a tensor whose storage, offset, shape or stride is malformed')
  return Tensor(storage, offset, tuple(shape), tuple(stride))


def _parameter(data: Any, *_: Any) -> Tensor:
  if not isinstance(data, Tensor):
    raise ValueError('a parameter that holds no tensor')
  return data


def _ordered(items: Any = ()) -> dict[Any, Any]:
  into: dict[Any, Any] = {}
  for pair in items:
    key, value = pair
    _put(into, key, value)
  return into


def _size(dims: Any = ()) -> tuple[int, ...]:
  if not _counts(dims):
    raise ValueError('a torch.Size that is no list of sizes')
  return tuple(dims)


def _as_it_is(value: Any, *_: Any) -> Any:
  return value


def _put(into: Any, key: Any, value: Any) -> None:
  # Only atoms: hashing a nested tuple of back references can take exponential time.
  if not isinstance(into, dict) or not isinstance(key, (str, int, float, type(None))):
    raise ValueError('an entry that is no dict item under a plain key')
  into[key] = value


DTYPES = {
  'DoubleStorage': 'float64',
  'FloatStorage': 'float32',
  'HalfStorage': 'float16',
  'BFloat16Storage': 'bfloat16',
  'LongStorage': 'int64',
  'IntStorage': 'int32',
  'ShortStorage': 'int16',
  'CharStorage': 'int8',
  'ByteStorage': 'uint8',
  'BoolStorage': 'bool',
}
ALLOWED = {
  entry.name: entry
  for entry in (
    Allowed('collections.OrderedDict', call=_ordered),
    Allowed('torch.Size', call=_size),
    Allowed('torch._utils._rebuild_tensor_v2', call=_tensor),
    Allowed('torch._utils._rebuild_parameter', call=_parameter),
    *(Allowed(f'torch.{name}', dtype=dtype) for name, dtype in DTYPES.items()),
    Allowed('torch.UntypedStorage', dtype='uint8'),
    Allowed('torch.storage.UntypedStorage', dtype='uint8'),
  )
}
SCRIPT = {  # lists of TorchScript and their types
  name: Allowed(name, call=_as_it_is)
  for name in (
    *(f'torch.jit._pickle.build_{kind}list' for kind in ('int', 'double', 'bool', 'tensor')),
    'torch.jit._pickle.restore_type_tag',
  )
}


def _global(written: str, file: str, script: bool) -> Allowed:
  name = written.replace(' ', '.', 1)
  if script and name.startswith('__torch__.'):
    return Allowed(name, module=True)
  if script and name in SCRIPT:
    return SCRIPT[name]
  if name not in ALLOWED:
    raise WeightsError(
      f'{file}: its pickle asks for the global {name!r}, which is not on the short list that '
      f'weights need ({", ".join(n for n in ALLOWED if "Storage" not in n)}, torch.*Storage). '
      f'{RESAVE}'
    )
  return ALLOWED[name]


def _storage(pid: Any) -> Storage:
  """('storage', type, key, location, numel[, view]); view = (key, first, numel) in old files."""
  kind, dtype, key, _, numel, *view = pid
  allowed = isinstance(dtype, Allowed) and dtype.dtype is not None
  if kind != 'storage' or not allowed or not isinstance(key, str) or not _count(numel):
    raise ValueError('a persistent id that is no storage')
  if not view or view[0] is None:
    return Storage(dtype.dtype, key, numel)
  _, first, length = view[0]
  if not _count(first) or not _count(length) or first + length > numel:
    raise ValueError(f'a view [{first}, {first}+{length}) outside its storage of {numel}')
  return Storage(dtype.dtype, key, length, first)


def unpickle(source: BinaryIO | bytes, file: str, script: bool = False) -> Any:
  """The value that one pickle describes; a global that is not `ALLOWED` is a WeightsError.

  Reads `source` up to the STOP of the first pickle and leaves it there.
  """
  try:
    return _run(source, file, script)
  except WeightsError:
    raise
  except Exception as error:  # every malformed program: a popped mark, a short read, a bad literal
    why = f'{type(error).__name__}: {error}' if str(error) else type(error).__name__
    raise WeightsError(
      f'{file}: its pickle is truncated or damaged ({why[:200]}). Download or copy the file again '
      'and compare its size and sha256 with the source.'
    ) from None


def _run(source: BinaryIO | bytes, file: str, script: bool) -> Any:
  stack: list[Any] = []
  memo: dict[int, Any] = {}

  def marked() -> list[Any]:
    at = len(stack) - 1
    while stack[at] is not _MARK:
      at -= 1
      if at < 0:
        raise ValueError('no mark on the stack')
    items = stack[at + 1 :]
    del stack[at:]
    return items

  def pop() -> Any:
    if stack[-1] is _MARK:
      raise ValueError('a mark where a value was due')
    return stack.pop()

  program: Iterator[tuple[Any, Any, Any]] = pickletools.genops(source)
  for op, arg, _ in program:
    match op.name:
      case 'PROTO' | 'FRAME':
        pass
      case 'STOP':
        return pop()
      case 'MARK':
        stack.append(_MARK)
      case 'POP':
        stack.pop()
      case 'POP_MARK':
        marked()
      case 'NONE':
        stack.append(None)
      case 'NEWTRUE':
        stack.append(True)
      case 'NEWFALSE':
        stack.append(False)
      case (
        'INT' | 'BININT' | 'BININT1' | 'BININT2' | 'LONG' | 'LONG1' | 'LONG4' | 'FLOAT' | 'BINFLOAT'
        | 'UNICODE' | 'BINUNICODE' | 'SHORT_BINUNICODE' | 'BINUNICODE8'
        | 'STRING' | 'BINSTRING' | 'SHORT_BINSTRING'
        | 'BINBYTES' | 'SHORT_BINBYTES' | 'BINBYTES8'
      ):  # fmt: skip
        stack.append(arg)
      case 'EMPTY_LIST':
        stack.append([])
      case 'EMPTY_DICT':
        stack.append({})
      case 'EMPTY_TUPLE':
        stack.append(())
      case 'LIST':
        stack.append(marked())
      case 'TUPLE':
        stack.append(tuple(marked()))
      case 'TUPLE1' | 'TUPLE2' | 'TUPLE3':
        n = int(op.name[-1])
        stack.append(tuple(reversed([pop() for _ in range(n)])))
      case 'DICT':
        items = marked()
        stack.append(_ordered(zip(items[::2], items[1::2], strict=True)))
      case 'APPEND' | 'APPENDS':
        items = [pop()] if op.name == 'APPEND' else marked()
        if type(stack[-1]) is not list:
          raise ValueError('appending to something that is no list')
        stack[-1].extend(items)
      case 'SETITEM' | 'SETITEMS':
        items = [pop(), pop()][::-1] if op.name == 'SETITEM' else marked()
        for key, value in zip(items[::2], items[1::2], strict=True):
          _put(stack[-1], key, value)
      case 'PUT' | 'BINPUT' | 'LONG_BINPUT':
        memo[arg] = stack[-1]
      case 'MEMOIZE':
        memo[len(memo)] = stack[-1]
      case 'GET' | 'BINGET' | 'LONG_BINGET':
        stack.append(memo[arg])
      case 'GLOBAL':
        stack.append(_global(arg, file, script))
      case 'STACK_GLOBAL':
        name, module = pop(), pop()
        if type(name) is not str or type(module) is not str:
          raise ValueError('a global whose name is no string')
        stack.append(_global(f'{module} {name}', file, script))
      case 'REDUCE':
        args, what = pop(), pop()
        if not isinstance(what, Allowed) or what.call is None or not isinstance(args, tuple):
          raise ValueError('a call of something that cannot be called')
        stack.append(what.call(*args))
      case 'NEWOBJ' if script:
        args, what = pop(), pop()
        if not isinstance(what, Allowed) or not what.module or args != ():
          raise ValueError('an object of something that is no module')
        stack.append(Module())
      case 'BUILD' if type(stack[-2]) is Module:
        state = pop()
        if type(state) is not dict:
          raise ValueError('a module whose state is no dict of attributes')
        stack[-1].update(state)
      case 'BUILD':  # the `_metadata` that PyTorch hangs on a state dict: not needed
        pop()
        if type(stack[-1]) is not dict:
          raise ValueError('a state for something that is no OrderedDict')
      case 'BINPERSID':
        stack.append(_storage(pop()))
      case _:
        named = f' ({str(arg).replace(" ", ".", 1)})' if op.name == 'INST' else ''
        raise WeightsError(
          f'{file}: its pickle uses the opcode {op.name}{named}, which weights do not need. '
          f'{RESAVE}'
        )
  raise ValueError('no end')
