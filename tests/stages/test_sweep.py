"""Sweeps: what a variant is drawn with, where it lies, what is shared, and what is refused."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.stages import drawer
from tests.stages.test_sample import images
from zsi_jax.build import trained
from zsi_jax.build.keys import meaning
from zsi_jax.data import npz
from zsi_jax.stages import drawing, prepare, run, sweep, training
from zsi_jax.stages.run import run as zsi_run

SWEPT = f'{Path(__file__).parent}/swept.py'
pytestmark = pytest.mark.usefixtures('cache')
SAID = drawer.SAID | {'sample.unguided': 6}


@pytest.fixture
def here(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  return tmp_path


def found(workdir='w', preset='tiny', **said):
  rows = sweep.variants(f'{SWEPT}:{preset}', said, Path(workdir))
  return {one.name: one for one in rows}


def test_a_variant_of_sample_keys_draws_beside_the_base():
  rows = found(**{'sample.n': 7})
  assert list(rows)[:4] == ['base', 'lambda_0', 'lambda_9', 'aim']
  one = rows['lambda_9']
  assert one.workdir == Path('w') and one.stages == ('sample',) and one.taken == ()
  assert one.config.sample.weights == (9.0, 9.0) and one.config.sample.n == 7
  assert one.config.sample.name == 'lambda_9' and one.config.sample.unguided == 0
  assert rows['plain'].config.sample.name == 'alone'
  assert rows['base'].config.sample.unguided == 256 and 'classifier' in rows['base'].stages


@pytest.mark.parametrize(
  'name, roles, taken',
  [
    ('seed_1', ('classifier',), ('denoiser',)),
    ('dit', ('denoiser',), ('classifier',)),
    ('linear', ('denoiser', 'classifier'), ()),
    ('vlb', ('denoiser',), ('classifier',)),
    ('cfg', ('denoiser',), ()),  # no classifier guides it
  ],
)
def test_a_variant_of_a_network_trains_that_and_takes_the_other(name, roles, taken):
  one = found()[name]
  assert one.workdir == Path('w/variants') / name and one.roles == roles and one.taken == taken
  assert one.stages == ('prepare', *roles, 'sample')
  own = one.config.sample
  assert own.denoiser == (None if 'denoiser' in roles else 'w')
  assert own.classifiers == (() if 'classifier' in roles else ('w',))
  assert own.name == 'guided' and (own.unguided > 0) == ('denoiser' in roles)


def test_networks_that_are_taken_are_the_same_ones():
  rows = found()
  for one in rows.values():
    for role in ('denoiser', 'classifier'):
      same = meaning(one.config, role) == meaning(rows['base'].config, role)
      assert same == (role not in one.roles) or (one.name == 'base' and same)


def test_another_kind_drops_the_options_of_the_command_line():
  """They were said of the other kind, and it has none of that name."""
  rows = found(**{'denoiser.net.mults': (1, 2), 'denoiser.net.blocks': 1, 'denoiser.net.width': 32})
  assert rows['dit'].config.denoiser.net.width == 16
  assert rows['vlb'].config.denoiser.net.mults == (1, 2)


def test_more_steps_are_another_network():
  said = {'classifier.decay': 'constant'}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sweep, 'swept', lambda spec: {'longer': {'classifier.steps': 700}})
    assert found(**said)['longer'].roles == ('classifier',)


def wrong(rows, **said):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sweep, 'swept', lambda spec: rows)
    with pytest.raises(ValueError) as caught:
      found(**said)
  assert '\n' not in str(caught.value)
  return str(caught.value)


@pytest.mark.parametrize(
  'rows, said',
  [
    ({'a': {'sample.weihts': None}}, r'variant a: .*did you mean sample\.weights'),
    ({'a': {'sample.n': 'x'}}, r'variant a: sample\.n is of type int'),
    ({'a': {'judge.steps': 3}}, r'a: judge\.steps: eyes, judge, evaluate and report are for all'),
    ({'guided': {'sample.n': 3}}, "'base' and 'guided' draw into one folder, w/samples/guided"),
    ({'a': {'sample.n': 3}, 'b': {'sample.name': 'a'}}, "'a' and 'b' draw into one folder"),
    ({'a': {'sample.unguided': 3}}, r'w/samples/unguided: .*or sample\.unguided=0'),
  ],
)
def test_what_is_wrong_with_a_variant(rows, said):
  assert re.search(said, wrong(rows))


@pytest.mark.parametrize(
  'text, said',
  [
    ('def sweep(): return {}', r"sweep and the preset 'tiny'"),
    ('def sweep(preset): return [{}]', r'sweep\(preset\) returns \{name'),
    ("def sweep(preset): return {'a': 3}", r'sweep\(preset\) returns \{name'),
    ("def sweep(preset): return {'a/b': {}}", "'a/b', which is no name of a folder"),
    ("def sweep(preset): return {'base': {}}", "'base', which is the config without"),
    ('def sweep(preset): return 1 / 0', 'line 1: sweep fails: ZeroDivisionError'),
  ],
)
def test_what_is_wrong_with_a_sweep(tmp_path, text, said):
  (tmp_path / 'c.py').write_text(f'{text}\nfrom configs.zsi.circles import get_config')
  with pytest.raises(ValueError, match=said):
    sweep.variants(f'{tmp_path}/c.py:tiny', {}, tmp_path)


def test_a_config_without_a_sweep_leaves_no_list(here):
  (here / 'w').mkdir()
  sweep.write(here / 'w', sweep.variants(f'{drawer.CIRCLES}', {}, here / 'w'))
  assert sweep.read(here / 'w') is None


def test_sweep_json(here):
  (here / 'w').mkdir()
  rows = found()
  sweep.write(Path('w'), list(rows.values()))
  told = sweep.read(Path('w'))
  assert told['base'] == 'guided' and list(told['variants']) == list(rows)[1:]
  assert told['variants']['plain'] == {
    'workdir': '.',
    'sample': 'alone',
    'overrides': {'sample.weights': None, 'sample.name': 'alone'},
  }
  assert told['variants']['dit']['workdir'] == 'variants/dit'
  (here / 'w/sweep.json').write_text('{}')
  with pytest.raises(ValueError, match='sweep.json: cannot be read'):
    sweep.read(Path('w'))


def test_a_workdir_of_another_config_keeps_its_list(here, monkeypatch):
  (here / 'w').mkdir()
  rows = list(found().values())
  for config, written in ((meaning(rows[0].config, 'prepare'), True), ({'seed': 3}, False)):
    monkeypatch.setattr(prepare, 'read', lambda workdir, config=config: {'config': config})
    sweep.write(Path('w'), rows)
    assert (here / 'w/sweep.json').exists() == written
    (here / 'w/sweep.json').unlink(missing_ok=True)


@pytest.fixture
def tiny(monkeypatch, here):
  """Networks that are there, whoever asks."""
  monkeypatch.setattr(trained, 'model', drawer.model)
  monkeypatch.setattr(run.cache, 'start', lambda: None)
  drawing.program.cache_clear()
  return here


def test_an_ablation_of_strengths_is_compiled_once(tiny):
  """Guided, unguided and aimed chains are three programs; another strength is none."""
  compiled = []

  def count(event, seconds, **_):
    if event == '/jax/core/compile/backend_compile_duration':
      compiled.append(seconds)

  def drawn(variant):
    before = len(compiled)
    zsi_run(f'{SWEPT}:small', 'w', 'sample', variant=variant, **SAID)
    return len(compiled) - before

  jax.monitoring.register_event_duration_secs_listener(count)
  try:
    drawn('base')
    first = drawing.program.cache_info().misses
    assert first == 2
    assert drawn('lambda_0') == 0 and drawn('lambda_9') == 0
    assert drawing.program.cache_info().misses == first
    assert drawn('aim') > 0 and drawing.program.cache_info().misses == first + 1
  finally:
    jax.monitoring.unregister_event_duration_listener(count)
  sets = {name: images(f'w/samples/{name}')[0] for name in ('unguided', 'lambda_0', 'lambda_9')}
  assert np.abs(sets['unguided'].astype(int) - sets['lambda_0'][:6]).max() <= 1
  assert (sets['lambda_9'] != sets['lambda_0']).any()


def test_one_variant_by_name(tiny):
  zsi_run(f'{SWEPT}:small', 'w', 'sample', variant='lambda_9', **SAID)
  assert [p.name for p in Path('w/samples').iterdir()] == ['lambda_9']
  assert list(sweep.read(Path('w'))['variants']) == ['lambda_0', 'lambda_9', 'aim']
  with pytest.raises(ValueError, match="no variant 'lambda_8': did you mean lambda_9"):
    zsi_run(f'{SWEPT}:small', 'w', 'sample', variant='lambda_8', **SAID)


def test_a_set_of_another_name_is_that_set_alone(tiny):
  """What the command line says of it would be said of all variants, too."""
  said = {'sample.name': 'more', 'sample.aim': 5.0, 'sample.n': 4}
  zsi_run(f'{SWEPT}:small', 'w', 'sample', **SAID | said | {'sample.unguided': 0})
  assert [p.name for p in Path('w/samples').iterdir()] == ['more']


def test_a_network_that_is_taken_must_be_finished(here, monkeypatch):
  monkeypatch.setattr(training, 'there', lambda *_: None)
  with pytest.raises(ValueError, match='the denoiser of w is not finished: run --stage=denoiser'):
    sweep.finished(found()['seed_1'])
  sweep.finished(found()['lambda_9'])


def test_a_variant_waits_for_its_dial(tiny, monkeypatch):
  """It is drawn after evaluate has made the curve, in the same run."""
  monkeypatch.setattr(
    sweep, 'swept', lambda spec: {'dialled': {'sample.aim': 60.0, 'sample.dial': 'e/dial.json'}}
  )
  calls = []

  def evaluate(name, config, workdir):
    calls.append((name, config.sample.name, 'dialled' in sweep.read(workdir)['variants']))
    if name == 'evaluate':
      (workdir / 'e').mkdir(exist_ok=True)
      (workdir / 'e/dial.json').write_text('{"asked": [0, 1], "got": [0, 1]}')

  monkeypatch.setattr(run, 'one', evaluate)
  monkeypatch.setattr(run, 'STAGES', {'sample': '', 'evaluate': '', 'report': ''})
  monkeypatch.setattr(sweep, 'STAGES', {'sample': '', 'evaluate': '', 'report': ''})
  assert zsi_run(f'{SWEPT}:tiny', 'w', **SAID) == 0
  assert calls == [
    ('sample', 'guided', False),
    ('evaluate', 'guided', False),
    ('sample', 'dialled', True),
    ('evaluate', 'guided', True),
    ('report', 'guided', True),
  ]


MANY = {'sample.n': 200, 'sample.batch': 10, 'sample.per_file': 20, 'sample.unguided': 0}


def test_a_sweep_killed_within_a_variant_goes_on(tiny, cache):
  """Each file once; all is as if nothing had happened."""
  zsi_run(f'{SWEPT}:small', 'calm', 'sample', **(drawer.SAID | MANY))
  seen = 0
  for enough in (14, 25):
    process = drawer.start('rough', said=MANY, config=f'{SWEPT}:small', cwd=tiny, env=cache)
    while process.poll() is None and len(list(tiny.glob('rough/samples/*/*.npz'))) < enough:
      time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before, seen = seen, len(list(tiny.glob('rough/samples/*/*.npz')))
    assert before < seen < 40
  process = drawer.start('rough', said=MANY, config=f'{SWEPT}:small', cwd=tiny, env=cache)
  _, err = process.communicate(timeout=120)
  assert process.returncode == 0 and err == ''
  for name in ('guided', 'lambda_0', 'lambda_9', 'aim'):
    a, b = (sorted((tiny / w / 'samples' / name).glob('*.npz')) for w in ('calm', 'rough'))
    assert len(a) == len(b) == 10
    for one, other in zip(a, b, strict=True):
      one, other = (npz.read(path, '') for path in (one, other))
      assert one.keys() == other.keys() and ('aim' in one) == (name == 'aim')
      for key in one.keys() - {'stamp'}:
        np.testing.assert_array_equal(one[key], other[key])
  assert json.loads((tiny / 'rough/sweep.json').read_text())['base'] == 'guided'
