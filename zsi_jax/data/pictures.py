"""Files by name from a folder or a zip, and their bytes to RGB: what every real data set reads."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from zsi_jax.data.errors import DataError
from zsi_jax.data.transforms import center_crop, fit

KINDS = ('JPEG', 'PNG', 'BMP', 'PPM', 'TIFF', 'WEBP')  # others may run programs (EPS)
_LOCAL = struct.Struct('<4s5H3I2H')  # the head of a zip's member; its name and extra field follow


class Shelf(Protocol):
  """Files by relative name; random access from any thread or process, fork or pickle."""

  @property
  def path(self) -> Path: ...

  def has(self, name: str) -> bool: ...

  def inside(self, folder: str) -> dict[str, int]:
    """Name and bytes of the files of a folder; empty where there is no such folder."""
    ...

  def read(self, name: str) -> bytes: ...

  def where(self, name: str) -> str:
    """For messages: the file as a person finds it."""
    ...


@dataclasses.dataclass(frozen=True)
class Directory:
  path: Path

  def has(self, name: str) -> bool:
    return (self.path / name).is_file()

  def inside(self, folder: str) -> dict[str, int]:
    try:
      with os.scandir(self.path / folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
      return {}

  def read(self, name: str) -> bytes:
    try:
      return (self.path / name).read_bytes()
    except OSError as error:
      raise DataError(f'{self.where(name)}: cannot be read ({error.strerror})') from None

  def where(self, name: str) -> str:
    return str(self.path / name)


@dataclasses.dataclass(frozen=True)
class Zip:
  """A zip whose directory is read once; each `read` opens the file anew and checks the CRC.

  No handle is kept, so there is no position that threads or forked processes could share.
  """

  path: Path
  rows: dict[str, tuple[int, int, int, int, int]]  # start, packed, size, crc, method

  @classmethod
  def open(cls, path: Path) -> Zip:
    try:
      with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.is_dir()]
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
      size = path.stat().st_size if path.is_file() else 0
      raise DataError(f'{path}: no complete zip ({error}; {size} bytes). Fetch it again') from None
    locked = [m.filename for m in members if m.flag_bits & 1]
    if locked:
      raise DataError(f'{path}: {locked[0]} is encrypted; unpack it with its password first')
    return cls(
      path,
      {
        m.filename: (m.header_offset, m.compress_size, m.file_size, m.CRC, m.compress_type)
        for m in members
      },
    )

  def has(self, name: str) -> bool:
    return name in self.rows

  def inside(self, folder: str) -> dict[str, int]:
    prefix = f'{folder}/' if folder else ''
    return {n[len(prefix) :]: row[2] for n, row in self.rows.items() if n.startswith(prefix)}

  def read(self, name: str) -> bytes:
    where = self.where(name)
    if name not in self.rows:
      raise DataError(f'{where}: there is no such member')
    start, packed, size, crc, method = self.rows[name]
    try:
      with open(self.path, 'rb') as file:
        file.seek(start)
        head = _LOCAL.unpack(file.read(_LOCAL.size))
        file.seek(head[-2] + head[-1], os.SEEK_CUR)
        data = file.read(packed)
      if head[0] != b'PK\3\4' or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f'neither stored nor deflated, but method {method}')
      data = zlib.decompress(data, -zlib.MAX_WBITS) if method else data
    except (OSError, ValueError, struct.error, zlib.error) as error:
      raise DataError(f'{where}: damaged ({error}). Fetch the zip again') from None
    if len(data) != size or zlib.crc32(data) != crc:
      raise DataError(
        f'{where}: damaged ({len(data)} bytes of {size}, crc32 {zlib.crc32(data):08x}, the zip '
        f'says {crc:08x}). Fetch the zip again'
      )
    return data

  def where(self, name: str) -> str:
    return f'{self.path}: {name}'

  def keep(self, names: Iterable[str]) -> Zip:
    """The same zip, knowing these members only: less to hand to other processes."""
    return Zip(self.path, {name: self.rows[name] for name in names})

  def sha256(self) -> str:
    with open(self.path, 'rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()


def seal(names: Iterable[str], known: Iterable[np.ndarray]) -> str:
  """16 hex digits of what is known of the files without reading them: names, sizes, labels."""
  digest = hashlib.sha256('\n'.join(names).encode())
  for array in known:
    digest.update(array.tobytes())
  return digest.hexdigest()[:16]


def square(data: bytes, where: str, size: int, crop: int | None) -> np.ndarray:
  """uint8 [size, size, 3]: `center_crop` of `crop`², or `fit` where crop is None."""
  image = rgb(data, where)
  try:
    return fit(image, size) if crop is None else center_crop(image, crop, size)
  except DataError as error:
    raise DataError(f'{where}: {error}') from None


def rgb(data: bytes, where: str) -> Image.Image:
  """The picture as a viewer shows it, 8-bit RGB.

  Its EXIF rotation is applied; grey, palette and CMYK are converted; what is transparent lies on
  white; of 16 bits the high byte stays; of an animation the first frame. Others are refused.
  """
  if not data:
    raise DataError(f'{where}: the file is empty')
  try:
    with Image.open(io.BytesIO(data), formats=KINDS) as file:
      file.load()
      seen = ImageOps.exif_transpose(file)
    if seen.mode.startswith('I;16'):
      seen = Image.fromarray((np.asarray(seen).astype(np.uint16) >> 8).astype(np.uint8))
    if seen.mode in ('I', 'F'):
      raise ValueError(f'32 bits a pixel (mode {seen.mode}); convert it to 8 bits')
    if seen.has_transparency_data:
      seen = seen.convert('RGBA')
      white = Image.new('RGBA', seen.size, 'white')
      seen = Image.alpha_composite(white, seen)
    return seen.convert('RGB')
  except UnidentifiedImageError:
    raise DataError(
      f'{where}: no image of a known kind (it starts with {data[:8]!r}; {len(data)} bytes)'
    ) from None
  except Exception as error:  # Pillow's readers raise a dozen types on damaged bytes
    raise DataError(
      f'{where}: a damaged or unknown image ({type(error).__name__}: {error}; {len(data)} bytes)'
    ) from None
