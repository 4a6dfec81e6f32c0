"""What images are drawn from and pulled to: aims and dials, conditions, records, other solvers."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

import zsi_jax as zsi
from tests.stages import drawer
from tests.stages.command import CIRCLES
from tests.stages.test_sample import images
from zsi_jax.build import chains, models, sampling, trained
from zsi_jax.core import DDIM, Ancestral, During, Langevin
from zsi_jax.data import npz
from zsi_jax.io.files import sha256
from zsi_jax.io.images import to_uint8
from zsi_jax.stages import given, prepare
from zsi_jax.stages.config import load
from zsi_jax.stages.foresight import foresee
from zsi_jax.stages.sample import sample

pytestmark = pytest.mark.usefixtures('cache')
DATA = {'data.options.size': 8, 'data.options.radius': 1, 'data.options.epsilon': 0.3}
DATA |= {'support.delta': 0.3, 'data.flip': False}
DDIM0 = {'solver.kind': 'ddim'}
SLERP = DDIM0 | {'task': 'slerp', 'weights': None, 'points': 5, 'steps': 6}
EDIT = DDIM0 | {'task': 'edit', 'labels': (0,), 'steps': 6}


def config(check=False, **said):
  """`sample.` stands before keys without a dot, or of the solver."""
  full = {k if k == 'seed' or '.drop' in k else f'sample.{k}': v for k, v in said.items()}
  return load(CIRCLES, drawer.SAID | DATA | {'sample.n': 8} | full | {'check': check})


@pytest.fixture(scope='module', autouse=True)
def quick():
  """Compiled in half the time."""
  before = jax.config.read('jax_disable_most_optimizations')
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', before)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
  monkeypatch.setattr(trained, 'model', drawer.model)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """A workdir with splits of circles, 8 x 8."""
  folder = tmp_path_factory.mktemp('given')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('ZSI_DATA_DIR', str(folder / 'data'))
    prepare.prepare(config(), folder / 'w')
    yield folder / 'w'


def drawn(workdir, name, check=False, **said):
  """(images, all else) of a set."""
  sample(config(check, name=name, **said), workdir)
  folder = workdir / 'samples' / name
  files = [npz.read(path, '') for path in sorted(folder.glob('*.npz'))]
  return images(folder)[0], {
    key: np.concatenate([file[key] for file in files])
    for key in files[0]
    if key not in ('images', 'seed', 'stamp')
  }


def close(a, b):
  assert a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1


def told(workdir, name):
  return json.loads((workdir / 'samples' / name / 'sample.json').read_text())


def test_each_image_is_aimed_at_its_own_value(tmp_path):
  """By its key alone, so that it is the same at any strength and in any number."""
  aimed, beside = drawn(tmp_path, 'aimed', aim=60.0, n=20)
  z = beside['aim']
  assert z.dtype == np.float32 and z.shape == (20,) and len(set(z.tolist())) == 20
  weak, other = drawn(tmp_path, 'weak', aim=5.0, n=7, weights=None)
  np.testing.assert_array_equal(other['aim'], z[:7])
  assert (weak != aimed[:7]).any()
  assert (drawn(tmp_path, 'seed', aim=5.0, n=7, seed=1)[1]['aim'] != z[:7]).all()
  m = drawer.model(config())
  for i in (0, 13):
    guide = m.classifier['side'].towards([60 * (1 - z[i]), 60 * z[i]])
    alone = zsi.sample(zsi.keys(0, 20)[i : i + 1], m.process, m.denoiser, guide, shape=m.shape)
    close(aimed[i : i + 1], to_uint8(alone))
  own = told(tmp_path, 'aimed')['sample']
  assert own['aim'] == 60.0 and 'weights' not in own and 'dial' not in own


def test_aims_are_uniform_and_of_no_other_noise():
  keys = zsi.keys(0, 4000)
  z = given.uniform(keys)
  assert np.abs(np.sort(z) - (np.arange(4000) + 0.5) / 4000).max() < 1.63 / 4000**0.5  # KS, 1 %
  assert np.abs(np.corrcoef(z, jax.vmap(jax.random.uniform)(keys))[0, 1]) < 0.05
  first = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 0)))(keys)
  assert np.abs(np.corrcoef(z, first)[0, 1]) < 0.05


def test_check_finds_a_changed_aim(tmp_path):
  drawn(tmp_path, 'aimed', aim=60.0)
  drawn(tmp_path, 'aimed', aim=60.0, check=True)
  path = tmp_path / 'samples/aimed/00000.npz'
  arrays = npz.read(path, '')
  arrays['aim'][3] += 1e-3
  npz.write(path, arrays)
  seals = told(tmp_path, 'aimed')
  seals['files'][path.name] = {'bytes': path.stat().st_size, 'sha256': sha256(path)}
  (tmp_path / 'samples/aimed/sample.json').write_text(json.dumps(seals))
  with pytest.raises(ValueError, match=r'00000\.npz: .*or not their aim'):
    drawn(tmp_path, 'aimed', aim=60.0, check=True)


def curve(path, asked, got):
  path.write_text(json.dumps({'asked': list(asked), 'got': list(got), 'stamp': path.name}))
  return str(path)


def test_a_dial_asks_for_what_will_be_got(tmp_path):
  asked = np.linspace(0, 1, 101)
  square = curve(tmp_path / 'a.json', asked, asked**2)
  plain, before = drawn(tmp_path, 'plain', aim=60.0)
  turned, beside = drawn(tmp_path, 'turned', aim=60.0, dial=square)
  np.testing.assert_array_equal(beside['asked'], before['aim'])
  np.testing.assert_allclose(beside['aim'], np.sqrt(before['aim']), atol=1e-2)
  assert (turned != plain).any()
  same, _ = drawn(tmp_path, 'same', aim=60.0, dial=curve(tmp_path / 'b.json', [0, 1], [0, 1]))
  np.testing.assert_array_equal(same, plain)
  drawn(tmp_path, 'turned', aim=60.0, dial=curve(tmp_path / 'c.json', asked, asked**2))
  with pytest.raises(ValueError, match=r'sample\.dial: .* Take another sample.name'):
    drawn(tmp_path, 'turned', aim=60.0, dial=str(tmp_path / 'b.json'))


def test_a_dial_of_a_workdir_with_a_plateau(tmp_path):
  (tmp_path / 'evaluate').mkdir()
  curve(tmp_path / 'evaluate/dial.json', [0, 0.2, 0.4, 1], [0.1, 0.3, 0.3, 0.9])
  dial = given.dial(config(aim=1.0, dial='evaluate/dial.json'), tmp_path)
  asked = dial(np.array([0.0, 0.1, 0.2, 0.3, 0.6, 0.9, 1.0]))
  np.testing.assert_allclose(asked, [0, 0, 0.15, 0.3, 0.65, 1, 1], atol=1e-6)


@pytest.mark.parametrize(
  'text, said',
  [
    (None, 'neither here nor in .*--stage=evaluate'),
    ('{}', 'no dial, '),
    ('x', 'no dial, '),
    ('{"asked": [0, 1], "got": [1, 0]}', 'got must not fall'),
    ('{"asked": [0, 0], "got": [0, 1]}', 'asked must rise'),
    ('{"asked": [0, 1], "got": [0.5, 0.5]}', 'got must not fall'),
    ('{"asked": [0], "got": [0]}', 'over 2 or more'),
    ('{"asked": [0, 1, NaN], "got": [0, 1, 2]}', 'asked must rise'),
  ],
)
def test_what_is_no_dial(tmp_path, text, said):
  if text is not None:
    (tmp_path / 'd.json').write_text(text)
  with pytest.raises(ValueError, match=said):
    given.dial(config(aim=1.0, dial='d.json'), tmp_path)


CFG = {'denoiser.drop': 0.1, 'weights': None}


def test_classes_without_a_classifier(tmp_path):
  """The published guidance by no classifier: (1 + w) times the mean, less w times none."""
  ours, _ = drawn(tmp_path, 'cfg', **CFG, cfg=0.5, cfg_variance='mixed', unguided=8)
  m = drawer.model(config(**CFG))
  mix = zsi.Mix(m.denoiser, [-0.5, 0.75, 0.75], variance='mixed').shared([2, 0, 1])
  wanted = zsi.sample(zsi.keys(0, 8), m.process, mix, shape=m.shape)
  close(ours, to_uint8(wanted))
  none, _ = drawn(tmp_path, 'none', **CFG, cfg=-1.0)  # all of the weight on "no condition"
  close(none, images(tmp_path / 'samples/unguided')[0])
  assert np.abs(ours.astype(int) - none).max() > 1
  assert told(tmp_path, 'cfg')['sample']['cfg_variance'] == 'mixed'
  assert told(tmp_path, 'unguided')['sample'].keys() == {
    'n',
    'batch',
    'per_file',
    'steps',
    'solver',
  }


def test_one_class_of_a_conditional_denoiser(tmp_path, monkeypatch):
  """Without a row of no condition, as ImageNet's at 64 pixels."""
  monkeypatch.setattr(trained, 'model', lambda c, w: drawer.model(c, labels=5, classes=5))
  one, _ = drawn(tmp_path, 'one', weights=(9.0, 4.0), classes=(1, 3), cond=(3,), unguided=8)
  m = drawer.model(config(), labels=5, classes=5)
  guide = m.classifier['side'].towards([0.0, 9.0, 0.0, 4.0, 0.0])
  conds = {'conds': np.full(8, 3)}
  wanted = zsi.sample(zsi.keys(0, 8), m.process, m.denoiser, guide, shape=m.shape, given=conds)
  close(one, to_uint8(wanted))
  assert (
    told(tmp_path, 'one')['sample'] | {'weights': [9.0, 4.0], 'classes': [1, 3]}
    == (told(tmp_path, 'one')['sample'])
  )
  assert told(tmp_path, 'unguided')['sample']['cond'] == [3]
  at_mean, _ = drawn(
    tmp_path, 'mean', weights=(9.0, 4.0), classes=(1, 3), cond=(3,), at='mean', unguided=0
  )
  assert (at_mean != one).any()
  both, _ = drawn(tmp_path, 'both', weights=None, cond=(1, 3))
  mix = zsi.Mix(m.denoiser, [0.5, 0.5]).shared([1, 3])
  close(both, to_uint8(zsi.sample(zsi.keys(0, 8), m.process, mix, shape=m.shape)))


def test_corrections_at_fixed_noise(tmp_path):
  said = {'solver.kind': 'langevin', 'solver.n': 2, 'solver.snr': 0.1}
  late, _ = drawn(tmp_path, 'late', **said, **{'solver.during': (0.0, 400.0)})
  m = drawer.model(config())
  guide = m.classifier['side'].towards(5.0, 5.0)
  own = During((0.0, 400.0), then=Langevin(Ancestral(), 2, 0.1), otherwise=Ancestral())
  wanted = zsi.sample(zsi.keys(0, 8), m.process, m.denoiser, guide, own, shape=m.shape)
  close(late, to_uint8(wanted))
  every, _ = drawn(tmp_path, 'every', **said)
  assert (every != late).any() and (late != drawn(tmp_path, 'plain')[0]).any()


def silent(c, w=None):
  """Its noise is nothing: a DDIM goes up and down in straight lines."""
  return drawer.model(c, scale=0.0)


def pixels(workdir, index):
  source = prepare.pipeline(config(), workdir, 'classifier').source
  return np.stack([source[int(i)]['image'] for i in index])


def test_slerp_goes_from_record_to_record(prepared, monkeypatch):
  monkeypatch.setattr(trained, 'model', silent)
  between, beside = drawn(prepared, 'slerp', **SLERP, n=13)
  source, f = beside['source'], beside['fraction']
  assert source.dtype == np.int64 and source.shape == (13, 2) and f.dtype == np.float32
  np.testing.assert_allclose(f, [0, 0.25, 0.5, 0.75, 1] * 2 + [0, 0.25, 0.5])
  assert (source[:5] == source[0]).all() and (source[5:10] == source[5]).all()
  assert (source[0] != source[5]).all()
  split = npz.read(prepared / 'splits/classifier.npz', '')
  labels = dict(zip(split['index'].tolist(), split['label'].tolist(), strict=True))
  assert [[labels[i] for i in pair] for pair in source.tolist()] == [[0, 1]] * 13
  ends = [pixels(prepared, source[:, k]) for k in (0, 1)]
  close(between[::5], ends[0][::5])
  close(between[4::5], ends[1][4::5])
  a, b = (end / np.float32(127.5) - 1 for end in ends)
  close(between, to_uint8(np.asarray(chains.slerp(a, b, f)).clip(-1, 1)))
  assert told(prepared, 'slerp')['records']['name'] == 'borders_circles'


def test_slerp_is_calls_of_the_sampler(prepared):
  """Up by DDIM, between, and down by DDIM, without guidance; the same of any number of images."""
  between, beside = drawn(prepared, 'real', **SLERP, n=6)
  m = drawer.model(config(**SLERP))
  keys = zsi.keys(0, 6)
  a, b = (pixels(prepared, beside['source'][:, k]) / np.float32(127.5) - 1 for k in (0, 1))
  up, down = m.process.forward(2), m.process.reverse(2)
  a, b = (zsi.sample(keys, up, m.denoiser, None, DDIM(), x=x) for x in (a, b))
  middle = chains.slerp(a, b, beside['fraction'])
  close(between, to_uint8(zsi.sample(keys, down, m.denoiser, None, DDIM(), x=middle)))
  more, of = drawn(prepared, 'more', **SLERP, n=8)
  np.testing.assert_array_equal(more[:6], between)
  np.testing.assert_array_equal(of['source'][:6], beside['source'])
  drawn(prepared, 'more', **SLERP, n=8, check=True)


def test_slerp_is_an_arc():
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(2, 3, 4, 4, 2)).astype(np.float32)
  norm = np.linalg.norm(a.reshape(3, -1), axis=1)[:, None, None, None]
  b *= norm / np.linalg.norm(b.reshape(3, -1), axis=1)[:, None, None, None]
  half = chains.slerp(a, b, np.full(3, 0.5, np.float32))
  np.testing.assert_allclose(np.linalg.norm(half.reshape(3, -1), axis=1), norm.ravel(), rtol=1e-5)
  np.testing.assert_allclose(half, chains.slerp(b, a, np.full(3, 0.5, np.float32)), atol=1e-5)
  ends = [chains.slerp(a, b, np.full(3, f, np.float32)) for f in (0, 1)]
  np.testing.assert_allclose(ends, [a, b], atol=1e-5)
  np.testing.assert_allclose(chains.slerp(a, a, np.full(3, 0.3, np.float32)), a, atol=1e-6)


def test_pairs_of_one_label_are_two_records(prepared):
  index = given.records(config(**SLERP | {'labels': (1, 1)}), prepared, 200).index
  assert (index[:, 0] != index[:, 1]).all()
  assert len(np.unique(index[:, 0])) > 5


@pytest.mark.parametrize('upward', ['invert', 'noise'])
def test_an_edit_of_given_images(prepared, monkeypatch, upward):
  """Up without guidance, down with it, by a DDIM whose noise fades."""
  said = EDIT | {'weights': (0.0, 30.0), 'solver.eta': 1.0, 'upward': upward}
  edited, beside = drawn(prepared, f'edit_{upward}', **said)
  m = drawer.model(config(**said))
  keys, x = zsi.keys(0, 8), pixels(prepared, beside['source']) / np.float32(127.5) - 1
  if upward == 'invert':
    x = zsi.sample(keys, m.process.forward(2), m.denoiser, None, DDIM(), x=x)
  else:
    own = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, 3), m.shape))(keys)
    level = m.process[2]
    x = level.alpha * x + level.sigma * own
  guide = m.classifier['side'].towards(0.0, 30.0)
  fading = DDIM(eta=lambda level: level.t / 500)
  wanted = zsi.sample(keys, m.process.reverse(2), m.denoiser, guide, fading, x=x)
  close(edited, to_uint8(wanted))
  assert beside['source'].shape == (8,) and ('upward' in told(prepared, f'edit_{upward}')['sample'])
  drawn(prepared, f'edit_{upward}', **said, check=True)


def test_an_edit_without_guidance_and_noise_gives_the_image_back(prepared, monkeypatch):
  monkeypatch.setattr(trained, 'model', silent)
  same, beside = drawn(prepared, 'same', **EDIT, weights=(0.0, 0.0))
  close(same, pixels(prepared, beside['source']))
  turns, beside = drawn(prepared, 'turns', **EDIT | {'labels': (1, 0)}, weights=(0.0, 0.0))
  close(turns, pixels(prepared, beside['source']))
  assert len(set(beside['source'].tolist())) == 8


def test_an_edit_by_no_classifier(prepared):
  """Upward the denoiser has no condition, downward the mix of both."""
  said = EDIT | CFG | {'cfg': 3.0, 'cond': (1,)}
  edited, beside = drawn(prepared, 'cfg_edit', **said)
  m = drawer.model(config(**said))
  keys, x = zsi.keys(0, 8), pixels(prepared, beside['source']) / np.float32(127.5) - 1
  x = zsi.sample(keys, m.process.forward(2), m.denoiser, None, DDIM(), x=x)
  mix = zsi.Mix(m.denoiser, [-3.0, 4.0]).shared([2, 1])
  down = DDIM(eta=lambda level: 0.0 * level.t)
  close(edited, to_uint8(zsi.sample(keys, m.process.reverse(2), mix, None, down, x=x)))


FOUR = (1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize(
  'said, named',
  [
    ({'aim': 60.0, 'weights': FOUR}, r'two classes, and sample\.weights = .* are of 4'),
    ({'aim': 60.0, 'weights': ((1.0, 2.0),) * 2}, r'are of 2 and 2'),
    ({'aim': float('inf')}, 'sample.aim = inf is no strength'),
    ({'aim': -1.0}, r'sample\.aim = -1\.0 is no strength'),
    ({'dial': 'x.json'}, 'turns what sample.aim asks for'),
    ({'aim': 60.0, 'dial': 'x.json'}, 'x.json is neither here'),
    ({'cfg': 0.1, 'denoiser.drop': 0.1}, r'cfg = 0\.1 and sample\.weights .* two guidances'),
    ({'cfg': 0.1, 'denoiser.drop': 0.1, 'aim': 3.0, 'weights': None}, 'sample.aim=None'),
    ({'cfg': 0.1, 'weights': None}, r'train it with denoiser\.drop=\.1'),
    ({'cond': (0,)}, 'the denoiser takes no condition'),
    ({'cond': ()}, 'names no class'),
    ({'cond': (2,), 'denoiser.drop': 0.1}, 'the denoiser has classes 0 … 1'),
    ({'classes': (0, 2)}, "'side' has classes 0 … 1"),
    ({'classes': (0, 0)}, 'names 1 classes'),
    ({'classes': (1,)}, '2 numbers and sample.classes'),
    ({'task': 'slurp'}, "no 'slurp': did you mean slerp"),
    ({'task': 'slerp', 'weights': None}, 'solver.kind = ancestral cannot: take ddim'),
    (SLERP | {'weights': (1.0, 1.0)}, 'slerp decodes without guidance'),
    (SLERP | {'solver.eta': 0.5}, 'slerp decodes without noise'),
    (SLERP | {'points': 1}, 'two points or more'),
    (SLERP | {'labels': (0,)}, r'records of two labels'),
    (SLERP | {'labels': (0, 7)}, '0 records of classifier have the label 7'),
    (SLERP | {'stop': 0.1}, 'is no way up'),
    (EDIT | {'labels': ()}, 'needs sample.labels'),
    (EDIT | {'solver.kind': 'langevin'}, 'solver.kind = langevin cannot'),
    ({'solver.kind': 'langevin', 'solver.n': 0}, 'sample.solver: Langevin corrects'),
    ({'solver.kind': 'langevin', 'solver.during': (9.0, 1.0)}, 'sample.solver: the length'),
  ],
)
def test_what_makes_no_sense_is_said_before_training(prepared, said, named):
  """In one line; and again where only `sample` is asked for."""
  own = {'denoiser': None, 'classifiers': ()}
  with pytest.raises(ValueError, match=named) as caught:
    foresee(config(**said | own), prepared)
  assert '\n' not in str(caught.value)
  before = sorted(prepared.glob('samples/*'))
  with pytest.raises(ValueError, match=named):
    sample(config(**said, name='wrong'), prepared)
  assert sorted(prepared.glob('samples/*')) == before


def test_a_slerp_with_one_record(prepared, monkeypatch):
  monkeypatch.setattr(given, 'picked', lambda index, seed: index[:1])
  with pytest.raises(ValueError, match='1 records of classifier have the label 1; two are needed'):
    foresee(config(**SLERP | {'labels': (1, 1), 'denoiser': None}), prepared)
  foresee(config(**SLERP | {'denoiser': None}), prepared)


def test_what_makes_sense_is_not_refused(prepared):
  own = {'denoiser': None, 'classifiers': ()}
  rows = {'aim': 60.0}, CFG | {'cfg': 0.1}, SLERP, EDIT, CFG | {'cond': (1,)}, {'classes': (1, 0)}
  for said in rows:
    foresee(config(**said | own), prepared)


def test_records_of_another_size(prepared, monkeypatch):
  big = models.Model

  def model(c, w):
    m = drawer.model(c)
    return big(m.denoiser, m.classifier, m.process, (16, 16, 3), m.config)

  monkeypatch.setattr(trained, 'model', model)
  with pytest.raises(ValueError, match=r'records of \[8, 8, 3\], and the denoiser draws \[16, 16'):
    drawn(prepared, 'big', **SLERP)


def test_what_images_depend_on_is_what_it_was():
  """Keys that say nothing new leave no trace, so that sets of before go on."""
  old = ['batch', 'per_file', 'steps', 'solver']
  assert list(sampling.told(config(), True)) == [*old, 'weights', 'at']
  assert list(sampling.told(config(), False)) == old
  assert list(sampling.told(config(weights=None), True)) == old
  assert list(sampling.told(config(aim=1.0), True)) == [*old, 'aim', 'at']
