"""What a finished data set says of itself: one JSON file that is written last."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Field, Skipped

FILE, ATTRIBUTES = 'zsi.json', 'attributes.npz'
AGAIN = 'Remove that directory and prepare the data set again.'


@dataclasses.dataclass(frozen=True)
class Manifest:
  """Parameters, fields and files of a data set; `files`: name -> bytes, sha256, records."""

  name: str
  digest: str
  parameters: Mapping[str, Any]
  fields: Mapping[str, Field]
  count: int  # records kept
  skipped: Skipped
  files: Mapping[str, Mapping[str, Any]]
  versions: Mapping[str, str | None]
  stamp: Mapping[str, Any] | None = None

  @property
  def shards(self) -> dict[str, int]:
    """Records by shard, in order."""
    return {name: f['records'] for name, f in self.files.items() if f['records'] is not None}


def write(directory: Path, manifest: Manifest) -> None:
  text = dataclasses.asdict(manifest)
  with open(directory / FILE, 'w') as stream:
    json.dump({**text, 'sha256': _seal(text)}, stream, indent=1)


def read(directory: Path) -> Manifest:
  """The manifest, with the sizes of all its files and every byte of the small ones checked."""
  path = directory / FILE
  try:
    text = json.loads(path.read_text())
    sealed = text.pop('sha256') == _seal(text)
    fields = {n: Field(**{**f, 'shape': tuple(f['shape'])}) for n, f in text['fields'].items()}
    skipped = tuple((int(i), str(why)) for i, why in text['skipped'])
    found = Manifest(**{**text, 'fields': fields, 'skipped': skipped})
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise DataError(f'{path}: it cannot be read ({error!r:.200}). {AGAIN}') from None
  if not sealed:
    raise DataError(f'{path}: it was changed after it was written. {AGAIN}')
  for name, file in found.files.items():
    _check(directory / name, file)
  return found


def _check(path: Path, file: Mapping[str, Any]) -> None:
  """The size of a file; of a small one, whose every digit counts, the sha256 too."""
  try:
    if not path.is_file():
      raise DataError(f'{path}: the file is gone ({file["bytes"]} bytes). {AGAIN}')
    if (size := path.stat().st_size) != file['bytes']:
      raise DataError(f'{path}: {size} bytes where {file["bytes"]} were written. {AGAIN}')
    if path.suffix == '.json' and facts(path)['sha256'] != file['sha256']:
      raise DataError(f'{path}: it was changed after it was written. {AGAIN}')
  except OSError as error:
    raise DataError(f'{path}: it cannot be read ({error.strerror}).') from None


def _seal(text: Mapping[str, Any]) -> str:
  return hashlib.sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()


def facts(path: Path, records: int | None = None) -> dict[str, Any]:
  """Bytes, sha256 and records of a file, which is on the disk when this returns."""
  with open(path, 'rb') as stream:
    os.fsync(stream.fileno())
    sha256 = hashlib.file_digest(stream, 'sha256').hexdigest()
  return {'bytes': path.stat().st_size, 'sha256': sha256, 'records': records}


def broken(directory: Path, manifest: Manifest) -> list[str]:
  """Names of the files whose sha256 is another than when they were written."""
  return [
    name
    for name, file in manifest.files.items()
    if facts(directory / name)['sha256'] != file['sha256']
  ]
