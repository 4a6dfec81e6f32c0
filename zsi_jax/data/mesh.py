"""Batches onto a mesh, ahead of time: the rows of each process become one global array."""

from __future__ import annotations

import math
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from zsi_jax.data.errors import DataError
from zsi_jax.data.pipeline import Batches

NARROW = {np.dtype(np.int64): np.int32, np.dtype(np.float64): np.float32}  # what jax computes in
Axis = str | tuple[str, ...]
Ready = queue.Queue[tuple[str, Any, Any]]  # ('batch' | 'end' | 'error', what, position after it)


def on_mesh(batches: Batches, mesh: Any, axis: Axis = 'data', ahead: int = 2) -> OnMesh:
  """The batches as global jax arrays, rows over `axis`, one of the mesh's or several of them.

  A thread keeps `ahead` of them ready.
  """
  return OnMesh(batches, mesh, axis, ahead)


class OnMesh:
  """`position` is that after the last batch which `next` gave, not of what lies ready."""

  def __init__(self, batches: Batches, mesh: Any, axis: Axis, ahead: int) -> None:
    from jax.sharding import NamedSharding, PartitionSpec

    rows, (p, n) = batches.pipeline.batch, batches.pipeline.process
    axes = (axis,) if isinstance(axis, str) else tuple(axis)
    if unknown := [name for name in axes if name not in mesh.shape]:
      raise DataError(f'the mesh has the axes {tuple(mesh.shape)}, none is {unknown[0]!r}.')
    if ahead < 1:
      raise DataError(f'ahead = {ahead}: one batch is the least.')
    over = math.prod(mesh.shape[name] for name in axes)
    if rows % over:
      raise DataError(
        f'a batch of {rows} cannot be split over the {over} devices of {", ".join(axes)}; take a '
        'multiple.'
      )
    sharding = NamedSharding(mesh, PartitionSpec(axes))
    _check_rows(sharding, rows, p, n)
    self.position = batches.position
    self._ready: Ready = queue.Queue(ahead)
    self._closed = threading.Event()

    def place(batch: dict[str, np.ndarray]) -> dict[str, Any]:
      return {name: _place(name, array, sharding, rows, n) for name, array in batch.items()}

    thread = threading.Thread(
      target=_fill,
      args=(batches, place, self._ready, self._closed),
      name='zsi-on-mesh',
      daemon=True,
    )
    # The thread holds nothing of this object, so one that is forgotten stops it too.
    self._stop = weakref.finalize(self, _stop, thread, self._ready, self._closed, batches)
    thread.start()

  def __iter__(self) -> Iterator[dict[str, Any]]:
    return self

  def __next__(self) -> dict[str, Any]:
    if self._closed.is_set():
      raise StopIteration
    kind, value, position = self._ready.get()
    if kind == 'error':
      self.close()
      raise value
    self.position = position
    if kind == 'end':
      self.close()
      raise StopIteration
    return value

  def close(self) -> None:
    """Stop the thread; what lay ready is dropped."""
    self._stop()

  def __enter__(self) -> OnMesh:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def _fill(
  batches: Batches,
  place: Callable[[dict[str, np.ndarray]], dict[str, Any]],
  ready: Ready,
  closed: threading.Event,
) -> None:
  try:
    for batch in batches:
      ready.put(('batch', place(batch), batches.position))
      if closed.is_set():
        return
    ready.put(('end', None, batches.position))
  except BaseException as error:
    ready.put(('error', error, None))


def _stop(
  thread: threading.Thread, ready: Ready, closed: threading.Event, batches: Batches
) -> None:
  closed.set()
  while thread.is_alive() and thread is not threading.current_thread():
    try:
      ready.get(timeout=0.05)  # the thread may wait for room
    except queue.Empty:
      pass
  batches.close()


def _check_rows(sharding: Any, rows: int, p: int, n: int) -> None:
  """This process must feed the rows that its devices hold: [pB/n, (p+1)B/n)."""
  held = sharding.addressable_devices_indices_map((rows,)).values()
  found = {row for index in held if index for row in range(rows)[index[0]]}
  mine = range(p * rows // n, (p + 1) * rows // n)
  if found != set(mine):
    raise DataError(
      f'process {p} of {n} holds the rows {mine[0]} to {mine[-1]} of a batch, and its devices '
      f'{len(found)} others, from {min(found)} to {max(found)}. Order the devices of the mesh by '
      'process, and give the pipeline process=(jax.process_index(), jax.process_count()).'
    )


def _place(name: str, array: np.ndarray, sharding: Any, rows: int, n: int) -> Any:
  import jax

  if len(array) * n != rows:
    raise DataError(
      f'a batch of {len(array)} rows here where {rows // n} belong; the last batch of a finite '
      'stream goes on a mesh with pad=True.'
    )
  if array.dtype == np.int64 and np.abs(array).max() >= 2**31:
    raise DataError(f'{name}: {np.abs(array).max()} does not fit the 32 bits of a device.')
  narrow = array.astype(NARROW.get(array.dtype, array.dtype), copy=False)
  return jax.make_array_from_process_local_data(sharding, narrow, (rows, *array.shape[1:]))
