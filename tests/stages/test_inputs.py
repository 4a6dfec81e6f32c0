"""What a workdir was made from: corrupt pictures, sheets that change, a data set made anew."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.stages.command import CIRCLES, CONFIGS, contents
from zsi_jax.data import lock, memory, shards, store
from zsi_jax.data.errors import DataError
from zsi_jax.stages import prepare as stage
from zsi_jax.stages.config import load
from zsi_jax.stages.prepare import pipeline, prepare

N, BROKEN = 12, 4
SCORED = {'split.scores': 's.csv'}
LABELLED = {'data.options.labels': 's.csv', 'split.scores': None, 'split.attribute': 'score'}


def sheet(numbers, key='file', path='s.csv', score=lambda i: i / N):
  names = {i: f'{i:02d}.bmp' if key == 'file' else str(i) for i in numbers}
  Path(path).write_text('\n'.join([f'{key},score', *(f'{names[i]},{score(i)}' for i in names)]))


def folder_config(**more):
  said = {'data.root': 'data', 'split.k': 5, 'data.skip_corrupt': True, **SCORED}
  return load(f'{CONFIGS}/folder.py:tiny', said | more)


@pytest.fixture
def faces(tmp_path, monkeypatch):
  """Twelve grey pictures, picture i of the grey 20 i; and the sheet s.csv, scored by it."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'faces').mkdir()
  for i in range(N):
    Image.fromarray(np.full((40, 40, 3), 20 * i, np.uint8)).save(f'faces/{i:02d}.bmp')
  sheet(range(N))
  return tmp_path


def break_one():
  """The bytes of before; those of now are as many."""
  path = Path(f'faces/{BROKEN:02d}.bmp')
  before = path.read_bytes()
  path.write_bytes(b'XX' + before[2:])
  return before


def greys(config, workdir):
  """(grey / 20, label) of each example that is shown."""
  rows = pipeline(config, Path(workdir), 'denoiser', epochs=1, pad=True).batches()
  return sorted(
    (int(round((image.mean() + 1) * 127.5 / 20)), int(label))
    for b in rows
    for image, label, valid in zip(b['image'], b['label'], b['valid'], strict=True)
    if valid
  )


ENDS = [*((i, 0) for i in (0, 1, 2, 3, 5)), *((i, 1) for i in range(7, 12))]


@pytest.mark.parametrize('key', ['file', 'index'])
@pytest.mark.parametrize('rows', ['all', 'readable'])
def test_a_corrupt_picture_and_a_sheet_of_scores(faces, key, rows):
  """The sheet may have a row for it, or none; the numbers are those of before it was skipped."""
  break_one()
  sheet([i for i in range(N) if rows == 'all' or i != BROKEN], key)
  config = folder_config()
  for workdir in ('w', 'again'):  # drawn, and from the data set that is there
    prepare(config, Path(workdir))
    assert greys(config, workdir) == ENDS


def test_a_sheet_that_lacks_a_readable_picture_is_refused_before_drawing(faces, monkeypatch):
  break_one()
  sheet(range(1, N))
  monkeypatch.setattr(store, 'write', None)
  with pytest.raises(DataError, match='no row for 1 of 12: 00.bmp'):
    prepare(folder_config(), Path('w'))
  sheet([i for i in range(N) if i != BROKEN])
  with pytest.raises(DataError, match='no row for 1 of 12: 04.bmp'):
    prepare(folder_config(**{'data.skip_corrupt': False}), Path('w'))


@pytest.mark.parametrize('remade', ['by another', 'by itself'])
def test_a_data_set_of_other_numbers_is_not_that_of_a_workdir(faces, remade):
  before, config = break_one(), folder_config()
  prepare(config, Path('w'))
  Path(f'faces/{BROKEN:02d}.bmp').write_bytes(before)
  shutil.rmtree('data/folder')
  if remade == 'by another':
    prepare(config, Path('other'))
    assert greys(config, 'other') == sorted([*ENDS[:4], (4, 0), *ENDS[5:]])
    with pytest.raises(ValueError, match='w was made from other data: records: 11 -> 12; skipped'):
      pipeline(config, Path('w'), 'denoiser')
  kept = contents('w')
  with pytest.raises(ValueError, match='skipped: 1 -> 0; numbering: .*Take another --workdir'):
    prepare(config, Path('w'))
  assert contents('w') == kept


def test_as_many_records_with_others_left_out(faces):
  before, config = break_one(), folder_config()
  prepare(config, Path('w'))
  Path(f'faces/{BROKEN:02d}.bmp').write_bytes(before)
  Path('faces/07.bmp').write_bytes(b'XX' + Path('faces/07.bmp').read_bytes()[2:])
  shutil.rmtree('data/folder')
  prepare(config, Path('other'))
  for call in (lambda: prepare(config, Path('w')), lambda: pipeline(config, Path('w'), 'denoiser')):
    with pytest.raises(ValueError, match=r"other data: numbering: '\w+' -> '\w+'\. Take"):
      call()


@pytest.mark.parametrize('options', [SCORED, LABELLED], ids=['scores', 'labels'])
def test_a_sheet_that_changed_is_named(faces, caplog, options):
  """A sheet that is gone is not needed; one of the same bytes elsewhere is the same."""
  caplog.set_level('INFO', 'zsi_jax')
  config = folder_config(**options)
  prepare(config, Path('w'))
  seal = json.loads(Path('w/prepare.json').read_text())['inputs']
  assert seal['s.csv']['bytes'] == Path('s.csv').stat().st_size
  os.rename('s.csv', 'data/s.csv')
  prepare(config, Path('w'))
  os.rename('data/s.csv', 'gone.csv')
  prepare(config, Path('w'))
  assert caplog.text.count('w is done') == 2
  sheet(range(N), score=lambda i: 1 - i / N)
  kept = contents('w')
  with pytest.raises(ValueError, match=r's\.csv\.sha256: .* -> .*bring back what was there'):
    prepare(config, Path('w'))
  Path('w/prepare.png').unlink()  # nor is half of it made from the other sheet
  with pytest.raises(ValueError, match='was made from other data'):
    prepare(config, Path('w'))
  os.replace('gone.csv', 's.csv')
  prepare(config, Path('w'))
  assert contents('w')['prepare.png'] == kept['prepare.png']
  assert pipeline(config, Path('w'), 'denoiser').check().startswith("support 'listed'")


def test_other_originals_are_not_drawn_into_an_old_workdir(faces, monkeypatch):
  config = folder_config()
  prepare(config, Path('w'))
  shutil.rmtree('data/folder')
  Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save('faces/00.bmp')
  monkeypatch.setattr(store, 'write', None)
  with pytest.raises(ValueError, match=r"other data: digest: '\w+' -> '\w+'"):
    prepare(config, Path('w'))


@pytest.fixture
def without(monkeypatch):
  """As where array_record is not installed."""

  def need():
    raise DataError('array_record is not installed')

  monkeypatch.setattr(shards, 'need', need)


def test_a_finished_npz_is_used_where_nothing_can_be_written(tmp_path, monkeypatch, without):
  monkeypatch.chdir(tmp_path)
  config = load(CIRCLES)
  prepare(config, Path('w'))
  monkeypatch.setattr(memory, 'write_npz', None)

  def read_only(path):
    if Path('data').absolute() in path.absolute().parents:
      raise PermissionError(13, 'Permission denied', str(path))
    return held(path)

  held = lock.held
  monkeypatch.setattr(lock, 'held', read_only)
  prepare(config, Path('second'))
  assert (tmp_path / 'second/prepare.json').is_file()


def test_an_npz_without_its_corrupt_records_is_for_those_who_allow_it(faces, without):
  break_one()
  prepare(folder_config(), Path('w'))
  assert greys(folder_config(), 'w') == ENDS
  with pytest.raises(DataError, match='written without 1 corrupt records. Allow data.skip_corrupt'):
    prepare(folder_config(**{'data.skip_corrupt': False}), Path('v'))


def test_what_a_killed_run_left_in_a_workdir_goes(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'w').mkdir()
  (tmp_path / 'w/.prepare.json.0123abcd.part').write_text('{')
  prepare(load(CIRCLES), Path('w'))
  assert not list((tmp_path / 'w').rglob('*.part'))
  assert stage.read(Path('w')) is not None
