"""A set of sampled images in a folder: files that are whole or not there.

begun.json    what the images depend on, before the first is drawn
00000.npz …   images uint8 [n, H, W, C], index int64 [n] (number of the image), seed, stamp, and
              what was given for each image: aim, asked, fraction [n], source [n] or [n, 2]
grid.png      the first 64
sample.json   written last: what they depend on, shape, bytes and sha256 of each file, rate, stamp
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.build.keys import ConfigError, differences
from zsi_jax.data import npz
from zsi_jax.data.errors import DataError
from zsi_jax.io.files import sha256
from zsi_jax.io.images import grid
from zsi_jax.io.stamp import digest, stamp
from zsi_jax.stages import workdir as work

BEGUN, TOLD, PICTURE = 'begun.json', 'sample.json', 'grid.png'
SHOWN = 64  # images in the picture
MAKER = 'jax', 'jaxlib', 'device'  # of a stamp: one maker writes the same bits
AGAIN = 'Remove it, and it is drawn again'


@dataclasses.dataclass(frozen=True)
class Sampled:
  """Images 0 … n-1; file f holds `per_file` of them, from f * per_file on."""

  folder: Path
  source: Mapping[str, Any]  # JSON: all that the images depend on
  shape: tuple[int, ...]  # of an image
  instead: str = 'Take another sample.name'  # where the folder has other images
  beside: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)  # [n, ...] each
  support: Mapping[str, str | None] = dataclasses.field(default_factory=dict)  # of its networks

  @property
  def n(self) -> int:
    return int(self.source['sample']['n'])

  @property
  def files(self) -> range:
    return range(-(-self.n // self.source['sample']['per_file']))

  def rows(self, file: int) -> range:
    """The numbers of its images."""
    per_file = self.source['sample']['per_file']
    return range(file * per_file, min((file + 1) * per_file, self.n))

  def file(self, image: int) -> int:
    """That an image is in."""
    return int(image // self.source['sample']['per_file'])

  def path(self, file: int) -> Path:
    return self.folder / f'{file:05d}.npz'

  @functools.cached_property
  def digest(self) -> str:
    return digest(self.source)

  def agree(self) -> None:
    """A ConfigError where the folder belongs to other images; begun without any it is free."""
    told, images = self._read(TOLD), any(self.folder.glob('*.npz'))
    told = told or (self._read(BEGUN) if images else None)
    if told is None and images:
      raise ConfigError(
        f'{self.folder}: there are images, and no {BEGUN} tells of what. '
        f'{self.instead}, or remove it'
      )
    if told and (changed := differences({k: told.get(k) for k in self.source}, self.source)):
      raise ConfigError(
        f'{self.folder} holds images of another sampling: {"; ".join(changed)}. '
        f'{self.instead}, or what made these'
      )

  def begin(self) -> None:
    """After `agree`: the folder is ours from now on."""
    if not (self.folder / TOLD).is_file() and not any(self.folder.glob('*.npz')):
      work.write(self.folder / BEGUN, _text(self.source))

  def done(self) -> dict[str, Any] | None:
    """sample.json, or None where it is not written yet."""
    told = self._read(TOLD)
    if told is None:
      return None
    try:
      named = {name for name, seal in told['files'].items() if seal['bytes'] and seal['sha256']}
    except (LookupError, TypeError, AttributeError):
      named = set()
    if named != {self.path(file).name for file in self.files}:
      raise ConfigError(
        f'{self.folder / TOLD}: cannot be read (its files are not ours); remove it first'
      )
    return told

  def absent(self) -> list[str]:
    """Files that are not there, or not seen yet on the disk of another machine."""
    return [path.name for path in map(self.path, self.files) if not path.is_file()]

  def missing(self, told: Mapping[str, Any]) -> list[str]:
    """Files of sample.json that are gone, or of another size."""
    rows = told['files'].items()
    return [
      name
      for name, seal in rows
      if not (path := self.folder / name).is_file() or path.stat().st_size != seal['bytes']
    ]

  def write(self, file: int, images: np.ndarray) -> None:
    sample, rows = self.source['sample'], self.rows(file)
    told = stamp(self.source, seeds=self.source['seed'], batch=sample['batch'])
    arrays = {
      'images': images,
      'index': np.arange(rows.start, rows.stop, dtype=np.int64),
      'seed': np.array(self.source['seed'], np.int64),
      'stamp': np.array(json.dumps(told)),
      **self._beside(rows),
    }
    stream = io.BytesIO()
    npz.write(stream, arrays)
    work.write(self.path(file), stream.getvalue())

  def _beside(self, rows: range) -> dict[str, np.ndarray]:
    return {name: array[rows.start : rows.stop] for name, array in self.beside.items()}

  def read(self, file: int) -> tuple[np.ndarray, dict[str, Any]]:
    """(images, stamp); a DataError unless every byte is as it was written, and of this set."""
    path = self.path(file)
    if not path.is_file():
      raise DataError(f'{path}: there is no such file. Run without --check, and it is drawn again')
    arrays = npz.read(path, AGAIN)
    rows = self.rows(file)
    try:
      images, told = arrays['images'], json.loads(str(arrays['stamp']))
      fits = (
        images.shape == (len(rows), *self.shape)
        and images.dtype == np.uint8
        and np.array_equal(arrays['index'], rows)
        and told['config'] == self.digest
        and all(
          arrays[name].dtype == mine.dtype and np.array_equal(arrays[name], mine)
          for name, mine in self._beside(rows).items()
        )
      )
    except (KeyError, ValueError, TypeError):
      fits = False
    if not fits:
      raise DataError(
        f'{path}: no images {rows.start} … {rows.stop - 1} {list(self.shape)} of this sampling'
        f'{" (or not their " + ", ".join(self.beside) + ")" if self.beside else ""}. '
        f'{AGAIN}'
      )
    return images, told

  def whole(self, file: int) -> bool:
    try:
      self.read(file)
    except DataError:
      return False
    return True

  def finish(self, rate: Mapping[str, Any]) -> dict[str, Any]:
    """Reads every file, and writes the picture and sample.json."""
    seals, makers = {}, list[dict[str, Any]]()
    for file in self.files:
      _, made = self.read(file)
      path = self.path(file)
      seals[path.name] = {'bytes': path.stat().st_size, 'sha256': sha256(path)}
      maker = {key: made[key] for key in MAKER}
      makers += [] if maker in makers else [maker]
    told = {
      **self.source,
      'shape': list(self.shape),
      'files': seals,
      'drawn_by': makers,
      'support': dict(self.support),
      'rate': dict(rate),
      'stamp': stamp(self.source, seeds=self.source['seed'], batch=self.source['sample']['batch']),
    }
    self.picture()
    work.write(self.folder / TOLD, _text(told))
    return told

  def picture(self) -> None:
    """The first images, side by side."""
    files = self.files[: -(-SHOWN // self.source['sample']['per_file'])]
    first = np.concatenate([self.read(file)[0] for file in files])[:SHOWN]
    pixels = first[..., :3] if self.shape[-1] > 2 else first[..., :1]
    stream = io.BytesIO()
    # Half a step up, so that truncation gives the same bytes back.
    grid((pixels + np.float32(0.5)) / np.float32(127.5) - 1).save(stream, 'PNG')
    work.write(self.folder / PICTURE, stream.getvalue())

  def _read(self, name: str) -> dict[str, Any] | None:
    path = self.folder / name
    try:
      told = json.loads(path.read_text())
      if not isinstance(told, dict):
        raise ValueError('no object')
      return told
    except FileNotFoundError:
      return None
    except (OSError, ValueError) as error:
      raise ConfigError(f'{path}: cannot be read ({error!r:.200}); remove it first') from None


def _text(told: Mapping[str, Any]) -> bytes:
  return (json.dumps(told, indent=1) + '\n').encode()
