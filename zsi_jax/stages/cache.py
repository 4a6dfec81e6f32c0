"""What XLA compiled is kept between runs: the second one starts in seconds.

In $JAX_COMPILATION_CACHE_DIR, else a folder for this kind of processor in $ZSI_CACHE_DIR/xla or in
the user's cache.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import tempfile
import time
import zlib
from pathlib import Path

from zsi_jax.io.log import logger

SECONDS = 0.5  # what compiles faster is not worth a file
ZSTD = b'\x28\xb5\x2f\xfd'
MARK = '.looked'  # its time: what is older was looked at


def folder() -> Path:
  """Where compiled programs are kept."""
  if said := os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    return Path(said).expanduser()
  own, users = os.environ.get('ZSI_CACHE_DIR'), os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return Path(own or f'{users}/zsi_jax').expanduser() / 'xla' / processor()


def processor() -> str:
  """Programs for a CPU run on that kind only, and a home is often shared by several kinds."""
  try:
    rows = Path('/proc/cpuinfo').read_text().split('\n\n')[0].splitlines()
  except OSError:
    rows = []
  kind = [row for row in rows if row.split(':')[0].strip() in ('model name', 'flags', 'Features')]
  seal = hashlib.sha256('\n'.join([platform.processor(), *kind]).encode()).hexdigest()[:8]
  return f'{platform.machine() or "unknown"}-{seal}'


@functools.cache
def start() -> Path | None:
  """The cache on, before anything is compiled; None and a warning where nothing can be written."""
  import jax

  path = folder()
  try:
    path.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=path).close()
    mend(path)
  except OSError as error:
    logger.warning(
      '%s: cannot be written (%s), so programs are compiled each time; '
      'set JAX_COMPILATION_CACHE_DIR or ZSI_CACHE_DIR',
      path, error.strerror,
    )  # fmt: skip
    jax.config.update('jax_enable_compilation_cache', False)
    return None
  jax.config.update('jax_compilation_cache_dir', str(path))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', SECONDS)
  return path


def mend(path: Path) -> None:
  """Without what a killed run left torn: jax does not replace it, and warns each time."""
  mark = path / MARK
  before = mark.stat().st_mtime if mark.exists() else time.time()  # one of others is theirs
  mark.touch()
  for entry in path.glob('*-cache'):
    with contextlib.suppress(OSError):  # another process may remove it first, or own it
      if entry.stat().st_mtime >= before and torn(entry.read_bytes()):
        entry.unlink()


def torn(data: bytes) -> bool:
  """Whether it does not end as written; of zstd, which jax takes where it is installed, unknown."""
  if data.startswith(ZSTD):
    return False
  try:
    zlib.decompress(data)
  except zlib.error:
    return True
  return False
