"""TensorBoard's event files, by hand: scalars, pictures and texts, without TensorFlow or protobuf.

1. A file is a row of records: length (uint64), its masked crc32c, the bytes, their masked crc32c.
2. A record is a protobuf `Event`; the first names the format, the second starts a session.
3. A session that starts at a step takes the place of all that older files say from that step on:
   so a resumed run replaces what a killed one wrote beyond its last checkpoint.
"""

from __future__ import annotations

import io
import os
import platform
import re
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image

FORMAT = b'brain.Event:2'
START = 1  # SessionLog.SessionStatus
STRING = 7  # DataType.DT_STRING
MODES = {1: 'L', 3: 'RGB', 4: 'RGBA'}  # Summary.Image.colorspace is the number of channels


def _table() -> tuple[int, ...]:
  rows = []
  for row in range(256):
    for _ in range(8):
      row = row >> 1 ^ 0x82F63B78 * (row & 1)  # Castagnoli's polynomial, reflected
    rows.append(row)
  return tuple(rows)


TABLE = _table()


def crc32c(data: bytes) -> int:
  """Cyclic redundancy check by Castagnoli's polynomial; crc32c(b'123456789') = 0xE3069283."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
  return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
  """crc32c, rotated by 15 bits, plus a constant: a check of data that holds checks."""
  crc = crc32c(data)
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
  """(1) in the head."""
  length = struct.pack('<Q', len(data))
  return length + struct.pack('<I', masked(length)) + data + struct.pack('<I', masked(data))


def varint(number: int) -> bytes:
  """Seven bits a byte, the lowest first; negative numbers are those of 64 bits."""
  number &= 2**64 - 1
  out = bytearray()
  while number > 0x7F:
    out.append(number & 0x7F | 0x80)
    number >>= 7
  return bytes((*out, number))


def field(number: int, value: int | float | bytes | str, *, double: bool = False) -> bytes:
  """A field of a protobuf message: int, float (32 bits unless `double`), bytes or text."""
  match value:
    case int():
      return varint(number << 3) + varint(value)
    case float():
      return varint(number << 3 | (1 if double else 5)) + (
        struct.pack('<d', value) if double else struct.pack('<f', _float32(value))
      )
    case str() | bytes():
      data = value.encode() if isinstance(value, str) else value
      return varint(number << 3 | 2) + varint(len(data)) + data


def event(step: int, wall: float, *, version: bytes = b'', start: bool = False,
          values: Iterable[bytes] = ()) -> bytes:  # fmt: skip
  """Event: wall_time 1, step 2, file_version 3, summary 5 (values 1), session_log 7 (status 1)."""
  said = field(1, wall, double=True) + field(2, step)
  if version:
    return said + field(3, version)
  if start:
    return said + field(7, field(1, START))
  return said + field(5, b''.join(field(1, value) for value in values))


def scalar(tag: str, number: float) -> bytes:
  """Summary.Value: tag 1, simple_value 2."""
  return field(1, tag) + field(2, float(number))


def image(tag: str, picture: Image.Image) -> bytes:
  """Summary.Value: tag 1, image 4 (height 1, width 2, colorspace 3, PNG 4)."""
  channels = len(picture.getbands())
  if picture.mode not in MODES.values():
    picture, channels = picture.convert('RGB'), 3
  png = io.BytesIO()
  picture.save(png, 'PNG')
  told = field(1, picture.height) + field(2, picture.width) + field(3, channels)
  return field(1, tag) + field(4, told + field(4, png.getvalue()))


def text(tag: str, words: str) -> bytes:
  """Summary.Value: tag 1, tensor 8 (dtype 1, shape 2, string_val 8), metadata 9 (plugin 'text')."""
  tensor = field(1, STRING) + field(2, field(2, field(1, 1))) + field(8, words)
  return field(1, tag) + field(8, tensor) + field(9, field(1, field(1, 'text')))


class Events:
  """A new event file in `folder`, which takes the place of what others say from `step` on."""

  def __init__(self, folder: Path, step: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Files are read in the order of their names, so that a clock set back must not count.
    names = [re.match(r'events\.out\.tfevents\.(\d+)', path.name) for path in folder.iterdir()]
    last = max((int(name[1]) for name in names if name), default=0)
    stamp = max(int(time.time()), last + 1)
    self.path = folder / f'events.out.tfevents.{stamp:010d}.{platform.node()}.{os.getpid()}'
    self._stream = open(self.path, 'xb', buffering=0)
    self._write(event(0, time.time(), version=FORMAT))
    self._write(event(step, time.time(), start=True))

  def scalars(self, step: int, numbers: Mapping[str, float]) -> None:
    self._add(step, [scalar(tag, number) for tag, number in numbers.items()])

  def image(self, step: int, tag: str, picture: Image.Image) -> None:
    self._add(step, [image(tag, picture)])

  def text(self, step: int, tag: str, words: str) -> None:
    self._add(step, [text(tag, words)])

  def close(self) -> None:
    self._stream.close()

  def _add(self, step: int, values: list[bytes]) -> None:
    self._write(event(step, time.time(), values=values))

  def _write(self, data: bytes) -> None:
    self._stream.write(record(data))


def _float32(number: float) -> float:
  """struct refuses what is too large for 32 bits; here it is infinite."""
  try:
    struct.pack('<f', number)
  except OverflowError:
    return float('inf') if number > 0 else float('-inf')
  return number
