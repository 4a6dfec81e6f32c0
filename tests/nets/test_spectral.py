"""Spectral norm in both readings, against singular values and closed forms."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nets.made import normal
from zsi_jax.nets import Encoder, Spectral, collect
from zsi_jax.nets.blocks import Affine, Conv, Dense, Point, ResBlock
from zsi_jax.nets.spectral import flat

PAPER, PEER = Spectral(), Spectral.peer(lipschitz=0.5)
KEY = jax.random.key(0)
CONV_X = normal(2, 5, 5, 4)
DENSE_X = normal(2, 12)


def top(kernel):
  return np.linalg.svd(flat(np.asarray(kernel)), compute_uv=False)[0]


def made(layer, x):
  """A layer with a bias, and its variables."""
  variables = jax.jit(layer.init)(KEY, x)
  variables['params']['bias'] = jnp.arange(1.0, layer.features + 1)
  return variables


def trained(layer, variables, x, forwards=1):
  """Variables after some training forwards."""
  apply = jax.jit(lambda v: layer.apply(v, x, mutable=['spectral'])[1])
  for _ in range(forwards):
    new = apply(variables)
    variables = {**variables, **new}
  return variables


def test_flat_is_pytorchs_order():
  kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)  # kh kw in out
  torchs = kernel.transpose(3, 2, 0, 1)  # out in kh kw
  np.testing.assert_array_equal(flat(kernel), torchs.reshape(5, -1))
  np.testing.assert_array_equal(flat(kernel[0, 0]), kernel[0, 0].T)


@pytest.mark.parametrize('how', [PAPER, PEER])
def test_the_norm_tends_to_the_largest_singular_value(how):
  layer = Conv(6, spectral=how, train=True)
  variables = trained(layer, made(layer, CONV_X), CONV_X, 60)
  kernel, pair = variables['params']['kernel'], variables['spectral']
  np.testing.assert_allclose(top(how.weight(kernel, **pair)), how.lipschitz, rtol=1e-4)


def test_one_training_forward_is_the_stated_iteration():
  for how, steps in [(PAPER, 1), (PEER, 2), (Spectral.peer(iterations=3), 3)]:
    layer = Conv(6, spectral=how, train=True)
    before = made(layer, CONV_X)
    u, v = (np.asarray(before['spectral'][k], np.float64) for k in 'uv')
    w = flat(np.asarray(before['params']['kernel'], np.float64))
    for _ in range(steps):
      u = w @ v / np.linalg.norm(w @ v)
      v = w.T @ u / np.linalg.norm(w.T @ u)
    after = trained(layer, before, CONV_X)['spectral']
    np.testing.assert_allclose(after['u'], u, atol=1e-6)
    np.testing.assert_allclose(after['v'], v, atol=1e-6)


def test_peer_linear_layer_in_closed_form():
  layer = Dense(8, spectral=PEER)
  variables = made(layer, DENSE_X)
  kernel, bias = (np.asarray(variables['params'][k]) for k in ('kernel', 'bias'))
  u, v = (np.asarray(variables['spectral'][k]) for k in 'uv')
  want = DENSE_X @ (kernel * 0.5 / (u @ kernel.T @ v)) + bias / np.linalg.norm(bias)
  np.testing.assert_allclose(layer.apply(variables, DENSE_X), want, atol=1e-6)


def test_paper_leaves_biases_and_linear_layers():
  layer, x = Conv(6, spectral=PAPER), CONV_X
  variables = made(layer, x)
  bare = {'params': variables['params'] | {'bias': jnp.zeros(6)}}
  moved = layer.apply(variables, x) - layer.apply({**variables, **bare}, x)
  np.testing.assert_allclose(moved, np.broadcast_to(np.arange(1.0, 7), moved.shape), atol=1e-5)
  assert 'spectral' not in Dense(8, spectral=PAPER).init(KEY, DENSE_X)


def test_width_1_convolutions_are_never_normalised():
  for how in (PAPER, PEER):
    assert 'spectral' not in Point(8, spectral=how).init(KEY, DENSE_X[:, None])


def test_evaluation_iterates_and_stores_nothing():
  layer = Conv(6, spectral=PEER)
  variables = made(layer, CONV_X)
  out, new = layer.apply(variables, CONV_X, mutable=['spectral'])
  np.testing.assert_array_equal(new['spectral']['u'], variables['spectral']['u'])
  np.testing.assert_array_equal(out, layer.apply(variables, CONV_X))
  assert not np.allclose(out, layer.clone(train=True).apply(variables, CONV_X), atol=1e-7)


def test_the_gradient_holds_u_and_v_but_not_sigma():
  """d<G, L W / s>/dW = L (G - <G, W> u v^T / s) / s."""
  w = jnp.asarray(normal(12, 8))
  u, v = PEER.start(jax.random.key(1), w)
  g = normal(12, 8, seed=2)
  sigma = u @ w.T @ v
  want = 0.5 * (g - (g * w).sum() / sigma * jnp.outer(v, u)) / sigma
  layer = Dense(8, spectral=Spectral.peer(iterations=0), train=True)
  variables = {'params': {'kernel': w, 'bias': jnp.ones(8)}, 'spectral': {'u': u, 'v': v}}

  def loss(w):
    params = {'kernel': w, 'bias': jnp.ones(8)}
    out = layer.apply({**variables, 'params': params}, jnp.eye(12))
    return (out * g).sum()

  np.testing.assert_allclose(jax.grad(loss)(w), want, atol=1e-5)


def test_a_peer_kernel_that_starts_at_zero_is_never_normalised():
  layer = Conv(6, spectral=PEER, train=True, kernel_init=jax.nn.initializers.zeros)
  variables = made(layer, CONV_X)
  grown = 7 * normal(3, 3, 4, 6)
  variables['params']['kernel'] = grown
  variables = trained(layer, variables, CONV_X, 5)
  assert not variables['spectral']['u'].any() and not variables['spectral']['v'].any()
  bias = PEER.offset(variables['params']['bias'])
  plain = Conv(6).apply({'params': {'kernel': grown, 'bias': bias}}, CONV_X)
  np.testing.assert_allclose(layer.apply(variables, CONV_X), plain, atol=1e-4)


def test_a_paper_kernel_that_starts_at_zero_is_normalised_once_it_has_grown():
  layer = Conv(6, spectral=PAPER, train=True, kernel_init=jax.nn.initializers.zeros)
  variables = trained(layer, made(layer, CONV_X), CONV_X, 3)
  assert not PAPER.weight(variables['params']['kernel'], **variables['spectral']).any()
  variables['params']['kernel'] = 7 * normal(3, 3, 4, 6)
  variables = trained(layer, variables, CONV_X, 60)
  kernel = PAPER.weight(variables['params']['kernel'], **variables['spectral'])
  np.testing.assert_allclose(top(kernel), 1, rtol=1e-4)


def test_a_zero_bias_has_a_huge_but_finite_gradient_as_the_peers():
  grad = jax.grad(lambda b: (PEER.offset(b) * jnp.arange(3.0)).sum())(jnp.zeros(3))
  np.testing.assert_allclose(grad, 1e12 * np.arange(3.0))
  np.testing.assert_allclose(jnp.linalg.norm(PEER.offset(jnp.array([3.0, 4.0]))), 1, rtol=1e-6)


@pytest.mark.parametrize('how', [PAPER, PEER])
def test_what_a_net_trained_without_it_needs_at_sampling(how):
  net = Encoder(8, width=32, mults=(1,), blocks=1, attend=(), head_width=16, classes=3)
  normed = net.clone(spectral=how)
  x, t = jnp.zeros((1, 8, 8, 3)), jnp.ones(1)
  params = jax.eval_shape(net.init, KEY, x, t)['params']
  spectral = jax.eval_shape(lambda p: collect(how, p, KEY), params)
  assert spectral == jax.eval_shape(normed.init, KEY, x, t)['spectral']
  assert ('time_embed.0' in spectral) == (how is PEER)
  assert 'middle_block.1' not in spectral and 'out.2' not in spectral
  with pytest.raises(ValueError, match=r'spectral\.collect'):
    jax.eval_shape(normed.apply, {'params': params}, x, t)


@pytest.mark.parametrize('how', [PAPER, PEER])
def test_collected_u_and_v_normalise_what_was_trained_without(how):
  params = made(Conv(6), CONV_X)['params']
  pair = collect(how, {'name': params}, KEY, steps=100)['name']
  kernel = how.weight(params['kernel'], **pair)
  np.testing.assert_allclose(top(kernel), how.lipschitz, rtol=1e-4)
  out = Conv(6, spectral=how).apply({'params': params, 'spectral': pair}, CONV_X)
  want = Conv(6).apply({'params': {'kernel': kernel, 'bias': how.offset(params['bias'])}}, CONV_X)
  np.testing.assert_allclose(out, want, atol=1e-5)


def test_a_training_step_of_a_rematerialised_block_moves_u_and_v():
  block = nn.remat(ResBlock)(32, spectral=PEER, train=True)
  x, emb = normal(1, 8, 8, 32), normal(1, 8)
  variables = jax.jit(block.init)(KEY, x, emb)

  def loss(params):
    out, new = block.apply({**variables, 'params': params}, x, emb, mutable=['spectral'])
    return out.sum(), new

  grads, new = jax.jit(jax.grad(loss, has_aux=True))(variables['params'])
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
  old, new = (v['spectral']['in_layers.2']['u'] for v in (variables, new))
  assert 0 < np.abs(new - old).max() < 0.2


def test_readings_are_checked():
  with pytest.raises(ValueError, match=r"no reading 'miyato'.*Spectral\.peer"):
    Spectral('miyato')
  with pytest.raises(ValueError, match='lipschitz > 0'):
    Spectral.peer(lipschitz=0.0)
  assert Affine(3, spectral=PAPER) == Affine(3, spectral=Spectral())
