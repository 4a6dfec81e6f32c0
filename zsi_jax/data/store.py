"""Data sets on disk: written whole or not at all, read as the source that they were.

root/<name>/<digest>/1.0.0/ holds what tfds reads (array_record shards, dataset_info.json,
features.json), `zsi.json` (the manifest) and `attributes.npz` (every entry of shape (), by name).
Record i of a store is source[i]. Where `skip_corrupt` left records out, the rest is numbered anew,
`skipped` says which and why, and `source_index` gives each record's number in the source.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.data import check, lock, manifest, npz, shards
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Source, digest
from zsi_jax.data.stored import Stored

SHARDS = f'{shards.SPLIT}.array_record-?????-of-?????'
PACKAGES = 'numpy', 'pillow', 'opencv-python-headless', 'tensorflow-datasets', 'array_record'
PREPARE = 'make it with `zsi run CONFIG --stage=prepare`, or zsi_jax.data.store.write(source, root)'


def write(
  source: Source,
  root: str | Path,
  *,
  skip_corrupt: bool = False,
  progress: bool = False,
  stamp: Mapping[str, Any] | None = None,
  shard_bytes: int = shards.SHARD_BYTES,
) -> Path:
  """The directory of the finished data set; one that is finished already is not written again."""
  check.source(source)
  home = Path(root).expanduser().absolute() / source.name
  final = home / digest(source)
  try:
    if _finished(source, final, skip_corrupt):
      return final / shards.VERSION
    shards.need()
    with lock.held(home / f'.{final.name}.lock'):
      if _finished(source, final, skip_corrupt):  # by the process that held the lock before
        return final / shards.VERSION
      scratch = home / f'.{final.name}.part'
      shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
      try:
        _write(source, scratch / shards.VERSION, skip_corrupt, progress, stamp, shard_bytes)
        os.rename(scratch, final)
        _sync(home)
      finally:
        shutil.rmtree(scratch, ignore_errors=True)
  except OSError as error:
    free = _free(home)
    raise DataError(
      f'{final}: the data set cannot be written ({error.strerror or error}; {free} free). '
      'Nothing of it is left, and what was there before is unchanged.'
    ) from None
  return final / shards.VERSION


def _finished(source: Source, final: Path, skip_corrupt: bool) -> bool:
  """Whether the data set is there; a DataError where it is damaged, foreign or lacks records."""
  directory = final / shards.VERSION
  if not final.exists() or (final.is_dir() and not any(final.iterdir())):
    return False
  if not (directory / manifest.FILE).is_file():
    raise DataError(
      f'{final}: it exists and is no finished data set, for it has no {shards.VERSION}/'
      f'{manifest.FILE}. Remove it, or choose another root.'
    )
  found = manifest.read(directory)
  _same_fields(source, found, directory)
  if found.skipped and not skip_corrupt:
    raise DataError(
      f'{directory}: it was written without {len(found.skipped)} corrupt records (the first: '
      f'{found.skipped[0][1]}). Allow skip_corrupt, or mend them and remove the directory.'
    )
  return True


def _same_fields(source: Source, found: manifest.Manifest, directory: Path) -> None:
  """Parameters say what records hold as long as the code does not change."""
  differ = sorted(
    n for n in {*source.fields, *found.fields} if source.fields.get(n) != found.fields.get(n)
  )
  if differ:
    raise DataError(
      f'{directory}: it was written by other code, with other fields than the source has now: '
      f'{", ".join(differ)}. {manifest.AGAIN}'
    )


def _write(
  source: Source,
  directory: Path,
  skip_corrupt: bool,
  progress: bool,
  stamp: Mapping[str, Any] | None,
  shard_bytes: int,
) -> None:
  directory.mkdir(parents=True)
  writer = shards.Writer(directory, source.name, source.fields, shard_bytes)
  scalars = [name for name, field in source.fields.items() if field.shape == ()]
  columns: dict[str, list[Any]] = {name: [] for name in scalars}
  skipped: list[tuple[int, str]] = []
  numbers = _counted(range(len(source)), source.name, progress)
  for record in check.records(source, skip_corrupt, skipped, numbers):
    writer.add(record)
    for name in scalars:
      columns[name].append(record[name])
  table = {
    n: np.array(c, str if source.fields[n].dtype == 'str' else source.fields[n].dtype)
    for n, c in columns.items()
  }
  npz.write(directory / manifest.ATTRIBUTES, table)
  records = writer.finish(digest(source))
  names = sorted(path.name for path in directory.iterdir())
  manifest.write(
    directory,
    manifest.Manifest(
      name=source.name,
      digest=digest(source),
      parameters=dict(source.parameters),
      fields=dict(source.fields),
      count=sum(records.values()),
      skipped=tuple(skipped),
      files={n: manifest.facts(directory / n, records.get(n)) for n in names},
      versions={name: _version(name) for name in PACKAGES},
      stamp=stamp,
    ),
  )
  _sync(directory)


def _counted(items: Iterable[int], name: str, progress: bool) -> Iterable[int]:
  if not progress:
    return items
  from tqdm.auto import tqdm

  return tqdm(items, desc=name, unit='record')


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _sync(directory: Path) -> None:
  """The names in a directory, and its manifest, survive a power cut."""
  for path in (directory, directory / manifest.FILE):
    if path.exists():
      handle = os.open(path, os.O_RDONLY)
      try:
        os.fsync(handle)
      finally:
        os.close(handle)


def _free(path: Path) -> str:
  while not os.path.exists(path):  # unlike Path's it never raises
    path = path.parent
  return f'{shutil.disk_usage(path).free / 1e9:.1f} GB'


def open(of: Source | str | Path, root: str | Path | None = None) -> Stored:
  """The data set of a source under a root, or the one in a directory; a DataError if it is not."""
  if isinstance(of, (str, Path)):
    if root is not None:
      of = Path(root) / of
    path = Path(of).expanduser().absolute()
    below = sorted(path.glob(f'[!.]*/{shards.VERSION}'))  # those with a dot are not finished
    found = [p for p in (path, path / shards.VERSION, *below) if (p / manifest.FILE).is_file()]
    if len(found) > 1:
      several = ', '.join(str(p.relative_to(path)) for p in found)
      raise DataError(f'{path}: several data sets lie there ({several}). Say which.')
    path = found[0] if found else path
  elif root is None:
    raise DataError(f'{of.name}: the root under which it was prepared is needed to open it.')
  else:
    path = Path(root).expanduser().absolute() / of.name / digest(of) / shards.VERSION
  if not (path / manifest.FILE).is_file():
    raise DataError(
      f'{path}: no finished data set is there. Expected: {manifest.FILE}, {manifest.ATTRIBUTES}, '
      f'dataset_info.json, features.json and *-{SHARDS}; {PREPARE}.'
    )
  stored = Stored(path)
  if not isinstance(of, (str, Path)):
    _same_fields(of, stored.manifest, path)
  return stored
