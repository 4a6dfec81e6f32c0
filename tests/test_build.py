"""Weights to models to images: what a notebook does, and what it is told when it does it wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import zsi_jax as zsi
from zsi_jax.build import models
from zsi_jax.io.errors import WeightsError

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / 'tests' / 'golden'
TOLD = dict(T=4000, schedule='cosine', size=16, heads=2)


def test_a_converted_file_needs_no_options(folder):
  m = zsi.load(folder, steps=6)
  assert m.shape == (16, 16, 3) and len(m.process) == 6 and list(m.classifier) == ['smile']
  assert m.denoiser.net == zsi.UNet(width=32, mults=(1, 1, 1), blocks=1, attend=(4,), heads=2)
  assert m.classifier['smile'].net.classes == 2
  assert m.config['denoiser']['T'] == 4000 and m.config['smile']['file'] == 'smile.safetensors'
  assert '\n' not in repr(m) and 'smile: 2 classes' in repr(m)


def test_the_way_back_is_exact(folder):
  """Published names, layouts and numbers: what PyTorch saved is what PyTorch would read."""
  ours, theirs = load_file(folder / 'unet.safetensors'), load_file(GOLDEN / 'unet.safetensors')
  assert ours.keys() == theirs.keys()
  for name, a in theirs.items():
    np.testing.assert_array_equal(ours[name], a)


def test_the_header_knows_the_network(folder):
  with safe_open(folder / 'unet.safetensors', 'np') as f:
    header = json.loads(f.metadata()['zsi_jax'])
  assert header['kind'] == 'denoiser' and header['architecture']['mults'] == [1, 1, 1]
  assert header['process'] == {'schedule': 'cosine', 'T': 4000}
  assert header['source']['name'] == 'unet.pt' and len(header['source']['sha256']) == 64
  assert header['stamp']['zsi_jax'] == zsi.__version__


def test_a_pt_draws_what_its_safetensors_draws(folder):
  a = zsi.load(folder, steps=4)
  b = zsi.load(GOLDEN / 'unet.pt', GOLDEN / 'encoder.pt', classes=2, steps=4, **TOLD)
  one = zsi.draw(a, 2, a.classifier['smile'].towards(30.0, 30.0))
  two = zsi.draw(b, 2, b.classifier['encoder'].towards(30.0, 30.0))
  assert one.shape == (2, 16, 16, 3)
  np.testing.assert_array_equal(one, two)
  np.testing.assert_array_equal(
    one, zsi.draw(a, 2, a.classifier['smile'].towards(30.0, 30.0), progress=True)
  )
  assert np.any(one != zsi.draw(a, 2, a.classifier['smile'].towards(30.0, 30.0), seed=1))
  assert zsi.show(one).size == (34, 16)


def test_keys_do_not_depend_on_how_many():
  a, b = (jax.random.key_data(zsi.keys(3, n)) for n in (2, 7))
  np.testing.assert_array_equal(a, b[:2])
  assert len(np.unique(b, axis=0)) == 7


def test_slicing_the_head_is_slicing_the_logits():
  whole = zsi.load(GOLDEN / 'encoder.pt', T=4000).classifier['encoder']
  sliced = zsi.load(GOLDEN / 'encoder.pt', T=4000, classes=3).classifier['encoder']
  x = np.load(GOLDEN / 'golden.npz')['x'].transpose(0, 2, 3, 1)
  t = np.array([0.0, 17, 900, 3999], np.float32)
  logits = whole.net.apply(whole.variables, x, t)
  np.testing.assert_allclose(sliced.net.apply(sliced.variables, x, t), logits[:, :3], atol=1e-5)


def test_a_class_conditional_denoiser_needs_its_row():
  known = dict(T=4000, size=16, head_width=16, new_order=True, steps=2)
  m = zsi.load(GOLDEN / 'unet_cond.pt', null=2, **known)
  assert zsi.draw(m, 1).shape == (1, 16, 16, 3)
  refused(lambda: zsi.load(GOLDEN / 'unet_cond.pt', null=3, **known), '3 label rows', 'null=3')
  bare = zsi.load(GOLDEN / 'unet_cond.pt', **known)
  with pytest.raises(ValueError, match='cond'):
    zsi.draw(bare, 1)


def refused(call, *parts):
  with pytest.raises(ValueError) as error:
    call()
  for part in parts:
    assert re.search(part, str(error.value)), (part, str(error.value))


def test_files_that_do_not_fit_are_refused(folder, tmp_path):
  arrays = load_file(GOLDEN / 'unet.safetensors')
  name = 'middle_block.0.in_layers.2.weight'

  def saved(changed, to='changed.safetensors'):
    save_file(changed, tmp_path / to)
    return tmp_path / to

  missing = saved({k: v for k, v in arrays.items() if k != name}, 'missing.safetensors')
  refused(lambda: zsi.load(missing, **TOLD), 'missing.safetensors', re.escape(name))
  extra = saved(arrays | {'ema.decay': np.ones(1, np.float32)}, 'extra.safetensors')
  refused(lambda: zsi.load(extra, **TOLD), 'extra.safetensors', 'ema.decay')
  wrong = saved(arrays | {name: np.zeros((32, 31, 3, 3), np.float32)}, 'wrong.safetensors')
  refused(
    lambda: zsi.load(wrong, **TOLD),
    'wrong.safetensors',
    re.escape(name),
    r'\[32, 32, 3, 3\]',
    r'\[32, 31, 3, 3\]',
  )
  nan = saved(arrays | {name: np.full((32, 32, 3, 3), np.nan, np.float32)}, 'nan.safetensors')
  refused(lambda: zsi.load(nan, **TOLD), 'nan.safetensors', re.escape(name))
  cut = tmp_path / 'cut.pt'
  cut.write_bytes((GOLDEN / 'unet.pt').read_bytes()[:-5000])
  refused(lambda: zsi.load(cut, **TOLD), 'cut.pt')


def test_a_header_that_its_weights_do_not_keep_is_refused(folder, tmp_path):
  with safe_open(folder / 'unet.safetensors', 'np') as f:
    said = json.loads(f.metadata()['zsi_jax'])
  arrays = load_file(folder / 'unet.safetensors')
  for name, value in {'labels': 3, 'width': 999, 'net': 'dit', 'out': 3}.items():
    changed = said | {'architecture': said['architecture'] | {name: value}}
    to = tmp_path / f'{name}.safetensors'
    save_file(arrays, to, {'zsi_jax': json.dumps(changed)})
    refused(lambda to=to: zsi.load(to), f'{name}.safetensors', f'header says {name}', name)


def test_options_that_make_no_network_are_refused(tmp_path):
  to = tmp_path / 'x.safetensors'
  for options, said in (
    ({'schedule': 'foo'}, 'cosine'),
    ({'size': 15}, 'multiple of 4'),
    ({'heads': 3}, 'heads=3'),
    ({'net': 'dit'}, "net='dit' .* 'unet'"),
  ):
    call = TOLD | options
    refused(lambda call=call: zsi.convert(GOLDEN / 'unet.pt', to, **call), said)
    refused(lambda call=call: zsi.load(GOLDEN / 'unet.pt', **call), said, 'unet.pt')
    assert not to.exists()


def test_what_was_assumed_is_said(recwarn):
  zsi.load(GOLDEN / 'unet.pt', size=16, schedule='cosine', T=4000, steps=2)
  assert 'unet.pt does not tell heads=4' in str(recwarn.pop(UserWarning).message)
  zsi.load(GOLDEN / 'unet.pt', steps=2, **TOLD)
  assert not recwarn.list


def test_models_that_do_not_belong_together_are_refused(folder, tmp_path):
  zsi.convert(
    GOLDEN / 'encoder.pt', tmp_path / 'other.safetensors', classes=2, T=1000, schedule='linear'
  )
  refused(
    lambda: zsi.load(folder / 'unet.safetensors', tmp_path / 'other.safetensors'),
    'process',
    'linear',
    'cosine',
  )
  refused(
    lambda: zsi.load(folder / 'unet.safetensors', GOLDEN / 'unet.pt', **TOLD), 'denoiser already'
  )


def test_wrong_calls_of_load_and_draw(folder, tmp_path):
  refused(lambda: zsi.load(), r"zsi.load\('unet.safetensors'")
  refused(lambda: zsi.load(tmp_path), r'no \*.safetensors')
  refused(lambda: zsi.load(tmp_path / 'none.pt'), 'no such file')
  refused(lambda: zsi.load(folder, wdth=3), 'wdth')
  refused(lambda: zsi.load(GOLDEN / 'unet.pt', **TOLD | {'schedule': 'cosin'}), 'cosin', 'linear')
  refused(lambda: zsi.load(folder, steps=5000), '5000')
  m = zsi.load(folder / 'smile.safetensors')
  refused(lambda: zsi.draw(m), 'classifiers only')
  refused(
    lambda: zsi.convert(GOLDEN / 'unet.pt', folder / 'unet.safetensors', **TOLD),
    'force|overwrite|exists',
  )
  refused(lambda: zsi.convert(GOLDEN / 'unet.pt', tmp_path / 'x.safetensors', check=1), 'no option')
  assert issubclass(WeightsError, ValueError)


def test_the_published_size_builds_without_memory():
  found = dict(net='unet', width=128, mults=(1, 2, 3, 4), blocks=3, attend=(4, 8), heads=4, out=6)
  found |= dict(size=64, schedule='cosine', T=4000)
  tree = models.abstract(found)
  assert sum(a.size for a in jax.tree.leaves(tree)) == 121_063_942


def executed(name, monkeypatch):
  """What the python blocks of a page leave, run one after the other."""
  monkeypatch.chdir(ROOT)
  blocks = re.findall(r'```python\n(.*?)```', (ROOT / name).read_text(), re.S)
  assert blocks
  scope = {}
  for block in blocks:
    exec(compile(block, name, 'exec'), scope)
  return scope


def test_the_readmes_code_runs(monkeypatch):
  scope = executed('README.md', monkeypatch)
  assert scope['images'].shape == (4, 32, 32, 3)
  assert scope['notes']['energy/colour'].shape == (20, 4)


def test_the_code_about_data_runs(monkeypatch):
  scope = executed('docs/data.md', monkeypatch)
  assert scope['batch']['image'].shape == (16, 64, 64, 3) and scope['position']['example'] == 16
