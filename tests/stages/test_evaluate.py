"""evaluate: numbers of sets whose truth is known, because they were drawn by hand."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from zsi_jax.build.keys import ConfigError
from zsi_jax.data.circles import Circles
from zsi_jax.report.shape import checked
from zsi_jax.stages import evaluate, findings, sets, sweep
from zsi_jax.stages.config import load
from zsi_jax.stages.prepare import prepare
from zsi_jax.stages.report import report
from zsi_jax.stages.sampled import Sampled

EVERY = Circles(size=32, radius=2, where='uniform')
BETWEEN, SIDE = 'objects/one, between', 'objects/one, at the sides'


def pictures(z, noise=0):
  """Images with a circle at each z; NaN is none."""
  images = np.zeros((len(z), 32, 32, 3), np.uint8)
  x = np.array([EVERY.attributes(i)['x'] for i in range(len(EVERY))])
  for k, place in enumerate(z):
    if np.isfinite(place):
      images[k] = EVERY[int(np.abs((x + 0.5) / 32 - place).argmin())]['image']
  return images


def put(folder, images, given=None, **sample):
  """A finished set."""
  own = {'n': len(images), 'batch': 50, 'per_file': 100, 'steps': 5, **sample}
  source = {'seed': 0, 'process': {}, 'sample': own, 'sources': {}}
  stored = Sampled(folder, source, (32, 32, 3), beside=given or {})
  stored.begin()
  for file in stored.files:
    stored.write(file, images[stored.rows(file).start : stored.rows(file).stop])
  stored.finish({'seconds': 2.0})


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  home = tmp_path_factory.mktemp('data')
  return load(
    'configs/zsi/circles.py:tiny',
    {'data.root': str(home), 'sample.n': 200, 'sample.weights': None, 'evaluate.bootstrap': 20},
  )


@pytest.fixture(scope='module')
def made(config, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  prepare(config, workdir)
  z = np.linspace(0.1, 0.9, 200)
  put(workdir / 'samples' / 'guided', pictures(z), weights=[30.0, 30.0], at='xt')
  sides = np.where(np.arange(200) < 150, 0.1, np.nan)
  put(workdir / 'samples' / 'unguided', pictures(sides))
  evaluate.evaluate(config, workdir)
  return workdir


def told(workdir):
  return json.loads((workdir / 'evaluate/metrics.json').read_text())


@pytest.fixture
def copy(made, tmp_path):
  return shutil.copytree(made, tmp_path / 'run')


def test_what_is_drawn_is_what_is_found(made):
  rows = {name: row['values'] for name, row in told(made)['sets'].items()}
  z = np.linspace(0.1, 0.9, 200)
  shown = np.array([(np.floor(v * 32 - 1e-9) + 0.5) / 32 for v in z])
  inside = ((shown >= 0.2) & (shown <= 0.8)).mean()
  assert rows['guided'][BETWEEN]['value'] == pytest.approx(inside, abs=0.02)
  assert rows['unguided'][SIDE]['value'] == 0.75
  assert rows['unguided']['objects/none']['value'] == 0.25
  assert rows['unguided'][BETWEEN] == {
    'value': 0.0,
    'low': 0.0,
    'high': pytest.approx(0.0188, abs=1e-3),
  }
  one_bin = np.sqrt(1 - 1 / 32)
  assert rows['unguided']['truth/l2']['value'] == pytest.approx(one_bin)
  assert rows['unguided']['truth/kld']['value'] == pytest.approx(np.log(32))
  assert rows['training records'][BETWEEN]['value'] == 0


def test_it_is_what_a_page_is_made_of(made, config):
  facts = checked(told(made))
  assert facts['zero_shot'] is True and facts['config'] == 'configs/zsi/circles.py:tiny'
  assert facts['protocol']['truth'] == 'circle meter' and facts['protocol']['size'] == 32
  assert facts['cost']['seconds']['sample'] == 4.0
  for figure in facts['figures']:
    if figure['kind'] == 'images':
      assert (made / 'evaluate' / figure['file']).is_file()
  report(config, made)
  page = (made / 'report/index.html').read_text()
  assert 'White circles left and right' in page and '.78' in page


def test_a_second_call_only_says_so_and_a_changed_image_counts(copy, config, caplog):
  before = (copy / 'evaluate/metrics.json').read_bytes()
  with caplog.at_level('INFO', 'zsi_jax'):
    evaluate.evaluate(config, copy)
  assert 'is done' in caplog.text
  assert (copy / 'evaluate/metrics.json').read_bytes() == before
  shutil.rmtree(copy / 'samples/unguided')
  put(copy / 'samples/unguided', pictures(np.full(200, 0.5)))
  evaluate.evaluate(config, copy)
  assert told(copy)['sets']['unguided']['values'][BETWEEN]['value'] == 1


def test_a_damaged_score_is_made_again(copy, config):
  path = copy / 'evaluate/scores/guided.npz'
  whole = path.read_bytes()
  path.write_bytes(whole[:-40])
  (copy / 'evaluate/metrics.json').unlink()
  evaluate.evaluate(config, copy)
  assert path.read_bytes() == whole


def test_networks_from_elsewhere_may_have_seen_anything(copy, config):
  own = load('configs/zsi/circles.py:tiny', {'sample.denoiser': 'else.safetensors'})
  assert sets.found(copy)[0].zero_shot is True
  assert sets.found(copy, foreign=own.sample.denoiser is not None)[0].zero_shot is None


def test_what_a_judge_has_turned_is_not_zero_shot(copy, config):
  aim = np.linspace(0.05, 0.95, 200).astype(np.float32)
  given = {'aim': np.sqrt(aim), 'asked': aim}
  put(copy / 'samples/dial', pictures(aim), given, aim=60.0, at='xt', dial='0123')
  evaluate.evaluate(config, copy)
  facts = told(copy)
  row = facts['sets']['dial']
  assert row['zero_shot'] is False and 'judge A' in row['note'] and facts['zero_shot'] is True
  assert row['values']['truth/rms error'] < 0.02  # of what was asked, not of what was aimed at


def test_a_page_of_a_network_that_saw_the_middle_says_so(copy, config):
  facts = json.loads((copy / 'prepare.json').read_text())
  facts['roles']['classifier']['support'] = {'name': 'all'}
  (copy / 'prepare.json').write_text(json.dumps(facts))
  (copy / 'evaluate/metrics.json').unlink()
  evaluate.evaluate(config, copy)
  assert told(copy)['zero_shot'] is False and 'seen more than the extremes' in told(copy)['why']


def test_asked_for_and_got(copy, config):
  aim = np.linspace(0.05, 0.95, 200).astype(np.float32)
  put(copy / 'samples/aim', pictures(aim), {'aim': aim}, aim=60.0, at='xt')
  evaluate.evaluate(config, copy)
  facts = told(copy)
  row = facts['sets']['aim']['values']
  assert row['truth/rank correlation'] > 0.995 and row['truth/rms error'] < 0.02
  assert facts['sets']['aim']['label'] == 'aim, aimed, 60'
  assert {f['kind'] for f in facts['figures']} >= {'curve', 'scatter'}


def test_seeds_are_gathered(copy, config):
  """plain_0 … plain_2 differ in their seed; lambda_5 and lambda_6 do not."""
  shares = {'plain_0': 0.2, 'plain_1': 0.4, 'plain_2': 0.6, 'lambda_5': 0.1, 'lambda_6': 0.9}
  rows = {}
  for name, share in shares.items():
    folder = copy if name == 'plain_0' else copy / 'variants' / name
    z = np.where(np.arange(100) < 100 * share, 0.5, 0.1)
    put(folder / 'samples' / name, pictures(z), weights=[30.0, 30.0], at='xt')
    key = 'classifier.seed' if name.startswith('plain') else 'sample.weights'
    rows[name] = {'workdir': f'variants/{name}', 'sample': name, 'overrides': {key: 1}}
  del rows['plain_0']
  (copy / sweep.TOLD).write_text(json.dumps({'base': 'plain_0', 'variants': rows}))
  evaluate.evaluate(config, copy)
  facts = told(copy)
  mean = facts['sets']['plain']['values'][BETWEEN]
  assert mean['value'] == pytest.approx(0.4) and mean['high'] == pytest.approx(0.6)
  assert 'lambda' not in facts['sets'] and 'lambda_5' in facts['sets']
  bars = next(f for f in facts['figures'] if f['kind'] == 'bars')
  assert bars['labels'] == ['plain'] and bars['errors'] == [pytest.approx(0.2)]


@pytest.mark.parametrize(
  'spoil, match',
  [
    (lambda w: shutil.rmtree(w / 'samples'), 'no samples lie there'),
    (lambda w: (w / 'samples/guided/sample.json').unlink(), 'not drawn to its end'),
    (lambda w: (w / 'samples/guided/sample.json').write_text('{'), 'cannot be read'),
    (lambda w: (w / 'samples/guided/00001.npz').unlink(), '00001.npz: cannot be read'),
    (lambda w: (w / 'evaluate/metrics.json').write_text('['), 'cannot be read'),
    (lambda w: (w / sweep.TOLD).write_text('{}'), 'cannot be read'),
  ],
)
def test_what_cannot_be_evaluated(copy, config, spoil, match):
  shutil.rmtree(copy / 'evaluate/scores')
  spoil(copy)
  if (copy / 'evaluate/metrics.json').read_text() != '[':
    (copy / 'evaluate/metrics.json').unlink()
  with pytest.raises(ConfigError, match=match):
    evaluate.evaluate(config, copy)


def test_sizes_are_not_mixed(copy, config):
  put(copy / 'samples/wide', np.zeros((100, 32, 32, 3), np.uint8))
  path = copy / 'samples/wide/sample.json'
  facts = json.loads(path.read_text()) | {'shape': [16, 16, 3]}
  path.write_text(json.dumps(facts))
  with pytest.raises(ConfigError, match='cannot be judged side by side'):
    evaluate.evaluate(config, copy)


def test_too_few_for_the_bins_is_a_warning_and_no_number(copy, config):
  put(copy / 'samples/few', pictures(np.full(20, 0.5)))
  evaluate.evaluate(config, copy)
  facts = told(copy)
  assert 'truth/l2' not in facts['sets']['few']['values']
  assert any('few: truth: 20 values are too few for 32 bins' in w for w in facts['warnings'])


def test_anchors():
  """Two equal end spikes, and one bin, as the facts have them."""
  ends, one = np.repeat([0.0, 1.0], 500)[:, None], np.full((1000, 1), 0.505)
  for p, l2, kld in ((ends, 0.7, 3.91202), (one, 0.99499, 4.60517)):
    values, warnings = findings.values({'judge_b': p}, {}, ('smile',), 100, 20)
    assert values['judge_b/l2']['value'] == pytest.approx(l2, abs=1e-5)
    assert values['judge_b/kld']['value'] == pytest.approx(kld, abs=1e-5)
    assert not warnings
