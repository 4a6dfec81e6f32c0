"""Files of this room that appear whole: written beside their place, to the disk, then renamed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write(path: Path, data: bytes) -> None:
  """What lay there stays until this is on the disk; OSErrors are the caller's."""
  scratch = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.part')
  try:
    with open(scratch, 'xb') as stream:
      stream.write(data)
      stream.flush()
      os.fsync(stream.fileno())
    os.replace(scratch, path)
  finally:
    scratch.unlink(missing_ok=True)
