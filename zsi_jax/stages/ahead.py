"""A source whose records are drawn by several processes, a little ahead of who asks in order."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Field, Record, Source, place

CHUNK = 32  # records of one task
DEPTH = 4  # tasks that each worker has waiting


class Ahead:
  """The same source; use it in a `with`, and ask from 0 on, each record once."""

  def __init__(self, source: Source, workers: int) -> None:
    self.source, self.workers = source, workers
    spawn = multiprocessing.get_context('spawn')
    self._pool = ProcessPoolExecutor(workers, spawn, _start, (source,))
    self._tasks: deque[Future[list[Any]]] = deque()
    self._ready: deque[Any] = deque()
    self._asked = self._given = 0

  def __enter__(self) -> Ahead:
    return self

  def __exit__(self, *_: object) -> None:
    self._pool.shutdown(cancel_futures=True)

  @property
  def name(self) -> str:
    return self.source.name

  @property
  def fields(self) -> Mapping[str, Field]:
    return self.source.fields

  @property
  def parameters(self) -> Mapping[str, Any]:
    return self.source.parameters

  def __len__(self) -> int:
    return len(self.source)

  def attributes(self, index: int) -> Record:
    return self.source.attributes(index)

  def __getitem__(self, index: int) -> Record:
    if place(index, len(self)) != self._given:
      return self.source[index]
    with _uninterrupted():
      while self._asked < len(self) and len(self._tasks) < DEPTH * self.workers:
        stop = min(self._asked + CHUNK, len(self))
        self._tasks.append(self._pool.submit(_draw, self._asked, stop))
        self._asked = stop
    if not self._ready:
      try:
        self._ready.extend(self._tasks.popleft().result())
      except BrokenProcessPool:
        raise DataError(
          f'{self.name}: a worker died near record {index}, perhaps for want of memory; take fewer '
          'data.workers'
        ) from None
    self._given += 1
    found = self._ready.popleft()
    if isinstance(found, Exception):
      raise found
    record: Record = found
    return record


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
  """An interrupt waits for the end. Workers that start in here get none: they inherit the mask."""
  seen: list[int] = []
  mine = threading.current_thread() is threading.main_thread()
  handler = signal.signal(signal.SIGINT, lambda number, _: seen.append(number)) if mine else None
  blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if mine:
      signal.signal(signal.SIGINT, handler)
  if seen:
    raise KeyboardInterrupt


def _start(source: Source) -> None:
  """In a worker: what it draws from. It ends with its parent, even a killed one."""
  global _source
  _source = source
  parent = multiprocessing.parent_process()
  assert parent is not None
  threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
  parent.join()
  os._exit(1)


def _draw(start: int, stop: int) -> list[Any]:
  return [_one(i) for i in range(start, stop)]


def _one(index: int) -> Any:
  try:
    return _source[index]
  except (DataError, OSError) as error:  # of this record: the others are still wanted
    return error


_source: Source
