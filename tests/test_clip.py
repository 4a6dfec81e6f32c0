"""CLIP from files: by whose names, of which size, what is missing said before anything compiles."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.io import test_tokens as made
from zsi_jax.build.clip import clip
from zsi_jax.evaluate.errors import MetricError
from zsi_jax.guide import views
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.nets.clip import Clip

NET = Clip(
  embed=6, size=8, patch=4, width=128, depth=2, text_width=64, text_depth=1,
  vocabulary=made.ENTRIES, length=8,
)  # fmt: skip
STEMS = {'ln_1': 'layer_norm1', 'ln_2': 'layer_norm2', 'mlp.c_fc': 'mlp.fc1',
         'mlp.c_proj': 'mlp.fc2', 'attn.out_proj': 'self_attn.out_proj',
         'ln_pre': 'pre_layrnorm', 'ln_post': 'post_layernorm', 'ln_final': 'final_layer_norm',
         'class_embedding': 'embeddings.class_embedding',
         'conv1': 'embeddings.patch_embedding', 'token_embedding': 'embeddings.token_embedding',
         'positional_embedding': 'embeddings.position_embedding.weight'}  # fmt: skip


@pytest.fixture(scope='module')
def arrays():
  image, ids = jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 8), int)
  tree = jax.eval_shape(NET.init, jax.random.key(0), image, ids)
  rng = np.random.default_rng(0)
  drawn = jax.tree.map(lambda a: 0.1 * rng.standard_normal(a.shape, np.float32), tree)
  return weights.empty(drawn)


def hugging(arrays):
  """The same by transformers' names."""
  out = {}
  for key, a in arrays.items():
    tower = 'vision_model.' if key.startswith('visual.') else 'text_model.'
    key = key.removeprefix('visual.').replace('transformer.resblocks', 'encoder.layers')
    if key in ('proj', 'text_projection'):
      out['visual_projection.weight' if key == 'proj' else 'text_projection.weight'] = a.T
    elif key == 'logit_scale':
      out[key] = a
    elif '.attn.in_proj_' in key:
      layer, kind = key.split('.attn.in_proj_')
      for part, rows in zip('qkv', np.split(a, 3), strict=True):
        out[f'{tower}{layer}.self_attn.{part}_proj.{kind}'] = rows
    else:
      for ours, theirs in STEMS.items():
        if key == ours or f'{ours}.' in key:
          key = key.replace(ours, theirs, 1)
          break
      out[tower + key] = a
  positions = {f'{t}_model.embeddings.position_ids': np.arange(5)[None] for t in ('text', 'vision')}
  return out | positions


def put(path, arrays):
  save_file({k: np.asarray(a, order='C') for k, a in arrays.items()}, path)
  return path


def test_published_names_sizes_and_numbers(arrays, tmp_path):
  counts = {'input_resolution': np.array(8), 'context_length': np.array(8),
            'vocab_size': np.array(made.ENTRIES)}  # fmt: skip
  half = {k: a.astype(np.float16) for k, a in arrays.items()}
  model = clip(put(tmp_path / 'clip.safetensors', half | counts))
  assert model.net == NET and model.name == 'clip-other' and not model.source.verified
  found = weights.empty(model.variables)
  for key, array in half.items():
    assert found[key].dtype == np.float32
    np.testing.assert_array_equal(found[key], array)


def test_the_same_by_the_names_of_transformers(arrays, tmp_path):
  ours = clip(put(tmp_path / 'ours.safetensors', arrays))
  theirs = clip(put(tmp_path / 'model.safetensors', hugging(arrays)))
  assert theirs.net == NET and theirs.source.digest == ours.source.digest
  shifted = clip(put(tmp_path / 'other.safetensors', arrays | {'logit_scale': np.array(1, 'f4')}))
  assert shifted.source.digest != ours.source.digest


def test_images(arrays, tmp_path):
  model = clip(put(tmp_path / 'clip.safetensors', arrays))
  images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
  x = (images / np.float32(255) - views.CLIP_MEAN) / views.CLIP_STD
  want = NET.apply(model.variables, x, method='image')
  np.testing.assert_allclose(model.features(images), want, atol=1e-4)
  with pytest.raises(MetricError, match='three channels'):
    model.features(images[..., :1])


def test_texts(arrays, tmp_path):
  path = put(tmp_path / 'clip.safetensors', arrays)
  model = clip(path, made.listed(tmp_path / 'bpe.txt'))
  found = model.texts(['smile', 'a face'])
  want = NET.apply(model.variables, model.tokenizer(['smile', 'a face']), method='text')
  np.testing.assert_allclose(found, want, atol=1e-5)
  assert found.shape == (2, 6) and np.abs(found[0] - found[1]).max() > 1e-3
  with pytest.raises(ValueError, match='vocabulary'):
    clip(path).texts('smile')
  with pytest.raises(WeightsError, match=r'short\.txt.*8 merges.*523 entries has 9'):
    clip(path, made.listed(tmp_path / 'short.txt', made.MERGES[:-1]))


def test_files_that_are_no_clip(arrays, tmp_path):
  def refused(arrays, *words):
    path = put(tmp_path / 'x.safetensors', arrays)
    with pytest.raises(WeightsError) as info:
      clip(path)
    for word in (str(path), *words):
      assert word in str(info.value), info.value

  def less(arrays, *keys):
    return {k: a for k, a in arrays.items() if k not in keys}

  with pytest.raises(WeightsError, match='no such file'):
    clip(tmp_path / 'none.pt')
  refused({'conv.weight': np.zeros((2, 2), 'f4')}, 'no visual.conv1.weight', 'conv.weight')
  refused(arrays | {'visual.layer1.0.conv1.weight': np.zeros(2, 'f4')}, 'ResNet')
  refused(less(arrays, 'text_projection'), '1 missing: text_projection [64, 6]')
  refused(arrays | {'more': np.zeros(3, 'f4')}, 'not in the network', 'more [3]')
  refused(arrays | {'visual.proj': np.zeros(3, 'f4')}, 'visual.proj has the shape [3]')
  name = 'visual.positional_embedding'
  refused(arrays | {name: np.zeros((4, 128), 'f4')}, '4 positions')
  wide = {'visual.conv1.weight': np.zeros((100, 3, 4, 4), 'f4')}
  refused(arrays | wide, '100', 'multiples of 64')
  key = 'text_model.encoder.layers.0.self_attn.k_proj.bias'
  refused(less(hugging(arrays), key), "{'q_proj': [64], 'v_proj': [64]}", 'attn.in_proj_bias')
  text = {k: a for k, a in hugging(arrays).items() if k.startswith('text')}
  refused(text, 'no visual.conv1.weight')


def test_another_activation_told_by_the_config_beside(arrays, tmp_path):
  path = put(tmp_path / 'model.safetensors', hugging(arrays))

  def told(text):
    (tmp_path / 'config.json').write_text(text)
    return clip(path)

  assert told(json.dumps({'text_config': {'hidden_act': 'quick_gelu'}})).net == NET
  with pytest.raises(WeightsError, match="text_config of .*config.json tells hidden_act='gelu'"):
    told(json.dumps({'vision_config': {}, 'text_config': {'hidden_act': 'gelu'}}))
  with pytest.raises(WeightsError, match='cannot be read'):
    told('[1]')
