"""SIGTERM, heard by one process and answered by all at the same step.

Each process hands the step a flag of its devices; the step takes their maximum, which comes back
with the metrics. So nobody waits for a message, and no process can leave a step before the others.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import jax
import numpy as np

from zsi_jax.train.sharding import Layout


@contextlib.contextmanager
def listening() -> Iterator[Callable[[], bool]]:
  """Whether SIGTERM came while this is open: it ends nothing then, however often it comes."""
  heard = threading.Event()
  if threading.current_thread() is not threading.main_thread():  # where no handler can be set
    yield heard.is_set
    return
  before = signal.signal(signal.SIGTERM, lambda *_: heard.set())
  try:
    yield heard.is_set
  finally:
    # None is a handler that was not Python's, such as that of jax's own service
    signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def flags(layout: Layout) -> tuple[jax.Array, jax.Array]:
  """(go on, stop), one number for each device; this process gives those of its own."""
  own = len(layout.mesh.local_devices)
  made = [
    jax.make_array_from_process_local_data(
      layout.rows, np.full(own, value, np.float32), (layout.devices,)
    )
    for value in (0, 1)
  ]
  return made[0], made[1]
