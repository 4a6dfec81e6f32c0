"""The Gaussian world: its denoiser, readings and posteriors against densities by themselves."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.core import Field, LogProb, Lookahead, Process, ReverseDiffusion, linear, sample
from zsi_jax.core.tree import take
from zsi_jax.evaluate.gaussian import Gaussian, Reading, alike, divergence, together

SIZE, TAU = 6, 0.4
PROCESS = Process.make(linear(1000), 40)


@pytest.fixture(scope='module')
def world():
  return Gaussian.drawn(SIZE, 0)


@pytest.fixture(scope='module')
def readings(world):
  pair = zip('ab', alike(SIZE, 2, 0.8, 1), strict=True)
  return [Reading(world, jnp.asarray(A, jnp.float32), TAU, (name,)) for name, A in pair]


def given(n=3, seed=0):
  rng = np.random.default_rng(seed)
  return {k: jnp.asarray(rng.standard_normal((n, 2)), jnp.float32) for k in 'ab'}


def test_the_denoiser_is_the_conditional_mean(world):
  """By the joint Gaussian of (x_0, x_t), as dense matrices."""
  S, level = np.asarray(world.cov, np.float64), PROCESS[20]
  a, s = float(level.alpha), float(level.sigma)
  x = np.random.default_rng(1).standard_normal((4, SIZE))
  wanted = x @ np.linalg.solve(a * a * S + s * s * np.eye(SIZE), a * S)
  pred = world(jnp.asarray(x, jnp.float32), level)
  np.testing.assert_allclose(pred.x0, wanted, atol=1e-5)
  np.testing.assert_allclose(pred.eps, (x - a * wanted) / s, atol=1e-4)
  assert np.trace(S) == pytest.approx(SIZE, rel=1e-5)


def test_readings_have_their_density_and_two_are_no_product(world, readings):
  level, x = PROCESS[20], jnp.asarray(np.random.default_rng(2).standard_normal((3, SIZE)), float)
  S, a, s = np.asarray(world.cov, np.float64), float(level.alpha), float(level.sigma)
  G = a * S @ np.linalg.inv(a * a * S + s * s * np.eye(SIZE))
  C = S - a * G @ S
  both, c = together(readings), given()
  A = np.asarray(both.matrix, np.float64)
  cov = A @ C @ A.T + TAU**2 * np.eye(4)
  gap = np.concatenate([c['a'], c['b']], 1) - np.asarray(x) @ G.T @ A.T
  mahal = np.einsum('bi,ij,bj->b', gap, np.linalg.inv(cov), gap)
  wanted = -0.5 * (mahal + np.linalg.slogdet(2 * np.pi * cov)[1])
  np.testing.assert_allclose(both(x, level, c), wanted, rtol=1e-4)
  parts = sum(reading(x, level, c) for reading in readings)
  assert np.abs(np.asarray(parts) - wanted).min() > 0.01


def test_unrelated_readings_are_a_product():
  own = Gaussian(jnp.eye(SIZE), jnp.ones(SIZE))
  A, B = alike(SIZE, 2, 0.0, 3)
  np.testing.assert_allclose(A @ B.T, 0, atol=1e-12)
  pair = [
    Reading(own, jnp.asarray(M, jnp.float32), TAU, (k,)) for k, M in zip('ab', (A, B), strict=True)
  ]
  x, level = jnp.ones((3, SIZE)), PROCESS[10]
  parts = sum(reading(x, level, given()) for reading in pair)
  np.testing.assert_allclose(together(pair)(x, level, given()), parts, rtol=1e-4)


def test_the_posterior_is_where_noise_is_gone(world, readings):
  """At t = 0 the exact score of x_0 given c is that of N(mean, cov)."""
  both, c = together(readings), given()
  mean, cov = both.posterior(jnp.concatenate([c['a'], c['b']], 1))
  x = jnp.asarray(np.random.default_rng(4).standard_normal((3, SIZE)), jnp.float32)

  def logp(x):
    prior = -0.5 * jnp.einsum('bi,ij,bj->', x, jnp.linalg.inv(world.cov), x)
    return prior - both.energy(x, c).sum()

  wanted = -(np.asarray(x) - mean) @ np.linalg.inv(np.asarray(cov, np.float64))
  np.testing.assert_allclose(jax.grad(logp)(x), wanted, rtol=1e-3, atol=1e-3)


def test_exact_guidance_draws_the_posterior(world, readings):
  both, n = together(readings), 2000
  c = {k: jnp.broadcast_to(v[0], (n, 2)) for k, v in given().items()}
  mean, cov = both.posterior(jnp.concatenate([c['a'], c['b']], 1)[:1])
  keys = jax.random.split(jax.random.key(0), n)
  draw = jax.jit(lambda guidance: sample(keys, Process.make(linear(1000), 100), world, guidance,
                                         ReverseDiffusion(), shape=(SIZE,), given=c))  # fmt: skip
  right = divergence(mean[0], cov, draw(LogProb(both)))
  summed = divergence(mean[0], cov, draw(sum(map(LogProb, readings[1:]), LogProb(readings[0]))))
  free = divergence(mean[0], cov, draw(0.0 * LogProb(both)))
  assert right < 0.02 < summed < free


def test_divergence():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((20000, 3))
  assert divergence(np.zeros(3), np.eye(3), x) < 1e-3
  assert divergence(np.ones(3), np.eye(3), x) == pytest.approx(0.5, abs=0.02)
  assert divergence(np.zeros(3), 4 * np.eye(3), x) == pytest.approx(
    0.5 * (1 / 4 - 1 + np.log(4)), abs=0.02
  )


def test_looking_ahead_helps_where_conditions_look_alike_but_is_no_estimator(world, readings):
  """Late in a short chain it is nearer to the truth than the sum; in a long one it is the sum."""
  one, two = map(LogProb, readings)
  n = 100
  keys = jax.random.split(jax.random.key(1), n)
  x0 = world.draw(keys)
  c = {name: r.read(jax.random.split(jax.random.key(k), n), x0)
       for k, (name, r) in enumerate(zip('ab', readings, strict=True))}  # fmt: skip
  exact, base = LogProb(together(readings)), ReverseDiffusion()

  def errors(count):
    moves = Process.make(linear(1000), count).reverse()
    move = take(moves, round(0.85 * (count - 1)))
    x = move.level.noised(x0, jax.random.normal(jax.random.key(9), x0.shape))

    def score(guidance, solver):
      return np.asarray(solver(keys, Field(world, guidance), x, (), move, c).score)

    true = score(exact, base)
    ways = {'sum': score(one + two, base), 'ahead': score(one, Lookahead(base, two, noise='zero'))}
    return {k: np.linalg.norm(g - true) / np.linalg.norm(true) for k, g in ways.items()}

  short, long = errors(25), errors(1000)
  assert short['ahead'] < 0.95 * short['sum']
  assert long['ahead'] == pytest.approx(long['sum'], rel=0.03) and long['sum'] > 0.1


def test_where_conditions_have_nothing_in_common_the_sum_is_exact_and_looking_ahead_is_not():
  own = Gaussian(jnp.eye(SIZE), jnp.ones(SIZE))
  pair = [
    Reading(own, jnp.asarray(M, jnp.float32), TAU, (k,))
    for k, M in zip('ab', alike(SIZE, 2, 0.0, 3), strict=True)
  ]
  (one, two), n = map(LogProb, pair), 50
  c, keys = given(n), jax.random.split(jax.random.key(1), n)
  moves = Process.make(linear(1000), 25).reverse()
  move = take(moves, 4)
  x = move.level.noised(own.draw(keys), jax.random.normal(jax.random.key(9), (n, SIZE)))

  def score(guidance, solver):
    return np.asarray(solver(keys, Field(own, guidance), x, (), move, c).score)

  base = ReverseDiffusion()
  true = score(LogProb(together(pair)), base)
  ahead = Lookahead(base, two, noise='zero')
  gaps = [np.linalg.norm(score(g, s) - true) / np.linalg.norm(true)
          for g, s in ((one + two, base), (one, ahead))]  # fmt: skip
  assert gaps[0] < 1e-4 and 0.01 < gaps[1] < 1
