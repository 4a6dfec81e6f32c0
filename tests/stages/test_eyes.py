"""eyes: two copies of each kind, once, again, stopped, checked, damaged, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stages.command import CONFIGS, contents
from zsi_jax.build import eyes as build
from zsi_jax.build import told as tells
from zsi_jax.build.keys import ConfigError, meaning
from zsi_jax.data.circles import Circles
from zsi_jax.data.portraits import Portraits
from zsi_jax.guide import energies
from zsi_jax.io.errors import WeightsError
from zsi_jax.stages import eyes as stage
from zsi_jax.stages import prepare, sweep, tested
from zsi_jax.stages.config import load

pytestmark = pytest.mark.usefixtures('cache')
FACES = f'{CONFIGS}/smile.py:tiny'
KINDS = tuple(build.FIELDS)
SAID = {
  'data.options.n': 200,
  'data.options.people': 20,
  'eyes.kinds': KINDS,
  'eyes.net.width': 8,
  'eyes.batch': 16,
  'eyes.steps': 4,
  'eyes.warmup': 0,
  'eyes.save_every': 2,
  'eyes.log_every': 2,
  'eyes.decay': 'constant',
}


ONE = {'eyes.kinds': KINDS[:1]}


def guide(kind):
  return f'eyes/{kind}/guide'


def config(**more):
  return load(FACES, SAID | more)


@pytest.fixture(scope='module')
def home(tmp_path_factory, cache):
  folder = tmp_path_factory.mktemp('eyes')
  slow = jax.config.read('jax_disable_most_optimizations')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('ZSI_DATA_DIR', str(folder / 'data'))
    jax.config.update('jax_disable_most_optimizations', True)
    prepare.prepare(config(), folder / 'w')
    stage.eyes(config(**ONE), folder / 'w')
    for kind in KINDS[1:]:  # the other copies are made alike
      tested.finish(config(), folder / 'w', stage.lesson(config(), folder / 'w', guide(kind)))
    yield folder / 'w'
    jax.config.update('jax_disable_most_optimizations', slow)


@pytest.fixture
def copy(home, tmp_path):
  shutil.copytree(home, tmp_path / 'w')
  return tmp_path / 'w'


def told(home, kind, copy='guide'):
  return json.loads((home / 'eyes' / kind / copy / 'eye.json').read_text())


def records(n=12):
  source = Portraits(n=200, size=32, people=20)
  rows = [source[i] for i in range(n)]
  return {name: np.stack([row[name] for row in rows]) for name in ('image', 'tokens')}


def test_what_is_left(home):
  for kind in KINDS:
    for name in ('guide', 'judge')[: 2 if kind == 'identity' else 1]:
      row = told(home, kind, name)
      assert row['role'] == f'eyes/{kind}/{name}' and row['kind'] == kind
      assert row['steps'] == 4 and row['seconds'] > 0 and row['size'] == 32
      assert row.pop('seal') == tells.sealed(row)
      assert {**row['records'], 'digest': ''} == {
        'learn': 80, 'test': 40, 'persons': 4, 'digest': '',
      }  # fmt: skip
      assert (home / row['role'] / 'tb').is_dir() and (
        home / row['role'] / 'metrics.jsonl'
      ).exists()
  a, b = (told(home, 'identity', name) for name in ('guide', 'judge'))
  assert a['digest'] != b['digest'] and a['records']['digest'] != b['records']['digest']
  assert told(home, 'identity')['tested']['pairs'] == {'same': 4 * 45, 'other': 6 * 100}
  assert 0 < told(home, 'landmarks')['tested']['px'] < 16
  assert len(told(home, 'segmentation')['tested']['iou']) == 19
  assert told(home, 'text')['tested']['of'] == 40
  assert 0 <= told(home, 'feeling')['tested']['accuracy'] <= 1


def test_copies_learn_from_distinct_records_of_persons_whom_nobody_is_tested_on():
  who = np.arange(200) % 20
  found = {role: build.parts(config(), role, who) for role in build.roles(config())}
  assert len(found) == 2 * len(KINDS)
  persons = [who[part.test] for part in found.values()]
  for kind in KINDS:
    a, b = (found[f'eyes/{kind}/{name}'] for name in ('guide', 'judge'))
    assert len(a.learn) == len(b.learn) == 80 and not set(a.learn) & set(b.learn)
    assert (a.test == b.test).all() and tells.digest(a) != tells.digest(b)
    assert set(who[a.learn]) == set(who[b.learn]) and not set(who[a.learn]) & set(persons[0])
    assert np.bincount(who[a.learn]).max() <= 6  # five of each, or nearly
  assert all((one == persons[0]).all() for one in persons) and len(set(persons[0])) == 4
  other = build.parts(load(FACES, SAID | {'seed': 1}), 'eyes/text/guide', who)
  assert set(other.test) != set(found['eyes/text/guide'].test)
  many = np.arange(12_000) % 600
  tested_on = many[build.parts(config(), 'eyes/text/guide', many).test]
  assert len(tested_on) == 120 * 16 and set(np.unique(tested_on, return_counts=True)[1]) == {16}
  alone = build.parts(config(), 'eyes/text/guide', np.arange(200))  # nobody is there twice
  assert len(alone.learn) == 80 and len(alone.test) == 40


def test_eyes_from_their_folders(home):
  there = records()
  shapes = {'identity': (12, 128), 'landmarks': (12, 68, 2), 'segmentation': (12, 32, 32, 19)}
  for kind, shape in {**shapes, 'text': (12, 64), 'feeling': (12, 8)}.items():
    eye = build.eye(home / guide(kind))
    assert isinstance(eye, energies.Eye) and 'persons' not in eye.variables['params']
    assert jax.eval_shape(eye, jnp.zeros(there['image'].shape)).shape == shape
  texture = build.eye(home / guide('segmentation'), 'texture')
  assert jax.eval_shape(texture, jnp.zeros(there['image'].shape)).shape == (12, 16, 16, 16)
  image = build.eye(home / guide('text'))
  words = stage.seen(build.eye(home / guide('text'), 'words'), there['tokens'])
  told_of = stage.seen(image, there['image'])
  np.testing.assert_allclose([(told_of**2).sum(1), (words**2).sum(1)], 1, atol=1e-4)
  x = there['image'] / np.float32(127.5) - 1
  energy = jax.jit(energies.text(image).energy)(x, {'text': jnp.asarray(words)})
  np.testing.assert_allclose(energy, 1 - (told_of * words).sum(1), atol=1e-4)
  facts = build.facts(home / 'eyes/text/guide')
  assert facts['digest'] == told(home, 'text')['digest']
  with pytest.raises(WeightsError, match='there is no eye.json; train it first'):
    build.eye(home / 'eyes/text/nobody')


def test_where_eyes_come_from(home, tmp_path):
  assert build.home(config(), home) == home
  lent = config(**{'sample.eyes': str(home)})
  assert build.home(lent, tmp_path) == home and build.roles(lent) == []


def test_a_second_call_only_says_so_and_a_check_looks_again(home, caplog):
  before = contents(home)
  with caplog.at_level('INFO', 'zsi_jax'):
    stage.eyes(config(check=True, **ONE), home)
  assert contents(home) == before and caplog.text.count(' is done (4 steps') == 2


def test_a_stopped_run_goes_on_and_is_the_same(copy, caplog):
  before = told(copy, 'identity')
  (copy / 'eyes/identity/guide/eye.json').unlink()
  shutil.rmtree(copy / 'eyes/identity/guide/checkpoints/4')
  with caplog.at_level('INFO', 'zsi_jax'):
    stage.eyes(config(**ONE), copy)
  assert 'eyes/identity/guide: goes on from step 2 of 4' in caplog.text
  now = told(copy, 'identity')
  assert now['digest'] == before['digest'] and now['tested'] == before['tested']


def test_what_is_damaged_or_of_another_config_is_refused(copy):
  folder = copy / 'eyes/identity/guide'
  with pytest.raises(ConfigError, match=r'another config: eyes.lr: 0.003 -> 0.5'):
    stage.eyes(config(**{'eyes.lr': 0.5}), copy)
  with pytest.raises(ConfigError, match='trained for 4 steps, more than eyes.steps = 2'):
    stage.eyes(config(**{'eyes.steps': 2}), copy)
  path = folder / 'eye.json'
  whole = path.read_text()
  path.write_text(whole.replace('"auc": 0.', '"auc": 1.', 1))
  for call in (lambda: stage.eyes(config(), copy), lambda: build.eye(folder)):
    with pytest.raises(ConfigError, match='changed since .*--stage=eyes makes it again'):
      call()
  path.write_text(whole)
  shutil.rmtree(folder / 'checkpoints/4')
  with pytest.raises(WeightsError, match='newest checkpoint is not the one that eye.json'):
    build.eye(folder)
  with pytest.raises(ConfigError, match='bring it back'):
    stage.eyes(config(), copy)


@pytest.mark.parametrize(
  'more, match',
  [
    ({'eyes.kinds': ('landmark',)}, "there is no 'landmark': did you mean landmarks"),
    ({'eyes.kinds': ('text', 'text')}, 'distinct names of folders'),
    ({'eyes.copies': ('a/b',)}, 'distinct names of folders'),
    ({'eyes.holdout': 0.0}, 'leave 100 to learn and 0 to test'),
    ({'eyes.holdout': 0.95}, r'20 persons, of whom 19 .* two persons or more'),
    ({'eyes.net.width': 4}, 'eyes: GroupNorm cannot split 4 channels'),
    ({'eyes.blur': -1.0}, 'eyes: blur = -1'),
    ({'eyes.decay': 'cosine', 'eyes.warmup': 9}, 'eyes: .*warmup of 9'),
    ({'eyes.accumulate': 3}, 'eyes.batch = 16 cannot be divided'),
  ],
)
def test_what_no_eye_is_trained_by_is_foreseen(home, tmp_path, more, match):
  shutil.copytree(home, tmp_path / 'w', ignore=shutil.ignore_patterns('eyes'))
  before = contents(tmp_path)
  with pytest.raises(ConfigError, match=match):
    stage.foresee(config(**more), tmp_path / 'w')
  assert contents(tmp_path) == before


@pytest.mark.parametrize(
  'source, kind, match',
  [
    (Portraits(n=200, size=32), 'identity', '200 persons, of whom 40 are held out: .*people'),
    (Circles(size=32), 'text', "circles have no 'tokens', which text learns"),
    (Circles(size=24), 'landmarks', r'24 x 24; eyes have a side of \(32, 64, 128\)'),
  ],
)
def test_records_that_no_eye_learns_from(source, kind, match):
  with pytest.raises(ConfigError, match=match):
    build.planned(config(), guide(kind), source)


def test_eyes_and_other_networks_do_not_depend_on_each_other():
  base, other = config(), config(**{'eyes.lr': 0.5, 'eyes.holdout': 0.5})
  for role in ('prepare', 'denoiser', 'classifier', 'judge/a', 'judge/truth', 'sample'):
    assert meaning(base, role) == meaning(other, role)
  assert meaning(base, 'eyes/text/guide') != meaning(other, 'eyes/text/guide')
  others = config(**{'denoiser.lr': 0.5, 'judge.lr': 0.5, 'split.delta': 0.2, 'data.flip': False})
  fewer = config(**{'eyes.kinds': ('text',), 'eyes.log_every': 1})
  for same in (others, fewer):
    assert meaning(base, 'eyes/text/guide') == meaning(same, 'eyes/text/guide')


def test_a_config_without_kinds_has_no_eyes(tmp_path):
  plain = config(**{'eyes.kinds': ()})
  stage.eyes(plain, tmp_path)
  stage.foresee(plain, tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_variant_with_a_workdir_of_its_own_looks_with_the_eyes_of_the_base():
  base = sweep.Variant(sweep.BASE, config(), Path('w'), Path('w'), ())
  one = sweep.variant(FACES, SAID, base, 'other', {'denoiser.lr': 0.5})
  assert one.workdir == Path('w/variants/other') and 'eyes' not in one.stages
  assert build.home(one.config, one.workdir) == Path('w')
  with pytest.raises(ConfigError, match=r'eyes\.lr: eyes, judge, evaluate and report are for all'):
    sweep.variant(FACES, SAID, base, 'other', {'eyes.lr': 0.5})
