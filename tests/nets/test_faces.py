"""Networks of others that guide: published sizes, second derivatives, what they refuse."""

from __future__ import annotations

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.io import weights
from zsi_jax.nets import layers
from zsi_jax.nets.arcface import DEPTHS, IRESNET, ArcFace
from zsi_jax.nets.bisenet import BiSeNet, stretched
from zsi_jax.nets.mobileface import MobileFaceNet, Stage
from zsi_jax.nets.vgg import VGG, VGG16

FEW = (Stage(8, 8, 8, 1), Stage(8, 8, 8, 1), Stage(8, 8, 8, 1))
PUBLISHED = {  # parameters, and arrays with running statistics
  'bisenet': (BiSeNet(), 64, 13_300_416, 160, 'cp.resnet.layer2.0.downsample.1.running_var'),
  'ir_se50': (ArcFace(), 112, 43_797_696, 343, 'body.23.res_layer.5.fc2.weight'),
  'iresnet100': (
    ArcFace(IRESNET, DEPTHS['iresnet100']), 112, 65_156_160, 771, 'layer3.29.prelu.weight',
  ),
  'mobile': (MobileFaceNet(), 112, 1_007_248, 283, 'output_layer.conv_6_dw.conv.weight'),
  'vgg19': (VGG(), 32, 20_024_384, 32, 'features.34.bias'),
  'vgg16': (VGG(depths=VGG16), 32, 14_714_688, 26, 'features.28.bias'),
}  # fmt: skip
SMALL = {
  'bisenet': (BiSeNet(3, 8), 32),
  'ir_se': (ArcFace(depths=(1, 2), width=8, out=6, size=16, shrink=4), 16),
  'iresnet': (ArcFace(IRESNET, (1, 2), 8, 6, 16), 16),
  'mobile': (MobileFaceNet(4, FEW, 8, 8, 32), 32),
  'vgg': (VGG(('relu1_1', 'relu2_2'), (1, 2), (8, 8)), 16),
}


def shapes(net, side):
  return jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))


def drawn(net, side):
  """Random numbers in every array; statistics that a network could have."""
  rng = np.random.default_rng(0)
  arrays = {}
  for key, slot in weights.slots(shapes(net, side)).items():
    noise = rng.standard_normal(slot.shape)
    if len(slot.shape) > 1:
      noise /= math.sqrt(math.prod(slot.shape[1:]))
    elif key.endswith(('.weight', 'running_var')):
      noise = np.exp(0.2 * noise)
    arrays[key] = noise.astype(np.float32)
  return arrays


def images(n, side, seed=1):
  return jax.random.uniform(jax.random.key(seed), (n, side, side, 3), minval=-1)


@pytest.mark.parametrize('name', PUBLISHED)
def test_the_published_sizes(name):
  net, side, parameters, arrays, key = PUBLISHED[name]
  tree = shapes(net, side)
  slots = weights.slots(tree)
  assert sum(math.prod(a.shape) for a in jax.tree.leaves(tree['params'])) == parameters
  assert len(slots) == arrays and key in slots


@pytest.mark.parametrize('name', SMALL)
def test_what_is_filled_in_comes_out(name):
  net, side = SMALL[name]
  arrays = drawn(net, side)
  back = weights.empty(weights.fill(shapes(net, side), arrays))
  assert set(back) == set(arrays)
  for key, array in arrays.items():
    np.testing.assert_array_equal(back[key], array)


def energy(net, variables, x):
  out = jax.tree.leaves(net.apply(variables, x))
  return sum(jnp.sum(jnp.sin(3 * h).reshape(len(x), -1), 1) for h in out)


def twice(net, variables, x, v):
  """Energies, their gradient g, H v forward over reverse, and as the gradient of <g, v>."""
  grad = jax.grad(lambda x: energy(net, variables, x).sum())
  g, forward = jax.jvp(grad, (x,), (v,))
  return energy(net, variables, x), g, forward, jax.grad(lambda y: jnp.vdot(grad(y), v))(x)


@pytest.mark.parametrize('name', SMALL)
def test_every_network_can_be_differentiated_twice_in_both_modes(name):
  net, side = SMALL[name]
  x = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
  found = jax.eval_shape(partial(twice, net), shapes(net, side), x, x)
  assert [a.shape for a in found] == [(2,)] + 3 * [x.shape]


@pytest.mark.parametrize('name', ['iresnet', 'vgg'])
def test_the_hessian_and_each_example_alone(name):
  net, side = SMALL[name]
  variables = weights.fill(shapes(net, side), drawn(net, side))
  x, v, other = images(2, side), images(2, side, 2), images(2, side, 3)
  seen = jax.jit(partial(twice, net, variables))
  e, g, forward, reverse = seen(x, v)
  assert np.abs(g).max() > 1e-5 and np.abs(forward).max() > 1e-5
  np.testing.assert_allclose(forward, reverse, atol=1e-4 * np.abs(forward).max())
  mixed = seen(x.at[1].set(other[1]), v)
  np.testing.assert_allclose(mixed[0][0], e[0], rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(mixed[1][0], g[0], atol=1e-5 * np.abs(g).max())
  assert np.abs(mixed[0][1] - e[1]) > 1e-4


def test_an_embedding_has_length_one_and_a_gradient_at_zero():
  net, side = SMALL['ir_se']
  variables = weights.fill(shapes(net, side), drawn(net, side))
  x, last = images(2, side), net.names.tail[2]

  @jax.jit
  def slope(norm):
    def first(norm):
      found = net.apply({**variables, 'params': {**variables['params'], last: norm}}, x)
      return found[0, 0], found

    return jax.grad(first, has_aux=True)(norm)

  norm = variables['params'][last]
  np.testing.assert_allclose(jnp.linalg.norm(slope(norm)[1], axis=1), 1, atol=1e-5)
  steep, found = slope(jax.tree.map(jnp.zeros_like, norm))
  np.testing.assert_array_equal(found, 0)
  np.testing.assert_allclose(steep['bias'], [1e6] + 5 * [0])


@pytest.mark.parametrize('side, stride', [(8, 1), (8, 2), (9, 2)])
def test_windows_are_what_lax_makes_of_them(side, stride):
  kernel = jax.random.normal(jax.random.key(3), (3, 3, 1, 3))

  @jax.jit
  def both(x):
    theirs = jax.lax.conv_general_dilated(
      x, kernel, (stride, stride), [(1, 1)] * 2, dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=3, precision='highest',
    )  # fmt: skip
    return (
      (layers.Depthwise(stride).apply({'params': {'kernel': kernel}}, x), theirs),
      (layers.max_pool(x, 3, stride, 1), nn.max_pool(x, (3, 3), (stride,) * 2, [(1, 1)] * 2)),
      (layers.max_pool(x, 2, stride), nn.max_pool(x, (2, 2), (stride,) * 2)),
    )

  for ours, theirs in both(nn.relu(images(2, side))):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_stretched_puts_corners_on_corners_and_lines_on_lines():
  rows, columns = np.meshgrid(np.arange(5.0), np.arange(4.0), indexing='ij')
  small = (2 * rows - 3 * columns)[None, :, :, None].astype(np.float32)
  rows, columns = np.meshgrid(np.linspace(0, 4, 17), np.linspace(0, 3, 31), indexing='ij')
  np.testing.assert_allclose(
    stretched(jnp.asarray(small), (17, 31))[0, :, :, 0], 2 * rows - 3 * columns, atol=1e-5
  )


def test_taps_do_not_change_what_is_seen():
  net, side = SMALL['vgg']
  variables, x = weights.fill(shapes(net, side), drawn(net, side)), images(2, side)
  both, one = (
    jax.jit(net.clone(taps=taps).apply)(variables, x) for taps in (net.taps, ('relu2_2',))
  )
  assert {name: h.shape for name, h in both.items()} == {
    'relu1_1': (2, 16, 16, 8),
    'relu2_2': (2, 8, 8, 8),
  }
  assert list(one) == ['relu2_2']
  np.testing.assert_allclose(one['relu2_2'], both['relu2_2'], atol=1e-6)
  with pytest.raises(ValueError, match=r'relu1_1, relu2_1, relu2_2.*relu3_1'):
    shapes(net.clone(taps=('relu3_1',)), side)


@pytest.mark.parametrize(
  'net, shape, told',
  [
    (BiSeNet(), (1, 48, 64, 3), 'multiples of 32'),
    (BiSeNet(), (1, 64, 64, 1), r'not \[1, 64, 64, 1\]'),
    (VGG(), (1, 8, 32, 3), '16 pixels or more'),
    (VGG(), (32, 32, 3), r'\[B, H, W, 3\]'),
    (ArcFace(), (1, 128, 128, 3), r'\[B, 112, 112, 3\], not \[1, 128'),
    (MobileFaceNet(), (1, 112, 112, 1), r'\[B, 112, 112, 3\]'),
  ],
)
def test_images_of_another_size_are_refused(net, shape, told):
  with pytest.raises(ValueError, match=told):
    jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(shape))
