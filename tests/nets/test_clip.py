"""CLIP: sizes, what each tower looks at, derivatives, and what is refused."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.io import weights
from zsi_jax.nets.clip import VARIANTS, Clip

NET = Clip(
  embed=6, size=8, patch=4, width=8, depth=3, text_width=8, text_depth=2, vocabulary=20, length=7,
  head=4,
)  # fmt: skip
X = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
IDS = jnp.array([[18, 3, 4, 19, 0, 0, 0], [18, 5, 19, 0, 0, 0, 0]])


def shapes(net):
  image = jax.ShapeDtypeStruct((1, net.size, net.size, 3), jnp.float32)
  ids = jax.ShapeDtypeStruct((1, net.length), jnp.int32)
  return jax.eval_shape(net.init, jax.random.key(0), image, ids)


@functools.cache
def drawn():
  """Every number random: norms of one and biases of zero would hide an error."""
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda a: 0.3 * rng.standard_normal(a.shape, np.float32), shapes(NET))


@functools.partial(jax.jit, static_argnames='method')
def ask(variables, *given, method):
  return NET.apply(variables, *given, method=method)


@pytest.mark.parametrize(
  'name, count', [('ViT-B/32', 151_277_313), ('ViT-B/16', 149_620_737), ('ViT-L/14', 427_616_513)]
)
def test_the_published_number_of_parameters(name, count):
  tree = shapes(Clip.variant(name))
  assert sum(a.size for a in jax.tree.leaves(tree)) == count
  slots = weights.slots(tree)
  net = Clip.variant(name)
  c = net.width
  for key, shape in {
    'visual.conv1.weight': (c, 3, net.patch, net.patch),
    'visual.positional_embedding': ((224 // net.patch) ** 2 + 1, c),
    'visual.transformer.resblocks.11.attn.in_proj_weight': (3 * c, c),
    'visual.transformer.resblocks.11.mlp.c_fc.weight': (4 * c, c),
    'visual.proj': (c, net.embed),
    'positional_embedding': (77, net.text_width),
    'text_projection': (net.text_width, net.embed),
    'logit_scale': (),
  }.items():
    assert slots[key].shape == shape, key


def test_what_is_filled_in_comes_out():
  arrays = weights.empty(drawn())
  back = weights.empty(weights.fill(shapes(NET), arrays))
  assert len(arrays) == 8 + 6 + 12 * 5  # around the blocks of each tower, and in the blocks
  jax.tree.map(np.testing.assert_array_equal, back, arrays)


def test_text_ends_at_the_largest_id_and_looks_back_only():
  base = ask(drawn(), IDS, method='text')
  after = ask(drawn(), IDS.at[0, 5].set(7), method='text')
  np.testing.assert_array_equal(after, base)
  before = ask(drawn(), IDS.at[0, 1].set(7), method='text')
  assert np.abs(before - base)[0].max() > 1e-3
  np.testing.assert_array_equal(before[1], base[1])


def test_tokens_belong_to_their_patch():
  """Without attention a patch is its own; rows of patches, the class token left out."""
  cut = jax.tree.map(jnp.asarray, drawn())
  for block in cut['params']['visual']['transformer'].values():
    block['attn']['out_proj'] = jax.tree.map(jnp.zeros_like, block['attn']['out_proj'])
  base = ask(cut, X, method='tokens')
  assert base.shape == (2, 4, 8)
  moved = ask(cut, X.at[:, 4:, :4].add(1), method='tokens')
  assert (np.abs(moved - base).max((0, 2)) > 1e-2).tolist() == [False, False, True, False]


def test_tokens_leave_the_block_that_is_named():
  net = NET.clone(depth=2)
  last, first = (net.apply(drawn(), X, block, method='tokens') for block in (1, 0))
  np.testing.assert_array_equal(NET.apply(drawn(), X, 1, method='tokens'), last)
  assert np.abs(NET.apply(drawn(), X, method='tokens') - last).max() > 1e-2
  assert np.abs(first - last).max() > 1e-2


def test_called_it_scales_cosines():
  a, b = ask(drawn(), X, method='image'), ask(drawn(), IDS, method='text')
  cosines = (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
  scale = np.exp(drawn()['params']['logit_scale'])
  np.testing.assert_allclose(ask(drawn(), X, IDS, method='__call__'), scale * cosines, rtol=1e-4)


def test_it_is_differentiable_twice():
  net, v = NET.clone(depth=1), jax.random.normal(jax.random.key(2), X.shape)
  grad = jax.grad(lambda x: (net.apply(drawn(), x, method='image') ** 2).sum())

  @jax.jit
  def along(x):
    ahead, back = jax.jvp(grad, (x,), (v,))[1], jax.vjp(grad, x)[1](v)[0]
    return ahead, back, (grad(x + 1e-2 * v) - grad(x - 1e-2 * v)) / 2e-2

  ahead, back, apart = along(X)
  np.testing.assert_allclose(ahead, back, atol=1e-4 * np.abs(back).max())
  np.testing.assert_allclose(ahead, apart, atol=2e-2 * np.abs(ahead).max())


@pytest.mark.parametrize('name', VARIANTS)
def test_variants_are_values(name):
  assert Clip.variant(name) == Clip.variant(name)
  assert sum(Clip.variant(name) == Clip.variant(other) for other in VARIANTS) == 1


def test_what_is_refused():
  def refused(word, call):
    with pytest.raises(ValueError, match=word):
      call()

  refused('ViT-B/16', lambda: Clip.variant('ViT-B/8'))
  refused(r'\[B, 8, 8, 3\].*\[2, 16, 8, 3\]', lambda: ask(drawn(), X.repeat(2, 1), method='image'))
  refused('uint8', lambda: ask(drawn(), X.astype(jnp.uint8), method='tokens'))
  refused('block is one of 0 to 2, not 3', lambda: NET.apply(drawn(), X, 3, method='tokens'))
  refused(r'\[B, 7\].*\[2, 6\]', lambda: ask(drawn(), IDS[:, :6], method='text'))
  refused('integers', lambda: ask(drawn(), IDS.astype(float), method='text'))
  refused('patch=3', lambda: shapes(NET.clone(patch=3)))
