"""Files that appear whole: written beside their place, brought to the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def write(path: Path, data: bytes) -> None:
  """What lay there stays until this is on the disk; OSErrors are the caller's."""
  with opened(path) as stream:
    stream.write(data)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
  """A stream to what becomes the file at the end of the block, or is removed by an error in it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  # A pid would not do: two containers that share a disk may have the same ones.
  scratch = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.part')
  stream = open(scratch, 'xb')
  try:
    with stream:
      yield stream
      stream.flush()
      os.fsync(stream.fileno())
    os.replace(scratch, path)
  finally:
    scratch.unlink(missing_ok=True)
