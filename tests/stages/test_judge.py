"""judge, as a user runs it: two copies and a meter, once, again, killed, checked, and refused."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

from tests.stages.command import CONFIGS, WORKDIR, contents
from tests.stages.small import fine, run
from zsi_jax.build import data, judging
from zsi_jax.build.keys import ConfigError, meaning
from zsi_jax.io.errors import WeightsError
from zsi_jax.stages import judge as stage
from zsi_jax.stages.config import load

SMALL = {
  'data.options.n': '400',
  'data.flip': 'False',
  'judge.copies': "('a','b')",
  'judge.truth': "('smile','yaw')",
  'judge.net.width': '8',
  'judge.net.blocks': '(1,)',
  'judge.net.spots': '4',
  'judge.net.hidden': '8',
  'judge.batch': '16',
  'judge.steps': '4',
  'judge.warmup': '0',
  'judge.save_every': '2',
  'judge.log_every': '2',
  'judge.decay': 'constant',
  'judge.draws': '1',
}


def said(*more, stage='judge'):
  last = SMALL | dict(pair.split('=', 1) for pair in more)
  head = f'{CONFIGS}/smile.py:tiny', WORKDIR, f'--stage={stage}', '--'
  return *head, *(f'{k}={v}' for k, v in last.items())


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  cwd, cache = (tmp_path_factory.mktemp(name) for name in ('judges', 'cache'))
  env = {'JAX_COMPILATION_CACHE_DIR': str(cache), 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}
  fine(*said(stage='prepare'), cwd=cwd)
  code, out, err = run(*said(), cwd=cwd, **env)
  assert code == 0, err
  return cwd, (out, err), env


@pytest.fixture
def copy(trained, tmp_path):
  shutil.copytree(trained[0], tmp_path / 'copy')
  return tmp_path / 'copy', trained[2]


def told(cwd, name='a'):
  return json.loads((cwd / f'runs/x/judge/{name}/judge.json').read_text())


def refused(*more, cwd, env, match):
  before = contents(cwd)
  code, _, err = run(*said(*more), cwd=cwd, **env)
  assert code == 2 and err.startswith('zsi: error: ') and err.count('\n') == 1, err
  assert re.search(match, err), err
  assert contents(cwd) == before


def test_what_is_left(trained):
  cwd, (_, err), _ = trained
  for name in 'ab':
    row = told(cwd, name)
    assert row['role'] == f'judge/{name}' and row['steps'] == 4 and row['seconds'] > 0
    assert row['attributes'] == ['smile'] and row['kind'] == 'binary' and row['size'] == 32
    assert row['temperature'] > 0 and {*row['ece']} == {*row['nll']} == {'before', 'after'}
    assert sum(b['records'] for b in row['reliability']) == row['uniform']['n'] == 200
    assert row['each']['smile']['uniform'] == row['uniform'] and row['error']['rmse'] < 1
    assert 0 < row['uniform']['truth']['l2'] < 1.5 * row['uniform']['floor_l2']
    assert row['records'] == {'learn': 160, 'tune': 40, 'test': 200} | {
      'digest': row['records']['digest']
    }
    assert f'judge/{name} may not judge: smile: L2' in err
    assert stage.may_judge(row).startswith('smile: L2')
  a, b, truth = (told(cwd, name) for name in ('a', 'b', 'truth'))
  assert a['digest'] != b['digest'] and a['records']['digest'] != b['records']['digest']
  assert {*truth['each']} == {'smile', 'yaw'} and truth['worst'] == 'yaw'
  assert truth['records']['learn'] == 320 and stage.may_judge(truth) is None


def test_judges_from_their_folders(trained):
  home = trained[0] / 'runs/x'
  judge = judging.judge(home / 'judge/a')
  images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
  p = judge.scores(images)
  assert p.shape == (5, 1) and ((p > 0) & (p < 1)).all() and judge.features(images).shape == (5, 8)
  assert judge.digest == told(trained[0])['digest']
  assert judging.judge(home / 'judge/truth').scores(images).shape == (5, 2)
  keys = {**SMALL, 'judge.copies': ('a', 'b'), 'judge.truth': ('smile', 'yaw')}
  config = load(f'{CONFIGS}/smile.py:tiny', {k: keys[k] for k in ('judge.copies', 'judge.truth')})
  judges, rows = stage.trusted(config, home)
  assert list(judges) == list(rows) == ['a', 'b', 'truth']
  circles = load(f'{CONFIGS}/circles.py:tiny', {'evaluate.judges': str(home)})
  with pytest.raises(ConfigError, match=r"attributes \('z',\), it was trained for \('smile',\)"):
    stage.trusted(circles, home)
  discs = load(f'{CONFIGS}/discs.py:tiny', {'evaluate.judges': str(home)})
  with pytest.raises(ConfigError, match=r"attributes \(\), it was trained for \('smile',\)"):
    stage.trusted(discs, home)
  config.judge.kind = 'regression'
  with pytest.raises(ConfigError, match='kind regression, it was trained for binary'):
    stage.trusted(config, home)
  config.judge.kind = 'binary'
  config.judge.attributes = ('age',)
  with pytest.raises(ConfigError, match=r"attributes \('age',\), it was trained for \('smile',\)"):
    stage.trusted(config, home)
  config.judge.attributes = ('smile',)
  config.data.options.size = 64
  with pytest.raises(ConfigError, match='size 64, it was trained for 32'):
    stage.trusted(config, home)
  with pytest.raises(ConfigError, match='judge/a is not trained'):
    stage.trusted(config, home / 'nowhere')


def test_copies_learn_from_distinct_records_and_are_tested_on_none_of_theirs():
  config = load(f'{CONFIGS}/smile.py:tiny', {'judge.copies': ('a', 'b')})
  of = judging.Asked(judging.Task('binary', ('smile',)), np.zeros((1000, 1)))
  a, b = (judging.parts(config, f'judge/{name}', of) for name in 'ab')
  assert not set(a.learn) & set(b.learn) and (a.tune == b.tune).all() and len(a.tune) == 100
  for one, other in ((a, b), (b, a)):
    assert not set(one.learn) & {*one.tune, *one.test} and set(other.learn) <= set(one.test)
    assert not set(one.tune) & set(one.test)
  assert sorted([*a.learn, *a.tune, *a.test]) == list(range(1000))
  config.judge.holdout = 0.0
  with pytest.raises(ConfigError, match='0 to tune'):
    judging.parts(config, 'judge/truth', of)


def test_a_second_call_only_says_so_and_a_check_looks_again(trained):
  cwd, _, env = trained
  before = contents(cwd)
  assert fine(*said(), cwd=cwd, **env).count(' is done (4 steps') == 3
  fine('--check', *said(), cwd=cwd, **env)
  assert contents(cwd) == before


def test_a_killed_run_goes_on_and_is_the_same(copy):
  cwd, env = copy
  before = told(cwd)
  (cwd / 'runs/x/judge/a/judge.json').unlink()
  shutil.rmtree(cwd / 'runs/x/judge/a/checkpoints/4')
  code, out, err = run(*said(), cwd=cwd, **env)
  assert code == 0 and 'judge/a: goes on from step 2 of 4' in out, err
  assert told(cwd)['digest'] == before['digest'] and told(cwd)['each'] == before['each']


def test_what_is_damaged_or_of_another_config_is_refused(copy):
  cwd, env = copy
  refused('judge.lr=.5', cwd=cwd, env=env, match=r'another config: judge.lr: 0.003 -> 0.5')
  refused('judge.steps=2', cwd=cwd, env=env, match='judge/a was trained for 4 steps, more than')
  path = cwd / 'runs/x/judge/a/judge.json'
  path.write_text(path.read_text().replace('"kind": "binary"', '"kind": "classes"', 1))
  refused(cwd=cwd, env=env, match=r'a/judge.json: cannot be read .*changed since')
  with pytest.raises(ConfigError, match='changed since'):
    judging.judge(cwd / 'runs/x/judge/a')
  shutil.rmtree(cwd / 'runs/x/judge/b/checkpoints/4')
  with pytest.raises(WeightsError, match='newest checkpoint is not the one'):
    judging.judge(cwd / 'runs/x/judge/b')
  path.unlink()
  refused('judge.lr=.5', cwd=cwd, env=env, match='checkpoints of judge/a were made with another')


@pytest.mark.parametrize(
  'more, match',
  [
    (("judge.attributes=('smirk',)",), "no attribute 'smirk': did you mean smile"),
    (("judge.attributes=('yaw',)",), r'yaw lies in \[-.* and is no probability'),
    (('judge.kind=classes',), 'smile are no whole numbers'),
    (("judge.copies=('a','a')",), 'distinct names of folders'),
    (("judge.copies=('truth',)",), 'distinct names of folders'),
    (('judge.attributes=()',), 'judge.attributes names what'),
  ],
)
def test_what_cannot_be_judged_is_said_before_anything_is_trained(trained, more, match):
  cwd, _, env = trained
  refused(*more, cwd=cwd, env=env, match=match)


@pytest.mark.parametrize(
  'more, match',
  [
    ({'judge.net.blocks': (1,) * 6}, 'judge: .* a multiple of 64'),
    ({'judge.optimizer': 'sgd', 'judge.momentum': 1.0}, r'momentum = 1.0 is not in \[0, 1\)'),
    ({'judge.kind': 'classes'}, '1 class of smile; two are needed'),
  ],
)
def test_what_no_judge_is_trained_by(more, match):
  config = load(f'{CONFIGS}/smile.py:tiny', more)
  task = judging.Task(config.judge.kind, ('smile',))
  with pytest.raises(ConfigError, match=match):
    judging.job(config, 'judge/a', (32, 32, 3), task, 1)


def test_an_image_is_not_moved_where_that_changes_what_is_judged():
  config = load(f'{CONFIGS}/circles.py:tiny', {'judge.shift': 1, 'judge.attributes': ('z',)})
  source = data.source(config)
  of = judging.Asked(judging.Task('binary', ('z',)), np.zeros((len(source), 1)))
  with pytest.raises(ConfigError, match='judge.shift = 1 moves images, which changes z'):
    judging.pipeline(config, 'judge/a', source, of, np.arange(9))
  config.judge.shift = 0
  assert judging.pipeline(config, 'judge/a', source, of, np.arange(9)).stream.keep == ('z',)


def test_classes_of_attributes():
  one = np.array([[0], [2], [-1]])
  assert judging.classes(('kind',), one).tolist() == [0, 2, -1]
  two = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
  assert judging.classes(('smile', 'hair'), two).tolist() == [0, 1, 2, 3]
  with pytest.raises(ConfigError, match='each is 0 or 1'):
    judging.classes(('smile', 'hair'), two * 2)


def test_judges_and_other_networks_do_not_depend_on_each_other():
  base = load(f'{CONFIGS}/smile.py:tiny')
  judges = load(f'{CONFIGS}/smile.py:tiny', {'judge.lr': 0.5, 'judge.copies': ('a',)})
  others = load(f'{CONFIGS}/smile.py:tiny', {'denoiser.lr': 0.5, 'sample.n': 3, 'split.delta': 0.2})
  for role in ('prepare', 'denoiser', 'classifier', 'sample'):
    assert meaning(base, role) == meaning(judges, role)
  for role in ('judge/a', 'judge/truth'):
    assert meaning(base, role) == meaning(others, role) != meaning(judges, role)
  drawn = load(f'{CONFIGS}/smile.py:tiny', {'judge.draws': 1})
  assert meaning(base, 'judge/a') != meaning(drawn, 'judge/a')
  assert meaning(base, 'judge/truth') == meaning(drawn, 'judge/truth')
  flipped = load(f'{CONFIGS}/smile.py:tiny', {'data.flip': False})
  assert meaning(base, 'judge/a') != meaning(flipped, 'judge/a')
