"""Configs: every file at every preset, and what is said of a wrong key, value or file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zsi_jax.build import data, models, sampling
from zsi_jax.build.complete import NAMES
from zsi_jax.build.keys import differences, flat, meaning, plain, reduced
from zsi_jax.core import Denoiser, losses, terms
from zsi_jax.data.errors import DataError
from zsi_jax.nets import unet
from zsi_jax.stages import sweep
from zsi_jax.stages.config import load
from zsi_jax.train import optim

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / 'configs' / 'zsi').glob('*.py'))
PRESETS = 'tiny', 'small', 'gpu', 'paper'
CIRCLES = f'{ROOT}/configs/zsi/circles.py'


def refused(call, *said):
  with pytest.raises(ValueError) as caught:
    call()
  text = str(caught.value)
  assert '\n' not in text
  for pattern in said:
    assert re.search(pattern, text), (pattern, text)


VARIATIONS = '128 amount cfg chain dit edit hair lambda langevin slerp steps'.split()


def test_there_is_a_config_for_each_experiment():
  wanted = 'age circles discs folder hair imagenet_pair lfr lips sizes smile yaw'.split()
  wanted += ['circles_seeds', 'circles_site', *(f'smile_{name}' for name in VARIATIONS)]
  real = 'age hair judged smile smile_128 smile_hair'
  wanted += [f'celeba_{name}' for name in real.split()]
  assert [path.stem for path in CONFIGS] == sorted(wanted)


@pytest.mark.parametrize('preset', PRESETS)
@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_every_config_makes_its_source(path, preset, tmp_path):
  config = load(f'{path}:{preset}', {'data.root': str(tmp_path)})
  plain(config)
  if config.data.source in ('celeba', 'folder'):
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
      data.source(config)
  else:
    source = data.source(config)
    assert len(source) == config.data.options.get('n', len(source)) > 0
    assert set(config.data.keep) <= set(source.fields)
    most = 32 if preset in ('tiny', 'small') else 64
    assert source.fields['image'].shape[0] <= most * (1 + path.stem.endswith('_128'))
  assert config.data.batch == {'tiny': 16, 'small': 32}.get(preset, 128)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_a_config_is_a_short_diff_with_its_command(path):
  text = path.read_text()
  assert len(text.splitlines()) <= 40
  assert f'zsi run configs/zsi/{path.name}:' in text.split('"""')[1]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_a_sweep_is_overrides_of_its_config(path):
  for preset in PRESETS:
    for one in sweep.variants(f'{path}:{preset}', {}, Path('w')):
      sampling.checked(one.config)


def test_the_published_circles():
  source = data.source(load(f'{CIRCLES}:paper'))
  assert (len(source), source.size, source.radius, source.where) == (1200, 64, 2, 'borders')


def test_overrides_are_of_the_type_of_their_key():
  said = {'data.options.epsilon': 1, 'data.root': 'there', 'data.keep': ['z', 'x'], 'seed': 3}
  config = load(f'{CIRCLES}:tiny', said)
  assert type(config.data.options.epsilon) is float and config.data.options.epsilon == 1
  assert config.data.keep == ('z', 'x') and config.data.root == 'there' and config.seed == 3
  assert load(f'{CIRCLES}:tiny', {'data.crop': 0.8}).data.crop == 0.8
  assert load(f'{CIRCLES}:tiny', {'data.root': None}).data.root is None


@pytest.mark.parametrize(
  'key, value, said',
  [
    ('data.options.epsilom', 0.1, r'did you mean data\.options\.epsilon'),
    ('epsilon', 0.1, r'did you mean data\.options\.epsilon'),
    ('data.otpions.size', 3, r'did you mean data\.options\.size'),
    ('zzz', 3, 'but check, classifier.accumulate'),
    ('data.options.size', '64', "size is of type int .32., not '64'"),
    ('data.options.size', 64.0, 'not 64.0'),
    ('data.options.size', True, 'not True'),
    ('data.options.size', None, 'not None'),
    ('data.options.size', (1, 2), r'not \(1, 2\)'),
    ('data.root', 3, 'data.root="\'3\'"'),
    ('data.skip_corrupt', 1, 'of type bool'),
    ('data.keep', 'z', "of type tuple.*, not 'z'"),
    ('data', 3, 'group of keys .batch'),
    ('data.options', 3, 'group of keys'),
    ('seed.size', 3, 'seed is a value'),
    ('data.source', 'circle', 'did you mean circles'),
    ('split.kind', 'witin', 'did you mean within'),
    ('split.kind', 'within', "split.attributes is not said, and 'within' needs it"),
    ('support.kind', 'extreme', 'did you mean extremes'),
  ],
)
def test_a_wrong_override_names_the_right_one(key, value, said):
  refused(lambda: load(f'{CIRCLES}:tiny', {key: value}), re.escape(key.split('.')[0]), said)


def test_a_kind_brings_its_options_wherever_it_is_said():
  said = {'split.share': 0.03, 'split.kind': 'yaw_b', 'support.kind': 'split_b'}
  config = load(f'{ROOT}/configs/zsi/yaw.py:tiny', said)
  assert config.split.share == 0.03 and config.split.frontal == 10.0 and config.split.extreme == 30
  assert load(f'{ROOT}/configs/zsi/yaw.py:tiny', {'split.extreme': 40}).support.extreme == 40.0


@pytest.mark.parametrize(
  'config, said, options',
  [
    ('smile:tiny', {'support.kind': 'all'}, {}),
    ('smile:tiny', {'split.kind': 'tails'}, {'split.attributes': ('smile',), 'split.share': 0.2}),
    ('smile:tiny', {'split.kind': 'all'}, {'split.label': None, 'split.balance': None}),
    # n and size are those of the file; a radius in pixels is no share of the image
    ('circles:tiny', {'data.source': 'discs'}, {'data.options.size': 32, 'split.label': 'label'}),
    ('circles:tiny', {'data.source': 'discs'}, {'data.options.radius': 0.125}),
    ('circles:tiny', {'data.source': 'discs'}, {'data.options.where': 'sides'}),
    (
      'circles:tiny',
      {'data.source': 'folder', 'data.options.root': 'there'},
      {'data.options.root': 'there', 'data.options.size': 32},
    ),
    (
      'circles:tiny',
      {'split.kind': 'list', 'split.list': 'x', 'split.label': ['a', 'b']},
      {'split.label': ('a', 'b'), 'split.numbering': 'peer'},
    ),
    ('circles:tiny', {'split.k': 3, 'split.kind': 'top_k'}, {'split.k': 3, 'split.scores': None}),
    (
      'folder:tiny',
      {'data.options.labels': 'a.csv', 'split.kind': 'yaw_a', 'support.kind': 'turned'},
      {'split.extreme': 30.0, 'support.extreme': 30.0},
    ),
    # a reference to an option that stays is one still
    ('yaw:tiny', {'split.kind': 'yaw_b', 'split.extreme': 40}, {'support.extreme': 40.0}),
    (
      'lfr:tiny',
      {'split.kind': 'chosen', 'split.label': 'class', 'split.values': [2, 1]}
      | {'data.options.labels': None, 'data.keep': [], 'support.kind': 'listed'},
      {'split.values': (2, 1), 'data.keep': ()},
    ),
  ],
)
def test_another_kind_drops_what_it_does_not_know(config, said, options):
  name, preset = config.split(':')
  found = flat(load(f'{ROOT}/configs/zsi/{name}.py:{preset}', said))
  assert {key: found[key] for key in options} == options
  assert all(type(found[key]) is type(value) for key, value in options.items())


@pytest.mark.parametrize(
  'config, said, wrong',
  [
    ('smile', {'split.kind': 'all', 'split.delta': 0.2}, "split.delta: 'all' has no such option"),
    ('smile', {'data.source': 'folder'}, "data.options.root is not said, and 'folder' needs it"),
    ('smile', {'support.kind': 'all', 'support.delta': 0.2}, "'all' has no such option$"),
    ('smile', {'split.delta': None}, r'split.delta is of type float \(0.1\), not None'),
    ('smile', {'split.size': 'abc'}, r"split.size is of type int \| None, not 'abc'"),
    ('smile', {'split.balance': 5}, 'split.balance="\'5\'"'),
    ('smile', {'split.balance': (1, 2)}, r'split.balance is of type str \| None, not \(1, 2\)$'),
    ('smile', {'split.attributes': (1,)}, r'split.attributes is of type Sequence\[str\]'),
    ('smile', {'data.options.people': 2.5}, r'people is of type int \| None, not 2.5'),
    ('smile', {'data.keep': (1,)}, r'data.keep is of type tuple\[str, ...\], not \(1,\)'),
    ('smile', {'data.workers': -1}, 'data.workers = -1 is not a whole number at least 0'),
    ('smile', {'data.batch': 0}, 'data.batch = 0'),
    ('smile', {'seed': -1}, 'seed = -1'),
    ('smile', {'denoiser.decay': 'cosin'}, "denoiser.decay: there is no 'cosin': did you mean cos"),
    ('smile', {'denoiser.loss': 'hibrid'}, "denoiser.loss: there is no 'hibrid': did you mean hyb"),
    ('smile', {'denoiser.net.dtype': 'f16'}, "denoiser.net.dtype: there is no 'f16'"),
    ('smile', {'process.schedule': 'kosine'}, 'did you mean cosine'),
    ('smile', {'sample.at': 'there'}, "sample.at: there is no 'there' but xt, mean, x0"),
    ('smile', {'denoiser.ema': 1.0}, 'denoiser.ema = 1: an average that never moves'),
    ('smile', {'classifier.ema': -0.1}, 'classifier.ema = -0.1 is not a number in .0, 1.'),
    ('smile', {'denoiser.drop': 1.5}, 'denoiser.drop = 1.5 is not a number in .0, 1.'),
    ('smile', {'mesh.rules': (('(', 'largest'),)}, r"mesh.rules: '\(' is no regular expression"),
    ('folder', {'split.scores': 5}, 'split.scores="\'5\'"'),
    ('folder', {'data.options.labels': 5}, 'data.options.labels is of type'),
    ('folder', {'data.options.mirrored': 5}, 'data.options.mirrored is of type'),
    ('folder', {'data.options.mirrored': 'score'}, "Sequence.str. . None, not 'score'"),
    (
      'folder',
      {'data.options.crop': 'abc'},
      r"data.options.crop is of type int \| None, not 'abc'",
    ),
    ('folder', {'data.options.crop': 2.5}, 'data.options.crop is of type'),
    ('yaw', {'split.kind': 'yaw_c', 'split.slight': (1,)}, r'split.slight is of type tuple\[float'),
    ('yaw', {'split.kind': 'yaw_c', 'split.slight': ('a', 'b')}, r"not \('a', 'b'\)"),
  ],
)
def test_a_wrong_value_names_its_key_and_type(config, said, wrong):
  refused(lambda: load(f'{ROOT}/configs/zsi/{config}.py:tiny', said), wrong)


@pytest.mark.parametrize('source', ['circles', 'discs', 'sizes'])
def test_images_of_a_size_that_is_a_slip_are_refused(source):
  config = load(f'{ROOT}/configs/zsi/{source}.py:tiny', {'data.options.size': 10**6})
  refused(lambda: data.source(config), r'size = 1000000 is not a whole number in \[\d+, 2048\]')


def write(tmp_path, text):
  path = tmp_path / 'mine.py'
  path.write_text(text)
  return path


@pytest.mark.parametrize(
  'text, said',
  [
    ('def get_config(:', r'mine\.py, line 1: does not import: SyntaxError'),
    ('import no_such_module', r'line 1: does not import: ModuleNotFoundError.*no_such_module'),
    ('x = 1', 'has no function get_config'),
    ('def get_config(preset):\n  return {}', 'returns a dict, not a ConfigDict'),
    ('def get_config(preset):\n  return 1 / 0', 'line 2: get_config fails: ZeroDivisionError'),
    ('def get_config():\n  return {}', "the preset 'tiny': too many positional"),
    (
      'from configs import base\ndef get_config(preset):\n'
      "  c = base.get_config(preset)\n  c.data.options.sice = 3\n  c.support.attributes = ('z',)\n"
      '  return c',
      r"data\.options\.sice: 'circles' has no such option: did you mean size",
    ),
    (
      'from configs import base\ndef get_config(preset):\n'
      "  c = base.get_config(preset)\n  c.data.options.size = '3'\n"
      "  c.support.attributes = ('z',)\n  return c",
      "size is of type int .64., not '3'",
    ),
    (
      'from configs import base\ndef get_config(preset):\n  return base.get_config(preset)',
      "support.attributes is not said, and 'extremes' needs it",
    ),
    ('from ml_collections import ConfigDict as get_config', 'get_config fails'),
    (
      'from ml_collections import ConfigDict\ndef get_config(preset):\n  return ConfigDict()',
      'it has no key seed: let it start from base',
    ),
  ],
)
def test_a_file_that_is_no_config_is_one_line(tmp_path, text, said):
  path = write(tmp_path, text)
  refused(lambda: load(f'{path}:tiny'), re.escape(str(path)), said)


def test_a_file_or_preset_that_is_not_there():
  refused(lambda: load('configs/zsi/circels.py:tiny'), 'did you mean .*circles.py', 'checkout')
  refused(lambda: load('nowhere/none.py'), 'no such config', 'checkout')
  refused(lambda: load(f'{CIRCLES}:huge'), "no preset 'huge'", 'tiny, small, gpu, paper')
  refused(lambda: load(f'{CIRCLES}:'), "no preset ''")


def test_each_checkout_has_its_own_base(tmp_path):
  for name, seed in (('one', 1), ('two', 2)):
    folder = tmp_path / name / 'configs' / 'mine'
    folder.mkdir(parents=True)
    base = (ROOT / 'configs' / 'base.py').read_text().replace('c.seed = 0', f'c.seed = {seed}')
    (folder.parent / 'base.py').write_text(base)
    (folder / 'a.py').write_text(Path(CIRCLES).read_text())
  seeds = [load(f'{tmp_path}/{n}/configs/mine/a.py:tiny').seed for n in ('one', 'two', 'one')]
  assert seeds == [1, 2, 1] and load(f'{CIRCLES}:tiny').seed == 0


def test_configs_differ_by_what_they_mean():
  a = load(f'{CIRCLES}:tiny')
  same = load(f'{CIRCLES}:tiny', {'data.root': 'x', 'check': True, 'data.workers': 2})
  assert differences(meaning(a), meaning(same)) == [] and plain(a) != plain(same)
  other = load(f'{CIRCLES}:tiny', {'data.options.size': 40, 'data.crop': 0.5})
  assert differences(meaning(a), meaning(other)) == [
    'data.options.size: 32 -> 40',
    'data.crop: None -> 0.5',
  ]
  assert differences({'a': {'b': 1}}, {'c': 2}) == ['a.b: 1 -> absent', 'c: absent -> 2']


def test_what_prepare_wrote_serves_other_batches():
  """The batch of a network counts, whichever key says it."""
  a, changed = load(f'{CIRCLES}:tiny'), {'data.batch': 8, 'data.crop': 0.5, 'data.flip': True}
  other = load(f'{CIRCLES}:tiny', changed)
  assert differences(meaning(a, 'prepare'), meaning(other, 'prepare')) == []
  assert reduced(plain(other), 'prepare') == reduced(meaning(other, 'prepare'), 'prepare')
  batch = a.data.batch
  assert set(differences(meaning(a, 'denoiser'), meaning(other, 'denoiser'))) == {
    *('data.flip: False -> True', 'data.crop: None -> 0.5', f'denoiser.batch: {batch} -> 8')
  }
  other = load(f'{CIRCLES}:tiny', {'data.batch': 8, 'denoiser.batch': batch})
  for role in ('denoiser', 'classifier'):  # which has a batch of its own
    assert differences(meaning(a, role), meaning(other, role)) == []


def test_names_are_those_of_the_rooms_that_take_them():
  assert set(NAMES['process.schedule']) == set(models.SCHEDULES)
  assert set(NAMES['denoiser.decay']) == set(optim.DECAYS)
  assert set(NAMES['denoiser.loss']) == set(losses.KINDS)
  assert set(NAMES['sample.at']) == set(terms.SITES)
  assert set(NAMES['denoiser.net.dtype']) == set(models.DTYPES)
  assert set(NAMES['denoiser.net.remat']) == {'full', *unet.POLICIES}
  for key in ('predicts', 'variance'):
    for name in NAMES[f'denoiser.{key}']:
      Denoiser({}, None, **{key: name})
