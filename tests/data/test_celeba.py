"""A fake CelebA: the same records from every layout, and what is broken is found and named."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data import celeba_fake as fake
from zsi_jax.data.celeba import CelebA
from zsi_jax.data.celeba_files import OFFICIAL, Expected
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import digest, table

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def roots(tmp_path_factory) -> dict[str, Path]:
  base = tmp_path_factory.mktemp('celeba')
  return {layout: fake.build(base, layout) for layout in fake.LAYOUTS}


@pytest.fixture
def copy(roots, tmp_path):
  """A copy of a layout that a test may break."""

  def copied(layout: str) -> Path:
    return shutil.copytree(roots[layout], tmp_path / layout)

  return copied


def same(a, b) -> bool:
  return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize('split', ['train', 'valid', 'test', 'all'])
def test_every_layout_holds_the_same_records(roots, split):
  sources = [
    CelebA(root, 32, split, extras=('landmarks',), expect=Expected({}, fake.SPLITS))
    for root in (*roots.values(), roots['kaggle_zip'] / 'archive.zip')
  ]
  start = {'train': 0, 'valid': 14, 'test': 20, 'all': 0}[split]
  n = {'train': 14, 'valid': 6, 'test': 4, 'all': 24}[split]
  for source in sources:
    assert len(source) == n and digest(source) == digest(sources[0])
    for i in range(n):
      record = source[i]
      assert same(record, sources[0][i])
      assert record['file'] == fake.FILES[start + i] and record['row'] == start + i
      assert [record[a] for a in fake.NAMES] == ((fake.BITS[start + i] + 1) // 2).tolist()
  assert json.loads(json.dumps(sources[0].parameters)) == sources[0].parameters
  found = table(sources[0])
  assert set(found) == {'row', *fake.NAMES} and found['Smiling'].dtype == np.uint8


def test_records_are_what_their_fields_say(roots):
  source = CelebA(
    roots['official_folder'], 64, attributes=('Young', 'Smiling'), expect=None,
    extras=('identity', 'landmarks'),
  )  # fmt: skip
  record = source[3]
  assert record.keys() == source.fields.keys()
  for name, field in source.fields.items():
    if field.dtype != 'str':
      assert np.shape(record[name]) == field.shape and record[name].dtype == field.dtype
  assert record['identity'] == fake.IDENTITY[3]
  scalars = {n for n, f in source.fields.items() if f.shape == ()}
  assert source.attributes(3).keys() == scalars
  assert same(source[-1], source[13]) and same(source.attributes(-1), source.attributes(13))
  assert [n for n, f in source.fields.items() if f.mirrored] == ['landmarks']
  assert [n for n, f in source.fields.items() if f.cropped] == ['landmarks']
  for i in (14, -15):
    with pytest.raises(IndexError):
      source[i]
  for i in (1.5, 1.0, '1'):
    with pytest.raises(TypeError):
      source[i]


@pytest.mark.parametrize('size', [64, 128])
def test_crops_are_the_published_ones(roots, size):
  record = CelebA(roots['official_zip'], size, expect=None)[5]
  whole = Image.open(io.BytesIO(fake.IMAGES[fake.FILES[5]])).convert('RGB')
  square = whole.crop((0, 20, 178, 198))  # round((218 - 178) / 2) rows off the top
  assert np.array_equal(record['image'], square.resize((size, size), Image.Resampling.BILINEAR))
  weights = triangle(178, size)
  by_hand = np.einsum(
    'ai,bj,ijc->abc', weights, weights, np.asarray(square, np.float64), optimize=True
  )
  assert np.abs(record['image'] - by_hand).max() <= 1.01


def triangle(n: int, size: int) -> np.ndarray:
  """[size, n]: the antialiased bilinear filter, as wide as the scale."""
  scale = n / size
  centre = (np.arange(size) + 0.5) * scale
  distance = np.abs(np.arange(n) + 0.5 - centre[:, None]) / scale
  weights = np.maximum(1 - distance, 0)
  return weights / weights.sum(1, keepdims=True)


def test_landmarks_move_with_the_pixels(tmp_path):
  """A white square around each landmark is found where the record says."""
  root = fake.build(tmp_path, 'official_folder')
  points = fake.LANDMARKS[0].reshape(5, 2)
  for k, (x, y) in enumerate(points):
    pixels = np.zeros((218, 178, 3), np.uint8)
    pixels[y - 4 : y + 5, x - 4 : x + 5] = 255
    Image.fromarray(pixels).save(root / 'img_align_celeba/000001.jpg', quality=100)
    record = CelebA(root, 64, extras=('landmarks',), expect=None)[0]
    light = record['image'].astype(float).sum(-1)
    centre = [(light.sum(a) * np.arange(64)).sum() / light.sum() for a in (0, 1)]
    assert np.abs(record['landmarks'][k] - centre).max() < 0.1


def test_reads_from_threads_processes_and_pickles(roots):
  for layout in fake.LAYOUTS:
    source = CelebA(roots[layout], 16, expect=None)
    wanted = [source[i]['image'] for i in range(14)]
    again = pickle.loads(pickle.dumps(source))
    assert digest(again) == digest(source)
    with ThreadPoolExecutor(8) as pool:
      found = list(pool.map(again.__getitem__, [*range(14)] * 4))
    assert all(np.array_equal(f['image'], wanted[i % 14]) for i, f in enumerate(found))
    with multiprocessing.get_context('spawn').Pool(1) as workers:
      assert np.array_equal(workers.apply(source.__getitem__, (5,))['image'], wanted[5])


FORKS = """
import hashlib, multiprocessing, sys
from zsi_jax.data.celeba import CelebA
source = CelebA(sys.argv[1], 16, expect=None)
def seal(i): return hashlib.sha256(source[i]['image'].tobytes()).hexdigest()
mine = [seal(i) for i in range(14)]
with multiprocessing.get_context('fork').Pool(3) as pool:
  assert pool.map(seal, [*range(14)] * 20, chunksize=1) == mine * 20
"""


def test_reads_after_a_fork(roots):
  root = roots['kaggle_zip'] / 'archive.zip'
  subprocess.run([sys.executable, '-c', FORKS, root], check=True, cwd=REPOSITORY)


def test_known_files_are_checked_to_the_byte(copy):
  root = copy('official_zip')
  known = fake.expected(root)
  CelebA(root, expect=known)
  for path in (root / 'Anno/list_attr_celeba.txt', root / 'Img/img_align_celeba.zip'):
    sound = path.read_bytes()
    path.write_bytes(sound[:-1])
    with pytest.raises(DataError, match=f'{path.name}: {len(sound) - 1} bytes, not {len(sound)}'):
      CelebA(root, expect=known, check=False)
    path.write_bytes(sound.replace(b'1', b'2', 1))
    with pytest.raises(DataError, match=f'{path.name}: sha256 [0-9a-f]+, not [0-9a-f]+'):
      CelebA(root, expect=known)
    path.write_bytes(sound)
  with pytest.raises(DataError, match=r'\(14, 6, 4\) records of train, valid and test, not'):
    CelebA(root, expect=Expected({}, OFFICIAL.splits))
  with pytest.raises(DataError, match='bytes, not 26721026'):
    CelebA(root)


def test_what_is_missing_is_listed_with_sizes_and_sha256(copy, tmp_path):
  with pytest.raises(DataError) as error:
    CelebA(tmp_path / 'nowhere')
  message = str(error.value)
  assert 'there is no such folder or zip' in message and str(tmp_path / 'nowhere') in message
  for name, (size, sha256) in OFFICIAL.files.items():
    assert f'{name}  {size} bytes  sha256 {sha256}' in message
  with pytest.raises(DataError, match='no list_attr_celeba.txt nor .csv; tried'):
    CelebA(tmp_path)
  root = copy('kaggle_folder')
  with pytest.raises(DataError, match='no identity_CelebA.csv'):
    CelebA(root, extras=('identity',), expect=None)
  for name in fake.FILES[3:8]:
    (root / 'img_align_celeba/img_align_celeba' / name).unlink()
  with pytest.raises(DataError, match='5 of 14 images are missing: 000004.jpg, .* and 2 more'):
    CelebA(root, expect=None)
  assert len(CelebA(root, split='test', expect=None)) == 4  # all of its images are there
  shutil.rmtree(root / 'img_align_celeba')
  with pytest.raises(DataError, match='none of the 14 images'):
    CelebA(root, expect=None)
  (root / 'list_eval_partition.csv').unlink()
  with pytest.raises(DataError, match='no list_eval_partition.csv'):
    CelebA(root, expect=None)


@pytest.mark.parametrize('layout', ['official_folder', 'kaggle_folder'])
@pytest.mark.parametrize('damage', ['head', 'cut', 'empty', 'text', 'small'])
def test_a_broken_image_is_named_and_the_others_are_read(copy, layout, damage):
  root = copy(layout)
  path = next(root.rglob('000003.jpg'))
  data = path.read_bytes()
  stream = io.BytesIO()
  Image.new('RGB', (100, 218)).save(stream, 'JPEG')
  path.write_bytes({
    'head': b'\0' + data[1:], 'cut': data[: len(data) // 2], 'empty': b'',
    'text': b'<html>no</html>', 'small': stream.getvalue(),
  }[damage])  # fmt: skip
  source = CelebA(root, 16, expect=None)
  with pytest.raises(DataError, match=r'000003\.jpg \(record 2 of train\): ') as error:
    source[2]
  assert '\n' not in str(error.value) and '0x' not in str(error.value)
  assert source[1]['file'] == '000002.jpg' and source.attributes(2)['file'] == '000003.jpg'


@pytest.mark.parametrize('layout', ['official_zip', 'kaggle_zip'])
def test_any_broken_byte_of_an_image_in_a_zip_is_found(copy, layout):
  root = copy(layout)
  path = next(root.rglob('*.zip'))
  with zipfile.ZipFile(path) as archive:
    member = next(m for m in archive.infolist() if m.filename.endswith('000003.jpg'))
  begin = member.header_offset + 30 + len(member.filename)
  sound = path.read_bytes()
  source = CelebA(root, 16, expect=None)
  for at in np.random.default_rng(0).integers(begin, begin + member.compress_size, 40):
    path.write_bytes(sound[:at] + bytes([sound[at] ^ 16]) + sound[at + 1 :])
    with pytest.raises(DataError, match=r'\.zip: img_align.*000003\.jpg.*: damaged'):
      source[2]
    source[1]
  path.write_bytes(sound[: len(sound) // 2])
  with pytest.raises(DataError, match=r'\.zip: no complete zip .* Fetch it again'):
    CelebA(root, 16, expect=None)


def sums(folder: Path, images: Path) -> Path:
  """What sha256sum writes in a folder of the images below it."""
  lines = [
    f'{hashlib.sha256(path.read_bytes()).hexdigest()} *{path.relative_to(folder).as_posix()}\n'
    for path in sorted(images.glob('*.jpg'))
  ]
  (folder / 'SHA256SUMS').write_text(''.join(lines))
  return folder / 'SHA256SUMS'


def flip(path: Path) -> bytes:
  """Breaks a byte so that the picture still decodes, to other pixels; returns what it was."""
  sound = path.read_bytes()
  path.write_bytes(sound[:-400] + bytes([sound[-400] ^ 16]) + sound[-399:])
  return sound


@pytest.mark.parametrize(
  'layout, up',
  [(layout, up) for layout, deep in (('official', 1), ('kaggle', 2)) for up in range(deep + 1)],
)
def test_a_broken_byte_of_an_unpacked_image_is_found_by_a_list(copy, layout, up):
  root = copy(f'{layout}_folder')
  images = next(root.rglob('000003.jpg')).parent
  before = CelebA(root, 16, expect=None)
  folder = [images, *images.parents][up]
  path, list_ = images / '000003.jpg', sums(folder, images)
  source, right = CelebA(root, 16, expect=None), before[2]
  assert digest(source) != digest(before) and same(source[2], right)
  sound = flip(path)
  assert not same(before[2], right)  # without a sound
  found, wanted = (hashlib.sha256(data).hexdigest() for data in (path.read_bytes(), sound))
  for opened in (source, CelebA(root, 16, expect=None)):
    with pytest.raises(DataError) as error:
      opened[2]
    for said in (f'{path} (record 2 of train)', f'sha256 {found}', f'{list_} says {wanted}'):
      assert said in str(error.value)
    assert 'list it anew' in str(error.value) and same(opened[3], before[3])
  loose = CelebA(root, 16, check=False, expect=None)
  assert digest(loose) == digest(before) and same(loose[2], before[2])
  sums(folder, images)
  again = CelebA(root, 16, expect=None)
  assert same(again[2], before[2])  # an edited image of as many bytes, meant to be so
  assert len({digest(s) for s in (again, source, before)}) == 3


def test_the_nearest_list_names_every_image(copy):
  root = copy('kaggle_folder')
  images = root / 'img_align_celeba/img_align_celeba'
  (root / 'SHA256SUMS').write_text('no list\n')
  path = sums(images, images)
  assert len(CelebA(root, 16, expect=None)) == 14
  lines = path.read_text().splitlines(keepends=True)
  path.write_text(''.join(lines[:3] + lines[8:]))
  with pytest.raises(DataError, match='no sha256 of 5 of 14 pictures: 000004.jpg, .* 2 more'):
    CelebA(root, 16, expect=None)
  assert len(CelebA(root, 16, 'test', expect=None)) == 4  # all of its images are listed
  path.unlink()
  with pytest.raises(DataError, match=r'/kaggle_folder/SHA256SUMS:1: 64 hex digits'):
    CelebA(root, 16, expect=None)
  (root / 'SHA256SUMS').write_text(''.join(lines))
  with pytest.raises(DataError, match='14 pictures: img_align_celeba/img_align_celeba/000001.jpg'):
    CelebA(root, 16, expect=None)


def test_unpacked_images_are_compared_with_the_zip_beside_them(roots, copy):
  root = copy('official_folder')
  before = CelebA(root, 16, expect=None)
  shutil.copytree(roots['official_zip'] / 'Img', root / 'Img')
  source = pickle.loads(pickle.dumps(CelebA(root, 16, expect=None)))
  assert digest(source) == digest(before) and same(source[2], before[2])
  assert str(root / 'img_align_celeba') in source.layout
  flip(root / 'img_align_celeba/000003.jpg')
  before[2]
  with pytest.raises(DataError, match=r'000003\.jpg \(record 2 of train\): .* crc32 .*\.zip says'):
    source[2]
  assert same(source[3], before[3])
  CelebA(root, 16, check=False, expect=None)[2]
  sums(root, root / 'img_align_celeba')
  CelebA(root, 16, expect=None)[2]  # the list is of what is there, and counts before the zip
  (root / 'SHA256SUMS').unlink()
  path = root / 'Img/img_align_celeba.zip'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('img_align_celeba/000001.jpg', b'of other pictures')
  CelebA(root, 16, expect=None)[0]


def test_a_wrong_size_names_the_option_of_a_config(roots):
  with pytest.raises(DataError, match=r'expect=None \(data\.options\.official=False\)'):
    CelebA(roots['official_folder'])


BREAKS = [
  ('list_attr_celeba.txt', '24\n', '25\n', ': 24 rows where it says 25'),
  ('list_attr_celeba.txt', '24\n', 'x\n', ':1: the number of images'),
  ('list_attr_celeba.txt', '000003.jpg', '000002.jpg', ':5: 000002.jpg is listed twice'),
  ('list_attr_celeba.txt', '000003.jpg ', '000003.jpg 1 ', ':5: a file and 40 whole numbers'),
  ('list_eval_partition.txt', '000003.jpg 0', '000003.jpg 3', ':3: 3 is none of 0, 1, 2'),
  ('list_eval_partition.txt', '000003.jpg 0', '000003.jpg', ':3: a file and 1 whole numbers'),
  ('list_eval_partition.txt', '000003.jpg 0\n', '', ':3: it has 23 rows, .* 24; .* other files'),
  ('list_eval_partition.txt', '000024.jpg', '000025.jpg', ':24: .* not of one copy'),
  ('list_eval_partition.csv', '000003.jpg,0', '000003.jpg,a', ':4: a file and 1 whole'),
  ('list_attr_celeba.csv', '000003.jpg,', '000003.jpg,0,', ':4: a file and 40 whole'),
  ('list_attr_celeba.csv', '000003.jpg,1', '000003.jpg,0', ':4: 0 is none of -1, 1'),
]


@pytest.mark.parametrize('name, old, new, what', BREAKS)
def test_a_broken_list_is_named_by_line(copy, name, old, new, what):
  root = copy('official_folder' if name.endswith('.txt') else 'kaggle_folder')
  path = root / name
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new, 1))
  with pytest.raises(DataError, match=what) as error:
    CelebA(root, expect=None)
  assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
  'how, what',
  [
    ({'split': 'validation'}, "'validation' is none of train, valid, test, all"),
    ({'attributes': ('Smile',)}, 'no attribute Smile; there are 5_o_Clock'),
    ({'extras': ('bbox',)}, 'no extra bbox'),
    ({'size': 0}, 'size = 0'),
    ({'crop': 0}, 'crop = 0'),
  ],
)
def test_wrong_arguments(roots, how, what):
  with pytest.raises(DataError, match=what):
    CelebA(roots['official_folder'], **{'expect': None, **how})


def test_digests_tell_what_is_in_the_records(roots, copy):
  def of(root=roots['official_folder'], **how):
    return digest(CelebA(root, expect=None, **how))

  root = copy('official_folder')
  assert of(root) == of()
  digests = {of(), of(size=32), of(split='valid'), of(crop=160), of(attributes=('Young',))}
  (root / 'img_align_celeba/000001.jpg').write_bytes(fake.jpeg(99))
  assert len(digests | {of(root)}) == 6


def test_the_workspace_names_the_official_files():
  text = (Path(__file__).resolve().parents[2] / 'WORKSPACE.md').read_text()
  for name, (size, sha256) in OFFICIAL.files.items():
    assert f'| `{name}` | {size:,} | `{sha256}` |' in text
