"""A workdir belongs to one config and to one process at a time; its files appear whole."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from zsi_jax import distributed, whole
from zsi_jax.build.keys import ConfigError, differences, meaning, reduced
from zsi_jax.data import lock


@contextlib.contextmanager
def held(folder: Path, name: str = '.lock') -> Iterator[None]:
  """Alone in this folder."""
  with contextlib.ExitStack() as stack:
    try:
      stack.enter_context(lock.held(folder / name))
    except OSError as error:
      raise ConfigError(f'{folder}: cannot be written ({error.strerror}); choose another') from None
    yield


@contextlib.contextmanager
def shared(workdir: Path) -> Iterator[None]:
  """Held by process 0 for all of them."""
  with contextlib.ExitStack() as stack:
    distributed.alone(lambda: stack.enter_context(held(workdir)), f'{workdir} is held')
    yield


def write(path: Path, data: bytes) -> None:
  """What lay there stays until this is on the disk; what a killed run left unfinished goes."""
  try:
    for old in path.parent.glob(f'.{glob.escape(path.name)}.*.part'):
      old.unlink(missing_ok=True)
    whole.write(path, data)
  except OSError as error:
    raise ConfigError(f'{path}: cannot be written ({error.strerror})') from None


def agree(
  workdir: Path, told: Mapping[str, Any], config: ConfigDict, stage: str = 'prepare'
) -> None:
  """A ConfigError with the keys that differ, unless this stage was made with this config."""
  if changed := differences(reduced(told, stage), meaning(config, stage)):
    raise ConfigError(
      f'{workdir} was made with another config: {"; ".join(changed)}. '
      'Take another --workdir, or the config that made this one'
    )


def unchanged(workdir: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
  """A ConfigError with what differs, unless the data are those that this workdir was made from."""
  if changed := differences(before, now):
    raise ConfigError(
      f'{workdir} was made from other data: {"; ".join(changed)}. '
      'Take another --workdir, or bring back what was there'
    )
