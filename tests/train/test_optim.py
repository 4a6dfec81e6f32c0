"""The optimizer: closed forms of the rate, of clipping and of the first update."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.train.optim import optimizer

STEPS = np.arange(120)


@pytest.mark.parametrize(
  'decay, place',
  [
    ('constant', lambda s: np.ones_like(s)),
    ('linear', lambda s: 1 - s),
    ('cosine', lambda s: np.cos(np.pi * s / 2) ** 2),
  ],
)
def test_the_rate_rises_and_falls_by_its_formula(decay, place):
  rate = optimizer(0.3, warmup=20, decay=decay, steps=100)[1]
  s = np.clip((STEPS - 20) / 80, 0, 1)
  wanted = 0.3 * np.minimum(1, (STEPS + 1) / 20) * place(s)
  np.testing.assert_allclose(rate(STEPS), wanted, atol=1e-6)
  assert rate(19) == pytest.approx(0.3) and rate(100) == pytest.approx(0.3 * (decay == 'constant'))


def test_the_linear_rate_is_the_published_one():
  """lr (1 - step / steps), guided-diffusion's lr_anneal_steps."""
  rate = optimizer(1e-4, decay='linear', steps=100)[1]
  np.testing.assert_allclose(rate(STEPS[:100]), 1e-4 * (1 - STEPS[:100] / 100), rtol=1e-5)


def test_momentum_by_its_definition():
  """m <- .9 m + g + decay w;  w <- w - lr m, as PyTorch's SGD."""
  tx, _ = optimizer(0.1, kind='sgd', momentum=0.9, weight_decay=0.01)
  w, m, grads = np.array([2.0, -3.0]), np.zeros(2), np.array([0.5, -1.0])
  params = jnp.array(w)
  state = tx.init(params)
  for _ in range(3):
    updates, state = tx.update(jnp.array(grads), state, params)
    params = params + updates
    m = 0.9 * m + grads + 0.01 * w
    w = w - 0.1 * m
  np.testing.assert_allclose(params, w, rtol=1e-6)
  with pytest.raises(ValueError, match="'adam' or 'sgd'"):
    optimizer(0.1, kind='lion')


def test_the_first_update_is_the_sign_and_the_decay():
  """Adam's first step is lr g / (|g| + eps); weight decay comes beside it."""
  params, grads = {'w': jnp.array([2.0, -3.0])}, {'w': jnp.array([0.5, -1e-4])}
  tx, _ = optimizer(0.1, weight_decay=0.01)
  updates, _ = tx.update(grads, tx.init(params), params)
  wanted = -0.1 * (np.sign(grads['w']) + 0.01 * params['w'])
  np.testing.assert_allclose(updates['w'], wanted, rtol=1e-3)


def test_clipping_is_by_the_norm_of_all():
  params = {'a': jnp.zeros(1), 'b': jnp.zeros(1)}
  small = {'a': jnp.array([0.3]), 'b': jnp.array([0.4])}
  tx, _ = optimizer(0.1, clip=1.0)
  plain, _ = optimizer(0.1)
  for times, wanted in ((1, small), (40, {k: 2 * v for k, v in small.items()})):
    grads = {k: times * v for k, v in small.items()}
    _, clipped = tx.update(grads, tx.init(params), params)
    _, whole = plain.update(wanted, plain.init(params), params)
    for name in params:  # the moments, since the update forgets the scale
      np.testing.assert_allclose(clipped[1][0].mu[name], whole[0].mu[name], rtol=1e-6)


@pytest.mark.parametrize(
  'said, wrong',
  [
    (dict(decay='cosin'), "constant, linear, cosine, not 'cosin'"),
    (dict(decay='linear'), 'ends at steps = None'),
    (dict(decay='cosine', warmup=9, steps=9), 'after a warmup of 9'),
    (dict(lr=0.0), 'lr = 0.0'),
    (dict(warmup=-1), 'warmup = -1'),
    (dict(clip=0.0), 'clip = 0.0'),
    (dict(weight_decay=-1.0), 'weight_decay = -1.0'),
  ],
)
def test_wrong_options(said, wrong):
  with pytest.raises(ValueError, match=wrong):
    optimizer(**{'lr': 0.1, **said})
