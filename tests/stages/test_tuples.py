"""Conditions from records to the page: whom images are near to, and how near."""

from __future__ import annotations

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stages import drawer
from zsi_jax.build import eyes as build
from zsi_jax.build import trained
from zsi_jax.build.keys import ConfigError
from zsi_jax.guide import energies
from zsi_jax.report.shape import checked
from zsi_jax.stages import (
  evaluate,
  eyes,
  obeyed,
  paired,
  prepare,
  sample,
  sets,
  steps,
  sweep,
  tuples,
)
from zsi_jax.stages.config import load
from zsi_jax.stages.foresight import foresee
from zsi_jax.stages.report import report

pytestmark = pytest.mark.usefixtures('cache')
NAMES = 'identity', 'landmarks'
SAID = {
  'data.options.n': 120,
  'data.options.people': 12,
  'eyes.kinds': NAMES,
  'eyes.holdout': 0.34,
  'eyes.net.width': 8,
  'eyes.batch': 16,
  'eyes.steps': 3,
  'eyes.warmup': 0,
  'eyes.decay': 'constant',
  'sample.denoiser': 'fake',
  'sample.n': 6,
  'sample.batch': 3,
  'sample.per_file': 6,
  'sample.unguided': 6,
  'sample.steps': 3,
  'evaluate.bins': 2,
  'evaluate.bootstrap': 20,
  'evaluate.gradients': 3,
}
AHEAD = {  # with a stop, as in the grids: a solver during a range
  'sample.guide.kind': 'lookahead',
  'sample.guide.stop': 100.0,
  'sample.name': 'ahead_x1',
}


def config(**more):
  found = load('configs/zmagic/identity_landmarks.py:tiny', SAID | more)
  with found.unlocked():
    found.report.against = (('ahead_x1', 'sum_x1'), ('ahead_x2', 'sum_x1'))
  return found


def wide(own, workdir=None):
  """Of 32 pixels."""
  return dataclasses.replace(drawer.model(own, workdir, labels=9, null=8), shape=(32, 32, 3))


@pytest.fixture(scope='module', autouse=True)
def tiny():
  before = jax.config.read('jax_disable_most_optimizations')
  jax.config.update('jax_disable_most_optimizations', True)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(trained, 'model', wide)
    yield
  jax.config.update('jax_disable_most_optimizations', before)


@pytest.fixture(scope='module')
def made(tmp_path_factory, cache, tiny):
  folder = tmp_path_factory.mktemp('tuples')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('ZSI_DATA_DIR', str(folder / 'data'))
    home = folder / 'w'
    prepare.prepare(config(), home)
    eyes.eyes(config(), home)
    sample.sample(config(), home)
    sample.sample(config(**AHEAD, **{'sample.guide.rho': (6.0, 60.0)}), home)
    evaluate.evaluate(config(), home)
    yield home


def test_records_are_of_persons_whom_no_eye_has_seen(made):
  several = tuples.drawn(config(), made, 50)
  one = tuples.drawn(config(**{'sample.tuples': 'one'}), made, 50)
  assert one.index.shape == (50, 2) and (one.index[:, 0] == one.index[:, 1]).all()
  assert (one.index[:, 0] == several.index[:, 0]).all()
  who = np.arange(120) % 12
  pairs = who[several.index]
  assert (pairs[:, 0] != pairs[:, 1]).all()
  learned = [build.parts(config(), role, who).learn for role in build.roles(config())]
  assert not set(pairs.ravel()) & set(who[np.concatenate(learned)])
  again = tuples.drawn(config(**{'sample.seed': 7}), made, 50)
  assert (again.index != several.index).any()


def test_what_an_image_is_given_is_what_the_guide_sees(made):
  near = tuples.drawn(config(), made, 6)
  rows = np.array([0, 3])
  refs = tuples.references(config(), made, tuples.GUIDE)
  found = near.seen(rows, refs)
  assert found['identity'].shape == (2, 128) and found['landmarks'].shape == (2, 68, 2)
  eye = build.eye(made / 'eyes/landmarks/guide')
  x = np.float32(near.images(rows, 'landmarks')) / np.float32(127.5) - 1
  np.testing.assert_allclose(found['landmarks'], eye(x), atol=1e-5)
  judge = tuples.looks(config(), made, tuples.JUDGE)['landmarks'](x)
  assert np.abs(np.asarray(judge) - found['landmarks']).max() > 1e-4


def test_what_is_drawn_says_by_what(made):
  told = json.loads((made / 'samples/ahead_x1/sample.json').read_text())
  assert told['sample']['conditions'] == list(NAMES)
  assert told['sample']['guide']['kind'] == 'lookahead' and told['support']['eyes'] == 'all'
  assert told['eyes'] == {k: build.facts(made / f'eyes/{k}/guide')['digest'] for k in NAMES}
  rows = np.load(made / 'samples/ahead_x1/00000.npz')
  assert (rows['source'] == tuples.drawn(config(), made, 6).index).all()
  plain = json.loads((made / 'samples/unguided/sample.json').read_text())
  assert 'eyes' not in plain and 'eyes' not in plain['support']
  assert plain['sample'].keys().isdisjoint({'conditions', 'guide', 'tuples'})
  with np.load(made / 'samples/sum_x1/00000.npz') as other:
    assert (other['images'] != rows['images']).any()


def test_other_eyes_are_other_images(made, tmp_path):
  home = shutil.copytree(made, tmp_path / 'w')
  shutil.rmtree(home / 'eyes/identity/guide')
  shutil.copytree(home / 'eyes/identity/judge', home / 'eyes/identity/guide')
  with pytest.raises(ConfigError, match='images of another sampling: eyes'):
    sample.sample(config(), home)


def test_distances_are_those_of_the_judging_eyes(made):
  told = checked(json.loads((made / 'evaluate/metrics.json').read_text()))
  found, _ = sets.found(made)
  one = next(each for each in found if each.name == 'ahead_x1')
  pixels, _ = one.read()
  near = tuples.drawn(config(), made, 6)
  judge, x = (
    tuples.looks(config(), made, tuples.JUDGE),
    np.float32(pixels) / np.float32(127.5) - 1,
  )
  ref = near.seen(np.arange(6), tuples.references(config(), made, tuples.JUDGE))
  seen = {k: np.asarray(look(x)) for k, look in judge.items()}
  values = told['sets']['ahead_x1']['values']
  wanted = np.asarray(energies.cosine(seen['identity'], ref['identity'])).mean()
  assert values['identity/1 - cosine']['value'] == pytest.approx(wanted, abs=1e-4)
  gap = np.linalg.norm((seen['landmarks'] - ref['landmarks']).reshape(6, -1), axis=1)
  assert values['landmarks/L2']['value'] == pytest.approx(gap.mean(), rel=1e-3)
  true = (near.of(np.arange(6), 'landmarks', 'landmarks') + 0.5) / 32
  apart = np.linalg.norm(true[:, 36] - true[:, 45], axis=1)
  nme = (np.linalg.norm(seen['landmarks'] - true, axis=2).mean(1) / apart).mean()
  assert values['landmarks/NME']['value'] == pytest.approx(nme, rel=1e-3)
  assert 'identity/1 - cosine' in told['sets']['unguided']['values']  # of the same tuples
  (table,) = [t for t in told['tables'] if t['title'] == 'ahead against sum']
  assert [row[:2] for row in table['rows']] == [
    ['1', 'identity/1 - cosine'], ['1', 'identity/L2'], ['1', 'landmarks/L2'],
    ['1', 'landmarks/NME'], ['1', paired.APART],
  ]  # fmt: skip
  change = told['sets']['ahead_x1']['values']['landmarks/L2/change from sum']['value']
  mine, base = (landmarks_of(told, k) for k in ('ahead_x1', 'sum_x1'))
  assert change == pytest.approx(mine / base - 1, abs=1e-6)
  seers = next(t for t in told['tables'] if t['title'] == 'Eyes')
  assert {row[0] for row in seers['rows']} >= {'identity, guide', 'landmarks, judge'}
  assert any('next to blind' in line for line in told['warnings'])  # three steps
  assert {'eye/identity', 'eye/landmarks'} <= told['protocol'].keys()
  apart = np.float64(pixels) - np.float64(next(o for o in found if o.name == 'sum_x1').read()[0])
  apart = np.sqrt((apart**2).mean((1, 2, 3))).mean() / 127.5
  assert table['rows'][4][2]['value'] == pytest.approx(apart, abs=1e-6) and apart > 1e-3
  mine, base = (told['sets'][k]['values']['landmarks/L2']['value'] for k in ('ahead_x1', 'sum_x1'))
  assert table['rows'][2][2]['value'] == pytest.approx(mine - base, abs=1e-6)
  drawn = {f['title']: f['series'] for f in told['figures'] if f['kind'] == 'curve'}
  for title in ('identity along the chain', 'landmarks along the chain'):
    assert [row['label'] for row in drawn[title]] == ['ahead', 'sum']
    assert all(len(row['x']) == 3 and row['x'][0] > row['x'][-1] for row in drawn[title])
  both = drawn['Cosines of the parts of the score']
  assert len(both) == 2 and all(-1 <= y <= 1 for row in both for y in row['y'])
  (valley,) = [f for f in told['figures'] if f['title'].startswith('Where each way goes')]
  assert [row['label'] for row in valley['paths']] == ['ahead', 'sum']
  assert all(np.isfinite(row).all() for row in valley['values'])
  shown = [f['file'] for f in told['figures'] if f['kind'] == 'images']
  assert 'ahead_x1-conditions.png' in shown and (made / 'evaluate/ahead_x1-conditions.png').exists()
  report(config(), made)
  assert 'ahead against sum' in (made / 'report/index.html').read_text()


def test_which_record_is_for_what_does_not_depend_on_their_order(made):
  names = NAMES[::-1]
  other = tuples.drawn(config(**{'sample.conditions': names}), made, 50)
  assert (other.index == tuples.drawn(config(), made, 50).index[:, ::-1]).all()


def landmarks_of(told, name):
  return told['sets'][name]['values']['landmarks/L2']['value']


def test_lent_eyes_hold_out_the_same_persons(made):
  """Another seed holds out others, of whom these have learned."""
  lent = config(**{'sample.eyes': str(made)})
  home = made.parent / 'other'
  prepare.prepare(lent, home)
  assert tuples.drawn(lent, home, 4).index.shape == (4, 2)
  with pytest.raises(ConfigError, match='it may have learned from these'):
    tuples.drawn(config(**{'sample.eyes': str(made), 'eyes.holdout': 0.5}), home, 4)


def test_an_energy_without_a_slope_is_named_before_anything_compiles(made, monkeypatch):
  def sharp(r, eta=0.0):
    return jnp.linalg.norm(r.reshape(len(r), -1), axis=1)

  monkeypatch.setattr(energies, 'soft', sharp)
  with pytest.raises(ConfigError, match="sample.conditions: energy 'landmarks': its slope is NaN"):
    sample.sample(config(**{'sample.name': 'sharp'}), made)


def test_pairs_of_other_tuples_are_refused(made):
  found = {one.name: one for one in sets.found(made)[0]}
  rows = {name: obeyed.seen(config(), made, one, one.read()[0]) for name, one in found.items()
          if one.conditions}  # fmt: skip
  found['sum_x1'].told['sample']['tuples'] = 'one'
  with pytest.raises(ConfigError, match='ahead_x1 and sum_x1 differ in tuples'):
    paired.held((('ahead_x1', 'sum_x1'),), rows, found, 10)


def test_fronts_go_along_strengths(made):
  (one,) = [each for each in sets.found(made)[0] if each.name == 'sum_x1']
  values = {
    'sum_x1': (3.0, 4.0),
    'sum_x4': (1.0, 5.0),
    'sum_x0.5': (4.0, 2.0),
    'alone_x1': (1.0, 1.0),
  }
  rows = {k: {'identity/1 - cosine': np.full(2, a), 'landmarks/L2': np.full(2, b)}
          for k, (a, b) in values.items()}  # fmt: skip
  (figure,) = paired.fronts(rows, dict.fromkeys(rows, one), 10)
  assert [line['label'] for line in figure['series']] == ['sum']
  assert figure['series'][0]['x'] == [4, 3, 1] and figure['series'][0]['y'] == [2, 4, 5]
  assert figure['series'][0]['low'] == figure['series'][0]['y']  # all images are alike
  assert paired.fronts({'sum_x1': rows['sum_x1']}, {'sum_x1': one}, 10) == []
  other = drawn_as(one, 'sum_x4', tuples='one')
  assert len(paired.fronts(rows, {**dict.fromkeys(rows, one), 'sum_x4': other}, 10)) == 1


def drawn_as(one, name, **said):
  """The same set under another name, drawn otherwise."""
  told = {**one.told, 'sample': {**one.told['sample'], **said}}
  return dataclasses.replace(one, folder=one.folder.parent / name, told=told)


def test_ways_are_compared_at_one_strength(made):
  """In the order of the sweep: the base, and then each way from its least strength on."""
  found = {each.name: each for each in sets.found(made)[0]}
  one, ahead = found['sum_x1'], found['ahead_x1']
  weak = {'kind': 'sum', 'rho': [3.0, 30.0]}
  rows = [
    one,
    drawn_as(one, 'sum_x0.5', guide=weak),
    drawn_as(ahead, 'ahead_x0.5', guide={**weak, 'kind': 'lookahead'}),
    ahead,
    drawn_as(ahead, 'one_ahead_x1', tuples='one'),
    drawn_as(one, 'long_sum_x1', steps=9),
  ]
  assert steps.comparable(rows) == {'sum': one, 'ahead': ahead}


def test_sets_of_other_noise_are_not_called_alike(made):
  found = {one.name: one for one in sets.found(made)[0] if one.conditions}
  rows = {k: obeyed.seen(config(), made, one, one.read()[0]) for k, one in found.items()}
  pair = (('ahead_x1', 'sum_x1'),)
  (table,) = paired.tables(paired.held(pair, rows, found, 10), 10)
  assert 'the same noise' in table['note'] and paired.APART in [row[1] for row in table['rows']]
  found['sum_x1'] = drawn_as(found['sum_x1'], 'sum_x1', steps=9)
  held = paired.held((*pair, ('ahead_x2', 'sum_x2')), rows, found, 10)
  (table,) = paired.tables(held, 10)
  assert 'other noise' in table['note'] and paired.APART not in [row[1] for row in table['rows']]
  assert paired.apart(held) == []
  assert paired.unknown((*pair, ('ahead_x1', 'gone')), found) == [
    'report.against: there is no set gone'
  ]


def test_every_variant_of_the_grid_is_foreseen(made, monkeypatch):
  found = sweep.variants('configs/zmagic/identity_landmarks.py:tiny', SAID, made)
  assert len({one.config.sample.name for one in found}) == len(found) == 42
  long = next(one for one in found if one.name == 'long_sum_x2')
  assert long.config.sample.steps == 150 and long.config.sample.guide.rho == (4.0, 40.0)
  assert all(one.config.sample.guide.stop == 100 for one in found)
  foresee(config(**{'sample.denoiser': None}), made, ())


@pytest.mark.parametrize(
  'said, words',
  [
    ({'data.options.people': 3}, 'each of the 2 copies needs two persons'),
    ({'eyes.kinds': ('identity',)}, 'nobody sees landmarks'),
  ],
)
def test_refused_before_anything_is_trained(said, words, tmp_path, made, monkeypatch):
  monkeypatch.setenv('ZSI_DATA_DIR', str(made.parent / 'data'))
  own = config(**said)
  prepare.prepare(own, tmp_path / 'w')
  with pytest.raises(ConfigError, match=words):
    foresee(own, tmp_path / 'w', ('denoiser',))
  if 'data.options.people' in said:
    lent = config(**said, **{'sample.eyes': str(made)})
    with pytest.raises(ConfigError, match='nobody knows whom they have seen|two persons'):
      tuples.drawn(lent, tmp_path / 'w', 4)


def test_a_label_is_told_to_the_denoiser_and_judged_by_an_eye(made, tmp_path, monkeypatch):
  monkeypatch.setenv('ZSI_DATA_DIR', str(made.parent / 'data'))
  said = {k: v for k, v in SAID.items() if k != 'eyes.kinds'} | {'eyes.steps': 1}
  own, home = load('configs/zmagic/label_style.py:tiny', said), tmp_path / 'w'
  assert own.eyes.kinds == ('feeling', 'segmentation', 'identity')
  prepare.prepare(own, home)
  eyes.eyes(own, home)
  sample.sample(own, home)
  near, rows = tuples.drawn(own, home, 6), np.arange(6)
  given = near.given(rows, tuples.references(own, home, tuples.GUIDE), 8)
  true = near.of(rows, 'label', 'feeling')
  assert (given['conds'] == np.stack([np.full(6, 8), true], 1)).all()
  assert given['style'].shape == (6, 16, 16, 16) and 'label' not in given
  told = json.loads((home / 'samples/sum_x1/sample.json').read_text())
  assert told['eyes'].keys() == {'style'} and told['sample']['cfg_variance'] == 'clipped'
  evaluate.evaluate(own, home)
  (one,) = [each for each in sets.found(home)[0] if each.name == 'sum_x1']
  found = obeyed.seen(own, home, one, one.read()[0])
  look = tuples.looks(own, home, tuples.JUDGE)['label']
  p = jax.nn.softmax(look(np.float32(one.read()[0]) / np.float32(127.5) - 1))[rows, true]
  np.testing.assert_allclose(found['label/1 - P'], 1 - p, atol=1e-5)
  assert found.keys() == {'label/1 - P', 'label/wrong', 'style/Gram'}
  other = load('configs/zmagic/label_style.py:tiny', said | {'sample.guide.rho': (0.0, 30.0)})
  other.sample.name = 'told_x1'
  sample.sample(other, home)
  with np.load(home / 'samples/told_x1/00000.npz') as a, np.load(one.folder / '00000.npz') as b:
    assert (a['images'] != b['images']).any()
