"""Processes that work as one: how they find each other, what they decide, how they end."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from zsi_jax.distributed.plan import DistributedError, Plan, number, plan

TIMEOUT = 'ZSI_JOIN_TIMEOUT'  # seconds in which all have come
POLL = 1.0  # seconds for which a signal, or the failure of another process, may have to wait
FAREWELL = 10.0  # seconds in which all others have heard of a failure
STOPPED, GRACE = 143, 30.0  # the status after SIGTERM; seconds in which the others save, too
FAILED, HEARD, TURN = 'zsi/failed', 'zsi/heard', 'zsi/turn'

logger = logging.getLogger('zsi_jax')


def join() -> tuple[int, int]:
  """(p, n) once all are here, before any backend starts; a DistributedError, and never alone."""
  global _who
  told = plan()
  if told is None or _who is not None:
    return processes()
  limit = number(os.environ, TIMEOUT, default=300)
  _who = told.p or 0, 0  # not alone, and not there yet
  done: list[Any] = []

  def work() -> None:
    try:
      done.append(_initialized(told, limit))
    except Exception as error:  # whatever jax says of a cluster is what we came to report
      done.append(error)

  # jax would end the process when time is up, and hears no Ctrl-C until then.
  thread = threading.Thread(target=work, name='zsi-join', daemon=True)
  thread.start()
  thread.join(limit)
  if not done or isinstance(done[0], Exception):
    why = f'not all processes came within {limit} s ({TIMEOUT})'
    if done:
      why = str(done[0]) if isinstance(done[0], DistributedError) else _line(done[0])
    if not done and told.p:
      why += f', {told.address} {"answers" if _answers(told.address) else "does not answer"}'
    raise DistributedError(f'{told}: {why}; JAX_NUM_PROCESSES=1 would run alone')
  _who = done[0]
  _watched()
  return _who


def _initialized(told: Plan, limit: int) -> tuple[int, int]:
  import jax

  if told.p == 0 and told.address:
    _free(told.address)
  jax.config.update('jax_enable_preemption_service', False)  # it would take SIGTERM from us
  later = limit + 60  # than `join` gives up
  if told.n is None:
    jax.distributed.initialize(initialization_timeout=later)
  else:
    jax.distributed.initialize(
      told.address,
      told.n,
      told.p,
      list(told.gpus) or None,
      cluster_detection_method='deactivate',
      initialization_timeout=later,
    )
  try:
    there = jax.process_index(), jax.process_count()
  except AssertionError:  # jax without its CUDA plugin
    asked = os.environ.get('JAX_PLATFORMS')
    raise DistributedError(f'jax has no device for JAX_PLATFORMS={asked} here') from None
  if told.n is not None and there != (told.p, told.n):
    raise DistributedError(f'jax made it process {there[0]} of {there[1]}')
  return there


def _free(address: str) -> None:
  """jax 0.12 ends the process where its port is taken."""
  port = int(address.rpartition(':')[2])
  with socket.socket() as tried:
    tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      tried.bind(('', port))
    except OSError as error:
      raise DistributedError(
        f'port {port} of this machine is not free ({error.strerror})'
      ) from None


def _answers(address: str | None) -> bool:
  host, _, port = (address or '').rpartition(':')
  try:
    socket.create_connection((host.strip('[]'), int(port)), timeout=2).close()
  except OSError:
    return False
  return True


def _line(error: BaseException) -> str:
  said = (str(error).strip().splitlines() or [''])[0]
  return f'{type(error).__name__}: {said[:300]}'


def processes() -> tuple[int, int]:
  """(p, n): this process and how many there are; starts no backend where there is one."""
  if _who is not None:
    return _who
  jax = sys.modules.get('jax')
  if jax is None or not jax.distributed.is_initialized():
    return 0, 1
  return jax.process_index(), jax.process_count()


def leader() -> bool:
  """Whether this is the process that writes what is written once."""
  return processes()[0] == 0


def barrier(name: str) -> None:
  """No process leaves before all are here, however long that takes."""
  gathered(None, name)


def gathered(value: Any, name: str) -> list[Any]:
  """The JSON value of every process, by process; all of them ask, and in the same order.

  No collective of the devices: those give up when one process comes half a minute later.
  """
  p, n = processes()
  if n == 1:
    return [json.loads(json.dumps(value))]
  turn = _next(name)
  _client().key_value_set(f'{turn}/{p}', json.dumps(value))
  return [json.loads(_awaited(f'{turn}/{q}')) for q in range(n)]


def alone(fn: Callable[[], Any], name: str = 'alone') -> Any:
  """The JSON result of fn, called by process 0 only; the others wait, and fail where it fails."""
  p, n = processes()
  if n == 1:
    return json.loads(json.dumps(fn()))
  turn = _next(name)
  if p == 0:
    try:
      told = json.dumps({'result': fn()})
    except BaseException as error:
      _client().key_value_set(turn, json.dumps({'error': _line(error)}))
      raise
    _client().key_value_set(turn, told)
  said = json.loads(_awaited(turn))
  if 'error' in said:
    raise DistributedError(f'process 0 failed in {name}: {said["error"]}')
  return said['result']


def _next(name: str) -> str:
  global _turns
  _turns += 1
  return f'{TURN}/{_turns}/{name}'


def _client() -> Any:
  from jax._src import distributed as service  # jax has no public way to its key-value store

  return service.global_state.client


def _awaited(key: str) -> str:
  """What another process says; between two questions, a signal is heard."""
  while True:
    try:
      said: str = _client().blocking_key_value_get(key, int(POLL * 1000))
      return said
    except RuntimeError as error:
      if 'DEADLINE_EXCEEDED' not in str(error):
        raise DistributedError(f'the other processes are gone ({_line(error)})') from None


def _watched() -> None:
  """One fails, all end: who sits in a collective would wait for the lost one for minutes."""
  over = threading.Event()

  def watch() -> None:
    while not over.wait(POLL):
      if (said := _told(FAILED)) is not None:
        q, status, why = json.loads(said)
        if q == processes()[0]:
          return
        if status == STOPPED:
          logger.warning('process %d was stopped, and this one stops too', q)
          os.kill(os.getpid(), signal.SIGTERM)
          over.wait(GRACE)
        else:
          logger.error('process %d failed, and this one ends with it: %s', q, why)
        leave(status)

  thread = threading.Thread(target=watch, name='zsi-watch', daemon=True)
  thread.start()

  @atexit.register  # registered after jax, so called before it leaves the group
  def _stop() -> None:
    over.set()
    thread.join()


def _told(key: str) -> str | None:
  try:
    said: str = _client().key_value_try_get(key)
    return said
  except RuntimeError:  # NOT_FOUND; or nobody is there any more, which jax reports
    return None


def fail(status: int, error: BaseException) -> None:
  """Ends this process, and with it the others; where there are no others it returns."""
  p, n = processes()
  if n == 1:
    return
  if n and not isinstance(error, DistributedError):  # that one comes from another's failure
    try:
      _client().key_value_set(FAILED, json.dumps([p, status, _line(error)]))
    except RuntimeError:
      q, first, why = json.loads(_told(FAILED) or '[0, 0, ""]')
      if first != STOPPED and why != _line(error):
        logger.error('process %d failed first: %s', q, why)
  leave(status)


def leave(status: int) -> NoReturn:
  """Ends this process without waiting for the others, as Python's own way out would do."""
  p, n = processes()
  until = time.monotonic() + FAREWELL + (GRACE if status == STOPPED else 0)
  with contextlib.suppress(RuntimeError):
    if n:
      _client().key_value_set(f'{HEARD}/{p}', '')
    while p == 0 and time.monotonic() < until:  # the news goes through process 0
      if all(_told(f'{HEARD}/{q}') is not None for q in range(n)):
        break
      time.sleep(POLL / 10)
  for child in multiprocessing.active_children():
    child.terminate()
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)


_who: tuple[int, int] | None = None
_turns = 0
