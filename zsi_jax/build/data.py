"""`data` of a config: the source, its records for each role, and the pipeline of a role."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import splits
from zsi_jax.build.keys import ConfigError, near
from zsi_jax.data.errors import DataError
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.data.record import Source, table
from zsi_jax.data.subsets import Subset
from zsi_jax.data.support import Support

Maker = Callable[..., Source]


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
  d, own = config.data, config[role]
  crop = own.get('crop')
  return Pipeline(
    stored,
    batch=batch(config, role),
    seed=config.seed,
    index=subset.index,
    label=None if (subset.label < 0).all() else subset.label,
    about=tuple(about),
    keep=tuple(d.keep),
    support=support(config, role),
    flip=d.flip,
    crop=d.crop if crop is None else crop,
    workers=d.workers,
    **more,
  )


def batch(config: ConfigDict, role: str) -> int:
  """Examples of a step of this role, over all devices."""
  own = config[role].batch
  return int(config.data.batch if own is None else own)
