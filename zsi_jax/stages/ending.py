"""How a command ends: a status, and a line where a traceback would tell a user nothing."""

from __future__ import annotations

import sys
import traceback

from zsi_jax import distributed
from zsi_jax.io.errors import Stopped

STATUSES = """exit status:
  0    done
  1    a defect: its traceback; `zsi run` leaves it in WORKDIR/log too
  2    what was asked cannot be done: one line says why
  130  interrupted by Ctrl-C; what was finished stays
  134  ended by jax: another process of this run is gone
  143  stopped by SIGTERM after saving: the same command goes on from there
"""


def ended(error: BaseException, debug: bool = False) -> int:
  """The exit status of a command that this error ended; of several processes, all end."""
  status, line = meant(error)
  if debug or line is None:
    traceback.print_exception(error)
  if line is not None:
    print(line, file=sys.stderr)
  distributed.fail(status, error)
  return status


def meant(error: BaseException) -> tuple[int, str | None]:
  match error:
    case Stopped():
      return 143, f'zsi: stopped; {error}'
    case KeyboardInterrupt():
      return 130, 'zsi: stopped; what was finished stays'
    case ValueError() | OSError():
      return 2, f'zsi: error: {error}'
  return 1, None
