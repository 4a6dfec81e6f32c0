"""Feature networks from files: where they are looked for, what is refused, what they promise."""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.build import features
from zsi_jax.evaluate.errors import MetricError
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.nets.inception import Inception, prepared
from zsi_jax.nets.perceptual import LPIPS


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
  """A machine without any weights."""
  for name in (features.VARIABLE, features.LPIPS_VARIABLE, features.ROOM, 'TORCH_HOME'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def arrays(net, *args, seed=0):
  """Random weights by published name."""
  rng = np.random.default_rng(seed)
  tree = jax.eval_shape(net.init, jax.random.key(0), *args)
  return {
    key: np.abs(rng.standard_normal(slot.shape, np.float32)) / np.float32(np.sqrt(slot.shape[-1]))
    for key, slot in weights.slots(tree).items()
  }


def inception_arrays():
  return arrays(Inception(), jnp.zeros((1, 8, 8, 3), jnp.uint8))


def lpips_arrays(trunk):
  return arrays(LPIPS(trunk), *[jnp.zeros((1, 32, 32, 3))] * 2)


def test_the_published_network():
  """472 arrays and 94 counters: the 566 keys of the file; 23.9 M numbers of them in the network."""
  found = inception_arrays()
  norms = [key for key in found if key.endswith('running_var')]
  assert (len(found), len(norms)) == (472, 94)
  assert found['Mixed_6c.branch7x7dbl_4.conv.weight'].shape == (160, 160, 7, 1)
  assert found['fc.weight'].shape == (1008, 2048)
  # float32 and the counters' int64: what is left of the file is its zip
  size = 4 * sum(a.size for a in found.values()) + 8 * len(norms)
  assert 0 < features.BYTES - size < 200_000


def test_missing_weights_say_which_and_where(monkeypatch, tmp_path):
  monkeypatch.setenv('ZSI_WEIGHTS_DIR', str(tmp_path / 'mine'))
  with pytest.raises(WeightsError) as error:
    features.inception_file()
  for part in ('95,628,359 bytes', features.SHA256, str(tmp_path / 'mine' / features.NAMES[0]),
               str(tmp_path / 'cache/torch/hub/checkpoints'), *features.NAMES):  # fmt: skip
    assert part in str(error.value)
  assert '\n' not in str(error.value)


def test_the_order_of_places(monkeypatch, tmp_path):
  def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'x')
    return path

  cached = put(tmp_path / 'cache/torch/hub/checkpoints' / features.NAMES[1])
  assert features.inception_file() == cached
  monkeypatch.setenv('ZSI_WEIGHTS_DIR', str(tmp_path))
  mine = put(tmp_path / features.NAMES[0])
  assert features.inception_file() == mine
  monkeypatch.setenv(features.VARIABLE, str(put(tmp_path / 'env.pth')))
  assert features.inception_file() == tmp_path / 'env.pth'
  assert features.inception_file(put(tmp_path / 'named.pth')) == tmp_path / 'named.pth'
  with pytest.raises(WeightsError, match='gone.pth .named by the config') as error:
    features.inception_file(tmp_path / 'gone.pth')
  assert 'env.pth' not in str(error.value)  # what was named is not replaced by something else
  monkeypatch.setenv(features.VARIABLE, str(tmp_path / 'gone.pth'))
  with pytest.raises(WeightsError, match='ZSI_INCEPTION_WEIGHTS'):
    features.inception_file()


def test_other_weights_are_refused_or_stamped(tmp_path, monkeypatch):
  file = tmp_path / features.NAMES[0]
  weights.write(file.with_suffix('.safetensors'), inception_arrays(), {})
  file = file.with_suffix('.safetensors').rename(file)
  with pytest.raises(WeightsError, match=f'{features.SHA256}.*found.*allow_unverified'):
    features.inception(file)
  found = features.inception(file, allow_unverified=True)
  assert not found.source.verified and str(found.source).endswith(' unverified')
  assert found.name == 'inception'
  assert features.inception(file, variant='pytorch-fid', allow_unverified=True).name.endswith(
    'pytorch-fid'
  )
  monkeypatch.setattr(features, 'SHA256', weights.sha256(file))
  known = features.inception(file)
  assert known.source.verified and str(known.source) == found.source.digest[:16]
  with pytest.raises(MetricError, match='three channels'):
    found.features(np.zeros((2, 8, 8, 1), np.uint8))
  with pytest.raises(MetricError, match='uint8'):
    found.features(np.zeros((2, 8, 8, 3), np.float32))


def test_another_network_is_refused(tmp_path):
  weights.write(tmp_path / 'w.safetensors', lpips_arrays('alex'), {})
  with pytest.raises(WeightsError, match='472 missing'):
    features.inception(tmp_path / 'w.safetensors', allow_unverified=True)


@pytest.mark.parametrize('variant', ['tf1', 'pytorch-fid'])
def test_the_two_ways_to_299_pixels(variant):
  ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8)[:, None, None], (1, 1, 32, 3))
  assert ramp.shape == (1, 32, 32, 3)
  x = np.asarray(prepared(jnp.asarray(ramp), variant))
  i = np.arange(299)
  place = i * 32 / 299 if variant == 'tf1' else (i + 0.5) * 32 / 299 - 0.5
  grey = 8 * place.clip(0, 31)
  want = (grey - 128) / 128 if variant == 'tf1' else 2 * grey / 255 - 1
  np.testing.assert_allclose(x[0, :, 5, 1], want, atol=1e-4)
  whole = np.random.default_rng(0).integers(0, 256, (1, 299, 299, 3), np.uint8)
  same = np.asarray(prepared(jnp.asarray(whole), variant))
  want = (whole - 128.0) / 128 if variant == 'tf1' else whole / 127.5 - 1
  np.testing.assert_allclose(same, want, atol=1e-5)


def test_lpips_of_the_users_files(tmp_path, monkeypatch):
  """Whole, as two files, by either name: the same distance, and the same digest."""
  every = lpips_arrays('alex')
  heads = {k: a for k, a in every.items() if k.startswith('lin')}
  trunk = {f'features.{k.split(".", 2)[2]}': a for k, a in every.items() if k not in heads}
  trunk['classifier.1.weight'] = np.zeros((3, 3), np.float32)
  whole, one, two = (tmp_path / f'{n}.safetensors' for n in ('whole', 'trunk', 'heads'))
  shift = np.float32([-0.03, -0.088, -0.188]).reshape(1, 3, 1, 1)
  weights.write(whole, every | {'scaling_layer.shift': shift, 'lins.0.model.1.weight': shift}, {})
  weights.write(one, trunk, {})
  weights.write(two, heads, {})
  a = features.lpips(whole)
  monkeypatch.setenv(features.LPIPS_VARIABLE, os.pathsep.join(map(str, (one, two))))
  b = features.lpips()
  assert a.source.digest == b.source.digest and (a.name, b.name) == ('lpips-alex',) * 2
  assert not a.source.verified
  rng = np.random.default_rng(0)
  x, y = rng.integers(0, 256, (2, 5, 32, 32, 3), np.uint8)
  found = a(x, y)
  assert found.shape == (5,) and (found > 0).all()
  np.testing.assert_allclose(found, a(y, x), rtol=1e-5)
  np.testing.assert_allclose(a(x, x), 0, atol=1e-12)
  np.testing.assert_allclose(b(x[3:], y[3:]), found[3:], rtol=1e-5)
  with pytest.raises(MetricError, match='31 pixels'):
    a(x[:, :16, :16], y[:, :16, :16])
  with pytest.raises(MetricError, match='one by one'):
    a(x, y[:2])


def test_lpips_that_is_refused(tmp_path):
  with pytest.raises(WeightsError, match='ZSI_LPIPS_WEIGHTS') as error:
    features.lpips()
  assert 'alex.pth' in str(error.value)
  every = lpips_arrays('vgg')
  heads, trunk, other = (tmp_path / f'{n}.safetensors' for n in ('heads', 'trunk', 'other'))
  weights.write(heads, {k: a for k, a in every.items() if k.startswith('lin')}, {})
  weights.write(trunk, {k: a for k, a in every.items() if not k.startswith('lin')}, {})
  alex = lpips_arrays('alex')
  weights.write(other, {k: a for k, a in alex.items() if k.startswith('lin')}, {})
  with pytest.raises(WeightsError, match='no heads'):
    features.lpips(trunk)
  with pytest.raises(WeightsError, match='no trunk'):
    features.lpips(heads)
  with pytest.raises(WeightsError, match='another of the files'):
    features.lpips([trunk, trunk])
  with pytest.raises(WeightsError, match='lin1.model.1.weight: expected .1, 128, 1, 1.'):
    features.lpips([trunk, other])
  assert features.lpips([trunk, heads]).name == 'lpips-vgg'
  weights.write(
    other,
    {k: a for k, a in every.items() if k.startswith('lin')}
    | {'scaling_layer.scale': np.ones((1, 3, 1, 1), np.float32)},
    {},
  )
  with pytest.raises(WeightsError, match='constant of the network'):
    features.lpips([trunk, other])
