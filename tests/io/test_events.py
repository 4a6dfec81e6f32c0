"""Event files: closed forms of every layer, and a reader written from the formats' descriptions."""

import io
import math
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from zsi_jax.io import events
from zsi_jax.io.events import Events, crc32c, field, masked, record, varint


@pytest.mark.parametrize(
  'data, check',
  [  # the last four: RFC 3720, B.4
    (b'', 0),
    (b'a', 0xC1D04330),
    (b'123456789', 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b'\xff' * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
  ],
)
def test_crc32c(data, check):
  assert crc32c(data) == check


def test_a_mask_can_be_taken_off():
  for data in (b'', b'123456789', bytes(100)):
    rotated = (masked(data) - 0xA282EAD8) & 0xFFFFFFFF
    assert (rotated >> 17 | rotated << 15) & 0xFFFFFFFF == crc32c(data)


@pytest.mark.parametrize(
  'made, data',
  [
    (varint(0), b'\x00'),
    (varint(127), b'\x7f'),
    (varint(300), b'\xac\x02'),
    (varint(-1), b'\xff' * 9 + b'\x01'),
    (field(1, 150), b'\x08\x96\x01'),
    (field(2, 'testing'), b'\x12\x07testing'),
    (field(2, 1.0), b'\x15\x00\x00\x80\x3f'),
    (field(1, 1.0, double=True), b'\x09' + struct.pack('<d', 1.0)),
    (
      events.event(7, 2.0, values=[events.scalar('loss', 0.5)]),
      b'\x09\x00\x00\x00\x00\x00\x00\x00\x40'  # wall_time 2
      b'\x10\x07'  # step 7
      b'\x2a\x0d\x0a\x0b'  # a summary of 13 bytes, of one value of 11
      b'\x0a\x04loss\x15\x00\x00\x00\x3f',  # its tag, and .5
    ),
    (
      events.event(0, 2.0, version=b'brain.Event:2'),
      b'\x09\x00\x00\x00\x00\x00\x00\x00\x40\x10\x00\x1a\x0dbrain.Event:2',
    ),
    (
      events.event(5, 2.0, start=True),
      b'\x09\x00\x00\x00\x00\x00\x00\x00\x40\x10\x05\x3a\x02\x08\x01',
    ),
  ],
)
def test_bytes_of_known_messages(made, data):
  assert made == data


def test_a_record_carries_its_length_and_two_checks():
  data = record(b'123456789')
  assert data[:8] == b'\x09' + bytes(7) and data[12:21] == b'123456789'
  assert struct.unpack('<I', data[8:12])[0] == masked(data[:8])
  assert struct.unpack('<I', data[21:])[0] == masked(b'123456789')


def records(path):
  data, at = path.read_bytes(), 0
  while at < len(data):
    (size,) = struct.unpack_from('<Q', data, at)
    body = data[at + 12 : at + 12 + size]
    checks = struct.unpack_from('<I', data, at + 8) + struct.unpack_from('<I', data, at + 12 + size)
    assert checks == (masked(data[at : at + 8]), masked(body))
    yield parsed(body)
    at += 16 + size


def number(data, at):
  value = shift = 0
  while True:
    value |= (data[at] & 0x7F) << shift
    shift, at = shift + 7, at + 1
    if data[at - 1] < 0x80:
      return value, at


def parsed(data):
  """field -> values, as a wire reader sees them."""
  at, found = 0, {}
  while at < len(data):
    key, at = number(data, at)
    if key & 7 == 0:
      value, at = number(data, at)
    else:
      size, at = (8, at) if key & 7 == 1 else (4, at) if key & 7 == 5 else number(data, at)
      value, at = data[at : at + size], at + size
    found.setdefault(key >> 3, []).append(value)
  return found


def values(event):
  return [parsed(value) for value in parsed(event[5][0])[1]]


def test_what_is_written_can_be_read(tmp_path):
  picture = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
  writer = Events(tmp_path, 3)
  writer.scalars(3, {'loss': 0.25, 'näher': -1.0, 'nan': math.nan, 'far': 1e300, 'low': -1e300})
  writer.image(4, 'samples', picture)
  writer.image(4, 'grey', picture.convert('L'))
  writer.image(4, 'palette', picture.convert('P'))
  writer.text(5, 'config', 'a: 1\n')
  writer.close()
  head, start, scalars, colour, grey, palette, text = records(writer.path)
  assert head[3] == [b'brain.Event:2'] and start[2] == [3] and start[7] == [b'\x08\x01']
  assert scalars[2] == [3] and [v[1][0].decode() for v in values(scalars)][1] == 'näher'
  read = [struct.unpack('<f', v[2][0])[0] for v in values(scalars)]
  assert read[:2] == [0.25, -1] and math.isnan(read[2]) and read[3:] == [math.inf, -math.inf]
  for event, channels, mode in ((colour, 3, 'RGB'), (grey, 1, 'L'), (palette, 3, 'RGB')):
    told = parsed(values(event)[0][4][0])
    assert (told[1], told[2], told[3]) == ([2], [4], [channels])
    shown = Image.open(io.BytesIO(told[4][0]))
    assert shown.mode == mode
    if event is colour:
      assert shown.tobytes() == picture.tobytes()
  (said,) = values(text)
  tensor = parsed(said[8][0])
  assert tensor[8] == [b'a: 1\n'] and tensor[1] == [7]
  assert parsed(parsed(said[9][0])[1][0])[1] == [b'text']


def test_files_are_read_in_the_order_in_which_they_were_made(tmp_path, monkeypatch):
  """Also where the clock was set back, or stood still."""
  paths = []
  for now in (1_000_000, 1_000_000, 500):
    monkeypatch.setattr(events.time, 'time', lambda now=now: now)
    writer = Events(tmp_path)
    writer.close()
    paths.append(writer.path.name)
  assert paths == sorted(paths) and len(set(paths)) == 3


def test_importing_it_is_light():
  heavy = 'jax', 'numpy', 'orbax', 'tensorboard', 'google', 'tqdm', 'wandb', 'absl'
  code = f'import sys, zsi_jax.io.events; print([n for n in {heavy} if n in sys.modules])'
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == '[]'
