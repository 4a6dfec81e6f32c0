"""Losses: closed forms, the exact denoiser is their minimum, t is drawn as stated."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from tests.oracle import Mixture
from zsi_jax.core import (
  ClassifierLoss,
  Denoiser,
  DenoiserLoss,
  Importance,
  Process,
  RegressorLoss,
  Times,
  cosine,
)
from zsi_jax.core.losses import discretized, dropped, normal_kl

PROCESS = Process.make(cosine(200))
MIXTURE = Mixture(0.5, 0.3)
KEYS = jax.random.split(jax.random.key(0), 4096)


class Exact:
  """The mixture's denoiser as a network that is off by a constant, in any parametrisation."""

  def __init__(self, predicts='eps', channels=1):
    self.predicts, self.channels = predicts, channels

  def apply(self, variables, x, t, cond=None, train=False, mutable=False, rngs=None):
    level = PROCESS[t.astype(int)]
    pred = MIXTURE(x, level)
    shape = (-1,) + (1,) * (x.ndim - 1)
    alpha, sigma = level.alpha.reshape(shape), level.sigma.reshape(shape)
    out = {'eps': pred.eps, 'x0': pred.x0, 'v': alpha * pred.eps - sigma * pred.x0}[self.predicts]
    out = out + variables['params']['off']
    out = jnp.concatenate([out, jnp.full_like(out, -1)], -1) if self.channels == 2 else out
    return (out, {}) if mutable is not False else out


def batch(n=4096, seed=1):
  rng = np.random.default_rng(seed)
  x = 0.5 * rng.choice([-1, 1], (n, 1, 1, 1)) + 0.3 * rng.normal(size=(n, 1, 1, 1))
  return {'image': jnp.asarray(x, jnp.float32)}


def params(off):
  return {'params': {'off': jnp.asarray(off)}}


@pytest.mark.parametrize('predicts', ['eps', 'x0', 'v'])
def test_the_exact_denoiser_is_the_minimum(predicts):
  """E |target - f|^2 = its minimum + off^2: the loss of a constant error is that error squared."""
  loss = DenoiserLoss(
    Denoiser(None, Exact(predicts), predicts=predicts, variance='small'), PROCESS, kind='simple'
  )

  def at(off):
    return float(loss(params(off), batch(), KEYS)[0])

  assert at(0.3) - at(0.0) == pytest.approx(0.09, abs=0.02)
  assert at(-0.3) - at(0.0) == pytest.approx(0.09, abs=0.02)
  slope = jax.grad(lambda p: loss(p, batch(), KEYS)[0])(params(0.0))['params']['off']
  assert abs(slope) < 0.05


def test_parametrisations_read_the_same_prediction():
  x, level = (
    jax.random.normal(jax.random.key(0), (5, 1, 1, 1)),
    PROCESS[jnp.array([0, 3, 50, 150, 199])],
  )
  preds = []
  for predicts in ('eps', 'x0', 'v'):
    den = Denoiser(params(0.0), Exact(predicts), predicts=predicts, variance='small')
    preds.append(den(x, level))
  for pred in preds[1:]:
    np.testing.assert_allclose(pred.eps[:-1], preds[0].eps[:-1], atol=2e-3)
    np.testing.assert_allclose(pred.x0[:-1], preds[0].x0[:-1], atol=2e-3)
  zero = PROCESS.reverse().to
  clean = jax.tree.map(lambda a: a[-1], zero)
  for predicts in ('eps', 'x0', 'v'):  # at x_0 a prediction is x itself
    den = Denoiser(params(0.7), Exact(predicts), predicts=predicts, variance='small')
    np.testing.assert_array_equal(den(x, clean).x0, x)


def test_variances_are_the_posterior_beta_and_between():
  x, level = jnp.ones((1, 1, 1, 1)), PROCESS[50]
  middle = (level.logvar_min + level.logvar_max) / 2
  for variance, channels, expected in (
    ('small', 1, level.logvar_min),
    ('large', 2, level.logvar_max),
    ('learned', 2, level.logvar_min),
  ):
    denoiser = Denoiser(params(0.0), Exact(channels=channels), variance=variance)
    np.testing.assert_allclose(denoiser(x, level).logvar, expected, rtol=1e-6)
  np.testing.assert_allclose(level.logvar(jnp.zeros(1)), middle, rtol=1e-6)


def test_hybrid_is_simple_plus_the_bound():
  den = Denoiser(None, Exact(channels=2))
  losses = {
    k: DenoiserLoss(den, PROCESS, kind=k) for k in ('simple', 'hybrid', 'hybrid_paper', 'vlb')
  }
  metrics = {k: loss(params(0.1), batch(), KEYS)[1][0] for k, loss in losses.items()}
  simple, vb = metrics['simple']['loss'], metrics['vlb']['loss']
  np.testing.assert_allclose(metrics['hybrid']['loss'], simple + vb, rtol=1e-5)
  np.testing.assert_allclose(metrics['hybrid_paper']['loss'], simple + 0.2 * vb, rtol=1e-5)
  slopes = {
    k: float(jax.grad(lambda p, loss=loss: loss(p, batch(), KEYS)[0])(params(0.1))['params']['off'])
    for k, loss in losses.items()
  }
  # The mean is fixed in the hybrid's bound, so only L_simple pulls it; L_vlb pulls it itself.
  assert slopes['hybrid'] == pytest.approx(slopes['simple'], rel=1e-4)
  assert abs(slopes['vlb']) > 0


def test_the_bound_in_closed_form():
  m1, m2, v1, v2 = 0.3, -0.2, 0.5, 0.9
  kl = normal_kl(*(jnp.float32(a) for a in (m1, np.log(v1), m2, np.log(v2))))
  x = np.linspace(-12, 12, 200001)
  p, q = norm.pdf(x, m1, np.sqrt(v1)), norm.pdf(x, m2, np.sqrt(v2))
  assert kl == pytest.approx(np.trapezoid(p * np.log(p / q), x), rel=1e-3)


def test_discretized_pixels_are_a_distribution():
  pixels = jnp.linspace(-1, 1, 256)
  for mean, std in ((0.0, 0.2), (-0.95, 0.05), (0.9, 0.4)):
    logp = discretized(pixels, jnp.float32(mean), jnp.float32(2 * np.log(std)))
    assert jnp.sum(jnp.exp(logp)) == pytest.approx(1, abs=2e-3)
    exact = norm.cdf((pixels[128] + 1 / 255 - mean) / std) - norm.cdf(
      (pixels[128] - 1 / 255 - mean) / std
    )
    if exact > 1e-4:
      assert jnp.exp(logp[128]) == pytest.approx(exact, rel=0.02)


def test_noise_belongs_to_the_example():
  """The losses of a batch are those of its halves: nothing depends on the neighbours."""
  loss = DenoiserLoss(Denoiser(None, Exact(), variance='small'), PROCESS, kind='simple')
  whole = loss(params(0.1), batch(64), KEYS[:64])[1][0]['loss']
  image = batch(64)['image']
  parts = [
    loss(params(0.1), {'image': image[s]}, KEYS[s])[1][0]['loss']
    for s in (slice(0, 32), slice(32, 64))
  ]
  np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-5)


def test_times_are_drawn_as_stated():
  rows, weights = Times().draw(KEYS, 200)
  assert np.abs(np.histogram(rows, 10, (0, 200))[0] / 4096 - 0.1).max() < 0.02 and np.all(
    weights == 1
  )
  rows, _ = Times(0.25, 0.5).draw(KEYS, 200)
  assert (rows.min(), rows.max()) == (50, 99)
  rows, _ = Times(power=2.0).draw(KEYS, 200)
  assert np.mean(rows < 50) == pytest.approx(0.5, abs=0.03)  # P(r^2 < 1/4) = 1/2
  rows, _ = Times(0.0, 1.0, 0.0).draw(KEYS, 200)
  assert set(rows.tolist()) == {199}


def test_importance_sampling_is_uniform_until_it_knows_and_unbiased_after():
  T = 5
  times = Importance.make(T, n=2)
  rows, weights = times.draw(KEYS, T)
  np.testing.assert_allclose(weights, 1, rtol=1e-6)
  true = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
  for _ in range(3):
    rows = jnp.array([0, 1, 2, 3, 4, 4])  # one row twice in a batch: both are remembered
    times = times.update(rows, jnp.asarray(true)[rows])
  p = np.asarray(times.probabilities())
  np.testing.assert_allclose(p, 0.999 * true / true.sum() + 0.001 / T, rtol=1e-5)
  rows, weights = times.draw(KEYS, T)
  assert np.abs(np.bincount(rows, minlength=T) / 4096 - p).max() < 0.03
  assert float(jnp.mean(weights * true[rows])) == pytest.approx(true.mean(), rel=0.02)
  with pytest.raises(ValueError, match='made for 5 rows'):
    times.draw(KEYS, 6)


def test_importance_forgets_the_oldest():
  times = Importance.make(2, n=3)
  for loss in (9.0, 1.0, 2.0, 3.0):
    times = times.update(jnp.array([1]), jnp.array([loss]))
  assert times.history[1].tolist() == [1, 2, 3] and times.counts.tolist() == [0, 4]


def test_labels_are_dropped_at_the_stated_rate():
  cond = jnp.zeros(4096, int)
  out = dropped(KEYS, cond, 2, 0.1)
  assert set(out.tolist()) == {0, 2} and np.mean(out == 2) == pytest.approx(0.1, abs=0.015)
  np.testing.assert_array_equal(dropped(KEYS, cond, 2, 0.0), cond)
  rows = dropped(KEYS, jnp.ones((4096, 3)), jnp.zeros(3), 0.5)
  assert set(np.unique(rows.sum(1))) == {0, 3}  # a condition is dropped whole


class Linear:
  """logits = (0, w x)."""

  def apply(self, variables, x, t, train=False, mutable=(), rngs=None):
    x = x.reshape(len(x), -1)[:, :1]
    w = variables['params']['w']
    return jnp.concatenate([0 * x, w * x], 1) if w.ndim == 0 else x * w, {}


def test_a_noisy_classifier_learns_the_bayes_posterior():
  """At one level d = 2 alpha mu x / s2 is linear in x: the loss finds its slope."""
  times = Times(0.5, 0.505)
  loss = ClassifierLoss(PROCESS, Linear(), times)
  level = PROCESS[100]
  image = batch()['image']
  label = (np.random.default_rng(1).choice([-1, 1], (4096, 1, 1, 1))[:, 0, 0, 0] > 0).astype(int)
  data = {'image': image, 'label': jnp.asarray(label)}
  state, tx = params(0.0) | {'params': {'w': jnp.zeros(())}}, optax.adam(0.1)
  opt = tx.init(state)
  step = jax.jit(lambda s, k: jax.grad(lambda s: loss(s, data, k)[0])(s))
  for i in range(150):
    updates, opt = tx.update(step(state, jax.vmap(jax.random.fold_in, (0, None))(KEYS, i)), opt)
    state = optax.apply_updates(state, updates)
  expected = 2 * level.alpha * 0.5 / (level.alpha**2 * 0.09 + level.sigma**2)
  assert float(state['params']['w']) == pytest.approx(float(expected), rel=0.1)
  value, (metrics, collections) = loss(state, data, KEYS)
  assert float(metrics['accuracy'].mean()) > 0.6 and value < np.log(2) and collections == {}


def test_a_noisy_regressor_has_the_mean_squared_error():
  loss = RegressorLoss(PROCESS, Linear(), Times(0.0, 0.001))
  data = {'image': jnp.full((64, 1, 1, 1), 0.5), 'target': jnp.full(64, 1.25)}
  value, (metrics, _) = loss({'params': {'w': jnp.array([2.0])}}, data, KEYS[:64])
  assert float(value) == pytest.approx(0.0625, rel=0.2) and metrics['loss'].shape == (64,)


class Labelled(Exact):
  """Adds its condition to what it predicts."""

  def apply(self, variables, x, t, cond=None, **how):
    out, changed = super().apply(variables, x, t, **how)
    return out + cond[:, None, None, None], changed


def test_conditions_reach_the_network_dropped_or_whole():
  data = batch(512) | {'cond': jnp.full(512, 1.0)}

  def loss(null, drop):
    den = Denoiser(None, Labelled(), null=null, variance='small')
    made = DenoiserLoss(den, PROCESS, drop=drop, kind='simple')
    return float(made(params(0.0), data, KEYS[:512])[0])

  whole, none = loss(None, 0.0), loss(0.0, 1.0)
  assert whole == loss(0.0, 0.0) and whole - none == pytest.approx(1, abs=0.15)
  assert loss(0.0, 0.5) == pytest.approx((whole + none) / 2, abs=0.15)


def test_targets_of_another_shape_are_refused():
  loss = RegressorLoss(PROCESS, Linear())
  data = {'image': jnp.ones((8, 1, 1, 1)), 'target': jnp.ones((8, 3))}
  with pytest.raises(ValueError, match=r'targets are \(8, 3\)'):
    loss({'params': {'w': jnp.array([2.0])}}, data, KEYS[:8])
