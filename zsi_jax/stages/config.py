"""A config is a file with `get_config(preset)`; what is wrong with it is one line that names it."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from zsi_jax.build.complete import KINDS, complete, turn
from zsi_jax.build.keys import ConfigError, flat, override, plain

CHECKOUT = Path(__file__).resolve().parents[2]
WHERE = 'configs are files of a checkout of zsi_jax, in its folder configs/, or your own'


def load(spec: str, overrides: Mapping[str, Any] | None = None) -> ConfigDict:
  """The config of 'file.py:preset' with overrides on top: complete, checked and locked."""
  head, preset_said, preset = spec.partition('.py:')
  path = Path(head + '.py' if preset_said else spec).expanduser()
  config, own = called(path, preset if preset_said else None)
  said = overrides or {}
  for key in [k for k in KINDS if k in said]:  # with the options that they bring
    turn(config, key, own, said)
  for key in said:
    override(config, key, said[key])
  complete(config)
  config.report.config = config.report.config or named(path, preset if preset_said else None)
  return config.lock()


def named(path: Path, preset: str | None) -> str:
  """'configs/zsi/smile.py:small': the file as its checkout knows it."""
  parts = path.resolve().parts
  last = len(parts) - 1 - parts[::-1].index('configs') if 'configs' in parts else len(parts) - 1
  return '/'.join(parts[last:]) + (f':{preset}' if preset else '')


def called(path: Path, preset: str | None) -> tuple[ConfigDict, set[str]]:
  """What get_config returns, with every option of its data set; and the keys that it said."""
  if not path.is_file():
    raise ConfigError(f'{path}: there is no such config{near_files(path)} ({WHERE})')
  with importable(path):
    module = executed(path)
    make = getattr(module, 'get_config', None)
    if not callable(make):
      raise ConfigError(f'{path}: has no function get_config(preset) that returns a ConfigDict')
    given = () if preset is None else (preset,)
    try:
      inspect.signature(make).bind(*given)
    except TypeError as error:
      raise ConfigError(f'{path}: get_config and the preset {preset!r}: {error}') from None
    with blamed(path, 'get_config fails'):
      config = make(*given)
  if not isinstance(config, ConfigDict):
    raise ConfigError(f'{path}: get_config returns a {type(config).__name__}, not a ConfigDict')
  with blamed(path, 'it is no whole config'):
    own = set(flat(config))
    if 'report' in config and not config.report.get('about'):
      config.report.about = inspect.cleandoc(module.__doc__ or '')
    complete(config.unlock())
    plain(config)
  return config, own


def near_files(path: Path) -> str:
  """', did you mean …' with the config files near this path."""
  folders = [path.parent, CHECKOUT / 'configs' / 'zsi']
  found = {f.stem: f for d in reversed(folders) if d.is_dir() for f in d.glob('*.py')}
  near = difflib.get_close_matches(path.stem, found, 1)
  return f': did you mean {found[near[0]]}?' if near else ''


@contextlib.contextmanager
def importable(path: Path) -> Iterator[None]:
  """`from configs import base` finds the base of this file: its own checkout's, else this one's."""
  own = [p.parent for p in path.resolve().parents if p.name == 'configs']
  before = sys.path[:]
  sys.path[:0] = [str(p) for p in [*own, path.resolve().parent]]
  sys.path.append(str(CHECKOUT))
  forget()
  try:
    yield
  finally:
    sys.path[:] = before
    forget()


def forget() -> None:
  """Two checkouts have each a `configs`; none is kept between two files."""
  for name in [n for n in sys.modules if n == 'configs' or n.startswith('configs.')]:
    del sys.modules[name]


def executed(path: Path) -> ModuleType:
  spec = importlib.util.spec_from_file_location(f'zsi_config_{path.stem}', path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  with blamed(path, 'does not import'):
    spec.loader.exec_module(module)
  return module


@contextlib.contextmanager
def blamed(path: Path, what: str) -> Iterator[None]:
  """Any error in here is the file's: one line that names it, its line, and the error."""
  try:
    yield
  except Exception as error:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename) == path]
    if isinstance(error, SyntaxError) and error.filename == str(path):
      lines = [error.lineno]
    at = f', line {lines[-1]}' if lines else ''
    kind = '' if isinstance(error, ValueError) else f'{type(error).__name__}: '
    said = (str(error).splitlines() or [''])[0]
    raise ConfigError(f'{path}{at}: {what}: {kind}{said}') from error
