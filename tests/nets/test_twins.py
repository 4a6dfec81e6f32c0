"""Twins of the networks that guide faces: sizes, what they promise, two derivatives, bad input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nets.made import drawn, normal
from zsi_jax.nets.twins import SIZES, Embedder, Named, Parser, Pointer, Reader, Tower, unit

TOKENS = jnp.array([[0, 3, 6], [1, 4, 7]])
NETS = {
  'embedder': Embedder,
  'pointer': Pointer,
  'parser': Parser,
  'reader': Reader,
  'tower': Tower,
}


@pytest.fixture(scope='module', autouse=True)
def compiled_soon():
  before = jax.config.read('jax_disable_most_optimizations')
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', before)


def seen(net, variables, x):
  """What guides by it: of a reader its image tower."""
  return net.apply(variables, x, method='image' if isinstance(net, Reader) else None)


def made(name, **more):
  net = NETS[name](**{'width': 8, **more})
  tokens = (TOKENS,) if name == 'reader' else ()
  return net, drawn(net, jnp.zeros((2, net.size, net.size, 3)), *tokens)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('name', NETS)
def test_they_are_small_at_any_size(name, size):
  net = NETS[name](size=size)
  x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  tree = jax.eval_shape(net.init, jax.random.key(0), x, *((TOKENS,) if name == 'reader' else ()))
  count = sum(a.size for a in jax.tree.leaves(tree))
  assert 100_000 < count < {32: 500_000, 64: 800_000, 128: 1_100_000}[size]
  shape = jax.eval_shape(lambda v, x: seen(net, v, x), tree, x).shape
  wanted = {'embedder': (128,), 'pointer': (68, 2), 'parser': (size, size, 19), 'reader': (64,)}
  wanted['tower'] = (8,)
  assert shape == (2, *wanted[name]) and set(tree) == {'params'}


@pytest.mark.parametrize('name', ['embedder', 'parser'])
def test_they_are_smooth_twice(name):
  """Curvature by forward over reverse is that of differences of gradients, and is not nothing."""
  net, variables = made(name)
  x, v = (jnp.asarray(normal(1, 32, 32, 3, seed=k)) for k in (1, 2))

  @jax.jit
  def slope(x):
    return jax.grad(lambda x: (seen(net, variables, x) ** 2 * weight).sum())(x)

  weight = normal(*jax.eval_shape(lambda x: seen(net, variables, x), x).shape, seed=3)
  _, curved = jax.jit(lambda x: jax.jvp(slope, (x,), (v,)))(x)
  step = 3e-3
  rough = (slope(x + step * v) - slope(x - step * v)) / (2 * step)
  assert jnp.abs(curved).max() > 1e-5
  assert jnp.linalg.norm(rough - curved) < 0.02 * jnp.linalg.norm(curved)


def test_units_have_length_one_and_are_flat_where_there_is_nothing():
  v = jnp.asarray(normal(5, 7))
  np.testing.assert_allclose(jnp.linalg.norm(unit(v), axis=-1), 1, atol=1e-5)
  slope = jax.jacfwd(unit)(jnp.zeros(3))
  assert jnp.isfinite(slope).all()
  assert jnp.isfinite(jax.hessian(lambda v: unit(v).sum())(jnp.zeros(3))).all()


def test_an_embedding_knows_directions_and_no_lengths():
  net, variables = made('embedder')
  x = jnp.asarray(normal(3, 32, 32, 3))
  apply = jax.jit(net.apply)
  one = apply(variables, x)
  np.testing.assert_allclose(jnp.linalg.norm(one, axis=1), 1, atol=1e-5)
  other = apply(variables, x.at[1:].set(0))
  np.testing.assert_allclose(one[0], other[0], atol=1e-5)  # of its own image alone
  assert jnp.abs(one[1] - other[1]).max() > 1e-2
  named = Named(net, 5)
  tree = drawn(named, x)
  told = jax.jit(named.apply)(tree, x)
  ways = np.asarray(tree['params']['persons'])
  ways = ways / np.linalg.norm(ways, axis=1, keepdims=True)
  wanted = jax.jit(net.apply)({'params': tree['params']['net']}, x) @ ways.T
  np.testing.assert_allclose(told, wanted, atol=1e-5)


def test_points_start_in_the_middle_and_pixels_see_their_neighbours():
  net, variables = made('pointer')
  head = variables['params']['tower']['head']
  head['kernel'], head['bias'] = 0 * head['kernel'], 0 * head['bias']
  x = jnp.asarray(normal(2, 32, 32, 3))
  np.testing.assert_allclose(jax.jit(net.apply)(variables, x), 0.5)
  net, variables = made('parser')
  apply = jax.jit(net.apply)
  gap = jnp.abs(apply(variables, x) - apply(variables, x.at[:, 4, 20].add(3))).max((0, 3))
  assert gap[2:7, 18:23].max() == gap.max() > 20 * gap[24:].mean()  # norms see whole images


def test_a_texture_is_what_a_parser_sees_first():
  net, variables = made('parser')
  x = jnp.asarray(normal(2, 32, 32, 3))
  texture = jax.jit(lambda v, x: net.apply(v, x, method='texture'))
  seen = texture(variables, x)
  assert seen.shape == (2, 16, 16, 8) and seen.dtype == jnp.float32
  _, inside = net.apply(variables, x, capture_intermediates=True)
  later = {
    'params': variables['params']
    | {'out': jax.tree.map(jnp.zeros_like, variables['params']['out'])}
  }
  np.testing.assert_array_equal(texture(later, x), seen)
  first = inside['intermediates']['blocks.0.0.conv2']['__call__'][0]
  stem = inside['intermediates']['stem']['__call__'][0]
  np.testing.assert_allclose(seen, stem + first, atol=1e-5)


def test_words_have_no_order_and_warmth_has_an_end():
  net, variables = made('reader', vocabulary=9)
  words = jax.jit(lambda t: net.apply(variables, t, method='words'))
  np.testing.assert_allclose(words(TOKENS), words(TOKENS[:, ::-1]), atol=1e-5)
  assert jnp.abs(words(TOKENS)[0] - words(TOKENS)[1]).max() > 1e-2
  hot = {'params': {**variables['params'], 'warmth': jnp.array(50.0)}}
  x = jnp.asarray(normal(2, 32, 32, 3))
  image, read, scale = jax.jit(net.apply)(hot, x, TOKENS)
  np.testing.assert_allclose(read, words(TOKENS), atol=1e-5)
  np.testing.assert_allclose(image, jax.jit(lambda x: seen(net, hot, x))(x), atol=1e-5)
  np.testing.assert_allclose(scale, 100, rtol=1e-5)


@pytest.mark.parametrize('name', ['embedder', 'parser'])
def test_what_they_take_is_said(name):
  key = jax.random.key(0)
  with pytest.raises(ValueError, match=r'one of the sides \(32, 64, 128\), not 48'):
    jax.eval_shape(NETS[name](size=48).init, key, jnp.zeros((1, 48, 48, 3)))
  for shape in ((1, 32, 32, 3), (64, 64, 3)):
    with pytest.raises(ValueError, match=r'takes x \[B, 64, 64, C\], not \['):
      jax.eval_shape(NETS[name](size=64).init, key, jnp.zeros(shape))
