"""What prepare makes of photographs, and of splits whose roles differ."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.data import celeba_fake
from tests.stages.command import CONFIGS, fine, refused, told
from zsi_jax.stages.config import load
from zsi_jax.stages.prepare import pipeline, prepare

CELEBA = f'{CONFIGS}/celeba_smile.py:tiny'
FAKE = {
  'data.options.official': False,
  'split.list': 'few.txt',
  'data.batch': 4,
  'classifier.batch': 4,
}


@pytest.fixture
def celeba(tmp_path, monkeypatch):
  """Builds a layout below a data root, and a list of records of its train split."""

  def made(layout):
    root = celeba_fake.build(tmp_path, layout)
    (tmp_path / 'few.txt').write_text('\n'.join(map(str, range(1, 13))))
    said = FAKE | {'data.root': str(tmp_path), 'data.options.root': layout}
    return root, load(CELEBA, said), [f'{k}={v!r}' for k, v in said.items()]

  monkeypatch.chdir(tmp_path)
  return made


@pytest.mark.parametrize('layout', ['official_zip', 'kaggle_folder'])
def test_celeba_to_batches(celeba, tmp_path, layout):
  root, config, overrides = celeba(layout)
  refused(
    CELEBA, '--workdir=w', '--', *overrides, 'split.label=Smilin', cwd=tmp_path, said=['Smiling']
  )
  smiling = (celeba_fake.BITS[:, celeba_fake.NAMES.index('Smiling')] > 0)[1:13]
  fine(CELEBA, '--workdir=w', '--', *overrides, cwd=tmp_path)
  facts = told(tmp_path, 'w')
  assert facts['dataset']['records'] == 14 and not facts['roles']['denoiser']['support']['checked']
  assert facts['roles']['denoiser']['labels'] == {'0': (~smiling).sum(), '1': smiling.sum()}
  rows = list(pipeline(config, Path('w'), 'classifier', epochs=1).batches())
  index, label = (np.concatenate([b[k] for b in rows]) for k in ('index', 'label'))
  assert sorted(index) == [*range(1, 13)] and (label == smiling[index - 1]).all()
  assert rows[0]['image'].shape == (4, 32, 32, 3)
  shutil.rmtree(root)  # the originals are not needed any more
  assert 'is done' in fine(CELEBA, '--workdir=w', '--', *overrides, cwd=tmp_path)


def test_a_broken_byte_of_celeba_is_found(celeba, tmp_path):
  root, _, overrides = celeba('official_zip')
  path = root / 'Img/img_align_celeba.zip'
  with zipfile.ZipFile(path) as archive:
    at = archive.getinfo('img_align_celeba/000003.jpg').header_offset + 600
  data = bytearray(path.read_bytes())
  data[at] ^= 1
  path.write_bytes(data)
  said = ['record 2', '000003.jpg', 'crc32']
  refused(CELEBA, '--workdir=w', '--', *overrides, cwd=tmp_path, said=said)
  out = fine(CELEBA, '--workdir=w', '--', *overrides, 'data.skip_corrupt=True', cwd=tmp_path)
  assert '13 records' in out and '1 skipped' in out
  facts = told(tmp_path, 'w')
  assert (
    facts['dataset']['first skipped'][0][0] == 2 and facts['roles']['denoiser']['records'] == 11
  )
  with np.load(tmp_path / 'w/splits/denoiser.npz') as file:
    assert file['index'].tolist() == [1, *range(2, 12)]
  said = ['list_attr_celeba.txt', 'sha256']
  refused(CELEBA, '--workdir=v', '--', 'data.root=nowhere', cwd=tmp_path, said=said)


def test_the_denoiser_of_split_b_sees_more(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  said = {'split.kind': 'yaw_b', 'support.kind': 'split_b', 'data.options.n': 250}
  config = load(f'{CONFIGS}/yaw.py:tiny', said)
  prepare(config, Path('w'))
  roles = told(tmp_path, 'w')['roles']
  assert set(roles['denoiser']['labels']) == {'-1', '0', '1'}
  assert set(roles['classifier']['labels']) == {'0', '1'}
  assert roles['denoiser']['support']['name'] == 'split B'
  batch = next(pipeline(config, Path('w'), 'denoiser').batches())
  loose = batch['label'] < 0
  assert (np.abs(batch['yaw'][loose]) <= 10).all() and (np.abs(batch['yaw'][~loose]) >= 30).all()
