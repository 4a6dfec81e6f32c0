"""Orbax behind one door: its manager seals what it writes, is silent, and fails in one line."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.io import seal
from zsi_jax.io.errors import CheckpointError
from zsi_jax.io.log import logger
from zsi_jax.io.steps import SCRATCH


def manager(
  folder: Path, keep: int, saving: Mapping[int, Mapping[str, Any]], values: Mapping[int, float]
) -> Any:
  """Seals step i with `saving[i]`; keeps the last, and the one with the lowest of `values`."""
  import orbax.checkpoint as ocp
  from orbax.checkpoint import checkpoint_managers as policies

  quiet()

  class Sealing(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """A step is sealed before it gets its name."""

    async def finalize(self) -> None:
      final = self.get_final()
      if not final.name.isdecimal():  # an item of a step
        return await super().finalize()
      self._final_path = final.with_name(f'{final.name}{SCRATCH}-sealing')
      shutil.rmtree(self._final_path, ignore_errors=True)  # of a save that failed before
      try:
        await super().finalize()
        seal.close(Path(self._final_path), saving[int(final.name)])
        os.rename(self._final_path, final)
      finally:
        self._final_path = final

  class Lowest(policies.PreservationPolicy):
    """Orbax would read metrics from files that nobody has checked."""

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
      steps = [info.step for info in checkpoints]
      best = min((s for s in steps if s in values), key=values.__getitem__, default=None)
      return [step == best for step in steps]

  options = ocp.CheckpointManagerOptions(
    preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(n=keep), Lowest()]),
    lightweight_initialize=True,
    temporary_path_class=Sealing,
    # Threads that wait for a folder that cannot be made would outlive the error.
    async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
  )
  with Named(folder):
    return ocp.CheckpointManager(folder, options=options)


class Named:
  """Whatever fails inside becomes a CheckpointError with this path, in one line."""

  def __init__(self, path: Path) -> None:
    self.path = path

  def __enter__(self) -> None: ...

  def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
    if isinstance(error, Exception):
      do = 'Make room or choose another workdir, and run' if disk(error) else 'Run'
      raise CheckpointError(
        f'{self.path}: the checkpoint could not be saved ({reason(error)}); the ones before it '
        f'are whole. {do} again: it goes on from there.'
      ) from error


def reason(error: BaseException) -> str:
  """What the system said, else the first line."""
  return disk(error) or (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def disk(error: BaseException) -> str | None:
  """What the system said of a file; of a process that is gone it is None."""
  seen: BaseException | None = error
  while seen is not None:
    if isinstance(seen, OSError) and not isinstance(seen, (ConnectionError, TimeoutError)):
      if seen.strerror:
        return seen.strerror
    seen = seen.__cause__ or seen.__context__
  code = re.search(r"os_error_code='(\d+)'", str(error))  # of tensorstore, whose errors are long
  return os.strerror(int(code[1])) if code else None


def agreed(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
  """JSON that process 0 finds, in every process; its errors, too."""
  import jax

  if jax.process_count() == 1:
    return work()
  from jax.experimental import multihost_utils

  said = b''
  if jax.process_index() == 0:
    try:
      said = json.dumps(work()).encode()
    except (CheckpointError, OSError) as error:
      said = json.dumps({'error': str(error)}).encode()
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(said))))
  array = np.zeros(size, np.uint8)
  array[: len(said)] = np.frombuffer(said, np.uint8)
  told = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(array), np.uint8)))
  if 'error' in told:
    raise CheckpointError(told['error'])
  return told


class Quiet(logging.Filter):
  """What orbax tells is for the file, not for the terminal."""

  def filter(self, record: logging.LogRecord) -> bool:
    if 'orbax' not in record.pathname:
      return True
    logger.debug('orbax: %s', record.getMessage(), exc_info=record.exc_info)
    return False


QUIET = Quiet()


def quiet() -> None:
  logging.getLogger('absl').addFilter(QUIET)
