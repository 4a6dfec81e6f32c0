"""DiT: its sizes, its positions and what adaLN-zero promises; its numbers are in tests/parity."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nets.made import drawn, normal
from zsi_jax.nets import DiT
from zsi_jax.nets.dit import SIZES, positions

TINY = DiT(size=8, patch=2, width=32, depth=1, heads=4, labels=3)
X = normal(2, 8, 8, 3)
T = np.array([3.0, 900.0], np.float32)
COND = np.array([0, 2])


def count(net, channels=3):
  x = jax.ShapeDtypeStruct((1, net.size, net.size, channels), jnp.float32)
  args = (jnp.zeros(1, int),) if net.labels else ()
  tree = jax.eval_shape(net.init, jax.random.key(0), x, jnp.zeros(1), *args)
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def arithmetic(depth, d, p, channels, out, labels):
  dense = lambda i, o: i * o + o  # noqa: E731
  block = dense(d, 6 * d) + dense(d, 3 * d) + dense(d, d) + dense(d, 4 * d) + dense(4 * d, d)
  final = dense(d, 2 * d) + dense(d, p * p * out)
  stem = dense(p * p * channels, d) + dense(256, d) + dense(d, d)
  return stem + labels * d + depth * block + final


@pytest.mark.parametrize('name', [f'{s}/{p}' for s in 'SBL' for p in (2, 4, 8)] + ['XL/2'])
def test_parameters(name):
  net = DiT.variant(name, size=64, labels=3)
  depth, width, _ = SIZES[name.split('/')[0]]
  assert count(net) == arithmetic(depth, width, net.patch, 3, 6, 3)


@pytest.mark.parametrize(
  ('name', 'millions'), [('S/2', 33), ('B/2', 130), ('L/2', 458), ('XL/2', 675)]
)
def test_parameters_as_published_for_latents_of_imagenet(name, millions):
  net = DiT.variant(name, size=32, labels=1001, out=8)
  assert abs(count(net, channels=4) / 1e6 - millions) < 1


def test_positions_say_the_column_first():
  table = positions(4, 16)
  assert table.shape == (16, 16)
  for row in range(4):
    for column in range(4):
      want = []
      for place in (column, row):
        angles = place / 10000 ** (np.arange(4) / 4)
        want += [*np.sin(angles), *np.cos(angles)]
      np.testing.assert_allclose(table[4 * row + column], want, atol=1e-12)


def test_fresh_blocks_are_the_identity_and_the_answer_is_zero():
  apply = jax.jit(TINY.apply)
  variables = jax.jit(TINY.init)(jax.random.key(1), X, T, COND)
  assert not apply(variables, X, T, COND).any()
  final = variables['params']['final_layer.linear']
  final['kernel'] = normal(*final['kernel'].shape)
  out = apply(variables, X, T, COND)
  # whatever is in the blocks, their gates are zero
  variables['params']['blocks.0']['mlp.fc1']['kernel'] *= 7
  np.testing.assert_array_equal(out, apply(variables, X, T, COND))
  assert out.std() > 0.1


def test_bfloat16_stays_near_and_returns_float32():
  variables = drawn(TINY, X, T, COND)
  want = jax.jit(TINY.apply)(variables, X, T, COND)
  out = jax.jit(TINY.clone(dtype=jnp.bfloat16).apply)(variables, X, T, COND)
  assert out.dtype == jnp.float32
  assert 1e-4 < jnp.sqrt(((out - want) ** 2).mean()) / want.std() < 0.03


@pytest.mark.parametrize(
  ('net', 'shape', 'cond', 'says'),
  [
    (TINY, (1, 16, 16, 3), jnp.zeros(1, int), r'8 x 8 images.*not 16 x 16.*DiT\(size'),
    (TINY, (1, 8, 8, 3), None, '3 label rows.*the last, 2'),
    (TINY.clone(labels=None), (1, 8, 8, 3), jnp.zeros(1, int), 'no label table'),
    (TINY.clone(patch=3, labels=None), (1, 8, 8, 3), None, 'multiple of the patch'),
    (TINY.clone(heads=5, labels=None), (1, 8, 8, 3), None, 'heads=5'),
    (TINY.clone(width=30, heads=5, labels=None), (1, 8, 8, 3), None, 'multiple of 4'),
  ],
)
def test_bad_input_is_refused_when_traced(net, shape, cond, says):
  with pytest.raises(ValueError, match=says):
    jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(shape), jnp.zeros(1), cond)


def test_unknown_variants_are_refused():
  for name in ('H/2', 'B', 'B/x'):
    with pytest.raises(ValueError, match=r"DiT.variant\('B/4'\)"):
      DiT.variant(name)
