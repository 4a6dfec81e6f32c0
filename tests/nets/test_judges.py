"""The networks of judges: sizes, batch norm, and what a compact one takes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.io import weights
from zsi_jax.nets.compact import Compact
from zsi_jax.nets.efficientnet import EfficientNet, Stage

FEW = (Stage(True, 1, 1, 8, 1), Stage(True, 2, 2, 16, 1), Stage(False, 2, 1, 16, 1))
X = jax.random.normal(jax.random.key(1), (6, 16, 16, 3))


def few(**more):
  net = EfficientNet(out=3, stages=FEW, stem=8, last=32, **more)
  return net, jax.jit(net.init)(jax.random.key(0), X)


@functools.partial(jax.jit, static_argnums=0)
def trained(net, variables, x, key):
  rngs = {'dropout': key}
  return net.apply(variables, x, train=True, mutable=['batch_stats'], rngs=rngs)


def count(tree):
  return sum(a.size for a in jax.tree.leaves(tree))


def test_efficientnet_has_the_published_number_of_parameters():
  image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
  tree = jax.eval_shape(EfficientNet().init, jax.random.key(0), image)
  assert count(tree['params']) == 20_180_050
  names = list(weights.slots(tree))
  assert {'features.0.0.weight', 'features.7.1.running_var', 'classifier.1.bias'} <= set(names)
  assert 'features.6.14.block.2.fc2.bias' in names and len(names) == 782 - 110


def test_what_is_filled_in_comes_out():
  net = EfficientNet(out=3, stages=FEW, stem=8, last=32)
  tree = jax.eval_shape(net.init, jax.random.key(0), X)
  drawn = jax.tree.map(
    lambda a: np.random.default_rng(a.size).normal(size=a.shape).astype(np.float32), tree
  )
  back = weights.fill(tree, weights.empty(drawn))
  jax.tree.map(np.testing.assert_array_equal, back, dict(drawn))


def test_batch_norm_by_its_definition():
  net, variables = few()
  h = 3 * X + 1
  _, changed = trained(net, variables, h, jax.random.key(3))
  before = variables['batch_stats']['features.0']['1']
  after = changed['batch_stats']['features.0']['1']
  kernel = variables['params']['features.0']['0']['kernel']
  y = jax.lax.conv_general_dilated(
    h, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  wanted = 0.9 * before['mean'] + 0.1 * y.mean((0, 1, 2))
  np.testing.assert_allclose(after['mean'], wanted, atol=1e-6)
  wanted = 0.9 * before['var'] + 0.1 * y.var((0, 1, 2))
  np.testing.assert_allclose(after['var'], wanted, rtol=1e-4)


def test_without_training_an_example_does_not_depend_on_the_others():
  net, variables = few()
  apply = jax.jit(net.apply)
  whole, seen = apply(variables, X)
  other, _ = apply(variables, X.at[2:].set(0))
  np.testing.assert_allclose(whole[:2], other[:2], atol=1e-6)
  assert whole.shape == (6, 3) and seen.shape == (6, 32)


def test_a_dropped_path_is_by_chance_and_leaves_whole_examples_as_they_are():
  net, variables = few(dropout=0.0, drop_path=1.0)
  one, same, other = (trained(net, variables, X, jax.random.key(k))[0][0] for k in (0, 0, 1))
  np.testing.assert_array_equal(one, same)
  assert np.abs(one - other).max() > 1e-3


def test_compact_is_small_and_says_what_it_takes():
  net, x = Compact(size=32, out=2), jnp.zeros((3, 32, 32, 3))
  tree = jax.eval_shape(net.init, jax.random.key(0), x)
  assert 100_000 <= count(tree) <= 500_000 and set(tree) == {'params'}
  for shape in ((3, 64, 64, 3), (3, 32, 16, 3)):
    with pytest.raises(ValueError, match=r'takes x \[B, 32, 32, C\]'):
      net.init(jax.random.key(0), jnp.zeros(shape))
  with pytest.raises(ValueError, match='a multiple of 8'):
    Compact(size=12).init(jax.random.key(0), jnp.zeros((1, 12, 12, 3)))


def test_features_are_what_the_head_is_applied_to():
  net, x = Compact(size=16, out=2, width=8, blocks=(1,), spots=8, hidden=5), X
  variables = jax.jit(net.init)(jax.random.key(0), x)
  out, seen = jax.jit(net.apply)(variables, x)
  assert out.shape == (6, 2) and seen.shape == (6, 5)
  kernel, bias = variables['params']['head']['kernel'], variables['params']['head']['bias']
  np.testing.assert_allclose(out, seen @ kernel + bias, atol=1e-6)


def test_compact_knows_what_is_where():
  """A mean over places could not: the same pixels elsewhere are another answer."""
  net = Compact(size=16, width=8, blocks=(1,), spots=8)
  x = jax.random.normal(jax.random.key(0), (1, 16, 16, 3))
  variables = jax.jit(net.init)(jax.random.key(1), x)
  apply = jax.jit(net.apply)
  assert np.abs(apply(variables, x)[0] - apply(variables, jnp.roll(x, 8, 2))[0]).max() > 1e-3
