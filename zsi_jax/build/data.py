"""`data` of a config: the source, its records for each role, and the pipeline of a role."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from zsi_jax.build import splits
from zsi_jax.build.keys import ConfigError, cast, flat, near, override
from zsi_jax.build.typed import arguments, fitted, optional
from zsi_jax.data import limits
from zsi_jax.data.errors import DataError
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.data.record import Source, table
from zsi_jax.data.subsets import Subset
from zsi_jax.data.support import Support

Maker = Callable[..., Source]
KEYS: Mapping[str, Any] = {  # that every config has, and their types
  'seed': int,
  'check': bool,
  'data.source': str,
  'data.root': str | None,
  'data.skip_corrupt': bool,
  'data.batch': int,
  'data.flip': bool,
  'data.crop': float | None,
  'data.keep': tuple[str, ...],
  'data.workers': int,
  'split.kind': str,
  'support.kind': str,
}
KINDS = {'data.source': 'data.options', 'split.kind': 'split', 'support.kind': 'support'}


def root(config: ConfigDict) -> Path:
  """Where data sets lie: data.root, else $ZSI_DATA_DIR, else ./data."""
  named = config.data.root or os.environ.get('ZSI_DATA_DIR') or 'data'
  return Path(named).expanduser().absolute()


def maker(name: str, home: Path) -> Maker:
  """The class of a source; its parameters are the keys of data.options."""
  match name:
    case 'circles':
      from zsi_jax.data.circles import Circles

      return Circles
    case 'discs':
      from zsi_jax.data.discs import Discs

      return Discs
    case 'sizes':
      from zsi_jax.data.sizes import Sizes

      return Sizes
    case 'portraits':
      from zsi_jax.data.portraits import Portraits

      return Portraits
    case 'celeba':
      return functools.partial(celeba, home)
    case 'folder':
      return functools.partial(folder, home)
    case 'npz':
      return functools.partial(npz, home)
  names = 'circles discs sizes portraits celeba folder npz'.split()
  raise ConfigError(f'data.source: there is no source {name!r}{near(name, names)}')


def celeba(
  home: Path,
  *,
  root: str = 'celeba',
  size: int = 64,
  split: str = 'train',
  attributes: Sequence[str] = ('Smiling',),
  extras: Sequence[str] = (),
  crop: int = 178,
  sha256: bool = True,
  official: bool = True,
) -> Source:
  """CelebA below the data root; `official=False` takes a part of it or another copy."""
  from zsi_jax.data.celeba import CelebA
  from zsi_jax.data.celeba_files import OFFICIAL

  expect = OFFICIAL if official else None
  return CelebA(below(home, root), size, split, attributes, extras, crop, sha256, expect)


def folder(
  home: Path,
  *,
  root: str,
  size: int = 64,
  labels: str | None = None,
  crop: int | None = None,
  classes: bool = False,
  mirrored: Sequence[str] | None = None,
  name: str = 'folder',
) -> Source:
  from zsi_jax.data.folders import Folder

  sheet = None if labels is None else below(home, labels)
  return Folder(below(home, root), size, sheet, crop, classes, mirrored, name)


def npz(home: Path, *, path: str) -> Source:
  from zsi_jax.data.memory import Npz

  return Npz(below(home, path))


def below(home: Path, name: str) -> Path:
  """The path as it is where something lies there, else below the data root."""
  path = Path(name).expanduser()
  return path if path.exists() else home / path


def complete(config: ConfigDict) -> None:
  """Every key and every option of the source, the split and the support, of its type; no other."""
  there = flat(config)
  for key, hint in KEYS.items():
    if key not in there:
      raise ConfigError(f'it has no key {key}: let it start from base.get_config(preset)')
    at, name = _place(config, key)
    _put(at, name, cast(key, None, hint, at[name]), optional(hint))
  limits.whole('seed', config.seed, 0, limits.SEEDS)
  limits.whole('data.batch', config.data.batch, 1)
  limits.whole('data.workers', config.data.workers, 0)
  for key in KINDS:
    _fill(config, key)


def turn(config: ConfigDict, key: str, own: Container[str], said: Mapping[str, Any]) -> None:
  """Another source, split or support, with its own options.

  Of the options of before it keeps those that the config's file said (`own`), if it knows them as
  the same type: a radius may be whole pixels, or a share.
  """
  at, name = _place(config, key)
  if said[key] == at[name]:
    return
  override(config, key, said[key])
  group = KINDS[key]
  known, (above, last) = arguments(_make(config, key)), _place(config, group)
  held = above[last]
  for old in [f'{group}.{o}' for o in held if f'{group}.{o}' != key]:
    option = old.rpartition('.')[2]
    if old not in own or not _fits(said.get(old, held[option]), held[option], known.get(option)):
      del held[option]  # one that stays may be a reference
  for full, value in said.items():
    start, _, option = full.rpartition('.')
    if start == group and option not in held:
      held[option] = value
  complete(config)


def _fits(value: Any, before: Any, argument: tuple[Any, Any] | None) -> bool:
  """Whether the value, as the argument takes it, is of the type of the one before."""
  try:
    return argument is not None and type(fitted(value, argument[0])) is type(before)
  except TypeError:
    return False


def _make(config: ConfigDict, key: str) -> Callable[..., Any]:
  """What the source, the split or the support is made by."""
  match key:
    case 'data.source':
      return maker(config.data.source, root(config))
    case 'split.kind':
      return splits.splitter(config.split.kind)
  return splits.promiser(config.support.kind)


def _place(config: ConfigDict, key: str) -> tuple[ConfigDict, str]:
  """The group that a key is in, and its last word."""
  *path, last = key.split('.')
  return functools.reduce(lambda c, part: c[part], path, config), last


def _fill(config: ConfigDict, key: str) -> None:
  """The group of a kind with each of its options, of the type of its annotation."""
  group, kind = KINDS[key], flat(config)[key]
  above, last = _place(config, group)
  at = above[last]
  known = {n: a for n, a in arguments(_make(config, key)).items() if n not in ('of', 'role')}
  for name in at:
    if name not in known and f'{group}.{name}' != key:
      raise ConfigError(f'{group}.{name}: {kind!r} has no such option{near(name, known)}')
  for name, (hint, default) in known.items():
    absent = default is inspect.Parameter.empty
    if name not in at and absent:
      raise ConfigError(f'{group}.{name} is not said, and {kind!r} needs it')
    value = at[name] if name in at else default
    value = cast(f'{group}.{name}', None if absent else default, hint, value)
    _put(at, name, value, optional(hint))


def _put(at: ConfigDict, name: str, value: Any, free: bool) -> None:
  """Holds the value, and None again where it is free to; a reference that fits stays one."""
  kind = object if free else type(value)
  if name in at and at.get_type(name) is kind:
    if repr(at[name]) != repr(value):
      at[name] = value
    return
  if name in at:
    del at[name]
  at[name] = placeholder(object) if free else value
  if free:
    at[name] = value


def options(group: Mapping[str, Any]) -> dict[str, Any]:
  return {name: value for name, value in group.items() if name != 'kind'}


def source(config: ConfigDict) -> Source:
  """The source of the data set, before it is prepared."""
  return maker(config.data.source, root(config))(**options(config.data.options))


def split(
  config: ConfigDict, of: Any, drawn: bool = True
) -> tuple[splits.Split, dict[str, dict[str, Any]]]:
  """The records of each role, and the seal of every list and sheet that was read.

  Where the data set is not `drawn`, nobody knows yet which records will be skipped.
  """
  n = len(of)
  files = None
  if 'file' in of.fields:
    files = [str(of.attributes(i)['file']) for i in range(n)]
  numbers, skipped = (of.source_index, len(of.skipped)) if drawn else (np.arange(n), 0)

  def lost(index: int) -> bool:
    if drawn or not config.data.skip_corrupt:
      return False
    try:
      of[index]
    except DataError:
      return True
    return False

  home = root(config)
  records = splits.Records(table(of), files, numbers, n + skipped, home, lost)
  made = splits.make(records, config.split.kind, options(config.split))
  labels = config.data.options.get('labels')
  if labels and splits.found(labels, home):  # they went into the data set, and may be gone since
    records.path(labels)
  return made, records.read


def support(config: ConfigDict, role: str) -> Support:
  """What the networks of a role may be shown."""
  return splits.promised(config.support.kind, options(config.support), role)


def pipeline(
  config: ConfigDict, stored: Source, role: str, subset: Subset, about: Sequence[str], **more: Any
) -> Pipeline:
  """Batches of the records of a role; `more`: process, epochs, shuffle, pad."""
  d = config.data
  return Pipeline(
    stored,
    batch=d.batch,
    seed=config.seed,
    index=subset.index,
    label=None if (subset.label < 0).all() else subset.label,
    about=tuple(about),
    keep=tuple(d.keep),
    support=support(config, role),
    flip=d.flip,
    crop=d.crop,
    workers=d.workers,
    **more,
  )
