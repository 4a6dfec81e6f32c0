"""The laws of the step."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train import made
from zsi_jax.core import Denoiser, DenoiserLoss
from zsi_jax.train.sharding import Layout, mesh
from zsi_jax.train.state import create, variables
from zsi_jax.train.step import make_step, noise, sums

KEY = jax.random.key(3)


PLAIN = made.linear()


def start(job):
  return created(job.init, job.ema)(jax.random.key(0))


@functools.cache
def created(init, ema):
  return jax.jit(lambda key: create(init, PLAIN.tx, ema, key))


@functools.cache
def program(loss, ema, accumulate, layout):
  return jax.jit(
    make_step(loss, PLAIN.tx, ema, accumulate, rate=PLAIN.rate, T=made.T, layout=layout)
  )


def step_of(job, layout=None):
  return program(job.loss, job.ema, job.accumulate, layout)


def trained(job, steps=4, layout=None):
  """(state, metrics) after each step."""
  step, state, told = step_of(job, layout), start(job), []
  for k in range(steps):
    state, metrics = step(state, made.batch(k, job.batch), KEY)
    told.append((state, metrics))
  return told


def close(a, b, **how):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **how), a, b)


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_state_holds_arrays_only_and_the_average_starts_as_the_weights():
  state = start(PLAIN)
  assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
  same(state.ema, state.params)
  assert state.step == 0
  assert start(dataclasses.replace(PLAIN, ema=None)).ema is None


def test_the_same_step_gives_the_same_bits():
  first, second = trained(PLAIN), trained(PLAIN)
  same(first[-1], second[-1])


@pytest.mark.parametrize('layout', [None, 'one device'])
def test_accumulated_is_the_whole_batch(layout):
  layout = layout and Layout(mesh())
  whole, parts = PLAIN, dataclasses.replace(PLAIN, accumulate=4)
  for (state, told), (other, also) in zip(
    trained(whole), trained(parts, layout=layout), strict=True
  ):
    close(state, other, rtol=1e-5, atol=1e-7)
    close(told, also, rtol=1e-5)


class Counting(made.Square):
  """Its collection moves once for each call, from that of the call before."""

  def __call__(self, variables, batch, keys, train=True):
    loss, (told, _) = super().__call__(variables, batch, keys, train)
    kernel = jnp.abs(variables['params']['map']['kernel']).mean()
    return loss, (told, {'seen': {'n': variables['seen']['n'] + kernel}})


def test_accumulated_collections_move_once_for_each_step():
  """As spectral norm's u and v: they depend on the weights, not on the batch."""
  extra = {'seen': {'n': jnp.ones(())}, 'old': {}}
  job = dataclasses.replace(PLAIN, loss=Counting(), init=lambda key: {**PLAIN.init(key), **extra})
  told = [trained(dataclasses.replace(job, accumulate=n)) for n in (1, 4)]
  seen = [[float(state.collections['seen']['n']) for state, _ in one] for one in told]
  assert 1 < seen[0][0] < seen[0][-1]
  np.testing.assert_allclose(*seen, rtol=1e-6)
  assert told[0][-1][0].collections.keys() == {'seen', 'old'}


def test_the_average_by_its_closed_form():
  """ema_n = d^n p_0 + (1 - d) sum_k d^(n - k) p_k."""
  job, n = dataclasses.replace(PLAIN, ema=0.7), 5
  kernels = [start(job).params['map']['kernel']]
  told = trained(job, n)
  kernels += [state.params['map']['kernel'] for state, _ in told]
  d = 0.7
  wanted = d**n * kernels[0] + (1 - d) * sum(d ** (n - k) * kernels[k] for k in range(1, n + 1))
  np.testing.assert_allclose(told[-1][0].ema['map']['kernel'], wanted, rtol=1e-5, atol=1e-7)
  state = told[-1][0]
  same(variables(state)['params'], state.ema)
  same(variables(state, ema=False)['params'], state.params)
  assert variables(state._replace(ema=None))['params'] is state.params


def test_noise_belongs_to_the_example_and_the_step():
  a, b = noise(KEY, 5, jnp.arange(8)), noise(KEY, 5, jnp.arange(4, 12))
  assert (a[4:] == b[:4]).all()
  assert not (a == noise(KEY, 6, jnp.arange(8))).any()
  job = PLAIN
  batch, order = made.batch(0), np.random.default_rng(0).permutation(8)
  moved = {name: rows[order] for name, rows in batch.items()}
  found = [step_of(job)(start(job), rows, KEY) for rows in (batch, moved)]
  close(*found, rtol=1e-5, atol=1e-7)


def test_norms_and_rate_are_told():
  job = PLAIN
  told = trained(job, 2)
  before, (after, metrics) = told[0][0].params, told[1]
  values = {name: float(pair[0] / pair[1]) for name, pair in metrics.items() if pair[1]}

  def norm(tree):
    return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree)))

  assert values['param_norm'] == pytest.approx(norm(after.params), rel=1e-5)
  moved = jax.tree.map(jnp.subtract, after.params, before)
  assert values['update_norm'] == pytest.approx(norm(moved), rel=1e-3)
  assert values['lr'] == pytest.approx(1e-2)
  batch = made.batch(1)
  keys = noise(KEY, 1, batch['example'])
  grads = jax.jit(jax.grad(lambda p: job.loss({'params': p}, batch, keys)[0]))(before)
  assert values['grad_norm'] == pytest.approx(norm(grads), rel=1e-5)


def test_quarters_add_up_to_the_whole():
  _, metrics = trained(dataclasses.replace(PLAIN, batch=64), 1)[0]
  for name in ('loss', 'accuracy'):
    quarters = sum(metrics[f'{name}/q{q}'] for q in (1, 2, 3, 4))
    np.testing.assert_allclose(quarters, metrics[name], rtol=1e-5)
  assert metrics['loss'][1] == 64 and 't' not in metrics


def test_a_quarter_is_of_t():
  t = jnp.array([0.0, 9, 10, 19, 20, 29, 30, 39])
  told = sums({'t': t, 'loss': jnp.array([1.0, 2, 3, 4, 5, 6, jnp.nan, 8])}, 40)
  for q, total in ((1, 3), (2, 7), (3, 11)):
    np.testing.assert_array_equal(told[f'loss/q{q}'], [total, 2])
  assert jnp.isnan(told['loss/q4'][0]) and jnp.isnan(told['loss'][0])
  assert set(sums({'loss': t}, 40)) == set(sums({'loss': t, 't': t}, None)) == {'loss'}


def test_windows_of_sums_are_means_over_examples():
  told = [metrics for _, metrics in trained(dataclasses.replace(PLAIN, batch=32), 3)]
  pairs = sum(m['loss/q1'] for m in told)
  assert pairs[1] == sum(int(m['loss/q1'][1]) for m in told)
  means = [m['loss/q1'][0] / m['loss/q1'][1] for m in told]
  weights = [m['loss/q1'][1] for m in told]
  assert pairs[0] / pairs[1] == pytest.approx(np.average(means, weights=weights), rel=1e-5)


def test_the_state_is_donated():
  state = start(PLAIN)
  jax.jit(step_of(PLAIN), donate_argnums=0)(state, made.batch(0), KEY)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.ema, state.opt)))


def test_bfloat16_is_what_is_computed_in_and_nothing_else():
  job = made.unet()
  net = job.loss.denoiser.net.clone(dtype=jnp.bfloat16)
  loss = DenoiserLoss(Denoiser({}, net), job.process)
  job = dataclasses.replace(job, loss=loss)
  shapes = jax.eval_shape(lambda key: create(job.init, job.tx, job.ema, key), KEY)
  step = make_step(job.loss, job.tx, job.ema, rate=job.rate, T=made.T)
  text, (state, metrics) = jax.make_jaxpr(step, return_shape=True)(shapes, made.batch(0), KEY)
  assert 'bf16' in str(text)
  kinds = {str(leaf.dtype) for leaf in jax.tree.leaves((state, metrics))}
  assert kinds == {'float32', 'int32'}
