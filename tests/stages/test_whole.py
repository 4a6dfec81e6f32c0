"""All stages by one command, with networks of their own: once, again, checked, and foreseen."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.stages.command import contents
from tests.stages.small import fine, run, said

SAMPLED = [
  *('denoiser.steps=4', 'classifier.steps=2', 'sample.n=6', 'sample.unguided=4', 'sample.batch=2'),
  *('sample.per_file=4', 'sample.steps=5', 'sample.weights=(5.,5.)'),
]


def every(*more, stage='all'):
  return said(*SAMPLED, *more, stage=stage)


@pytest.fixture(scope='module')
def done(tmp_path_factory):
  """(where all stages ran, what was printed, the compiled programs)."""
  cwd, cache = (tmp_path_factory.mktemp(name) for name in ('whole', 'cache'))
  env = {'JAX_COMPILATION_CACHE_DIR': str(cache), 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}
  return cwd, fine(*every(), cwd=cwd, **env), env


@pytest.fixture
def copy(done, tmp_path):
  shutil.copytree(done[0], tmp_path / 'copy')
  return tmp_path / 'copy', done[2]


def refused(*more, match, cwd, env, stage='all'):
  """Status 2, one line, and nothing is trained or drawn."""
  before = contents(cwd)
  code, _, err = run(*every(*more, stage=stage), cwd=cwd, **env)
  assert code == 2 and err.startswith('zsi: error: ') and err.count('\n') == 1, err
  assert re.search(match, err), err
  assert contents(cwd) == before


def test_all_stages_then_only_looked_at_then_checked(done):
  cwd, out, env = done
  left = contents(cwd / 'runs/x')
  wanted = ['samples/guided/00001.npz', 'samples/unguided/00000.npz', 'samples/guided/sample.json']
  wanted += ['evaluate/metrics.json', 'report/index.html', 'report/metrics.json']
  assert {'denoiser/denoiser.json', 'classifier/classifier.json', *wanted} <= left.keys()
  assert 'denoiser is runs/x/denoiser, step 4' in out
  again = fine(*every(), cwd=cwd, **env)
  assert again.count('is done') == 6 and 'compiled' not in again
  checked = fine('--check', *every(), cwd=cwd, **env)
  assert checked.count('the same bits') == 2 and checked.count('every byte checked') == 3
  assert contents(cwd / 'runs/x') == left


def test_a_network_that_is_not_finished_or_not_of_this_config(copy):
  cwd, env = copy
  refused(
    'sample.steps=6', 'seed=1', stage='sample', match='config: seed: 0 -> 1', cwd=cwd, env=env
  )
  (cwd / 'runs/x/denoiser/denoiser.json').unlink()
  shutil.rmtree(cwd / 'runs/x/denoiser/checkpoints/4')
  more = ['sample.name=b', 'sample.unguided=0', 'sample.n=2']
  match = (
    r'denoiser of runs/x is not finished \(step 2 of 4\).*sample.denoiser=runs/x/denoiser says'
  )
  refused(*more, stage='sample', match=match, cwd=cwd, env=env)
  out = fine(*every(*more, 'sample.denoiser=runs/x/denoiser', stage='sample'), cwd=cwd, **env)
  assert 'denoiser is runs/x/denoiser, step 2' in out
