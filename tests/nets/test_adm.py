"""The U-Net and the noisy classifier: the published code's numbers, sizes and laws."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nets.made import drawn, normal
from zsi_jax.io import weights
from zsi_jax.nets import Encoder, UNet

GOLDEN = Path(__file__).parents[1] / 'golden'
SMALL = dict(width=32, mults=(1, 1), blocks=1, attend=(2,))
TINY = UNet(width=32, mults=(1,), blocks=0, attend=())  # three residual blocks, one attention
NETS = {
  'unet': UNet(width=32, mults=(1, 1, 1), blocks=1, attend=(4,), heads=2),
  'unet_cond': UNet(**SMALL, head_width=16, new_order=True, updown=True, labels=3),
  'encoder': Encoder(size=16, width=64, mults=(1, 1, 1), blocks=1, attend=(4,), classes=10),
}


def shapes(net, size, batch=1):
  x, t = jnp.zeros((batch, size, size, 3)), jnp.zeros(batch)
  cond = (jnp.zeros(batch, int),) if getattr(net, 'labels', None) else ()
  return jax.eval_shape(net.init, jax.random.key(0), x, t, *cond)


def count(net, size):
  return sum(leaf.size for leaf in jax.tree.leaves(shapes(net, size)['params']))


@pytest.fixture(scope='module')
def golden():
  return dict(np.load(GOLDEN / 'golden.npz'))


def loaded(name):
  return weights.fill(shapes(NETS[name], 16), weights.read(GOLDEN / f'{name}.pt')[0])


def inputs(name, golden):
  x, t = golden['x'].transpose(0, 2, 3, 1), golden['t'].astype(np.float32)
  return (x, t, golden['y']) if name == 'unet_cond' else (x, t)


def answer(net, name, golden):
  return jax.jit(net.apply)(loaded(name), *inputs(name, golden))


def published(name, golden):
  return golden[name].transpose(0, 2, 3, 1) if golden[name].ndim == 4 else golden[name]


@pytest.mark.parametrize('name', NETS)
def test_the_published_output(name, golden):
  out, want = np.asarray(answer(NETS[name], name, golden)), published(name, golden)
  assert out.dtype == np.float32
  assert np.abs(out - want).max() <= 1e-5 * want.std()


@pytest.mark.parametrize('name', NETS)
def test_bfloat16_stays_near_and_returns_float32(name, golden):
  out = np.asarray(answer(NETS[name].clone(dtype=jnp.bfloat16), name, golden))
  want = published(name, golden)
  assert out.dtype == np.float32
  assert 1e-4 < np.sqrt(((out - want) ** 2).mean()) / want.std() < 0.03


@pytest.mark.parametrize(
  ('net', 'size', 'parameters'),
  [
    (UNet(), 64, 121_063_942),
    (UNet(attend=(2, 4, 8)), 64, 122_909_702),
    (UNet(mults=(1, 1, 2, 3, 4), attend=(8, 16)), 128, 125_070_598),
    (UNet(labels=3), 64, 121_065_478),
    (UNet(labels=1000), 64, 121_575_942),
    (Encoder(), 64, 41_287_016),
    (Encoder(width=64, attend=(8,)), 64, 10_043_816),
    (Encoder(width=32, attend=(8,)), 64, 2_586_312),
    (Encoder(width=32, attend=()), 64, 2_453_704),
    (Encoder(size=128, mults=(1, 1, 2, 3, 4), attend=(4, 8, 16)), 128, 42_568_040),
  ],
)
def test_parameters(net, size, parameters):
  assert count(net, size) == parameters


def test_the_published_imagenet_networks_build():
  """Their names and shapes are held against PyTorch twins in tests/parity."""
  same = dict(head_width=64, updown=True)
  big = dict(mults=(1, 1, 2, 2, 4, 4), attend=(8, 16, 32))
  for net, size, millions in [
    (UNet(192, attend=(2, 4, 8), new_order=True, labels=1000, dropout=0.1, **same), 64, 296),
    (UNet(256, blocks=2, labels=1000, **big, **same), 256, 554),
    (Encoder(blocks=4, **same), 64, 65),
    (Encoder(256, **big, **same), 256, 54),
  ]:
    out = jax.eval_shape(net.apply, (v := shapes(net, size)), *fake(net, size))
    assert out.shape == ((1, size, size, 6) if isinstance(net, UNet) else (1, 1000))
    assert round(sum(a.size for a in jax.tree.leaves(v)) / 1e6) == millions


def fake(net, size):
  image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  labels = jax.ShapeDtypeStruct((1,), jnp.int32)
  t = jax.ShapeDtypeStruct((1,), jnp.float32)
  return (image, t, labels) if getattr(net, 'labels', None) else (image, t)


def test_a_fresh_unet_predicts_nothing_and_its_weights_are_pytorchs():
  net = TINY
  x = normal(2, 8, 8, 3)
  variables = jax.jit(net.init)(jax.random.key(0), x, jnp.zeros(2))
  assert not jax.jit(net.apply)(variables, x, jnp.ones(2)).any()
  block = variables['params']['middle_block.0']
  assert not block['out_layers.3']['kernel'].any() and not block['out_layers.3']['bias'].any()
  for layer in (block['in_layers.2'], variables['params']['time_embed.2']):
    bound = np.prod(layer['kernel'].shape[:-1]) ** -0.5
    assert 0.98 * bound < np.abs(layer['kernel']).max() <= bound
    np.testing.assert_allclose(layer['kernel'].std(), bound / 3**0.5, rtol=0.05)
    assert 0.5 * bound < np.abs(layer['bias']).max() <= bound


def test_rematerialised_blocks_have_the_same_gradient():
  net = TINY
  x, t = normal(1, 8, 8, 3), np.ones(1, np.float32)
  variables = drawn(net, x, t)

  def grad(net):
    tree = jax.jit(jax.grad(lambda v: (net.apply(v, x, t) ** 2).sum()))(variables)
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])

  once, again = grad(net), grad(net.clone(remat='full'))
  np.testing.assert_allclose(once, again, atol=1e-5 * np.abs(once).max())
  texts = {}
  for name in ('full', 'dots_with_no_batch_dims_saveable'):
    again = net.clone(remat=name)
    texts[name] = str(jax.make_jaxpr(lambda v, net=again: net.apply(v, x, t))(variables))
    assert texts[name].count('remat') >= 4  # three residual blocks and the attention between
  assert 'policy=None' in texts['full'] and 'policy=None' not in texts[name]
  with pytest.raises(ValueError, match="remat is None, 'full' or one of .*, not 'dots'"):
    jax.eval_shape(net.clone(remat='dots').apply, variables, x, t)


def test_every_derivative_that_guidance_takes():
  """Forward and reverse mode agree, and jvp of grad is the difference quotient of grad."""
  net = Encoder(8, width=32, mults=(1,), blocks=0, attend=(), head_width=16, classes=3)
  x, v = normal(2, 1, 8, 8, 3)
  t = np.ones(1, np.float32)
  variables = drawn(net, x, t)

  def score(x):
    return jax.nn.log_softmax(net.apply(variables, x, t))[0, :2].sum()

  grad = jax.jit(jax.grad(score))
  slope = jax.jit(lambda x, v: jax.jvp(score, (x,), (v,))[1])(x, v)
  np.testing.assert_allclose(slope, (grad(x) * v).sum(), rtol=1e-3)
  h = 1e-2
  want = (grad(x + h * v) - grad(x - h * v)) / (2 * h)
  got = jax.jit(lambda x, v: jax.jvp(jax.grad(score), (x,), (v,))[1])(x, v)
  assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_dropout_acts_in_training_only():
  net = TINY.clone(dropout=0.5)
  x, t = normal(1, 8, 8, 3), np.ones(1, np.float32)
  variables = drawn(net, x, t)
  train = jax.jit(lambda key: net.apply(variables, x, t, train=True, rngs={'dropout': key}))
  one, two = (train(jax.random.key(i)) for i in (0, 1))
  assert np.abs(one - two).max() > 0.1
  assert 'random_bits' not in str(jax.make_jaxpr(net.apply)(variables, x, t))


def test_examples_do_not_meet(golden):
  backwards = {k: v[::-1] for k, v in golden.items()}
  out = answer(NETS['encoder'], 'encoder', backwards)[::-1]
  np.testing.assert_allclose(out, published('encoder', golden), atol=1e-5)


@pytest.mark.parametrize(
  ('net', 'shape', 'cond', 'says'),
  [
    (UNet(), (1, 60, 64, 3), None, r'60 x 64 3 times.*multiples of 8.*zeros\(\(1, 56, 56, 3\)\)'),
    (UNet(), (2, 64, 64, 3), None, r't \[B\], not \(2, 64, 64, 3\) and \(1,\)'),
    (UNet(), (64, 64, 3), None, 'call net.apply'),
    (UNet(), (1, 64, 64, 3), jnp.zeros(1, int), 'no label table.*no cond'),
    (UNet(labels=3), (1, 64, 64, 3), None, 'needs|3 label rows.*the last, 2'),
    (UNet(width=36), (1, 64, 64, 3), None, 'cannot split 36 channels'),
    (UNet(heads=3), (1, 64, 64, 3), None, '384|512 channels do not split into heads=3'),
    (UNet(head_width=60), (1, 64, 64, 3), None, 'head_width=60'),
    (Encoder(), (1, 128, 128, 3), None, r'128 x 128.*Encoder\(size=128\)'),
    (Encoder(size=60), (1, 60, 60, 3), None, 'multiples of 8'),
  ],
)
def test_bad_input_is_refused_when_traced(net, shape, cond, says):
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  args = (cond,) if isinstance(net, UNet) else ()
  with pytest.raises(ValueError, match=says):
    jax.eval_shape(net.init, jax.random.key(0), x, jnp.zeros(1), *args)


def test_weights_for_other_channels_are_refused():
  variables = shapes(NETS['unet'], 16)
  with pytest.raises(ValueError, match='weights for 3 channels'):
    jax.eval_shape(NETS['unet'].apply, variables, jnp.zeros((1, 16, 16, 1)), jnp.zeros(1))
