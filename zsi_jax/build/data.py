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
from zsi_jax.build.keys import ConfigError, near, seed
from zsi_jax.build.records import Records, found
from zsi_jax.data import limits
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
    case 'lips':
      return functools.partial(lips, home)
    case 'celeba':
      return functools.partial(celeba, home)
    case 'folder':
      return functools.partial(folder, home)
    case 'npz':
      return functools.partial(npz, home)
  names = 'circles discs sizes portraits lips celeba folder npz'.split()
  raise ConfigError(f'data.source: there is no source {name!r}{near(name, names)}')


def lips(
  home: Path,
  *,
  of: str = 'portraits',
  size: int = 64,
  faces: int = 60_000,
  seed: int = 0,
  root: str = 'celeba',
  landmarks: str | None = None,
  official: bool = True,
  colour: tuple[int, int, int] = (0, 255, 0),
  alpha: float = 0.5,
) -> Source:
  """Portraits, or the faces of CelebA that a sheet of `landmarks` names, plain and painted."""
  from zsi_jax.data.lips import Lips, aligned

  limits.one_of('data.options.of', of, ('portraits', 'celeba'))
  if of == 'portraits':
    return Lips(maker('portraits', home)(n=faces, size=size, seed=seed), None, colour, alpha)
  if landmarks is None:
    raise ConfigError('data.options.landmarks names a CSV with file, x48, y48 … x67, y67')
  found = celeba(home, root=root, size=size, attributes=('Smiling',), official=official)
  files = [str(found.attributes(i)['file']) for i in range(len(found))]
  return Lips(found, aligned(below(home, landmarks), files, size, 178), colour, alpha)


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
  config: ConfigDict, of: Any, drawn: bool = True, judged: Subset | None = None
) -> tuple[splits.Split, dict[str, dict[str, Any]]]:
  """The records of each role, and the seal of every list and sheet that was read.

  Where the data set is not `drawn`, nobody knows yet which records will be skipped, nor which the
  judges will have `judged` extreme.
  """
  known = records(config, of, drawn, judged)
  made = splits.make(known, config.split.kind, options(config.split))
  labels = config.data.options.get('labels')
  if labels and found(labels, known.home):  # they went into the data set, and may be gone since
    known.path(labels)
  return made, known.read


def records(
  config: ConfigDict, of: Any, drawn: bool = True, judged: Subset | None = None
) -> Records:
  """What a split of the data set is made from."""
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

  return Records(table(of), files, numbers, n + skipped, root(config), lost, judged)


def relabelled(of: Source, subset: Subset, name: str) -> Subset:
  """Of the same records, on which side of 1/2 each lies in another attribute."""
  columns = table(of)
  if name not in columns:
    raise ConfigError(
      f'classifier.label: the data set has no attribute {name!r}{near(name, columns)}'
    )
  return Subset(subset.index, (columns[name][subset.index] > 0.5).astype(np.int32))


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
    seed=seed(config, role),
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
