"""sample: each image once and from its own key; stopped, killed, damaged, checked."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zsi_jax as zsi
from tests.stages import drawer
from tests.stages.command import CIRCLES, contents
from zsi_jax import whole
from zsi_jax.build import trained
from zsi_jax.data import npz
from zsi_jax.io.errors import Stopped
from zsi_jax.io.files import sha256
from zsi_jax.io.images import to_uint8
from zsi_jax.stages import drawing
from zsi_jax.stages.config import load
from zsi_jax.stages.drawing import micro_batches
from zsi_jax.stages.redraw import chosen
from zsi_jax.stages.sample import sample
from zsi_jax.stages.sampled import Sampled

pytestmark = pytest.mark.usefixtures('cache')


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
  monkeypatch.setattr(trained, 'model', drawer.model)


def config(check=False, **said):
  said = {f'sample.{key}' if key != 'seed' else key: value for key, value in said.items()}
  return load(CIRCLES, drawer.SAID | said | {'check': check})


def images(folder):
  """All of a set, in order: (images, index)."""
  files = [npz.read(path, '') for path in sorted(Path(folder).glob('*.npz'))]
  return [np.concatenate([file[name] for file in files]) for name in ('images', 'index')]


@pytest.fixture(scope='module')
def calm(cache, tmp_path_factory):
  """A workdir with 20 images, and 6 unguided ones."""
  workdir = tmp_path_factory.mktemp('calm')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(trained, 'model', drawer.model)
    sample(config(unguided=6), workdir)
  return workdir


@pytest.fixture
def copy(calm, tmp_path):
  shutil.copytree(calm, tmp_path / 'w')
  return tmp_path / 'w'


def again(workdir, check=False, **said):
  sample(config(check, **({'unguided': 6} | said)), workdir)


def never(*_, **__):
  raise AssertionError('nothing is to be done here')


def test_what_lies_in_the_files(calm):
  folder = calm / 'samples/guided'
  assert sorted(p.name for p in folder.iterdir()) == [
    *('00000.npz', '00001.npz', '00002.npz', 'begun.json', 'grid.png', 'sample.json')
  ]
  files = [npz.read(folder / f'0000{k}.npz', '') for k in range(3)]
  assert [len(file['index']) for file in files] == [8, 8, 4]
  drawn, index = images(folder)
  assert drawn.shape == (20, 8, 8, 3) and drawn.dtype == np.uint8 and drawn.std() > 20
  assert index.dtype == np.int64 and index.tolist() == [*range(20)]
  assert len({image.tobytes() for image in drawn}) == 20
  told = json.loads((folder / 'sample.json').read_text())
  for file in files:
    stamp = json.loads(str(file['stamp']))
    assert file['seed'] == 0 and stamp['batch'] == 4 and stamp['seeds'] == 0
    assert stamp['config'] == told['stamp']['config'] and stamp['device'] == 'cpu'
  assert told['sample'] == json.loads((folder / 'begun.json').read_text())['sample']
  assert told['sample']['n'] == 20 and told['sample']['weights'] == [5.0, 5.0]
  assert told['sources'] == {k: v['source'] for k, v in drawer.model(config()).config.items()}
  assert told['shape'] == [8, 8, 3] and told['rate']['images'] == 20
  assert told['files']['00002.npz']['sha256'] == sha256(folder / '00002.npz')
  picture = np.asarray(Image.open(folder / 'grid.png'))
  assert (picture[:8, :8] == drawn[0]).all() and (picture[10:18, 20:28] == drawn[7]).all()


def test_images_are_those_of_the_sampler(calm):
  """Of the same batches the same bits, and each alone the same image."""
  model = drawer.model(config())
  both = {'guided': model.classifier['side'].towards(5.0, 5.0), 'unguided': None}
  for name, guidance in both.items():
    drawn, _ = images(calm / 'samples' / name)
    args = model.process, model.denoiser, guidance
    keys = zsi.keys(0, 20)
    four = zsi.sample(keys[:4], *args, shape=model.shape)
    np.testing.assert_array_equal(drawn[:4], to_uint8(four))
  guided, unguided = (images(calm / 'samples' / name)[0] for name in both)
  args = model.process, model.denoiser, both['guided']
  alone = to_uint8(zsi.sample(keys[5:6], *args, shape=model.shape)[0])
  assert np.abs(guided[5].astype(int) - alone).max() <= 1
  assert len(unguided) == 6 and (guided[:6] != unguided).any()
  told = json.loads((calm / 'samples/unguided/sample.json').read_text())
  assert 'weights' not in told['sample'] and list(told['sources']) == ['denoiser']


@pytest.mark.parametrize('n, batch, per_file', [(1, 4, 8), (3, 4, 4), (4, 4, 4), (9, 4, 8)])
def test_any_number_of_images(calm, tmp_path, n, batch, per_file):
  sample(config(n=n, batch=batch, per_file=per_file), tmp_path)
  drawn, index = images(tmp_path / 'samples/guided')
  assert index.tolist() == [*range(n)]
  np.testing.assert_array_equal(drawn, images(calm / 'samples/guided')[0][:n])


def test_a_finished_set_is_only_looked_at(copy, monkeypatch, caplog):
  before = contents(copy)
  monkeypatch.setattr(drawing, 'Crew', never)
  with caplog.at_level('INFO', 'zsi_jax'):
    again(copy)
  assert caplog.text.count('is done') == 2 and 'sizes checked' in caplog.text
  assert contents(copy) == before
  (copy / 'samples/guided/grid.png').unlink()
  again(copy)
  assert contents(copy) == before


def test_sets_beside_each_other(copy, monkeypatch):
  """Another strength has another name; the unguided images are the same and stay."""
  before = contents(copy)
  again(copy, name='weak', weights=(1.0, 1.0), n=4)
  after = contents(copy)
  assert before.items() <= after.items() and 'samples/weak/sample.json' in after
  with pytest.raises(ValueError, match=r'unguided holds images of another.* sample\.n: 6 -> 7'):
    again(copy, unguided=7)
  assert contents(copy) == after


@pytest.mark.parametrize(
  'said, named',
  [
    ({'weights': (6.0, 5.0)}, r'sample\.weights: \[5\.0, 5\.0\] -> \[6\.0, 5\.0\]'),
    ({'batch': 2}, r'sample\.batch: 4 -> 2'),
    ({'n': 21}, r'sample\.n: 20 -> 21'),
    ({'seed': 1}, 'seed: 0 -> 1'),
    ({'steps': 5, 'at': 'mean'}, r"sample\.steps: 4 -> 5; sample\.at: 'xt' -> 'mean'"),
    ({'solver.kind': 'ddim'}, r"sample\.solver\.kind: 'ancestral' -> 'ddim'"),
    ({'weights': None}, r'sample\.weights: \[5\.0, 5\.0\] -> absent'),
  ],
)
@pytest.mark.parametrize('finished', [True, False])
def test_another_sampling_is_refused(copy, monkeypatch, said, named, finished):
  if not finished:
    (copy / 'samples/guided/sample.json').unlink()
  before = contents(copy)
  monkeypatch.setattr(drawing, 'Crew', never)
  with pytest.raises(ValueError, match=f'{named}.*[Tt]ake another sample.name'):
    again(copy, **said)
  assert contents(copy) == before


def test_other_weights_are_refused(copy, monkeypatch):
  monkeypatch.setattr(trained, 'model', lambda c, w: drawer.model(c, seed=1))
  said = r"sources\.denoiser\.sha256: '0denoiser' -> '1denoiser'; sources\.side"
  with pytest.raises(ValueError, match=said):
    again(copy)


@pytest.mark.parametrize(
  'said, named',
  [
    ({'per_file': 6}, 'per_file = 6 is no multiple of sample.batch = 4: take 8'),
    ({'name': 'a/b'}, 'no name of a folder'),
    ({'name': '..'}, 'no name of a folder'),
    ({'name': ''}, 'no name of a folder'),
    ({'name': 'unguided', 'unguided': 4}, 'unguided=0'),
    ({'weights': (1.0, 2.0, 3.0)}, 'sample.weights'),
  ],
)
def test_wrong_settings_leave_nothing(tmp_path, said, named):
  with pytest.raises(ValueError, match=named):
    sample(config(**said), tmp_path)
  assert contents(tmp_path) == {}


def test_what_has_no_images_may_begin_again(tmp_path, monkeypatch):
  """After too large a batch, say."""

  def full(*_):
    raise MemoryError

  with monkeypatch.context() as patch, pytest.raises(MemoryError):
    patch.setattr(drawing, 'Crew', full)
    sample(config(unguided=4), tmp_path)
  folder = tmp_path / 'samples/guided'
  assert [p.name for p in folder.iterdir()] == ['begun.json']
  sample(config(n=3, batch=2), tmp_path)
  assert json.loads((folder / 'begun.json').read_text())['sample']['batch'] == 2


def test_all_sets_agree_before_any_is_drawn(copy, monkeypatch):
  before = contents(copy)
  monkeypatch.setattr(drawing, 'Crew', never)
  with pytest.raises(
    ValueError, match=r'samples/unguided .* Leave them with sample.unguided=0, or'
  ):
    again(copy, name='more', steps=5)
  assert contents(copy) == before


@pytest.mark.parametrize('name', ['begun.json', 'sample.json'])
@pytest.mark.parametrize('text', ['', 'x', '[]'])
def test_a_damaged_list_is_named(copy, name, text):
  for path in copy.rglob('sample.json' if name == 'begun.json' else name):
    path.unlink()
  (copy / 'samples/guided' / name).write_text(text)
  with pytest.raises(ValueError, match=f'{name}: cannot be read.*remove it'):
    again(copy)


@pytest.mark.parametrize(
  'files', [None, {}, {'00000.npz': 1}, {'a.npz': {'bytes': 1, 'sha256': 'b'}}]
)
def test_a_list_of_other_files_is_named(copy, files):
  path = copy / 'samples/guided/sample.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | {'files': files}))
  with pytest.raises(ValueError, match='sample.json: cannot be read.*remove it'):
    again(copy)


def test_images_of_unknown_origin_stay(copy):
  for name in ('begun.json', 'sample.json'):
    (copy / 'samples/guided' / name).unlink()
  before = contents(copy)
  with pytest.raises(ValueError, match='there are images, and no begun.json'):
    again(copy)
  assert contents(copy) == before


DAMAGE = {
  'flipped': lambda data: data[:900] + bytes([data[900] ^ 4]) + data[901:],
  'truncated': lambda data: data[:-200],
  'empty': lambda data: b'',
}


@pytest.mark.parametrize('how', DAMAGE)
def test_damaged_files_of_an_unfinished_set_are_drawn_again(copy, how):
  before = images(copy / 'samples/guided')
  (copy / 'samples/guided/sample.json').unlink()
  path = copy / 'samples/guided/00001.npz'
  path.write_bytes(DAMAGE[how](path.read_bytes()))
  (copy / 'samples/guided/00002.npz').unlink()
  again(copy)
  np.testing.assert_array_equal(images(copy / 'samples/guided')[0], before[0])
  assert json.loads((copy / 'samples/guided/sample.json').read_text())['rate']['images'] == 12


def test_a_file_of_another_set_is_none_of_ours(copy):
  """Of the right shape and numbers, and whole."""
  before = images(copy / 'samples/guided')
  again(copy, name='weak', weights=(1.0, 1.0))
  (copy / 'samples/guided/sample.json').unlink()
  shutil.copy(copy / 'samples/weak/00000.npz', copy / 'samples/guided/00000.npz')
  again(copy)
  np.testing.assert_array_equal(images(copy / 'samples/guided')[0], before[0])


@pytest.mark.parametrize('how', ['missing', 'truncated'])
def test_what_is_missing_of_a_finished_set(copy, how, caplog):
  before = images(copy / 'samples/guided')
  path = copy / 'samples/guided/00001.npz'
  if how == 'missing':
    path.unlink()
  else:
    path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(ValueError, match=r'00001\.npz'):
    again(copy, check=True)
  again(copy)
  assert 'drawn again: 00001.npz' in caplog.text
  np.testing.assert_array_equal(images(copy / 'samples/guided')[0], before[0])
  again(copy, check=True)


def test_check_draws_again_and_compares(copy, caplog):
  before = contents(copy)
  with caplog.at_level('INFO', 'zsi_jax'):
    again(copy, check=True)
  assert caplog.text.count('every byte checked') == 2
  assert caplog.text.count('images drawn again: the same bits') == 2
  assert contents(copy) == before


def changed(copy, by, **stamp):
  """Adds to one value of an image that is redrawn, as a careful forger would."""
  folder = copy / 'samples/guided'
  stored = [i for i in chosen(20, 4) if i >= 8][0]
  path = folder / f'{stored // 8:05d}.npz'
  arrays = npz.read(path, '')
  value = arrays['images'][stored % 8, 3, 4, 1]
  arrays['images'][stored % 8, 3, 4, 1] = value + by if value < 128 else value - by
  told = json.loads(str(arrays['stamp'])) | stamp
  npz.write(path, arrays | {'stamp': np.array(json.dumps(told))})
  return path, stored


def resealed(path):
  told = json.loads((path.parent / 'sample.json').read_text())
  told['files'][path.name] = {'bytes': path.stat().st_size, 'sha256': sha256(path)}
  (path.parent / 'sample.json').write_text(json.dumps(told))


def test_check_finds_a_changed_pixel(copy):
  path, stored = changed(copy, 1)
  with pytest.raises(ValueError, match=rf'{path.name}.*sha256'):
    again(copy, check=True)
  resealed(path)
  with pytest.raises(ValueError, match=rf'{path.name}: image {stored} .*1 of 192 .* up to 1 of'):
    again(copy, check=True)


@pytest.mark.parametrize('maker', [{'device': 'another'}, {'jaxlib': '0.0.1'}])
def test_check_of_images_that_another_machine_drew(copy, maker, caplog):
  path, _ = changed(copy, 1, **maker)
  resealed(path)
  with caplog.at_level('INFO', 'zsi_jax'):
    again(copy, check=True)
  assert 'at most 1 of 255 apart' in caplog.text
  path, stored = changed(copy, 2)
  resealed(path)
  with pytest.raises(ValueError, match=rf'image {stored} .*by up to [123] .*allowed: 1; it was'):
    again(copy, check=True)


def test_check_of_a_set_that_was_not_there(tmp_path, caplog, monkeypatch):
  monkeypatch.setattr('zsi_jax.stages.sample.SAID_EVERY', -1)
  with caplog.at_level('INFO', 'zsi_jax'):
    sample(config(check=True, n=5), tmp_path)
  assert '5 images drawn again: the same bits' in caplog.text
  assert re.search(r'4 of 5 images, [\d.e+]+ a second, 00:00:0\d left', caplog.text)


@pytest.mark.parametrize('n', [1, 3, 8, 16, 17, 40, 64, 65, 100, 1000, 50_000])
@pytest.mark.parametrize('batch', [1, 3, 8, 16, 64])
def test_what_check_chooses(n, batch):
  found = chosen(n, batch)
  assert len(found) == min(n, 8)
  assert found == sorted(set(found)) and 0 <= found[0] and found[-1] < n
  if n > 8 * batch:
    assert found[0] < batch and found[-1] >= n - batch
    assert max(np.diff(found)) < n / 4 + 2 * batch
  parts = micro_batches(found, batch)
  assert sorted(i for rows in parts for i in rows.values()) == found
  assert all(row == i % batch for rows in parts for row, i in rows.items())
  assert len(parts) == 1 or batch < 8


def test_images_that_are_no_numbers_are_named(tmp_path, monkeypatch):
  monkeypatch.setattr(trained, 'model', lambda c, w: drawer.model(c, scale=float('inf')))
  with pytest.raises(ValueError, match=r'image 0, 1, 2, 3: NaN .*lower sample\.weights, now \(5'):
    sample(config(n=4), tmp_path)
  assert not list(tmp_path.rglob('*.npz'))
  with pytest.raises(ValueError, match='image 0, 1, 2, 3: NaN or infinite; no guidance is in it'):
    sample(config(n=4, weights=None, name='plain'), tmp_path)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
  write = whole.write

  def full(path, data):
    if path.name == '00001.npz':
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    write(path, data)

  monkeypatch.setattr(whole, 'write', full)
  with pytest.raises(ValueError, match=r'00001\.npz: cannot be written \(No space'):
    sample(config(), tmp_path)
  assert sorted(p.name for p in tmp_path.rglob('*.npz')) == ['00000.npz']


@pytest.mark.parametrize('number, error', [('SIGTERM', Stopped), ('SIGINT', KeyboardInterrupt)])
def test_asked_to_stop(calm, tmp_path, monkeypatch, number, error):
  """What is whole stays, nothing more is begun, and the next call goes on."""
  write, before = Sampled.write, signal.getsignal(signal.SIGTERM)
  heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it

  def writing(self, file, drawn):
    write(self, file, drawn)
    if file == 0:
      os.kill(os.getpid(), getattr(signal, number))
      time.sleep(0.01)

  monkeypatch.setattr(Sampled, 'write', writing)
  with pytest.raises(error):
    sample(config(), tmp_path)
  signal.signal(signal.SIGINT, heard)
  assert signal.getsignal(signal.SIGTERM) == before
  assert sorted(p.name for p in tmp_path.rglob('*.npz')) == ['00000.npz']
  kept = (tmp_path / 'samples/guided/00000.npz').read_bytes()
  monkeypatch.setattr(Sampled, 'write', write)
  sample(config(), tmp_path)
  assert (tmp_path / 'samples/guided/00000.npz').read_bytes() == kept
  np.testing.assert_array_equal(*(images(w / 'samples/guided')[0] for w in (tmp_path, calm)))


MANY = {'sample.n': 1000, 'sample.batch': 10, 'sample.per_file': 40, 'sample.steps': 20}


def test_a_thousand_images_killed_twice(tmp_path, cache):
  """Nothing is lost, nothing twice, and all is as if nothing had happened."""
  sample(load(CIRCLES, drawer.SAID | MANY), tmp_path / 'calm')
  folder, kept = tmp_path / 'rough/samples/guided', {}
  for enough, how in ((4, signal.SIGKILL), (10, signal.SIGKILL), (16, signal.SIGTERM)):
    process = drawer.start(tmp_path / 'rough', said=MANY, env=cache)
    while process.poll() is None and len(list(folder.glob('*.npz'))) < enough:
      time.sleep(0.001)
    process.send_signal(how)
    _, err = process.communicate()
    assert process.returncode == (-how if how == signal.SIGKILL else 143), err
    assert 'Traceback' not in err and not (folder / 'sample.json').exists()
    files = {path.name: path.read_bytes() for path in folder.glob('*.npz')}
    assert kept.items() <= files.items() and enough <= len(files) < 25
    kept = files
  assert 'of 1000 images; run it again' in err
  process = drawer.start(tmp_path / 'rough', said=MANY, env=cache)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 0 and err == ''
  assert kept.items() <= {path.name: path.read_bytes() for path in folder.glob('*.npz')}.items()
  assert not list(folder.glob('*.part'))
  drawn, index = images(folder)
  assert index.tolist() == [*range(1000)] and len({image.tobytes() for image in drawn}) == 1000
  np.testing.assert_array_equal(drawn, images(tmp_path / 'calm/samples/guided')[0])


def test_one_process_at_a_time(copy):
  (copy / 'samples/guided/00001.npz').unlink()
  import fcntl

  with open(copy / '.lock', 'r+') as handle:
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match='is writing there now'):
      again(copy)
