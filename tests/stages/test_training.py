"""denoiser and classifier, as a user runs them: once, again, for longer, stopped, and refused."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time

import pytest

from tests.stages.command import CIRCLES, contents, start
from tests.stages.small import fine, run, said
from zsi_jax.io.checkpoint import read
from zsi_jax.stages import training
from zsi_jax.stages.config import load


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """(a folder in which both networks are trained, what was printed, the compiled programs)."""
  cwd, cache = (tmp_path_factory.mktemp(name) for name in ('trained', 'cache'))
  env = {'JAX_COMPILATION_CACHE_DIR': str(cache), 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}
  fine(*said(stage='prepare'), cwd=cwd)
  out = [
    fine(*said('denoiser.grid_every=6'), cwd=cwd, **env),
    fine(*said(stage='classifier'), cwd=cwd, **env),
  ]
  return cwd, out, env


@pytest.fixture
def copy(trained, tmp_path):
  shutil.copytree(trained[0], tmp_path / 'copy')
  return tmp_path / 'copy', trained[2]


def refused(*more, cwd, env, match, stage='denoiser'):
  """Status 2, one line, and nothing is written."""
  before = contents(cwd)
  code, _, err = run(*said(*more, stage=stage), cwd=cwd, **env)
  assert code == 2 and err.startswith('zsi: error: ') and err.count('\n') == 1, err
  assert re.search(match, err), err
  assert contents(cwd) == before


def test_what_is_left(trained):
  cwd, out, _ = trained
  for role, steps in (('denoiser', 6), ('classifier', 4)):
    folder = cwd / 'runs/x' / role
    told = json.loads((folder / f'{role}.json').read_text())
    assert told['role'] == role and told['steps'] == steps and told['metrics']['loss'] > 0
    assert told['config'][role]['lr'] > 0 and told['stamp']['device'] and told['stamp']['batch']
    last = json.loads((folder / 'metrics.jsonl').read_text().splitlines()[-1])
    assert last['step'] == steps and last['loss'] == told['metrics']['loss']
    assert (folder / 'tb').is_dir() and (folder / 'checkpoints' / str(steps)).is_dir()
    carried, arrays, step = read(folder / 'checkpoints', ('params',))
    assert step == steps and carried['kind'] == role and carried['architecture']['width'] == 8
    assert arrays['params']
  assert (cwd / 'runs/x/denoiser/grids/000006.png').is_file()
  assert 'accuracy' in out[1] and 'images/s' in out[0] and 'parameters' in out[0]


def test_a_second_call_only_says_so(trained):
  cwd, _, env = trained
  before = contents(cwd)
  out = fine(*said(), cwd=cwd, **env)
  assert out.count('\n') == 1 and 'runs/x is done (6 steps' in out
  assert contents(cwd) == before


def test_a_second_call_finds_what_is_gone(copy):
  cwd, env = copy
  shutil.rmtree(cwd / 'runs/x/denoiser/checkpoints/6')
  refused(cwd=cwd, env=env, match=r'6.manifest.json is missing, and .*denoiser.json says')


def test_longer_is_more_of_the_same_and_shorter_is_refused(copy):
  cwd, env = copy
  out = fine(*said('denoiser.steps=8'), cwd=cwd, **env)
  assert 'goes on from step 6 of 8' in out
  refused(cwd=cwd, env=env, match='trained for 8 steps, more than denoiser.steps = 6')


def test_another_config_is_refused(copy):
  cwd, env = copy
  refused('denoiser.lr=.5', cwd=cwd, env=env, match=r'another config: denoiser.lr: 0.001 -> 0.5')
  refused('seed=1', cwd=cwd, env=env, match=r'another config: seed: 0 -> 1')
  (cwd / 'runs/x/denoiser/denoiser.json').unlink()  # as after a kill
  refused('denoiser.lr=.5', cwd=cwd, env=env, match=r'checkpoints .* another config: denoiser.lr')
  refused(
    'denoiser.net.width=16',
    cwd=cwd,
    env=env,
    match=r'checkpoints .* denoiser.net.width: 8 -> 16. Take',
  )
  fine(*said('classifier.lr=.5', 'sample.n=3'), cwd=cwd, **env)  # what comes later may differ


def test_a_batch_that_the_devices_do_not_divide(trained):
  cwd, _, env = trained
  wrong = 'data.batch = 12 cannot be divided over 5 devices: take a multiple of 5, such as 10'
  more = ('denoiser.steps=7',)
  refused(*more, cwd=cwd, env=env | {'JAX_NUM_CPU_DEVICES': '5'}, match=wrong)
  wrong = '12 cannot be divided over 2 devices in 5 accumulated parts'
  more += ('denoiser.accumulate=5',)
  refused(*more, cwd=cwd, env=env | {'JAX_NUM_CPU_DEVICES': '2'}, match=wrong)
  refused('mesh.fsdp=3', *more, cwd=cwd, env=env, match='mesh.fsdp = 3 does not divide the 1')


def test_a_rate_that_is_far_too_high(copy):
  cwd, env = copy
  more = ('classifier.lr=1e30', 'classifier.steps=6')
  shutil.rmtree(cwd / 'runs/x/classifier')
  code, out, err = run(*said(*more, stage='classifier'), cwd=cwd, **env)
  assert code == 2 and err.count('\n') == 1, err
  assert re.search(r'classifier: step 1 is not finite: .*none was saved. Lower classifier.lr', err)
  assert not list((cwd / 'runs/x/classifier/checkpoints').glob('[0-9]*'))


def test_held_stopped_and_gone_on(copy):
  """A live run holds the workdir; SIGTERM saves; the run after it goes on."""
  cwd, env = copy
  more = ('denoiser.steps=100000', 'denoiser.save_every=100000')
  first = start(*said(*more), cwd=cwd, **env)
  metrics = cwd / 'runs/x/denoiser/metrics.jsonl'
  for _ in range(3000):
    if metrics.read_text().count('\n') > 5:
      break
    time.sleep(0.1)
  code, _, err = run(*said(*more), cwd=cwd, **env)
  assert code == 2 and f'pid {first.pid}' in err and err.count('\n') == 1
  first.send_signal(signal.SIGTERM)
  out, err = first.communicate(timeout=300)
  assert first.returncode == 143, err
  step = json.loads(metrics.read_text().splitlines()[-1])['step']
  assert f'after step {step} of 100000' in out + err
  out = fine(*said(f'denoiser.steps={step + 2}'), cwd=cwd, **env)
  assert f'goes on from step {step} of {step + 2}' in out


def test_the_labels_of_a_role(trained):
  config = load(CIRCLES)
  assert training.labels(config, trained[0] / 'runs/x', 'classifier') == 2
