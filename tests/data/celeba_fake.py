"""A small CelebA in each layout, with the same records."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from zsi_jax.data.celeba_files import Expected

NAMES = """5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose
Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee
Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard
Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair
Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie
Young""".split()
SPLITS = (14, 6, 4)
N = sum(SPLITS)
FILES = [f'{i + 1:06d}.jpg' for i in range(N)]
PARTITION = np.repeat([0, 1, 2], SPLITS)
POINTS = 'lefteye righteye nose leftmouth rightmouth'.split()
LAYOUTS = ('official_folder', 'official_zip', 'kaggle_folder', 'kaggle_zip')


def jpeg(i: int) -> bytes:
  """A smooth picture, another for each i."""
  draw = np.random.default_rng(i)
  coarse = Image.fromarray(draw.integers(0, 256, (9, 7, 3), dtype=np.uint8))
  stream = io.BytesIO()
  coarse.resize((178, 218), Image.Resampling.BICUBIC).save(stream, 'JPEG', quality=90)
  return stream.getvalue()


IMAGES = {name: jpeg(i) for i, name in enumerate(FILES)}
DRAW = np.random.default_rng(0)
BITS = DRAW.choice([-1, 1], (N, 40))
IDENTITY = DRAW.integers(1, 5, N)
LANDMARKS = DRAW.integers(30, 150, (N, 10))


def lists(kind: str) -> dict[str, str]:
  columns = [f'{p}_{axis}' for p in POINTS for axis in 'xy']
  if kind == 'official':
    rows = {
      'list_attr_celeba': [str(N), ' '.join(NAMES) + ' ', *_rows(BITS, ' ', 2)],
      'list_eval_partition': _rows(PARTITION[:, None], ' '),
      'identity_CelebA': _rows(IDENTITY[:, None], ' '),
      'list_landmarks_align_celeba': [str(N), ' '.join(columns), *_rows(LANDMARKS, ' ', 4)],
    }
    return {f'{stem}.txt': '\n'.join(lines) + '\n' for stem, lines in rows.items()}
  rows = {
    'list_attr_celeba': [','.join(['image_id', *NAMES]), *_rows(BITS, ',')],
    'list_eval_partition': ['image_id,partition', *_rows(PARTITION[:, None], ',')],
    'list_landmarks_align_celeba': [','.join(['image_id', *columns]), *_rows(LANDMARKS, ',')],
  }
  return {f'{stem}.csv': '\r\n'.join(lines) + '\r\n' for stem, lines in rows.items()}


def _rows(table: np.ndarray, separator: str, width: int = 0) -> list[str]:
  return [
    separator.join([name, *(f'{value:>{width}}' for value in row)])
    for name, row in zip(FILES, table.tolist(), strict=True)
  ]


def build(root: Path, layout: str) -> Path:
  """The layout below a new folder of `root`; returns what a user would pass."""
  kind, form = layout.split('_')
  texts, root = lists(kind), root / layout
  inner = 'img_align_celeba' if kind == 'official' else 'img_align_celeba/img_align_celeba'
  if form == 'folder':
    images, parts = root / inner, {name: root / name for name in texts}
  elif kind == 'official':
    parts = {n: root / ('Eval' if 'partition' in n else 'Anno') / n for n in texts}
  for path in parts.values() if layout != 'kaggle_zip' else ():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(texts[path.name].encode())
  if form == 'folder':
    images.mkdir(parents=True)
    for name, data in IMAGES.items():
      (images / name).write_bytes(data)
    return root
  path = root / ('Img/img_align_celeba.zip' if kind == 'official' else 'archive.zip')
  path.parent.mkdir(parents=True, exist_ok=True)
  method = zipfile.ZIP_STORED if kind == 'official' else zipfile.ZIP_DEFLATED
  with zipfile.ZipFile(path, 'w', method) as archive:
    archive.mkdir(inner)
    for name, data in IMAGES.items():
      archive.writestr(f'{inner}/{name}', data)
    for name, text in texts.items() if kind == 'kaggle' else ():
      archive.writestr(name, text)
  return root


def expected(root: Path) -> Expected:
  """Bytes and sha256 of what now lies below a root."""
  files = [p for p in root.rglob('*') if p.suffix in ('.txt', '.zip')]
  known = {p.name: (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files}
  return Expected(known, SPLITS)
