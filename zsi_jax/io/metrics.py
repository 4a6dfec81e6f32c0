"""Metrics of a training: lines of JSON, TensorBoard's events, and W&B where it is asked for.

folder/metrics.jsonl  one object a line, with its "step"; a number that is not finite is null
folder/tb/            the same numbers, pictures, and the config of each run
folder/wandb.json     the id under which W&B knows the run

A step stands there once: `resume` drops what a killed run wrote beyond the checkpoint that the next
one goes on from, so that a resumed run leaves the lines of an uninterrupted one.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import secrets
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from PIL import Image

from zsi_jax import whole
from zsi_jax.io.events import Events
from zsi_jax.io.log import logger

NAME = 'metrics.jsonl'


class Metrics:
  """Only process 0 makes one. `wandb` is a project, the arguments of wandb.init, or None."""

  def __init__(
    self, folder: str | Path, wandb: str | Mapping[str, Any] | None = None, config: Any = None
  ) -> None:
    self.folder = Path(folder).expanduser()
    self.folder.mkdir(parents=True, exist_ok=True)
    self._config = config
    self._run = None if wandb is None else _joined(self.folder, wandb, config)
    self._lines: IO[bytes] | None = None
    self._events: Events | None = None

  def __enter__(self) -> Metrics:
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()

  def resume(self, step: int) -> None:
    """What was written beyond this step goes, and half a line that a kill left; 0 drops all."""
    self._shut()
    path = self.folder / NAME
    if path.exists():
      old = path.read_bytes()
      new = b''.join(line for line, at in _lines(old) if at <= step)
      if new != old:
        whole.write(path, new)
    self._lines = open(path, 'ab', buffering=0)
    self._events = Events(self.folder / 'tb', step + 1)
    if self._config:
      told = json.dumps(self._config, indent=1)
      self._events.text(step + 1, 'config', textwrap.indent(told, ' ' * 4))  # Markdown: as it is

  def write(self, step: int, values: Mapping[str, Any]) -> None:
    """Numbers (of Python, numpy or a device) by name; text goes into the lines only."""
    step, plain = int(step), {name: _plain(value) for name, value in values.items()}
    line: dict[str, Any] = {'step': step} | {
      name: None if isinstance(value, float) and not math.isfinite(value) else value
      for name, value in plain.items()
    }
    numbers = {name: value for name, value in plain.items() if not isinstance(value, str)}
    lines, events = self._open(step)
    try:
      lines.write(json.dumps(line, allow_nan=False).encode() + b'\n')
      events.scalars(step, {name: float(value) for name, value in numbers.items()})
    except OSError as error:
      raise OSError(error.errno, error.strerror, str(self.folder / NAME)) from None
    self._tell(lambda run: run.log({'step': step, **numbers}))

  def image(self, step: int, name: str, picture: Image.Image) -> None:
    """A picture beside the numbers."""
    step = int(step)
    _, events = self._open(step)
    try:
      events.image(step, name, picture)
    except OSError as error:
      raise OSError(error.errno, error.strerror, str(events.path)) from None
    self._tell(lambda run: run.log({'step': step, name: _package().Image(picture)}))

  def close(self) -> None:
    self._shut()
    self._tell(lambda run: run.finish())
    self._run = None

  def _open(self, step: int) -> tuple[IO[bytes], Events]:
    if self._lines is None or self._events is None:
      self.resume(step - 1)
    assert self._lines is not None and self._events is not None
    return self._lines, self._events

  def _shut(self) -> None:
    for stream in (self._lines, self._events):
      if stream is not None:
        stream.close()
    self._lines = self._events = None

  def _tell(self, call: Any) -> None:
    """A network that fails ends W&B, not the training."""
    if self._run is None:
      return
    try:
      call(self._run)
    except Exception as error:
      self._run = None
      logger.warning('W&B: %s; the run goes on without it', _first(error))


def _joined(folder: Path, wandb: str | Mapping[str, Any], config: Any) -> Any:
  """The run of wandb, the same one whenever this folder is gone on with."""
  try:
    package = _package()
  except ImportError:
    raise ValueError(
      f"log.wandb={wandb!r} needs wandb: pip install 'zsi_jax[wandb]', or go on with log.wandb=None"
    ) from None
  path = folder / 'wandb.json'
  name = json.loads(path.read_bytes())['id'] if path.exists() else secrets.token_hex(4)
  options = {'project': wandb} if isinstance(wandb, str) else dict(wandb)
  try:
    run = package.init(id=name, resume='allow', config=config, dir=os.fspath(folder), **options)
    run.define_metric('step')  # W&B's own counter never goes back, a resumed run does
    run.define_metric('*', step_metric='step')
  except Exception as error:
    raise ValueError(
      f'log.wandb={wandb!r}: {_first(error)}. Mend it, or go on with log.wandb=None'
    ) from error
  whole.write(path, json.dumps({'id': name}).encode() + b'\n')
  return run


def _package() -> Any:
  return importlib.import_module('wandb')  # an extra: nothing else here needs it


def _lines(data: bytes) -> Iterator[tuple[bytes, int]]:
  """Whole lines, and their steps."""
  for line in data.splitlines(keepends=True):
    try:
      step = json.loads(line)['step']
    except (ValueError, LookupError, TypeError):
      continue
    if line.endswith(b'\n') and isinstance(step, int):
      yield line, step


def _plain(value: Any) -> int | float | str:
  """A number of Python's, whatever held it; booleans are 0 and 1."""
  if isinstance(value, (str, float)):
    return value
  if isinstance(value, int):
    return int(value)
  number = value.item()
  return int(number) if isinstance(number, int) else float(number)


def _first(error: Exception) -> str:
  return (str(error).strip().splitlines() or [''])[0] or type(error).__name__
