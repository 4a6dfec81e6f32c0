"""Any folder of images: order, kinds of pictures, labels, classes, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zsi_jax.data import subsets, transforms
from zsi_jax.data.errors import DataError
from zsi_jax.data.folders import Folder
from zsi_jax.data.record import digest, table


def smooth(seed: int, width: int = 40, height: int = 40, mode: str = 'RGB') -> Image.Image:
  draw = np.random.default_rng(seed)
  coarse = Image.fromarray(draw.integers(0, 256, (5, 5, 3), dtype=np.uint8))
  return coarse.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def fill(root, names, **how):
  for seed, name in enumerate(names):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    smooth(seed, **how).save(path)
  return root


NAMES = ['Right/b.png', 'Left/a.png', 'Left/deep/c.JPG', 'Front/z.bmp', 'Left/B.webp']
ORDER = sorted(NAMES)


@pytest.fixture
def lfr(tmp_path):
  root = fill(tmp_path / 'lfr', NAMES)
  (root / 'Left/notes.txt').write_text('not an image')
  (root / '.hidden').mkdir()
  smooth(9).save(root / '.hidden/x.png')
  smooth(9).save(root / 'Left/._a.png')
  return root


def test_records_are_in_the_order_of_their_paths(lfr):
  source = Folder(lfr, 20)
  assert [source[i]['file'] for i in range(5)] == ORDER and len(source) == 5
  for i, name in enumerate(ORDER):
    wanted = transforms.fit(Image.open(lfr / name), 20)
    assert np.array_equal(source[i]['image'], wanted) and wanted.shape == (20, 20, 3)
  assert source.fields.keys() == {'image', 'file'} and source.attributes(-1)['file'] == ORDER[-1]
  with pytest.raises(IndexError):
    source[5]
  again = pickle.loads(pickle.dumps(source))
  assert np.array_equal(again[3]['image'], source[3]['image'])
  assert json.loads(json.dumps(source.parameters)) == source.parameters


def test_the_middle_is_cropped_as_asked(tmp_path):
  fill(tmp_path, ['a.png'], width=60, height=47)
  wanted = smooth(0, 60, 47).crop((14, 8, 46, 40)).resize((16, 16), Image.Resampling.BILINEAR)
  assert np.array_equal(Folder(tmp_path, 16, crop=32)[0]['image'], wanted)  # 7.5 rounds to 8
  with pytest.raises(DataError, match=r'a\.png \(record 0\): an image of 60 x 47'):
    Folder(tmp_path, 16, crop=50)[0]


def test_labels_and_classes_of_lfr(lfr, tmp_path):
  yaw = [31.5, -40, 5, 60, -35]
  sheet = tmp_path / 'yaw.csv'
  rows = [f'{n},{y},{i}' for i, (n, y) in enumerate(zip(ORDER, yaw, strict=True))]
  sheet.write_text('\n'.join(['file,yaw,light', *reversed(rows)]))
  source = Folder(lfr, 16, labels=sheet, classes=True, name='lfr')
  assert source.classes == ('Front', 'Left', 'Right')
  found = table(source)
  assert found['yaw'].tolist() == yaw and found['yaw'].dtype == np.float32
  assert found['class'].tolist() == [0, 1, 1, 1, 2] and found['light'].tolist() == [*range(5)]
  assert {n for n, f in source.fields.items() if f.mirrored} == {'yaw', 'class'}
  assert subsets.split_a(found['yaw'], dropped=0).index.tolist() == [0, 1, 3, 4]
  plain = Folder(lfr, 16, labels=sheet, classes=True, mirrored=('light',))
  assert {n for n, f in plain.fields.items() if f.mirrored} == {'light'}
  record = source[1]
  for name, field in source.fields.items():
    if field.dtype != 'str':
      assert np.shape(record[name]) == field.shape and record[name].dtype == field.dtype


def test_a_class_without_sides_may_be_mirrored(tmp_path):
  fill(tmp_path, ['cat/a.png', 'dog/b.png'])
  assert not any(f.mirrored for f in Folder(tmp_path, 8, classes=True).fields.values())


@pytest.mark.parametrize(
  'text, what',
  [
    ('file,yaw\nno.png,1\nLeft/a.png,2', ':2: 1 of 2 rows name .*: no.png'),
    ('file,yaw\nLeft/a.png,2', 'no row for 4 of 5: Front/z.bmp, Left/B.webp, .* and 1 more'),
    ('file\nLeft/a.png', 'columns besides file .* it has none'),
    ('yaw\n3', "no column 'file'"),
    ('file,image\n', 'a head and no rows'),
    ('file,image\n{rows}', 'columns besides file .* it has image'),
    ('file,a b\n{rows}', 'columns besides file .* it has a b'),
    ('file,yaw\n{rows}'.replace('{rows}', '{bad}'), "yaw 'left' is not a number"),
  ],
)
def test_a_sheet_that_does_not_fit_is_refused(lfr, tmp_path, text, what):
  sheet = tmp_path / 'labels.csv'
  rows = '\n'.join(f'{n},1' for n in ORDER)
  sheet.write_text(text.format(rows=rows, bad=rows.replace('b.png,1', 'b.png,left')))
  with pytest.raises(DataError, match=what) as error:
    Folder(lfr, 16, labels=sheet)
  assert str(error.value).startswith(str(sheet))


def test_every_kind_of_picture_becomes_rgb(tmp_path):
  base = smooth(3)
  grey = base.convert('L')
  turned = Image.Exif()
  turned[0x0112] = 6  # shown after a quarter turn clockwise
  clear = base.copy()
  clear.putalpha(Image.fromarray(np.repeat(np.arange(0, 240, 6, dtype=np.uint8)[None], 40, 0)))
  deep = np.asarray(grey).astype(np.uint16) * 257
  base.save(tmp_path / 'rgb.png')
  grey.save(tmp_path / 'grey.png')
  grey.save(tmp_path / 'grey.jpg', quality=100)
  grey.convert('1').save(tmp_path / 'bits.png')
  base.quantize(16).save(tmp_path / 'palette.png')
  clear.save(tmp_path / 'alpha.png')
  grey.convert('LA').save(tmp_path / 'grey_alpha.png')
  base.convert('CMYK').save(tmp_path / 'cmyk.tif')
  base.save(tmp_path / 'turned.png', exif=turned)
  Image.fromarray(deep).save(tmp_path / 'deep.png')
  source = Folder(tmp_path, 40)
  seen = {source[i]['file']: source[i]['image'].astype(int) for i in range(len(source))}
  assert all(image.shape == (40, 40, 3) for image in seen.values())
  rgb, one = np.asarray(base).astype(int), np.asarray(grey).astype(int)[..., None]
  assert np.array_equal(seen['rgb.png'], rgb)
  for name in ('grey.png', 'grey_alpha.png', 'deep.png'):
    assert np.array_equal(seen[name], np.repeat(one, 3, 2))
  assert np.abs(seen['grey.jpg'] - one).max() < 6
  assert set(np.unique(seen['bits.png'])) <= {0, 255}
  assert np.array_equal(seen['palette.png'], np.asarray(base.quantize(16).convert('RGB')))
  assert np.array_equal(seen['turned.png'], np.rot90(rgb, -1))
  share = np.arange(0, 240, 6)[None, :, None] / 255
  assert np.abs(seen['alpha.png'] - (share * rgb + (1 - share) * 255)).max() <= 1
  assert np.abs(seen['cmyk.tif'] - rgb).max() <= 1


def broken(kind: str) -> bytes:
  stream = io.BytesIO()
  if kind == 'float':
    Image.fromarray(np.zeros((9, 9), np.float32)).save(stream, 'TIFF')
    return stream.getvalue()
  smooth(0).save(stream, 'PNG' if 'png' in kind else 'JPEG')
  data = stream.getvalue()
  return {
    'empty': b'',
    'text': b'hello',
    'cut png': data[: len(data) * 2 // 3],
    'cut': data[: len(data) * 2 // 3],
    'crc png': data[:20] + bytes([data[20] ^ 1]) + data[21:],
    'head': data[:1] + b'\0' + data[2:],
    'eps': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n',
  }[kind]


@pytest.mark.parametrize(
  'kind', ['empty', 'text', 'cut png', 'cut', 'crc png', 'head', 'float', 'eps']
)
def test_a_broken_image_is_named(tmp_path, kind):
  fill(tmp_path, ['a.png', 'c.png'])
  (tmp_path / 'b.jpg').write_bytes(broken(kind))
  source = Folder(tmp_path, 8)
  with pytest.raises(DataError, match=r'b\.jpg \(record 1\): ') as error:
    source[1]
  assert '\n' not in str(error.value) and ' at 0x' not in str(error.value)
  assert source[2]['file'] == 'c.png'
  (tmp_path / 'b.jpg').unlink()
  with pytest.raises(DataError, match=r'b\.jpg \(record 1\)|b\.jpg: cannot be read'):
    source[1]


@pytest.mark.filterwarnings('ignore::UserWarning')  # Pillow's, of damaged TIFF
@pytest.mark.parametrize('seed', range(3))
def test_random_damage_is_read_or_named(tmp_path, seed):
  """Whatever the bytes are, there is a record or a DataError: nothing else comes out."""
  draw = np.random.default_rng(seed)
  for i, suffix in enumerate(['PNG', 'JPEG', 'BMP', 'TIFF', 'WEBP', 'PPM'] * 8):
    stream = io.BytesIO()
    smooth(i).save(stream, suffix)
    data = bytearray(stream.getvalue())
    for at in draw.integers(0, min(len(data), 400), 4):
      data[at] = draw.integers(256)
    (tmp_path / f'{i:02d}.png').write_bytes(data)
  source, named = Folder(tmp_path, 8), 0
  for i in range(len(source)):
    try:
      assert source[i]['image'].shape == (8, 8, 3)
    except DataError as error:
      named += f'{i:02d}.png (record {i})' in str(error)
  assert named > 8


def test_what_is_no_data_set_is_refused(tmp_path, lfr):
  with pytest.raises(DataError, match='no such folder'):
    Folder(tmp_path / 'nowhere')
  with pytest.raises(DataError, match='no such folder'):
    Folder(lfr / 'Left/a.png')
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'empty/readme.md').write_text('x')
  with pytest.raises(DataError, match=r'no image in it or below; known are \.bmp'):
    Folder(tmp_path / 'empty')
  smooth(0).save(lfr / 'loose.png')
  with pytest.raises(DataError, match='1 images lie in no class folder: loose.png'):
    Folder(lfr, classes=True)
  (lfr / 'Left/gone.png').symlink_to(tmp_path / 'gone.png')
  with pytest.raises(DataError, match=r'gone\.png: a link to nothing'):
    Folder(lfr)
  (lfr / 'Left/gone.png').unlink()
  (lfr / 'Left/loop').symlink_to(lfr)
  with pytest.raises(DataError, match='loop: a link to a folder that it lies in'):
    Folder(lfr)
  (lfr / 'Left/loop').unlink()
  for how in ({'size': 0}, {'size': 10**6}, {'crop': 0}, {'crop': 2.5}, {'mirrored': ('yaw',)}):
    with pytest.raises(DataError):
      Folder(lfr, **how)


def test_linked_folders_are_read_and_digests_tell_contents(tmp_path, lfr):
  moved = tmp_path / 'moved'
  moved.symlink_to(lfr)
  assert digest(Folder(moved, 8)) == digest(Folder(lfr, 8)) != digest(Folder(lfr, 16))
  other = fill(tmp_path / 'other', ['x.png'])
  before = digest(Folder(lfr, 8))
  (lfr / 'More').symlink_to(other)
  source = Folder(lfr, 8)
  assert len(source) == 6 and digest(source) != before
  before = digest(source)
  smooth(7, 41).save(other / 'x.png')
  assert digest(Folder(lfr, 8)) != before


def listed(root, names, mark=' *', change=str):
  lines = [
    f'{change(hashlib.sha256((root / n).read_bytes()).hexdigest())}{mark}{n}\n' for n in names
  ]
  (root / 'SHA256SUMS').write_text(''.join(lines))
  return lines


def test_a_changed_byte_is_found_by_a_list(lfr):
  names = ['Left/two  words *.bmp', *ORDER]
  fill(lfr, names[:1])
  before = Folder(lfr, 8)
  lines = listed(lfr, [*names, 'Left/notes.txt'])  # more than the pictures
  source = pickle.loads(pickle.dumps(Folder(lfr, 8)))
  assert digest(source) != digest(before) and source.parameters.keys() > before.parameters.keys()
  order = [source.attributes(i)['file'] for i in range(6)]
  for name in (names[0], 'Front/z.bmp', 'Left/B.webp', 'Left/deep/c.JPG', 'Right/b.png'):
    i, path = order.index(name), lfr / name
    sound, pixels = path.read_bytes(), before[i]['image']
    silent = 0
    for at in (len(sound) // 2, len(sound) * 2 // 3, len(sound) - 40):
      path.write_bytes(sound[:at] + bytes([sound[at] ^ 64]) + sound[at + 1 :])
      try:
        silent += before[i]['image'].shape == pixels.shape
      except DataError:
        assert path.suffix != '.bmp'
      with pytest.raises(DataError, match=rf'\(record {i}\): .* sha256 \w+, .*SHA256SUMS says'):
        source[i]
    assert silent or path.suffix == '.png'  # its chunks have a CRC
    path.write_bytes(sound)
    assert np.array_equal(source[i]['image'], pixels)
  digests = {digest(before), digest(source)}
  (lfr / 'SHA256SUMS').write_text(''.join(reversed(lines)))
  assert len(digests | {digest(Folder(lfr, 8))}) == 3


def test_an_edited_image_is_another_data_set_where_it_is_listed(tmp_path):
  fill(tmp_path, ['a.bmp', 'b.bmp'])
  plain = digest(Folder(tmp_path, 8))
  listed(tmp_path, ['a.bmp', 'b.bmp'])
  sealed = digest(Folder(tmp_path, 8))
  smooth(7).save(tmp_path / 'a.bmp')  # as many bytes
  assert digest(Folder(tmp_path, 8)) == sealed
  with pytest.raises(DataError, match=r'a\.bmp \(record 0\): damaged or changed'):
    Folder(tmp_path, 8)[0]
  listed(tmp_path, ['a.bmp', 'b.bmp'])
  assert digest(Folder(tmp_path, 8)) not in (plain, sealed)
  (tmp_path / 'SHA256SUMS').unlink()
  assert digest(Folder(tmp_path, 8)) == plain


@pytest.mark.parametrize('how', [{'mark': '  '}, {'mark': ' *./'}, {'change': str.upper}])
def test_what_sha256sum_may_write_is_read(lfr, how):
  listed(lfr, ORDER, **how)
  text = (lfr / 'SHA256SUMS').read_text()
  for wrapped in (text, text.removesuffix('\n'), '\ufeff' + text.replace('\n', '\r\n')):
    (lfr / 'SHA256SUMS').write_bytes(wrapped.encode())
    assert Folder(lfr, 8)[4]['file'] == ORDER[4]


@pytest.mark.skipif(not shutil.which('sha256sum'), reason='needs sha256sum')
def test_the_list_of_sha256sum_itself_is_read(tmp_path):
  names = ['a b.png', ' c.png', 'd\\e.png', 'ü*.png']
  fill(tmp_path, names)
  find = 'find . -type f ! -name SHA256SUMS -exec sha256sum -b {} +'
  for command in ('sha256sum -b *', 'sha256sum *', find):
    subprocess.run(f'{command} > SHA256SUMS', shell=True, check=True, cwd=tmp_path)
    source = Folder(tmp_path, 8)
    assert [source[i]['file'] for i in range(4)] == sorted(names)
  assert find in (Path(__file__).resolve().parents[2] / 'WORKSPACE.md').read_text()


@pytest.mark.parametrize(
  'text, what',
  [
    ('{0}\n\n{1}', r':2: 64 hex digits.* not \'\''),
    ('# by hand\n{0}', ":1: 64 hex digits.* '# by hand'"),
    ('{0}\nSHA256 (b.png) = {2}', ':2: 64 hex digits'),
    ('{0}\n{2} b.png', ':2: 64 hex digits'),
    ('{0}\n{2}', ':2: 64 hex digits'),
    ('{0}\n0{1}', ':2: 64 hex digits'),
    ('', ':1: 64 hex digits'),
    ('{0}\n{1}\n{2} *a.png', ':3: a.png is listed already'),
    ('{0}', ': no sha256 of 1 of 2 pictures: b.png.'),
    ('\udcff', ': not a text file in UTF-8'),
  ],
)
def test_a_wrong_list_is_named_by_line(tmp_path, text, what):
  fill(tmp_path, ['a.png', 'b.png'])
  lines = [line.removesuffix('\n') for line in listed(tmp_path, ['a.png', 'b.png'])]
  path = tmp_path / 'SHA256SUMS'
  path.write_bytes(text.format(*lines, '0' * 64).encode(errors='surrogateescape'))
  with pytest.raises(DataError, match=what) as error:
    Folder(tmp_path, 8)
  assert str(error.value).startswith(str(path))
  path.unlink()
  path.symlink_to(tmp_path / 'nowhere')
  with pytest.raises(DataError, match='SHA256SUMS: cannot be read'):
    Folder(tmp_path, 8)
