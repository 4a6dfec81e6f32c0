"""Merges against independent solvers: a scaled SLSQP for CAGrad, vectors for PCGrad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from zsi_jax.core import CAGrad, Mean, PCGrad, Sum
from zsi_jax.core.guidance import merged

REGIMES = ('random', 'conflict', 'aligned', 'unequal')


def gradients(regime, K, rng, d=12):
  g = rng.normal(size=(K, d))
  match regime:
    case 'conflict':
      g[1:] -= 1.5 * g[0]
    case 'aligned':
      g = g[:1] + 0.05 * g
    case 'unequal':
      g *= 10.0 ** rng.uniform(-2, 2, size=(K, 1))
  return g


def value_of(w, G, c):
  """The dual objective in float64, in units of tr(G) / K."""
  K = len(G)
  G = G / (np.trace(G) / K)
  b = G.mean(1)
  return w @ b + c * np.sqrt(max(b.mean(), 0)) * np.sqrt(max(w @ G @ w, 0))


def slsqp(G, c):
  K, best = len(G), np.inf
  problem = dict(
    args=(G, c),
    bounds=[(0, 1)] * K,
    constraints={'type': 'eq', 'fun': lambda w: w.sum() - 1},
    method='SLSQP',
    options={'ftol': 1e-12, 'maxiter': 500},
  )
  for start in [np.full(K, 1 / K), *(np.eye(K) * 0.9 + 0.1 / K)[:3]]:
    done = minimize(value_of, start / start.sum(), **problem)
    w = np.clip(done.x, 0, None)
    best = min(best, value_of(w / w.sum(), G, c))
  return best


@jax.jit
def merge(G, c):
  return CAGrad(c)(G[None])[0]


def simplex_weights(G, c):
  """What CAGrad put on each term, by undoing d = (g0 + pull g_w) / (1 + c)."""
  out = np.asarray(merge(jnp.asarray(G, jnp.float32), c), np.float64)
  w = out * (1 + c) - 1 / len(G)
  return w / w.sum()


@pytest.mark.parametrize('K, gap', [(2, 1e-5), (3, 2e-5), (4, 2e-5), (6, 4e-5), (8, 2e-3)])
@pytest.mark.parametrize('scale', [1e-3, 1.0, 1e4])
def test_cagrad_is_the_optimum_at_any_scale(K, gap, scale):
  rng = np.random.default_rng(K)
  for regime in REGIMES:
    for _ in range(4):
      g = scale * gradients(regime, K, rng)
      G = g @ g.T
      for c in (0.2, 0.5, 0.9):
        assert value_of(simplex_weights(G, c), G, c) <= slsqp(G, c) + gap, (regime, c)


def test_cagrad_by_its_definition():
  """d lies in the ball around g0, and nothing in the ball does better for the worst-off term."""
  rng = np.random.default_rng(0)
  for regime in REGIMES[:3]:
    g, c = gradients(regime, 3, rng, d=3), 0.5
    d = (1 + c) * np.asarray(CAGrad(c)(jnp.asarray(g @ g.T, jnp.float32)[None])[0]) @ g
    g0 = g.mean(0)
    radius = c * np.linalg.norm(g0)
    np.testing.assert_allclose(np.linalg.norm(d - g0), radius, rtol=1e-3)
    u = rng.normal(size=(20000, 3))
    others = g0 + radius * u / np.linalg.norm(u, axis=1, keepdims=True)
    assert (others @ g.T).min(1).max() <= (g @ d).min() + 1e-3 * np.linalg.norm(g0) ** 2


def test_cagrad_of_equal_gradients_is_that_gradient():
  for K in (1, 2, 5, 7):
    for c in (0.0, 0.4, 0.9):
      np.testing.assert_allclose(CAGrad(c)(jnp.ones((2, K, K))).sum(1), 1, rtol=1e-3)


def test_cagrad_with_zero_gradients_stays_finite():
  G = np.zeros((3, 3))
  for gram in (G, np.diag([1.0, 0, 0]), np.array([[1, -1], [-1, 1.0]])):
    assert np.all(np.isfinite(CAGrad(0.5)(jnp.asarray(gram, jnp.float32)[None])))


def test_c_zero_is_the_mean():
  G = np.random.default_rng(1).normal(size=(4, 3, 5))
  gram = jnp.einsum('bkd,bld->bkl', G, G)
  np.testing.assert_allclose(CAGrad(0.0)(gram), Mean()(gram), atol=1e-6)
  np.testing.assert_array_equal(Sum()(gram), np.ones((4, 3)))


def test_pcgrad_takes_conflicts_off():
  rng = np.random.default_rng(2)
  for K in (2, 3, 4):
    g = gradients('conflict', K, rng)
    expected = np.zeros(g.shape[1])
    for k in range(K):
      v = g[k].copy()
      for j in range(K):
        if j != k and v @ g[j] < 0:
          v -= (v @ g[j]) / (g[j] @ g[j]) * g[j]
      expected += v
    w = np.asarray(PCGrad()(jnp.asarray(g @ g.T, jnp.float32)[None])[0])
    np.testing.assert_allclose(w @ g, expected, rtol=2e-4, atol=1e-4)
  a = np.eye(2)  # without conflict it is the sum
  np.testing.assert_array_equal(PCGrad()(jnp.asarray(a @ a.T)[None])[0], [1, 1])


def test_merged_reads_each_example_by_itself():
  G = jax.random.normal(jax.random.key(0), (3, 4, 2, 5))  # [K, B, ...]
  whole, notes = merged(CAGrad(0.5), G)
  for b in range(4):
    one, _ = merged(CAGrad(0.5), G[:, b : b + 1])
    np.testing.assert_allclose(whole[b], one[0], rtol=1e-4, atol=1e-6)
  flat = np.asarray(G).reshape(3, 4, -1)
  unit = flat / np.linalg.norm(flat, axis=-1, keepdims=True)
  cos = np.einsum('kbd,lbd->bkl', unit, unit)
  np.testing.assert_allclose(notes['cos'], cos, rtol=1e-4, atol=1e-6)
