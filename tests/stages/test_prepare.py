"""prepare, as a user runs it: once, twice, at once, killed, on damaged files; then its batches."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.stages.command import (
  CIRCLES,
  CONFIGS,
  ROOT,
  WORKDIR,
  contents,
  fine,
  refused,
  run,
  start,
  told,
)
from zsi_jax import doctor
from zsi_jax.data import store
from zsi_jax.data.errors import DataError
from zsi_jax.stages.config import load
from zsi_jax.stages.prepare import pipeline, prepare


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """A folder in which the circles of :tiny are prepared, and what was printed."""
  cwd = tmp_path_factory.mktemp('prepared')
  out = fine(CIRCLES, WORKDIR, '--stage=prepare', cwd=cwd)
  return cwd, out


@pytest.fixture
def copy(prepared, tmp_path):
  shutil.copytree(prepared[0], tmp_path / 'copy')
  return tmp_path / 'copy'


def shard(cwd, name='*'):
  (path,) = cwd.glob(f'data/{name}/*/1.0.0/*.array_record-*')
  return path


def test_circles_from_the_command_line(prepared):
  cwd, out = prepared
  assert out.count('\n') == 1 and '224 records of borders_circles/' in out and '0:112 1:112' in out
  facts = told(cwd)
  assert (cwd / 'data' / facts['dataset']['path'] / 'zsi.json').is_file()
  assert facts['roles']['denoiser']['support']['inside'] == {'z': [[0.0, 0.2], [0.8, 1.0]]}
  assert '224 of 224' in facts['roles']['classifier']['checked']
  assert facts['stamp']['seeds'] == 0 and len(facts['stamp']['config']) == 16
  with np.load(cwd / 'runs/x/splits/denoiser.npz') as file:
    assert file['index'].dtype == np.int64 and file['label'].dtype == np.int32
    assert file['index'].tolist() == [*range(224)] and file['label'].sum() == 112
    assert json.loads(str(file['stamp']))['config'] == facts['stamp']['config']
  picture = Image.open(cwd / 'runs/x/prepare.png')
  pixels = np.asarray(picture)
  half = picture.height // 2
  assert 500 < picture.width < 1200
  assert (pixels[: half // 2, 20:60] != pixels[half : half + half // 2, 20:60]).any()


def test_a_second_call_changes_nothing(copy):
  before = contents(copy)
  for more in ([], ['--check'], ['--stage=prepare', '--', 'data.root=data', 'data.workers=3']):
    out = fine(CIRCLES, WORKDIR, *more, cwd=copy)
    assert 'runs/x is done' in out and ('every byte' in out) == ('--check' in more)
  assert contents(copy) == before


def test_batches_of_what_was_prepared(copy, monkeypatch):
  monkeypatch.chdir(copy)
  config = load(CIRCLES)
  batches = pipeline(config, Path('runs/x'), 'denoiser', epochs=1).batches()
  rows = list(batches)
  assert [len(b['image']) for b in rows] == [16] * 14 and rows[0]['image'].shape == (16, 32, 32, 3)
  seen = np.concatenate([b['index'] for b in rows])
  assert sorted(seen) == [*range(224)] and (seen != np.arange(224)).any()
  for b in rows:
    assert ((b['z'] > 0.5) == (b['label'] == 1)).all() and np.abs(b['image']).max() == 1


def test_what_prepare_left_must_be_whole(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config, workdir = load(CIRCLES), Path('runs/x')
  prepare(config, workdir)
  with pytest.raises(ValueError, match='runs/y: no prepare.json; run `zsi run .*--workdir=runs/y'):
    pipeline(config, Path('runs/y'), 'denoiser')
  with pytest.raises(ValueError, match='denoiser, classifier, not'):
    pipeline(config, workdir, 'judge')
  with pytest.raises(ValueError, match='another config: seed: 0 -> 1'):
    pipeline(load(CIRCLES, {'seed': 1}), workdir, 'denoiser')
  assert len(pipeline(load(CIRCLES, {'data.batch': 8}), workdir, 'denoiser').source)
  (workdir / 'splits/denoiser.npz').write_bytes(b'x')
  with pytest.raises(ValueError, match='denoiser.npz: gone, or not as it was'):
    pipeline(config, workdir, 'denoiser')
  pipeline(config, workdir, 'classifier')
  shutil.move('data', 'elsewhere')
  with pytest.raises(DataError, match='data/borders_circles.*--stage=prepare'):
    pipeline(config, workdir, 'classifier')
  monkeypatch.setenv('ZSI_DATA_DIR', 'elsewhere')
  pipeline(config, workdir, 'classifier')


def test_what_is_missing_is_made_again(copy):
  before = contents(copy)
  (copy / 'runs/x/splits/denoiser.npz').unlink()
  assert 'has 224 records' in fine(CIRCLES, WORKDIR, cwd=copy)
  shutil.rmtree(copy / 'data')
  assert 'has 224 records' in fine(CIRCLES, WORKDIR, cwd=copy)
  after = contents(copy)
  assert after.keys() == before.keys()
  assert after['runs/x/prepare.png'] == before['runs/x/prepare.png']


def test_another_config_in_the_same_workdir(copy):
  said = ['made with another config', r'data\.options\.size: 32 -> 48', 'Take another --workdir']
  refused(CIRCLES, WORKDIR, '--', 'data.options.size=48', cwd=copy, said=said)
  other = f'{CONFIGS}/discs.py:tiny'
  said = [r"data\.source: 'circles' -> 'discs'", r'data\.options\.epsilon: 0.2 -> absent']
  refused(other, WORKDIR, cwd=copy, said=said)


@pytest.mark.parametrize('split', ['prepare.json', 'nothing'])
def test_a_truncated_shard_is_named(copy, split):
  """With its workdir, and from a new one."""
  path = shard(copy)
  path.write_bytes(path.read_bytes()[:-100])
  workdir = WORKDIR if split == 'prepare.json' else '--workdir=runs/new'
  said = [path.name, r'\d+ bytes where \d+ were written', 'Remove that directory']
  refused(CIRCLES, workdir, cwd=copy, said=said)


def test_a_broken_byte_is_found_when_asked(copy):
  path = shard(copy)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  assert 'sizes checked' in fine(CIRCLES, WORKDIR, cwd=copy)
  for workdir in (WORKDIR, '--workdir=runs/new'):
    refused(CIRCLES, workdir, '--check', cwd=copy, said=[path.name, 'sha256'])


@pytest.mark.parametrize('text', ['', '{}', 'x', '{"config": 1}', '[]'])
def test_a_damaged_prepare_json_is_named(copy, text):
  (copy / 'runs/x/prepare.json').write_text(text)
  refused(CIRCLES, WORKDIR, cwd=copy, said=['prepare.json: cannot be read', 'remove it'])


@pytest.mark.parametrize(
  'override, said',
  [
    ('data.options.sice=3', r'did you mean data\.options\.size'),
    ('data.options.size=x', 'of type int'),
    ('data.options.radius=20', 'size = 32'),
    ('data.options.where=bordres', 'borders, uniform'),
    ('data.options.where=uniform', r"'extremes': \d+ of 784 records lie outside z"),
    ('data.flip=True', 'flip=False'),
    ("data.keep=('zz',)", "'zz'"),
    ('data.batch=0', 'batch'),
    ('split.label=lable', 'did you mean label'),
    ('support.delta=.15', "support 'extremes'"),
    ('data.root=file', 'cannot be written'),
  ],
)
def test_a_wrong_override_leaves_no_workdir_that_looks_finished(tmp_path, override, said):
  (tmp_path / 'file').write_text('')
  _, _, err = run(CIRCLES, WORKDIR, '--', override, cwd=tmp_path)
  assert err.startswith('zsi: error: ') and err.count('\n') == 1 and re.search(said, err), err
  assert [p for p in contents(tmp_path) if p.startswith('runs')] == []


def test_a_workdir_that_cannot_be(tmp_path):
  (tmp_path / 'file').write_text('')
  for workdir in ('file', 'file/x'):
    refused(CIRCLES, f'--workdir={workdir}', cwd=tmp_path, said=[f'{workdir}: cannot be written'])


BIG = f'{CONFIGS}/discs.py:tiny', '--', 'data.options.n=4000'


def writing(cwd):
  """Wait until records of a data set are being written."""
  for _ in range(2000):
    if any(cwd.glob('data/*/.*.part/*/00000')):
      return
    time.sleep(0.01)
  raise AssertionError('nothing is being written')


def test_two_at_once(tmp_path):
  first = start(BIG[0], WORKDIR, *BIG[1:], cwd=tmp_path)
  writing(tmp_path)
  second = start(BIG[0], WORKDIR, *BIG[1:], cwd=tmp_path)
  third = start(BIG[0], '--workdir=runs/y', *BIG[1:], cwd=tmp_path)
  for process, where in ((second, 'runs/x'), (third, 'discs')):
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and f'{first.pid} on ' in err and where in err, err
    assert err.count('\n') == 1 and not (tmp_path / 'runs/y/prepare.json').exists()
  _, err = first.communicate(timeout=60)
  assert first.returncode == 0 and err == ''
  assert 'is done' in fine(BIG[0], WORKDIR, *BIG[1:], cwd=tmp_path)
  assert 'has 4000' in fine(BIG[0], '--workdir=runs/y', *BIG[1:], cwd=tmp_path)


def test_killed_at_any_moment(tmp_path):
  """Nothing looks finished, and in the end there is what an undisturbed run makes."""
  command = f'{CONFIGS}/discs.py:tiny', WORKDIR, '--', 'data.options.n=1500'
  (tmp_path / 'calm').mkdir()
  fine(*command, cwd=tmp_path / 'calm')
  cwd = tmp_path / 'rough'
  cwd.mkdir()
  killed = []
  for moment in (
    'runs/x/.lock',
    'data/discs/.*.part',
    'data/discs/.*.part/1.0.0/00000',
    'data/discs/[!.]*/1.0.0',
    'runs/x/splits',
    'runs/x/prepare.json',
  ):
    process = start(*command, cwd=cwd)
    while process.poll() is None and not any(cwd.glob(moment)):
      time.sleep(0.002)
    if process.poll() is None:
      process.send_signal(signal.SIGKILL)
    process.communicate()
    killed.append(process.returncode == -signal.SIGKILL)
    finished = list(cwd.glob('data/discs/[!.]*/1.0.0'))
    assert all((path / 'zsi.json').is_file() for path in finished)
    if (cwd / 'runs/x/prepare.json').exists():
      assert finished and told(cwd)['roles']
  assert all(killed[:3])
  fine(*command, cwd=cwd)
  calm, rough = contents(tmp_path / 'calm'), contents(cwd)
  assert calm.keys() == rough.keys()
  one, other = store.open(shard(cwd).parent), store.open(shard(tmp_path / 'calm').parent)
  one.verify()
  for i in range(0, 1500, 100):
    np.testing.assert_array_equal(one[i]['image'], other[i]['image'])
  assert rough['runs/x/prepare.png'] == calm['runs/x/prepare.png']


@pytest.mark.parametrize('workers', [0, 1])
def test_interrupted(tmp_path, workers):
  """Ctrl-C reaches the whole group of processes; one line is said and nothing is left."""
  more = [f'data.workers={workers}'] if workers else []
  process = start(BIG[0], WORKDIR, *BIG[1:], *more, cwd=tmp_path, group=True)
  writing(tmp_path)
  os.killpg(process.pid, signal.SIGINT)
  _, err = process.communicate(timeout=60)
  assert (process.returncode, err) == (130, 'zsi: stopped; what was finished stays\n')
  assert contents(tmp_path) == {}


def test_doctor_lists_data_sets(copy):
  (copy / 'data/discs/.abcdabcd.part').mkdir(parents=True)
  (copy / 'data/discs/0123abcd.npz').write_bytes(b'12')
  (copy / 'data/discs/mine.npz').write_bytes(b'12')
  digest = told(copy)['dataset']['digest']
  found = {f.name: f for f in doctor.data_sets(copy / 'data')}
  assert found.keys() == {f'borders_circles/{digest}', 'discs/abcdabcd', 'discs/0123abcd'}
  whole = found[f'borders_circles/{digest}']
  assert whole.ok and '224 records' in whole.found
  assert found['discs/abcdabcd'].found == 'unfinished' and not found['discs/abcdabcd'].ok
  shard(copy).write_bytes(b'')
  found = {f.name: f for f in doctor.data_sets(copy / 'data')}
  assert not found[f'borders_circles/{digest}'].ok
  assert list(doctor.data_sets(copy / 'none')) == []


WITHOUT = """
import sys
class Absent:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in ('tensorflow_datasets', 'array_record', 'grain', 'jax'):
      raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Absent())
from pathlib import Path
from zsi_jax.stages.config import load
from zsi_jax.stages.prepare import pipeline
from zsi_jax.stages.run import run
for _ in range(2):
  run(sys.argv[1], 'runs/x', 'prepare')
rows = list(pipeline(load(sys.argv[1]), Path('runs/x'), 'denoiser', epochs=1).batches())
print(sum(len(b['image']) for b in rows), rows[0]['index'].tolist())
"""


def test_without_tfds_and_array_record(prepared, tmp_path, monkeypatch):
  """One .npz, the same split, the same picture, and the same batches."""
  env = {**os.environ, 'PYTHONPATH': str(ROOT)}
  command = [sys.executable, '-c', WITHOUT, CIRCLES]
  done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  said = done.stdout.splitlines()
  assert 'No module named' in said[0] and 'has 224 records' in said[1] and 'is done' in said[2]
  (path,) = tmp_path.glob('data/borders_circles/*.npz')
  one, other = told(tmp_path), told(prepared[0])
  assert path.stem == one['dataset']['digest'] == other['dataset']['digest']
  picture = (tmp_path / 'runs/x/prepare.png').read_bytes()
  assert picture == (prepared[0] / 'runs/x/prepare.png').read_bytes()
  monkeypatch.chdir(prepared[0])
  first = next(pipeline(load(CIRCLES), Path('runs/x'), 'denoiser', epochs=1).batches())
  assert said[3] == f'224 {first["index"].tolist()}'
  damaged = bytearray(path.read_bytes())
  damaged[len(damaged) // 2] ^= 1
  path.write_bytes(damaged)
  refused(CIRCLES, WORKDIR, cwd=tmp_path, said=[path.name, 'damaged'])
