"""DDPM's U-Net from files: by its own names and by diffusers', as `load` and `convert` do it."""

from __future__ import annotations

import json
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import zsi_jax as zsi
from tests.io.test_weights import abstract, drawn
from zsi_jax.io import diffusers, weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.infer import infer, kind
from zsi_jax.nets import DDPM

NET = DDPM(width=32, mults=(1, 2), blocks=1, attend=(2,))
ARRAYS = drawn(abstract(NET, 8))
TOLD = dict(schedule='linear', T=1000, size=8)
CONFIG = dict(
  _class_name='UNet2DModel', sample_size=8, act_fn='silu', attention_head_dim=None,
  center_input_sample=False, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
  mid_block_scale_factor=1, norm_eps=1e-6, norm_num_groups=32, time_embedding_type='positional',
)  # fmt: skip
NOISE = dict(beta_schedule='linear', beta_start=1e-4, beta_end=0.02, num_train_timesteps=1000)


@pytest.fixture
def theirs(tmp_path):
  """A directory as diffusers saves one."""
  save_file({k: a.copy() for k, a in diffusers.theirs(ARRAYS).items()}, tmp_path / 'x.safetensors')
  (tmp_path / 'config.json').write_text(json.dumps(CONFIG))
  (tmp_path / 'scheduler_config.json').write_text(json.dumps(NOISE))
  return tmp_path


@pytest.fixture
def own(tmp_path):
  save_file(ARRAYS, tmp_path / 'celeba_hq.safetensors')
  return tmp_path / 'celeba_hq.safetensors'


def rows(model):
  return np.asarray(zsi.draw(model, 3))


@pytest.mark.parametrize(
  'net',
  [
    DDPM(),
    DDPM(width=64, mults=(2, 1.5, 2), blocks=1, attend=(1, 4), labels=4, out=6),
    DDPM(width=32, mults=(1, 2, 2, 2), attend=(2,)),
  ],
)
def test_the_architecture_is_read_off_names_and_shapes(net):
  slots = weights.slots(abstract(net, 32))
  found = infer(slots)
  fields = ('width', 'mults', 'blocks', 'attend', 'out', 'labels')
  assert {k: found[k] for k in fields} == {k: getattr(net, k) for k in fields}
  assert kind(slots) == 'ddpm' and (found['schedule'], found['T']) == ('linear', 1000)
  assert found['size'] == (256 if len(net.mults) == 6 else None) and found['channels'] == 3
  assert set(found['assumed']) == {'dropout', 'schedule', 'T', 'size'}


def test_published_names_in_diffusers_words():
  back = diffusers.theirs(ARRAYS)
  for ours, name in {
    'temb.dense.1.bias': 'time_embedding.linear_2.bias',
    'down.0.downsample.conv.weight': 'down_blocks.0.downsamplers.0.conv.weight',
    'up.1.block.0.nin_shortcut.weight': 'up_blocks.0.resnets.0.conv_shortcut.weight',
    'up.0.block.1.temb_proj.bias': 'up_blocks.1.resnets.1.time_emb_proj.bias',
    'up.1.upsample.conv.bias': 'up_blocks.0.upsamplers.0.conv.bias',
    'mid.block_2.norm1.weight': 'mid_block.resnets.1.norm1.weight',
    'mid.attn_1.norm.bias': 'mid_block.attentions.0.group_norm.bias',
    'norm_out.weight': 'conv_norm_out.weight',
  }.items():
    np.testing.assert_array_equal(back[name], ARRAYS[ours])
  q = back['up_blocks.0.attentions.1.to_q.weight']
  np.testing.assert_array_equal(q, ARRAYS['up.1.attn.1.q.weight'][:, :, 0, 0])


@pytest.mark.parametrize('older', [False, True])
def test_the_way_there_and_back_is_exact(older):
  given = diffusers.theirs(ARRAYS)
  if older:
    for new, old in dict(to_q='query', to_k='key', to_v='value').items():
      given = {k.replace(f'.{new}.', f'.{old}.'): a for k, a in given.items()}
    given = {k.replace('.to_out.0.', '.proj_attn.'): a for k, a in given.items()}
  found = diffusers.published(given)
  assert set(found) == set(ARRAYS) and len(found) == len(given)
  for name, a in ARRAYS.items():
    np.testing.assert_array_equal(found[name], a)


def test_a_plain_file_draws_what_its_network_draws(own, tmp_path):
  with pytest.warns(UserWarning, match="does not tell schedule='linear', T=1000: assumed"):
    zsi.load(own, size=8)
  model = zsi.load(own, steps=4, **TOLD)
  variables = weights.fill(abstract(NET, 8), ARRAYS)
  process = zsi.Process.make(zsi.linear(1000), 4)
  denoiser = zsi.Denoiser(variables, NET, variance='small')
  want = zsi.sample(zsi.keys(0, 3), process, denoiser, shape=(8, 8, 3))
  got = zsi.sample(zsi.keys(0, 3), model.process, model.denoiser, shape=model.shape)
  assert model.denoiser.net == NET and np.isfinite(want).all()
  np.testing.assert_array_equal(got, want)
  told = zsi.convert(own, tmp_path / 'ours.safetensors', **TOLD)
  assert 'denoiser' in told and 'dropout' in told.split('assumed')[1]
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    np.testing.assert_array_equal(rows(zsi.load(tmp_path / 'ours.safetensors', steps=4)), want)
  back = load_file(tmp_path / 'ours.safetensors')
  assert back.keys() == ARRAYS.keys()
  assert all(np.array_equal(back[k], a) for k, a in ARRAYS.items())


def test_a_directory_of_diffusers_needs_no_options(theirs, own):
  want = rows(zsi.load(own, steps=4, **TOLD))
  own.unlink()
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    model = zsi.load(theirs, steps=4)
  assert model.shape == (8, 8, 3) and model.config['denoiser']['assumed'] == ()
  np.testing.assert_array_equal(rows(model), want)
  half = zsi.load(theirs, steps=4, dtype=jnp.bfloat16)
  assert half.denoiser.net.dtype == jnp.bfloat16


def test_what_no_config_says_is_assumed_and_said(theirs):
  (theirs / 'scheduler_config.json').unlink()
  with pytest.warns(UserWarning, match="does not tell schedule='linear', T=1000"):
    zsi.load(theirs)
  (theirs / 'config.json').unlink()
  notes = weights.read(theirs / 'x.safetensors')[1]['notes']
  assert any('no config.json' in note for note in notes)
  assert 'no config.json' in zsi.convert(theirs / 'x.safetensors', theirs / 'y.safetensors', size=8)


@pytest.mark.parametrize(
  ('file', 'change', 'says'),
  [
    ('config.json', {'flip_sin_to_cos': True}, 'flip_sin_to_cos is True.*flip_sin_to_cos=False'),
    ('config.json', {'downsample_padding': 1}, 'downsample_padding is 1'),
    ('config.json', {'attention_head_dim': 8}, 'attention_head_dim is 8'),
    ('config.json', {'norm_eps': None}, 'norm_eps'),
    ('config.json', {'class_embed_type': 'timestep'}, 'class_embed_type'),
    ('scheduler_config.json', {'beta_schedule': 'squaredcos_cap_v2'}, 'beta_schedule'),
    ('scheduler_config.json', {'prediction_type': 'v_prediction'}, 'prediction_type'),
  ],
)
def test_other_variants_are_refused(theirs, file, change, says):
  said = json.loads((theirs / file).read_text()) | change
  (theirs / file).write_text(json.dumps(said))
  with pytest.raises(WeightsError, match=f'{file}: {says}'):
    zsi.load(theirs)


@pytest.mark.parametrize('name', ['freq_shift', 'attention_head_dim'])
def test_what_a_config_leaves_to_diffusers_defaults_is_refused(theirs, name):
  (theirs / 'config.json').write_text(json.dumps({k: v for k, v in CONFIG.items() if k != name}))
  with pytest.raises(WeightsError, match=f"{name} is .diffusers' default"):
    zsi.load(theirs)


def test_damaged_files_are_named(theirs):
  arrays = diffusers.theirs(ARRAYS)
  arrays.pop('mid_block.attentions.0.to_k.bias')
  save_file({k: a.copy() for k, a in arrays.items()}, theirs / 'x.safetensors')
  with pytest.raises(WeightsError, match=r'1 missing: mid.attn_1.k.bias \[64\]'):
    zsi.load(theirs)
  (theirs / 'config.json').write_text('[1]')
  with pytest.raises(WeightsError, match='config.json: a JSON object was expected, found list'):
    zsi.load(theirs)
  (theirs / 'config.json').write_text('{')
  with pytest.raises(WeightsError, match='config.json: no JSON'):
    zsi.load(theirs)
