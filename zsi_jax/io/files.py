"""Files of weights to arrays by name, and back: what is in them is checked, what is not is said."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.io import diffusers, torchfile
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.unpickle import Tensor

NESTS = ('ema', 'state_dict', 'model_state_dict', 'model', 'params')  # the first that is there
PREFIXES = ('module.', 'model.')


def read(path: str | Path, part: str | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Arrays by published name, and what is known of the file: format, notes, header (or None).

  `part` names the dict to take from a file that nests several ('ema', 'state_dict', …).
  """
  path = Path(path).expanduser()
  kind = _format(path)
  notes: list[str] = []
  header = None
  if kind == 'safetensors':
    arrays, header = _read_safetensors(path)
    arrays = _bare(arrays, notes)
  else:
    arrays = torchfile.read(path, lambda value: _bare(_pick(value, str(path), part, notes), notes))
  if not arrays:
    raise WeightsError(f'{path}: it holds no tensors. Give a file with a state dict.')
  if diffusers.known(arrays):
    arrays, header = diffusers.published(arrays), diffusers.told(path, notes)
    notes.append("renamed from diffusers' names")
  return arrays, {'format': kind, 'notes': notes, 'header': header}


def _format(path: Path) -> str:
  """'torch' or 'safetensors', by content; whatever is no weights file is named for what it is."""
  if not path.exists():
    raise WeightsError(f'{path}: there is no such file (the working directory is {Path.cwd()}).')
  if path.is_dir():
    inside = sorted(p.name for p in path.iterdir() if p.suffix in ('.pt', '.pth', '.safetensors'))
    raise WeightsError(f'{path}: a directory; give one file{" of " if inside else ""}'
                       f'{", ".join(inside[:5])}.')  # fmt: skip
  if not path.is_file():
    raise WeightsError(f'{path}: a device or a pipe; weights are read from a file.')
  with open(path, 'rb') as stream:
    head = stream.read(512)
  if not head:
    raise WeightsError(f'{path}: the file is empty. {torchfile.AGAIN}')
  if head[8:9] == b'{' and head[5:8] == b'\0\0\0':
    return 'safetensors'
  if head.startswith(b'version https://git-lfs'):
    raise WeightsError(f'{path}: a git-lfs pointer, not the weights. Run `git lfs pull` there.')
  if head.lstrip()[:1] == b'<':
    raise WeightsError(
      f'{path}: an HTML or XML page saved under this name (an error page or a login page). '
      'Download the file itself.'
    )
  if head[:2] == b'PK' or (head[:1] == b'\x80' and head[1] <= 5):
    return 'torch'
  if path.suffix == '.safetensors':
    return 'safetensors'
  raise WeightsError(
    f'{path}: neither a torch.save file nor safetensors (it starts with {head[:8]!r}). Give a '
    '.pt, .pth, .ckpt, .bin or .safetensors file.'
  )


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
  from safetensors import SafetensorError, safe_open

  try:
    with safe_open(path, 'np') as file:
      arrays = {key: file.get_tensor(key) for key in file.keys()}
      text = (file.metadata() or {}).get('zsi_jax')
    header = None if text is None else json.loads(text)
    if not isinstance(header, dict | None):
      raise WeightsError(f'{path}: its zsi_jax header is no JSON object. {torchfile.AGAIN}')
    return arrays, header
  except json.JSONDecodeError as error:
    raise WeightsError(
      f'{path}: its zsi_jax header is no JSON ({error}). {torchfile.AGAIN}'
    ) from None
  except (SafetensorError, AttributeError, TypeError) as error:  # numpy lacks some of its dtypes
    raise WeightsError(
      f'{path}: a safetensors file that is truncated, damaged or of an unknown dtype ({error}; '
      f'{path.stat().st_size} bytes). {torchfile.AGAIN}'
    ) from None


def _pick(value: Any, file: str, part: str | None, notes: list[str]) -> dict[str, Tensor]:
  """The dict of tensors inside what was saved: of several nested ones `part`, or first of NESTS."""
  if part is not None and (not isinstance(value, dict) or not isinstance(value.get(part), dict)):
    raise WeightsError(f'{file}: it has no part {part!r} but {_contents(value)}.')
  for _ in range(3):
    nests = [k for k in NESTS if isinstance(value, dict) and isinstance(value.get(k), dict)]
    nest = part or next(iter(nests), None)
    if nest is None:
      break
    others = [repr(k) for k in nests if k != nest]
    notes.append(f'took the part {nest!r}' + (f', not {", ".join(others)}' if others else ''))
    value, part = value[nest], None
  named = value.items() if isinstance(value, dict) else ()
  tensors = {k: v for k, v in named if isinstance(k, str) and isinstance(v, Tensor)}
  if not tensors:
    raise WeightsError(f'{file}: no dict of tensors but {_contents(value)}. Give a state dict.')
  if len(tensors) < len(value):
    notes.append(f'ignored what is no tensor: {first(str(k) for k in value if k not in tensors)}')
  return tensors


def _contents(value: Any) -> str:
  if isinstance(value, dict) and value:
    return f'the entries {first(str(k) for k in value)}'
  return f'a value of type {type(value).__name__}'


def _bare(named: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
  """Without a prefix that every name has."""
  for _ in PREFIXES:
    for prefix in PREFIXES:
      if named and all(key.startswith(prefix) for key in named):
        notes.append(f'removed the prefix {prefix!r}')
        named = {key.removeprefix(prefix): array for key, array in named.items()}
  return dict(named)


def write(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
  """safetensors with published names and layouts, `metadata` as JSON under 'zsi_jax'; atomic."""
  from safetensors.numpy import save_file

  path = Path(path)
  plain = {key: np.asarray(array, order='C') for key, array in arrays.items()}
  handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
  os.close(handle)
  try:
    save_file(plain, scratch, metadata={'zsi_jax': json.dumps(dict(metadata)), 'format': 'pt'})
    os.chmod(scratch, 0o666 & ~_umask())
    os.replace(scratch, path)
  finally:
    Path(scratch).unlink(missing_ok=True)


def _umask() -> int:
  mask = os.umask(0)
  os.umask(mask)
  return mask


def sha256(path: str | Path) -> str:
  """The digest of a file, in hex."""
  with open(path, 'rb') as stream:
    return hashlib.file_digest(stream, 'sha256').hexdigest()


def first(names: Iterable[str], n: int = 3) -> str:
  """The first few names, and how many more."""
  names = list(names)
  more = f' and {len(names) - n} more' if len(names) > n else ''
  return ', '.join(f'{name:.120}' for name in names[:n]) + more
