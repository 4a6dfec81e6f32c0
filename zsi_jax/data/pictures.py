"""Files by name from a folder or a zip, and their bytes to RGB: what every real data set reads."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from zsi_jax.data.errors import DataError
from zsi_jax.data.lists import few
from zsi_jax.data.transforms import center_crop, fit

KINDS = ('JPEG', 'PNG', 'BMP', 'PPM', 'TIFF', 'WEBP')  # others may run programs (EPS)
LIST = 'SHA256SUMS'
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


@dataclasses.dataclass(frozen=True)
class Sums:
  """What the bytes of picture i must sum to: by a list of sha256, or the CRC-32 of their zip."""

  where: str  # of the list or zip
  rows: np.ndarray  # uint8 [N, 32] of sha256, [N, 4] of CRC-32
  own: str = ''  # the list's sha256

  @classmethod
  def listed(cls, folder: Path, files: Sequence[str]) -> Sums | None:
    """Of `files`, paths from the folder, by its SHA256SUMS; None where there is no such list.

    Lines are those of sha256sum; the list may name more files, and must name all of these.
    """
    path = folder / LIST
    if not os.path.lexists(path):
      return None
    data = Directory(folder).read(LIST)
    known = _listed(data, path)
    if missing := [name for name in files if name not in known]:
      raise DataError(
        f'{path}: no sha256 of {len(missing)} of {len(files)} pictures: {few(missing)}. Paths are '
        'relative to the folder of the list; list these too, or remove the list to go without'
      )
    rows = np.frombuffer(b''.join(known[name] for name in files), np.uint8)
    return cls(str(path), rows.reshape(len(files), -1), hashlib.sha256(data).hexdigest())

  @classmethod
  def zipped(cls, archive: Zip, names: Sequence[str]) -> Sums | None:
    """Of its members; None where it lacks one, for then it is the zip of other pictures."""
    if not all(map(archive.has, names)):
      return None
    rows = np.array([archive.rows[name][3] for name in names], '>u4')
    return cls(str(archive.path), rows.view(np.uint8).reshape(len(names), -1))

  def check(self, i: int, data: bytes, where: str) -> None:
    wanted = self.rows[i].tobytes()
    if self.own:
      kind, found = 'sha256', hashlib.sha256(data).digest()
      what = 'list it anew from a copy that you trust'
    else:
      kind, found = 'crc32', zlib.crc32(data).to_bytes(4, 'big')
      what = 'move the zip away if the pictures are meant to differ from it'
    if found != wanted:
      raise DataError(
        f'{where}: damaged or changed ({len(data)} bytes, {kind} {found.hex()}, {self.where} says '
        f'{wanted.hex()}). Put the original back, or {what}'
      )


def _listed(data: bytes, path: Path) -> dict[str, bytes]:
  """The sha256 of each path that a list names."""
  try:
    lines = data.decode('utf-8-sig').replace('\r\n', '\n').removesuffix('\n').split('\n')
  except UnicodeDecodeError as error:
    raise DataError(f'{path}: not a text file in UTF-8 (byte {error.start})') from None
  known: dict[str, bytes] = {}
  for number, line in enumerate(lines, 1):
    parts = re.fullmatch(r'(\\?)([0-9a-fA-F]{64}) [ *](.+)', line)
    if parts is None:
      raise DataError(
        f'{path}:{number}: 64 hex digits, a blank, a blank or *, and a path, as sha256sum writes '
        f'them, not {line!r:.80}'
      )
    escaped, digits, name = parts.groups()
    name = posixpath.normpath(name.replace(r'\\', '\\') if escaped else name)
    if known.setdefault(name, bytes.fromhex(digits)).hex() != digits.lower():
      raise DataError(f'{path}:{number}: {name} is listed already, with another sha256')
  return known


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
