"""One logger: every process to its file, process 0 to the terminal too.

1. stdout has what was asked for, as `print` would show it; stderr has warnings, errors and the bar.
2. A file that cannot be written does not end a run: it is said once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

logger = logging.getLogger('zsi_jax')
LINE = '%(asctime)s %(levelname)s %(message)s'
_quiet = False  # this process is not the one that speaks


class Terminal(logging.Handler):
  """Plain lines that leave a progress bar in one piece."""

  def emit(self, record: logging.LogRecord) -> None:
    loud = record.levelno >= logging.WARNING
    stream = sys.stderr if loud else sys.stdout
    said = record.getMessage()
    text = f'zsi: {record.levelname.lower()}: {said}' if loud else said
    code = getattr(stream, 'encoding', None) or 'utf-8'
    try:
      with _beside_bars(stream):
        print(text.encode(code, 'backslashreplace').decode(code), file=stream, flush=True)
    except BrokenPipeError:  # `| head`: nobody listens any more, and the run goes on
      os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):  # closed, or a file on a full disk: the log has it
      pass


class File(logging.FileHandler):
  """Appends, with time and level."""

  def __init__(self, path: Path) -> None:
    super().__init__(path, encoding='utf-8', errors='backslashreplace')
    form = logging.Formatter(LINE)
    form.converter = time.gmtime
    self.setFormatter(form)
    self.said = False

  def handleError(self, record: logging.LogRecord) -> None:
    if not self.said:
      self.said = True
      with contextlib.suppress(OSError, ValueError):
        print(f'zsi: warning: {self.baseFilename}: {sys.exc_info()[1]}', file=sys.stderr)


@contextlib.contextmanager
def opened(folder: str | Path, process: int = 0) -> Iterator[logging.Logger]:
  """folder/process-<p>.log while this is open; an error that leaves it puts its traceback there."""
  global _quiet
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  file = File(folder / f'process-{process}.log')
  handlers: list[logging.Handler] = [file]
  if process == 0:
    handlers.append(terminal := Terminal())
    terminal.setLevel(logging.INFO)
  before = logger.level, logger.propagate, _quiet
  for handler in handlers:
    logger.addHandler(handler)
  logger.setLevel(logging.DEBUG)
  logger.propagate, _quiet = False, process != 0
  try:
    yield logger
  except BaseException as error:
    logger.debug('ended by %s', type(error).__name__, exc_info=True)
    raise
  finally:
    for handler in handlers:
      logger.removeHandler(handler)
    with contextlib.suppress(OSError):
      file.close()
    logger.setLevel(before[0])
    _, logger.propagate, _quiet = before


def bar(total: int, unit: str = 'step', initial: int = 0, title: str = '') -> Any:
  """tqdm with rate and ETA on the terminal of process 0; elsewhere the same calls show nothing."""
  from tqdm import tqdm

  hidden = _quiet or not sys.stderr.isatty()
  return tqdm(
    total=total, unit=unit, initial=initial, desc=title or None, disable=hidden, leave=False,
    dynamic_ncols=True, mininterval=0.5,
  )  # fmt: skip


def _beside_bars(stream: Any) -> contextlib.AbstractContextManager[None]:
  if 'tqdm' not in sys.modules:
    return contextlib.nullcontext()
  return sys.modules['tqdm'].tqdm.external_write_mode(file=stream)
