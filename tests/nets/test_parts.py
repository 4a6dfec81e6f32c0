"""Layers and attention against their formulas."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nets.made import drawn, normal
from zsi_jax.nets.attention import AttentionPool, attend
from zsi_jax.nets.blocks import GroupNorm, double, halve, patches, timestep_embedding


def test_group_norm_in_float64():
  x = 3 + 100 * np.asarray(normal(2, 5, 3, 64, seed=0), np.float64)
  params = {'scale': normal(64, seed=1), 'bias': normal(64, seed=2)}
  groups = x.reshape(2, 15, 32, 2)
  want = groups - groups.mean((1, 3), keepdims=True)
  want = want / np.sqrt(groups.var((1, 3), keepdims=True) + 1e-5)
  want = want.reshape(x.shape) * params['scale'] + params['bias']
  np.testing.assert_allclose(GroupNorm().apply({'params': params}, x), want, atol=1e-5)


def test_group_norm_of_bfloat16_is_computed_in_float32():
  x = (1000 + normal(1, 8, 8, 32, seed=0)).astype(jnp.bfloat16)
  norm = GroupNorm()
  out = norm.apply(norm.init(jax.random.key(0), x), x)
  np.testing.assert_allclose(
    out, norm.apply(norm.init(jax.random.key(0), x), x.astype(jnp.float32)), atol=1e-6
  )
  assert out.dtype == jnp.float32


@pytest.mark.parametrize('width', [32, 33, 128])
def test_timestep_embedding_up_to_4000(width):
  t, half = np.array([0, 1, 17, 900, 3999]), width // 2
  args = t[:, None] * np.exp(-np.log(1e4) * np.arange(half) / half)
  want = np.concatenate([np.cos(args), np.sin(args), np.zeros((5, width % 2))], -1)
  np.testing.assert_allclose(timestep_embedding(jnp.asarray(t), width), want, atol=6e-4)
  low = np.asarray(timestep_embedding(jnp.asarray(t[:3]), width))
  np.testing.assert_allclose(low, want[:3], atol=3e-6)


def softmax(a):
  e = np.exp(a - a.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize('new_order', [False, True])
def test_attention_head_by_head(new_order):
  heads, c, length = 3, 4, 5
  qkv = np.asarray(normal(2, length, 3 * heads * c, seed=0))
  want = []
  for h in range(heads):
    part = [(i * heads + h if new_order else h * 3 + i) * c for i in range(3)]
    q, k, v = (qkv[..., p : p + c] for p in part)
    want.append(softmax(q @ k.swapaxes(1, 2) / np.sqrt(c)) @ v)
  np.testing.assert_allclose(attend(qkv, heads, new_order), np.concatenate(want, -1), atol=1e-6)


def test_attention_moves_with_its_pixels_and_survives_half_precision():
  qkv = normal(1, 6, 24, seed=0)
  order = jnp.array([3, 1, 5, 0, 2, 4])
  np.testing.assert_allclose(
    attend(qkv[:, order], 2, False), attend(qkv, 2, False)[:, order], atol=1e-6
  )
  loud = jnp.full((1, 6, 24), 150, jnp.float16)  # q k^T = 90 000 would pass 65 504
  np.testing.assert_allclose(attend(loud, 2, False), 150, rtol=1e-3)


def test_the_pool_is_blind_to_order_but_for_its_positions():
  pool = AttentionPool(out=3, heads=2)
  x = normal(2, 4, 4, 32, seed=0)
  variables = drawn(pool, x)
  turned = x[:, ::-1]
  apply = jax.jit(pool.apply)
  assert np.abs(apply(variables, turned) - apply(variables, x)).max() > 1e-3
  table = variables['params']['positional_embedding']
  assert table.shape == (17, 32)
  variables['params']['positional_embedding'] = jnp.zeros_like(table)
  np.testing.assert_allclose(apply(variables, turned), apply(variables, x), atol=1e-6)


def test_resizing_and_patches():
  x = normal(1, 4, 6, 2, seed=0)
  np.testing.assert_array_equal(halve(double(x)), x)
  np.testing.assert_array_equal(double(x)[:, 2:4, 4:6], jnp.broadcast_to(x[:, 1, 2], (1, 2, 2, 2)))
  np.testing.assert_array_equal(patches(x, 2)[0, 1, 2].reshape(2, 2, 2), x[0, 2:4, 4:6])
