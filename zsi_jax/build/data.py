"""`data` of a config: the source, its records for each role, and the pipeline of a role."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from zsi_jax.build import splits
from zsi_jax.build.keys import ConfigError, flat, near, override
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.data.record import Source, table
from zsi_jax.data.subsets import Subset
from zsi_jax.data.support import Support

Maker = Callable[..., Source]
KEYS = """seed check data.source data.root data.skip_corrupt data.batch data.flip data.crop
data.keep data.workers split.kind support.kind"""


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
  """Every option of the source, the split and the support as a key; a ConfigError on others."""
  there = flat(config)
  for key in KEYS.split():
    if key not in there:
      raise ConfigError(f'it has no key {key}: let it start from base.get_config(preset)')
  home = root(config)
  _fill(config, 'data.options', maker(config.data.source, home), config.data.source)
  _fill(config, 'split', splits.splitter(config.split.kind), config.split.kind)
  _fill(config, 'support', splits.promiser(config.support.kind), config.support.kind)


def _fill(config: ConfigDict, group: str, make: Callable[..., Any], kind: str) -> None:
  """The group with each option of `make`, of the type of its default."""
  at = functools.reduce(lambda c, part: c[part], group.split('.'), config)
  options = _options(make)
  for name in at:
    if name not in options and name != 'kind':
      raise ConfigError(f'{group}.{name}: {kind!r} has no such option{near(name, options)}')
  for name, default in options.items():
    if name not in at and default is inspect.Parameter.empty:
      raise ConfigError(f'{group}.{name} is not said, and {kind!r} needs it')
  for name, default in options.items():
    if default is None:  # any type, and None again
      held = at.get(name)
      if name in at:
        del at[name]
      at[name] = placeholder(object)
      at[name] = held
    elif name not in at:
      at[name] = default
    elif default is not inspect.Parameter.empty and type(at[name]) is not type(default):
      said = at[name]
      del at[name]
      at[name] = default
      override(config, f'{group}.{name}', said)


def _options(make: Callable[..., Any]) -> dict[str, Any]:
  """name -> default of what a config may say: all but the first positional of a split."""
  kinds = inspect.Parameter
  found = inspect.signature(make).parameters.values()
  named = [p for p in found if p.kind in (kinds.KEYWORD_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
  return {p.name: p.default for p in named if p.name not in ('of', 'role')}


def options(group: Mapping[str, Any]) -> dict[str, Any]:
  return {name: value for name, value in group.items() if name != 'kind'}


def source(config: ConfigDict) -> Source:
  """The source of the data set, before it is prepared."""
  return maker(config.data.source, root(config))(**options(config.data.options))


def split(config: ConfigDict, stored: Source) -> splits.Split:
  """The records of each role, of a data set that is prepared."""
  n = len(stored)
  files = None
  if 'file' in stored.fields:
    files = [str(stored.attributes(i)['file']) for i in range(n)]
  numbers = getattr(stored, 'source_index', np.arange(n))
  total = n + len(getattr(stored, 'skipped', ()))
  records = splits.Records(table(stored), files, numbers, total, root(config))
  return splits.make(records, config.split.kind, options(config.split))


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
