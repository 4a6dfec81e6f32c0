"""The seal of a folder: bytes and sha256 of every file in it, and the sha256 of that list.

1. `close` is called while the folder still has its scratch name, so that a folder with its right
   name and no seal was not written here.
2. A file more or less, a byte more or less, or a byte that differs is found by `check`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zsi_jax import whole
from zsi_jax.io.files import sha256

NAME = 'manifest.json'


class Broken(ValueError):
  """`file` is not what the seal says, or the seal is none."""

  def __init__(self, file: Path, what: str) -> None:
    super().__init__(f'{file} {what}')


def close(folder: Path, told: Mapping[str, Any]) -> None:
  """Seals what lies there now; `told` (JSON) goes into the list."""
  files = {name: [size, sha256(folder / name)] for name, size in _sizes(folder).items()}
  text = _text({'files': files, **told})
  sealed = f'{{"sha256": "{_digest(text)}",\n"sealed": {text}}}\n'
  whole.write(folder / NAME, sealed.encode())


def read(folder: Path) -> tuple[dict[str, Any], str]:
  """What the seal says, and its digest; files are there with their sizes, their bytes unread."""
  path = folder / NAME
  try:
    outer = json.loads(path.read_bytes())
    told, digest = outer['sealed'], outer['sha256']
    agrees = _digest(_text(told)) == digest
    files = {name: size for name, (size, _) in told['files'].items()} if agrees else {}
  except FileNotFoundError:
    raise Broken(path, 'is missing') from None
  except OSError as error:
    raise Broken(path, f'cannot be read ({error.strerror})') from None
  except (ValueError, LookupError, TypeError, AttributeError):
    agrees = False
  if not agrees:
    raise Broken(path, 'does not agree with its own sha256')
  try:
    there = _sizes(folder)
  except OSError as error:  # training may be removing it
    raise Broken(Path(error.filename or folder), f'cannot be read ({error.strerror})') from None
  for name in files.keys() | there.keys():
    if name not in there:
      raise Broken(folder / name, 'is missing')
    if name not in files:
      raise Broken(folder / name, 'was not there when the folder was sealed')
    if files[name] != there[name]:
      raise Broken(folder / name, f'has {there[name]} bytes, not {files[name]}')
  return told, digest


def check(folder: Path) -> tuple[dict[str, Any], str]:
  """`read`, and every byte of every file."""
  told, digest = read(folder)
  for name, (_, expected) in told['files'].items():
    try:
      found = sha256(folder / name)
    except OSError as error:
      raise Broken(folder / name, f'cannot be read ({error.strerror})') from None
    if found != expected:
      raise Broken(folder / name, f'has the sha256 {found[:12]}…, not {expected[:12]}…')
  return told, digest


def _sizes(folder: Path) -> dict[str, int]:
  found = {}
  for top, _, names in os.walk(folder):
    for name in names:
      path = Path(top, name)
      found[path.relative_to(folder).as_posix()] = path.stat().st_size
  found.pop(NAME, None)
  return found


def _text(told: Mapping[str, Any]) -> str:
  return json.dumps(told, indent=1, sort_keys=True, allow_nan=False)


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()
