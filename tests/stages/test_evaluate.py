"""evaluate: numbers of sets whose truth is known, because they were drawn by hand."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from zsi_jax.build import clip, features
from zsi_jax.build.keys import ConfigError
from zsi_jax.data.circles import Circles
from zsi_jax.evaluate import calibrate
from zsi_jax.report.shape import checked
from zsi_jax.stages import curves, evaluate, findings, sample, scoring, sets, sweep
from zsi_jax.stages.config import load
from zsi_jax.stages.prepare import prepare
from zsi_jax.stages.report import report
from zsi_jax.stages.sampled import Sampled

EVERY = Circles(size=32, radius=2, where='uniform')
SAID = {'sample.n': 200, 'sample.weights': None, 'evaluate.bootstrap': 20}
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
  support = {'denoiser 0': 'extremes'}
  stored = Sampled(folder, source, (32, 32, 3), beside=given or {}, support=support)
  stored.begin()
  for file in stored.files:
    stored.write(file, images[stored.rows(file).start : stored.rows(file).stop])
  stored.finish({'seconds': 2.0})


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  home = tmp_path_factory.mktemp('data')
  return load('configs/zsi/circles.py:tiny', {**SAID, 'data.root': str(home)})


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


def root(workdir):
  return json.loads((workdir / 'prepare.json').read_text())['dataset']['root']


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
  assert facts['protocol']['truth'] == 'circle meter, r = 2' and facts['protocol']['size'] == 32
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
  whole = dict(np.load(path))
  path.write_bytes(path.read_bytes()[:-40])
  (copy / 'evaluate/metrics.json').unlink()
  evaluate.evaluate(config, copy)
  again = dict(np.load(path))
  assert again.keys() == whole.keys() and again['key'] == whole['key']
  for name in whole.keys() - {'stamp'}:
    np.testing.assert_array_equal(again[name], whole[name])


@pytest.mark.parametrize(
  'support, known',
  [
    ({'denoiser 0': 'extremes', 'classifier 0': 'split B'}, True),
    ({'denoiser 0': 'extremes', 'classifier 0': 'all'}, False),
    ({'denoiser 0': 'extremes', 'classifier 0': None}, None),
    ({'denoiser 0': 'listed'}, None),
    ({'denoiser 0': None, 'classifier 0': 'all'}, False),
    ({}, None),
  ],
)
def test_zero_shot_is_what_every_network_declared(support, known):
  assert sets.seen({'sample': {}, 'support': support}) is known
  assert sets.seen({'sample': {'dial': 'x'}, 'support': support}) is False


def test_what_a_judge_has_turned_is_not_zero_shot(copy, config):
  aim = np.linspace(0.05, 0.95, 200).astype(np.float32)
  given = {'aim': np.sqrt(aim), 'asked': aim}
  put(copy / 'samples/dial', pictures(aim), given, aim=60.0, at='xt', dial='0123')
  evaluate.evaluate(config, copy)
  facts = told(copy)
  row = facts['sets']['dial']
  assert row['zero_shot'] is False and 'judge A' in row['note'] and facts['zero_shot'] is True
  assert (
    row['values']['truth/rms error']['value'] < 0.02
  )  # of what was asked, not of what was aimed at


def test_a_page_of_a_network_that_saw_the_middle_says_so(copy, config):
  path = copy / 'samples/guided/sample.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | {'support': {'denoiser 0': 'all'}}))
  evaluate.evaluate(config, copy)
  assert told(copy)['zero_shot'] is False and 'seen more than the extremes' in told(copy)['why']


def test_a_picture_or_a_set_that_is_gone(copy, config, caplog):
  (copy / 'evaluate/guided.png').unlink()
  evaluate.evaluate(config, copy)
  assert (copy / 'evaluate/guided.png').is_file()
  (copy / 'samples/guided/sample.json').unlink()
  evaluate.evaluate(config, copy)
  assert list(told(copy)['sets']) == ['unguided', 'training records']
  assert 'not drawn yet: guided' in told(copy)['warnings']


def test_another_config_is_refused(copy):
  other = load('configs/zsi/circles.py:tiny', {'seed': 1})
  with pytest.raises(ConfigError, match='another config: seed: 0 -> 1'):
    evaluate.evaluate(other, copy)


def test_asked_for_and_got(copy, config):
  aim = np.linspace(0.05, 0.95, 200).astype(np.float32)
  put(copy / 'samples/aim', pictures(aim), {'aim': aim}, aim=60.0, at='xt')
  evaluate.evaluate(config, copy)
  facts = told(copy)
  row = facts['sets']['aim']['values']
  assert row['truth/rank correlation']['value'] > 0.995 and row['truth/rms error']['value'] < 0.02
  assert facts['sets']['aim']['label'] == 'aim, aimed, 60'
  assert {f['kind'] for f in facts['figures']} >= {'curve', 'scatter'}


def test_what_starts_from_records_stands_beside_them(copy, config):
  """A slerp that gives back its ends, and edits of which all but one are their records."""
  stored = json.loads((copy / 'prepare.json').read_text())
  index = np.load(copy / stored['roles']['classifier']['file'])['index']
  between = np.linspace(0.1, 0.9, 5)
  given = {'source': np.tile(index[[0, -1]], (100, 1)), 'fraction': np.tile(between, 20)}
  given['fraction'] = ((given['fraction'] - 0.1) / 0.8).astype(np.float32)
  put(copy / 'samples/slerp', pictures(np.tile(between, 20)), given, task='slerp')
  records = scoring.Records(config, copy)
  own = index[np.linspace(0, len(index) - 1, 100).astype(int)]
  images = records.images(own)
  images[0] = images[50]
  put(copy / 'samples/edited', images, {'source': own}, task='edit')
  evaluate.evaluate(config, copy)
  facts = checked(told(copy))
  (way,) = [f for f in facts['figures'] if 'along the way' in f['title']]
  assert way['series'][0]['x'] == [0, 0.25, 0.5, 0.75, 1]
  np.testing.assert_allclose(way['series'][0]['y'], between, atol=0.02)
  row = facts['sets']['edited']['values']
  gap = (images[0] / 255 - records.images(own[:1])[0] / 255) ** 2
  assert row['given records/rms distance']['value'] == pytest.approx(np.sqrt(gap.mean()) / 100)
  assert row['given records/own is the nearest']['value'] == 0.99
  shown = {f['file']: f for f in facts['figures'] if f['kind'] == 'images'}
  ways, edits = (Image.open(copy / 'evaluate' / f) for f in ('slerp-ways.png', 'edited-edits.png'))
  assert shown['slerp-ways.png']['columns'] == 7 and ways.size == (7 * 34 - 2, 13 * 34 - 2)
  first, last = (np.asarray(ways)[:32, at : at + 32] for at in (0, 6 * 34))
  assert (first == records.images(index[:1])[0]).all()
  assert (last == records.images(index[-1:])[0]).all()
  assert edits.size == (16 * 34 - 2, 4 * 34 - 2)
  above, below = (np.asarray(edits)[at : at + 32, 34:66] for at in (0, 34))
  assert (above == below).all() and (below == images[1]).all()


def test_copies_are_drawn_over_the_number_of_records():
  """Of sets that are drawn alike; two sizes are no curve."""
  copies = [findings.number(share, low=share, high=share) for share in (0.5, 0.1, 0.2)]
  told = [{'copies of training records': c, 'copies, by chance': 0.0} for c in copies]
  told = [{k: findings.number(v) if v == 0.0 else v for k, v in row.items()} for row in told]
  rows = [('λ = 30', n, row) for n, row in zip((10, 60, 30), told, strict=True)]
  (figure,) = curves.amounts([*rows, ('unguided', 10, told[0]), ('unguided', 60, told[1])])
  assert 'λ = 30' in figure['title'] and figure['series'][0]['x'] == [10, 30, 60]
  assert figure['series'][0]['y'] == [0.5, 0.2, 0.1] == figure['series'][0]['low']
  assert figure['series'][1]['y'] == [0, 0, 0] and figure['series'][1]['low'] is None


def test_check_sees_some_images_again(copy, config, caplog):
  with config.unlocked():
    config.check = True
  try:
    with caplog.at_level('INFO', 'zsi_jax'):
      evaluate.evaluate(config, copy)
    assert 'seen again' in caplog.text
    path = copy / 'evaluate/scores/guided.npz'
    rows = dict(np.load(path))
    assert json.loads(str(rows['stamp']))['jax']
    rows['truth'] = rows['truth'] + 0.1
    np.savez(path, **rows)
    with pytest.raises(ConfigError, match='guided.npz: truth is not what is seen'):
      evaluate.evaluate(config, copy)
  finally:
    config.check = False


def test_what_a_set_cost(copy, config):
  """Of one that was killed and gone on with, the last part's speed counts for all."""
  path = copy / 'samples/guided/sample.json'
  rate = {'seconds': 3.0, 'images': 50, 'compiling': 1.5}
  path.write_text(json.dumps(json.loads(path.read_text()) | {'rate': rate}))
  (copy / 'evaluate/metrics.json').unlink()
  evaluate.evaluate(config, copy)
  seconds = told(copy)['cost']['seconds']
  assert seconds['sample'] == 3.0 * 200 / 50 + 1.5 + 2.0 and seconds['evaluate'] > 0


def test_seeds_are_gathered(copy, config):
  """plain_0 … plain_2 differ in their seed; lambda_5 and lambda_6 do not."""
  shares = {'plain_0': 0.2, 'plain_1': 0.4, 'plain_2': 0.6, 'lambda_5': 0.1, 'lambda_6': 0.9}
  rows = {}
  for name, share in shares.items():
    folder = copy if name == 'plain_0' else copy / 'variants' / name
    if folder != copy:
      shutil.copytree(copy / 'splits', folder / 'splits')
      shutil.copy(copy / 'prepare.json', folder)
    z = np.where(np.arange(100) < 100 * share, 0.5, 0.1)
    put(folder / 'samples' / name, pictures(z), weights=[30.0, 30.0], at='xt')
    key = 'classifier.seed' if name.startswith('plain') else 'sample.weights'
    rows[name] = {'workdir': f'variants/{name}', 'sample': name, 'overrides': {key: 1}}
  del rows['plain_0']
  (copy / sweep.TOLD).write_text(json.dumps({'base': 'plain_0', 'variants': rows}))
  evaluate.evaluate(config, copy)
  facts = told(copy)
  mean = facts['sets']['plain']['values'][BETWEEN]
  assert mean['value'] == pytest.approx(0.4) and mean['std'] == pytest.approx(0.2)
  assert 'lambda' not in facts['sets'] and 'lambda_5' in facts['sets']
  bars = next(f for f in facts['figures'] if f['kind'] == 'bars')
  assert bars['labels'] == ['plain'] and bars['errors'] == [pytest.approx(0.2)]


@pytest.mark.parametrize(
  'spoil, match',
  [
    (lambda w: shutil.rmtree(w / 'samples'), 'no finished samples lie there'),
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


def test_images_without_a_value_are_counted():
  p = np.repeat(np.linspace(0, 1, 200, endpoint=False), 1)[:, None]
  p = np.concatenate([p, np.full((200, 1), np.nan)])
  values, warnings = findings.values({'truth': p}, {}, ('z',), 100, 20)
  assert values['truth/l2']['value'] == pytest.approx(0, abs=1e-6)
  assert values['truth/without a value']['value'] == 0.5
  assert values['truth/mild']['value'] == pytest.approx(0.3, abs=0.01)  # of all images
  assert warnings == ['truth: 200 of 400 images have no value, and no distance is of them']


def test_what_a_judge_says_before_its_ranks():
  flat, high = np.linspace(0, 1, 1000)[:, None], np.full((1000, 1), 0.505)
  rows = {'judge_b': flat, 'judge_b without ranks': high}
  values, _ = findings.values(rows, {}, ('smile',), 100, 20)
  assert values['judge_b/l2']['value'] < 0.01
  assert values['judge_b/l2, without ranks']['value'] == pytest.approx(0.99499, abs=1e-5)
  assert values['judge_b/kld, without ranks']['value'] == pytest.approx(4.60517, abs=1e-5)


def test_a_judge_that_is_not_fit_says_nothing():
  rows = {'judge_a': 1, 'judge_b': 2, 'judge_b without ranks': 3, 'features': 4, 'truth': 5}
  bench = scoring.Bench({}, {}, {'b': 'why'}, None, ())
  assert list(bench.heard(rows)) == ['judge_a', 'features', 'truth']
  assert dataclasses.replace(bench, silent=False).heard(rows) == rows
  assert scoring.Bench({}, {}, {}, None, ()).heard(rows) == rows


def test_anchors():
  """Two equal end spikes, and one bin, as the facts have them."""
  ends, one = np.repeat([0.0, 1.0], 500)[:, None], np.full((1000, 1), 0.505)
  for p, l2, kld in ((ends, 0.7, 3.91202), (one, 0.99499, 4.60517)):
    values, warnings = findings.values({'judge_b': p}, {}, ('smile',), 100, 20)
    assert values['judge_b/l2']['value'] == pytest.approx(l2, abs=1e-5)
    assert values['judge_b/kld']['value'] == pytest.approx(kld, abs=1e-5)
    assert not warnings


@dataclasses.dataclass
class Sees:
  """A judge that reads z from where the light is, with an error of its own."""

  off: float = 0.0
  kind: str = 'binary'
  attributes: tuple = ('z',)
  digest: str = 'd'
  ranks: tuple = ()

  def logits(self, images):
    light = images.astype(float).sum((1, 3))
    x = (light @ np.arange(32)) / np.maximum(light.sum(1), 1)
    return np.clip((x + 0.5) / 32 + self.off, 0, 1)[:, None]

  def read(self, logits, ranked=True):
    return logits

  def features(self, images):
    return images[:, ::4, ::4, 0].reshape(len(images), -1).astype(np.float32) / 255 + 1e-3


def fit(l2=0.02):
  row = {'l2': l2, 'kld': 0.02, 'n': 2000, 'floor_l2': 0.01, 'floor_kld': 0.01}
  ece = {'before': 0.02, 'after': 0.01}
  bins = [calibrate.Bin(p, share, 9)._asdict() for p, share in ((0.1, 0.12), (0.9, 0.88))]
  error = {'rmse': 0.02}
  same = {'uniform': row, 'ece': ece, 'reliability': bins, 'error': error, 'temperature': 1.0}
  return {'kind': 'binary', 'each': {'z': same}, **same}


@pytest.fixture
def judged(monkeypatch):
  """Judges a and b of which b is not fit, and no training."""
  judges = {'a': Sees(0.0), 'b': Sees(0.05, digest='e')}
  facts = {'a': fit(), 'b': fit(0.05)}
  monkeypatch.setattr(scoring.judging, 'trusted', lambda config, home: (judges, facts))
  return judges


class Small:
  """Where CLIP would look."""

  source = 'small'

  def features(self, images):
    return images[:, ::4, ::4].reshape(len(images), -1).astype(np.float32) + 1


def test_judges_score_compare_and_are_named_where_they_are_not_fit(copy, judged, monkeypatch):
  monkeypatch.setattr(clip, 'clip', lambda path: Small())
  more = {
    'evaluate.clip': __file__,
    'judge.attributes': ('z',),
    'evaluate.full': 100,
    'evaluate.mild': 60,
  }
  headline = (('guided', 'judge_b/l2', 'L2'), ('guided', 'judge_a/l2', 'L2'))
  config = load('configs/zsi/circles.py:tiny', {**SAID, **more, 'data.root': root(copy)})
  with config.unlocked():
    config.report.headline = headline
  aim = np.linspace(0.05, 0.95, 200).astype(np.float32)
  put(copy / 'samples/aim', pictures(aim), {'aim': aim}, aim=60.0, at='xt')
  same = pictures(np.full(200, 0.1))
  put(copy / 'samples/copied', same)
  evaluate.evaluate(config, copy)
  facts = checked(told(copy))
  row = facts['sets']['aim']['values']
  assert row['judge_a/rms error']['value'] < 0.02
  assert row['judge_b/rms error']['value'] == pytest.approx(0.05, abs=0.02)
  assert facts['sets']['guided']['values']['fid/judge_b/full'] > 0
  assert {'precision/judge_b/full', 'kid/judge_b/mild', 'recall/judge_b/mild'} <= row.keys()
  copies = facts['sets']['copied']['values']['copies of training records']['value']
  assert copies > 0.9 > facts['sets']['guided']['values']['copies of training records']['value']
  row = facts['sets']['copied']['values']
  assert row['copies of training records by CLIP']['value'] > 0.9
  with np.load(copy / 'evaluate/scores/copied.npz') as scores:
    assert scores['clip'].shape[0] == 200 and 'clip_mirrored' not in scores
  shown = {f.get('file') for f in facts['figures']}
  assert {'copied-neighbours.png', 'copied-neighbours-clip.png'} <= shown
  assert any('judge b is not fit' in w for w in facts['warnings'])
  assert [h['label'] for h in facts['headline']] == ['L2 (judge not fit)', 'L2']
  assert facts['protocol']['judge_a'] == 'd' and 'records/full' in facts['protocol']
  assert any(f['title'] == 'Reliability of the judges' for f in facts['figures'])
  dial = json.loads((copy / 'evaluate/dial-aim.json').read_text())
  assert np.abs(np.array(dial['asked']) - dial['got']).max() < 0.05


class Inception(Small):
  """Where Inception and LPIPS would look."""

  source = 'their digest'

  def __call__(self, x, y):
    return np.abs(x.astype(float) - y).mean((1, 2, 3))


def test_networks_of_others_measure_a_set(copy, monkeypatch):
  monkeypatch.setattr(features, 'inception', lambda path: Inception())
  monkeypatch.setattr(features, 'lpips', lambda path: Inception())
  more = {'evaluate.fid': True, 'evaluate.lpips': 'l', 'evaluate.full': 100, 'evaluate.mild': 60}
  config = load('configs/zsi/circles.py:tiny', {**SAID, **more, 'data.root': root(copy)})
  put(copy / 'samples/little', pictures(np.full(40, 0.5)))
  evaluate.evaluate(config, copy)
  facts = told(copy)
  row = facts['sets']['guided']['values']
  for where in ('full', 'mild'):
    names = {f'{metric}/inception/{where}' for metric in ('fid', 'kid', 'precision', 'recall')}
    assert names <= row.keys() and row[f'fid/inception/{where}'] > 0
  assert row['lpips diversity']['value'] > 0
  assert facts['protocol']['features/inception'] == 'their digest'
  assert facts['protocol']['lpips diversity'] == 'their digest, 1000 pairs'
  few = 'little: 40 images are too few for FID, KID, recall'
  assert few in facts['warnings'] and 'fid/inception/full' not in facts['sets']['little']['values']


def test_networks_of_others_that_are_missing_are_said_before_anything_is_drawn(copy, monkeypatch):
  for name in (features.VARIABLE, features.ROOM):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv('XDG_CACHE_HOME', str(copy))
  monkeypatch.setenv('TORCH_HOME', str(copy))
  wrong = copy / features.NAMES[0]
  wrong.write_bytes(b'other bytes')
  for more, match in (
    ({'evaluate.fid': True}, '95,628,359 bytes'),
    ({'evaluate.fid': True, 'evaluate.inception': str(wrong)}, features.NAMES[0]),
    ({'evaluate.lpips': str(copy / 'gone')}, 'gone'),
    ({'evaluate.clip': str(copy / 'gone')}, 'gone'),
  ):
    config = load('configs/zsi/circles.py:tiny', {**SAID, **more, 'data.root': root(copy)})
    with pytest.raises(ValueError, match=match):
      sample.sample(config, copy)


def test_no_dial_is_made_by_a_judge_that_is_not_fit(copy, judged, monkeypatch):
  facts = {'a': fit(0.05), 'b': fit()}
  monkeypatch.setattr(scoring.judging, 'trusted', lambda config, home: (judged, facts))
  more = {'judge.attributes': ('z',), 'data.root': root(copy)}
  aim = np.linspace(0.05, 0.95, 200).astype(np.float32)
  put(copy / 'samples/aim', pictures(aim), {'aim': aim}, aim=60.0, at='xt')
  evaluate.evaluate(load('configs/zsi/circles.py:tiny', {**SAID, **more}), copy)
  assert not list((copy / 'evaluate').glob('dial-*'))


def test_columns_of_every_kind_of_judge():
  p = np.array([[0.3, 0.7], [0.9, 0.1]])
  own = scoring.Bench({}, {}, {}, None, ('yaw',), ((-90.0, 90.0),))
  assert own.columns(Sees(kind='classes'), p).tolist() == [[0.7], [0.1]]
  four = np.full((2, 4), 0.25)
  assert own.columns(Sees(kind='classes'), four).shape == (2, 4)
  assert own.columns(Sees(kind='regression'), np.array([[0.0], [45.0]])).tolist() == [[0.5], [0.75]]
  lost = scoring.Bench({}, {}, {}, None, ('n',), (None,))
  assert np.isnan(lost.columns(Sees(kind='regression'), np.array([[1.0]]))).all()
