"""Networks that guide, from files: kinds by names, sizes by shapes, and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.build import guides
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.nets.arcface import IRESNET, ArcFace
from zsi_jax.nets.bisenet import BiSeNet
from zsi_jax.nets.mobileface import MobileFaceNet, Stage
from zsi_jax.nets.vgg import VGG, VGG16

STAGES = (Stage(8, 16, 8, 2), Stage(16, 8, 24, 1), Stage(8, 16, 16, 1))
SMALL = {
  'bisenet': (BiSeNet(5, 8), 32, guides.segmenter),
  'ir_se': (ArcFace(depths=(1, 2, 1), width=16, out=6, size=24, shrink=8), 24, guides.identity),
  'iresnet': (ArcFace(IRESNET, (2, 1), 8, 6, 16), 16, guides.identity),
  'mobile': (MobileFaceNet(4, STAGES, 12, 20, 32), 32, guides.landmarker),
  'vgg19': (VGG(widths=(4, 6, 8, 8, 8)), 16, guides.vgg),
  'vgg16': (VGG(depths=VGG16, widths=(4, 6, 8, 8, 4)), 16, guides.vgg),
}


def arrays(name):
  net, side, _ = SMALL[name]
  tree = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
  rng = np.random.default_rng(0)
  return {k: rng.uniform(0.1, 1, s.shape).astype('f4') for k, s in weights.slots(tree).items()}


def saved(path, found):
  weights.write(path, found, {})
  return path


@pytest.mark.parametrize('name', SMALL)
def test_kind_and_sizes_are_those_of_the_file(name, tmp_path):
  net, _, read = SMALL[name]
  found = arrays(name)
  ours = read(saved(tmp_path / 'net.safetensors', found))
  assert ours.net == net
  assert ours.source.files == (str(tmp_path / 'net.safetensors'),) and not ours.source.verified
  back = weights.empty(ours.variables)
  assert set(back) == set(found)
  for key, array in found.items():
    np.testing.assert_array_equal(back[key], array)


def test_prefixes_counters_and_a_classifier_change_nothing(tmp_path):
  found = arrays('ir_se')
  plain = guides.identity(saved(tmp_path / 'a.safetensors', found))
  counted = found | {'body.0.res_layer.0.num_batches_tracked': np.array(3)}
  packed = {f'module.{key}': array for key, array in counted.items()}
  assert guides.identity(saved(tmp_path / 'b.safetensors', packed)).source.digest == (
    plain.source.digest
  )
  found = arrays('vgg19')
  plain = guides.vgg(saved(tmp_path / 'c.safetensors', found))
  whole = found | {'classifier.6.bias': np.zeros(3, 'f4')}
  assert guides.vgg(saved(tmp_path / 'd.safetensors', whole)).source.digest == plain.source.digest


@pytest.mark.parametrize(
  'name, number',
  [
    ('bisenet', '13,300,416'),
    ('ir_se', '43,797,696'),
    ('mobile', '1,007,248'),
    ('vgg19', '20,024,384'),
  ],
)
def test_a_file_of_something_else_is_named_with_what_was_expected(name, number, tmp_path):
  read = SMALL[name][2]
  with pytest.raises(WeightsError, match='there is no such file'):
    read(tmp_path / 'none.pth')
  other = saved(tmp_path / 'x.safetensors', {'conv.weight': np.ones((2, 2), 'f4')})
  with pytest.raises(WeightsError) as told:
    read(other)
  assert str(other) in str(told.value) and number in str(told.value)
  assert '\n' not in str(told.value)


@pytest.mark.parametrize('name', SMALL)
def test_a_file_that_lacks_an_array_is_refused_whole(name, tmp_path):
  found = arrays(name)
  key = list(found)[-1]
  del found[key]
  with pytest.raises(WeightsError) as told:
    SMALL[name][2](saved(tmp_path / 'x.safetensors', found))
  assert key in str(told.value) and 'parameters' in str(told.value)


@pytest.mark.parametrize(
  'name, key, value, told',
  [
    ('bisenet', 'cp.resnet.conv1.weight', np.ones(8), r'shape \[8\], not one of 4 sides'),
    ('ir_se', 'body.0.res_layer.5.fc1.weight', None, 'there is no body.0.res_layer.5.fc1.weight'),
    ('iresnet', 'fc.weight', np.ones((6, 7)), r'expected \[6, 16\], found \[6, 7\]'),
    ('mobile', 'output_layer.linear.weight', np.ones((7, 20)), 'it has 7 outputs, no pairs'),
    ('vgg16', 'features.1.weight', np.ones(4), 'no VGG without batch norm'),
    ('vgg16', 'features.0.bias', np.full(4, np.nan), 'NaN'),
  ],
)
def test_what_does_not_fit_is_named(name, key, value, told, tmp_path):
  found = arrays(name) | {key: value}
  if value is None:
    del found[key]
  else:
    found[key] = value.astype('f4')
  with pytest.raises(WeightsError, match=told):
    SMALL[name][2](saved(tmp_path / 'x.safetensors', found))
