"""Alone at work: one process at a time, by a lock of the kernel's that ends with its process."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from zsi_jax.data.errors import DataError


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
  """The file's lock, or a DataError that names who has it; OSErrors are the caller's."""
  import fcntl

  path.parent.mkdir(parents=True, exist_ok=True)
  handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
  try:
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      holder = os.read(handle, 200).decode(errors='replace') or 'another process'
      raise DataError(f'{path}: {holder} is writing there now. Wait for it, or stop it.') from None
    os.ftruncate(handle, 0)
    os.write(handle, f'pid {os.getpid()} on {platform.node()}'.encode())
    yield
    os.ftruncate(handle, 0)
  finally:
    os.close(handle)
