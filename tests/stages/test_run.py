"""The frame around the stages: their order, the log, what an error says, what was compiled."""

from __future__ import annotations

import os
import sys
import time
import types
import zlib

import jax
import pytest

from tests.stages.command import CIRCLES
from zsi_jax import main
from zsi_jax.stages import STAGES, cache, foresight, memory
from zsi_jax.stages.run import run


@pytest.fixture
def stages(monkeypatch, tmp_path):
  """Stages that tell what they were called with; `does[name]` is raised or called."""
  room = types.ModuleType('tests.stages.fake')
  room.calls, room.does = [], {}

  def make(name):
    def stage(config, workdir):
      room.calls.append((name, str(workdir), config.seed))
      if name == 'prepare':
        (workdir / 'prepare.json').write_text('{}')
      if name in room.does:
        raise room.does[name]

    return stage

  for name in STAGES:
    setattr(room, name, make(name))
    monkeypatch.setitem(STAGES, name, f'tests.stages.fake:{name}')
  monkeypatch.setitem(sys.modules, 'tests.stages.fake', room)
  monkeypatch.setattr(foresight, 'foresee', lambda *_: room.calls.append('foresight'))
  monkeypatch.setattr(cache, 'start', lambda: room.calls.append('cache'))
  monkeypatch.delenv('ZSI_DEBUG', raising=False)
  monkeypatch.chdir(tmp_path)
  return room


def called(*args):
  return main.cli(['run', CIRCLES, '--workdir=w', *args])


def test_stages_follow_each_other(stages):
  assert called('--', 'seed=3') == 0
  first, *rest = [(name, 'w', 3) for name in STAGES]
  assert [c for c in stages.calls if c != 'cache'] == [first, 'foresight', *rest]
  assert stages.calls[1] == 'cache'


@pytest.mark.parametrize('name', STAGES)
def test_one_stage_is_called_alone(stages, name):
  assert called(f'--stage={name}') == 0
  assert [c for c in stages.calls if c != 'cache'] == [(name, 'w', 0)]
  assert ('cache' in stages.calls) == (name not in ('prepare', 'report'))


def test_a_crash_leaves_its_traceback_stage_and_config(stages, capsys):
  stages.does['classifier'] = crash = KeyError('weights')
  crash.add_note('at step 7')
  assert called() == 1
  err, log = capsys.readouterr().err, open('w/log/process-0.log').read()
  for text in (err, log):
    assert 'Traceback' in text and "KeyError: 'weights'" in text and 'at step 7' in text
    assert 'in the stage classifier, config ' in text
  names = [c[0] for c in stages.calls if isinstance(c, tuple)]
  assert names == ['prepare', 'denoiser', 'classifier']


def test_an_error_is_one_line_and_its_traceback_lies_in_the_log(stages, capsys):
  stages.does['denoiser'] = OSError(28, 'No space left on device')
  assert called() == 2
  assert capsys.readouterr().err == 'zsi: error: [Errno 28] No space left on device\n'
  log = open('w/log/process-0.log').read()
  assert 'Traceback' in log and 'in the stage denoiser' in log


BATCHES = 'data.batch=32', 'denoiser.accumulate=2', 'classifier.batch=8', 'sample.batch=32'
FULL = jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore')


@pytest.mark.parametrize(
  'stage, error, first, said',
  [
    ('sample', FULL, 'RESOURCE_EXHAUSTED', ['with sample.batch = 32: lower sample.batch']),
    ('denoiser', FULL, 'RESOURCE_EXHAUSTED', ['with data.batch = 32, 16 images', 'denoiser.accum']),
    ('classifier', MemoryError(), 'MemoryError', ['classifier.batch = 8', 'net.remat=full']),
    ('prepare', MemoryError(), 'MemoryError', ['with data.workers = 0: lower data.workers']),
  ],
)
def test_what_runs_out_is_one_line(stages, capsys, stage, error, first, said):
  stages.does[stage] = error
  assert called('--', *BATCHES) == 2
  err = capsys.readouterr().err
  assert err.startswith(f'zsi: error: {stage}: out of memory ({first}') and err.count('\n') == 1
  assert all(part in err for part in said), err


def test_memory_does_run_out():
  """The error of the backend is the one that is looked for."""
  with pytest.raises(jax.errors.JaxRuntimeError) as caught:
    jax.jit(lambda: jax.numpy.ones((2**46,)))().block_until_ready()
  assert memory.full(caught.value)


@pytest.mark.parametrize(
  'error, words',
  [
    (AssertionError(), 'cuda here; '),
    (RuntimeError("Unable to start 'x'\nmore"), "(Unable to start 'x')"),
  ],
)
def test_no_device_is_one_line(stages, capsys, monkeypatch, error, words):
  """Said before the first stage that needs one; jax asserts where it has no CUDA plugin."""

  def absent():
    raise error

  monkeypatch.setattr(jax, 'local_devices', absent)
  monkeypatch.setenv('JAX_PLATFORMS', 'cuda')
  assert called() == 2
  err = capsys.readouterr().err
  assert 'jax has no device for JAX_PLATFORMS=cuda here' in err and words in err
  assert err.count('\n') == 1 and stages.calls == [('prepare', 'w', 0), 'cache']


def test_another_error_of_the_device_is_a_defect(stages, capsys):
  stages.does['sample'] = jax.errors.JaxRuntimeError('INTERNAL: cuDNN')
  assert called() == 1 and 'INTERNAL: cuDNN' in capsys.readouterr().err


def test_a_workdir_that_cannot_be(stages, capsys, tmp_path):
  (tmp_path / 'w').write_text('a file')
  assert called() == 2
  err = capsys.readouterr().err
  assert 'w: cannot be written (' in err and err.count('\n') == 1 and stages.calls == []


@pytest.fixture
def compiled(monkeypatch, tmp_path):
  """A cache that is empty and forgotten; jax is as it was afterwards."""
  kept = {name: jax.config.values[name] for name in jax.config.values if 'cache' in name}
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
  monkeypatch.setenv('ZSI_CACHE_DIR', str(tmp_path / 'own'))
  cache.start.cache_clear()
  yield tmp_path
  cache.start.cache_clear()
  for name, value in kept.items():
    jax.config.update(name, value)


def test_where_programs_are_kept(compiled, monkeypatch):
  own = compiled / 'own/xla' / cache.processor()
  assert cache.start() == own and own.is_dir()
  assert jax.config.jax_compilation_cache_dir == str(own)
  assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.5
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', str(compiled / 'jax'))
  assert cache.folder() == compiled / 'jax'
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
  monkeypatch.delenv('ZSI_CACHE_DIR')
  monkeypatch.setenv('XDG_CACHE_HOME', str(compiled))
  assert cache.folder() == compiled / 'zsi_jax/xla' / cache.processor()


def test_without_a_place_there_is_a_warning_and_a_run(compiled, monkeypatch, caplog):
  (compiled / 'file').write_text('')
  monkeypatch.setenv('ZSI_CACHE_DIR', str(compiled / 'file'))
  assert cache.start() is None and not jax.config.jax_enable_compilation_cache
  assert 'programs are compiled each time' in caplog.text


def test_what_a_kill_left_torn_is_dropped(compiled):
  folder = compiled / 'own/xla' / cache.processor()
  folder.mkdir(parents=True)
  whole = zlib.compress(os.urandom(5000))
  old = folder / 'foreign-cache'
  old.write_bytes(b'of others, made before us')
  os.utime(old, (time.time() - 1000,) * 2)
  cache.start()  # marks the folder as looked at
  entries = {'whole': whole, 'half': whole[:2500], 'empty': b'', 'zeros': bytes(5000)}
  for name, data in (entries | {'zstd': cache.ZSTD + b'x'}).items():
    (folder / f'{name}-cache').write_bytes(data)
  cache.start.cache_clear()
  cache.start()
  left = {path.name.removesuffix('-cache') for path in folder.glob('*-cache')}
  assert left == {'whole', 'zstd', 'foreign'}


def test_two_processes_look_at_once(compiled, monkeypatch, caplog):
  """One removes what the other has listed: before it looks, or before it removes it, too."""
  folder = compiled / 'own/xla' / cache.processor()
  folder.mkdir(parents=True)
  cache.start()
  for name in 'abc':
    (folder / f'{name}-cache').write_bytes(b'')

  def other(data):
    for path in folder.glob('*-cache'):
      path.unlink()
    return True

  monkeypatch.setattr(cache, 'torn', other)
  cache.start.cache_clear()
  assert cache.start() == folder and jax.config.jax_enable_compilation_cache
  assert list(folder.glob('*-cache')) == [] and caplog.text == ''


def test_a_run_is_stopped_before_its_stages_by_an_unknown_key(stages, capsys):
  assert called('--', 'sample.weigts=1') == 2
  assert 'sample.weights' in capsys.readouterr().err
  assert stages.calls == [] and not os.path.exists('w')


def test_run_is_a_function(stages, tmp_path):
  assert run(CIRCLES, str(tmp_path / 'x'), 'prepare', seed=4) == 0
  assert stages.calls == [('prepare', str(tmp_path / 'x'), 4)]
