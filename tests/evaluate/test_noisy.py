"""What is asked of noisy classifiers: gradients of their classes over t, and maps of places."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import zsi_jax as zsi
from tests.oracle import Mixture
from zsi_jax.core import Classifier, Prediction, Process, Tree, cosine
from zsi_jax.core.tree import fold, normal
from zsi_jax.evaluate import classifier_map, gradients
from zsi_jax.evaluate.errors import MetricError

PROCESS = Process.make(cosine(1000), 50)
ROWS = [0, 10, 25, 49]


class Linear:
  """logits = x W + t, W [D, K]: log p(k | x) has the gradient w_k - sum_j p_j w_j."""

  def apply(self, variables, x, t):
    return x.reshape(len(x), -1) @ variables['w'] + t[:, None] * variables['t']


class Constant(Tree):
  eps: float = 3.0

  def __call__(self, x, level, cond=None):
    return Prediction(jnp.full_like(x, self.eps), x, jnp.zeros_like(x))


NET = Linear()


def linear(K, size=4, seed=0, scale=0.3):
  w = scale * np.random.default_rng(seed).standard_normal((size * size * 3, K))
  return Classifier({'w': jnp.asarray(w, jnp.float32), 't': jnp.zeros(K)}, jnp.ones(K), NET)


def pictures(n, size=4, seed=0):
  return np.random.default_rng(seed).uniform(-1, 1, (n, size, size, 3)).astype(np.float32)


def test_gradients_of_classes_have_their_closed_form():
  classifier, x0, keys = linear(3), pictures(5), zsi.keys(0, 5)
  found = gradients.class_gradients(keys, PROCESS, Constant(), [classifier], x0, ROWS)
  w = np.asarray(classifier.variables['w'], float)
  for r, i in enumerate(ROWS):
    level = PROCESS[i]
    eps = normal(fold(fold(keys, i), 'noise'), jnp.asarray(x0))
    x = np.asarray(level.noised(jnp.asarray(x0), eps), float).reshape(5, -1)
    p = np.exp(x @ w) / np.exp(x @ w).sum(axis=1, keepdims=True)
    g = w.T[None] - (p @ w.T)[:, None]  # [B, K, D]
    norms = np.linalg.norm(g, axis=2)
    np.testing.assert_allclose(found.norms[r], norms, rtol=1e-4)
    cos = np.einsum('bkd,bld->bkl', g, g) / norms[:, :, None] / norms[:, None]
    np.testing.assert_allclose(found.cos[r], cos, atol=1e-4)
    np.testing.assert_allclose(found.score[r], 3 * np.sqrt(48) / float(level.sigma), rtol=1e-5)
  np.testing.assert_allclose(found.t, np.asarray(PROCESS.levels.t)[ROWS])


def test_classifiers_stand_one_after_the_other():
  """Each as by itself, and cosines between them."""
  (a, b), x0, keys = (linear(2, seed=1), linear(3, seed=2)), pictures(4), zsi.keys(0, 4)
  both = gradients.class_gradients(keys, PROCESS, Constant(), [a, b], x0, ROWS)
  for part, own in ((slice(0, 2), a), (slice(2, 5), b)):
    alone = gradients.class_gradients(keys, PROCESS, Constant(), [own], x0, ROWS)
    np.testing.assert_allclose(both.norms[..., part], alone.norms, rtol=1e-5)
    np.testing.assert_allclose(both.cos[..., part, part], alone.cos, atol=1e-5)
  level = PROCESS[ROWS[1]]
  noise = normal(fold(fold(keys, ROWS[1]), 'noise'), jnp.asarray(x0))
  x = np.asarray(level.noised(jnp.asarray(x0), noise), float).reshape(4, -1)
  g = []
  for own in (a, b):
    w = np.asarray(own.variables['w'], float)
    p = np.exp(x @ w) / np.exp(x @ w).sum(axis=1, keepdims=True)
    g.append(w[:, 1] - p @ w.T)
  cos = (g[0] * g[1]).sum(1) / np.linalg.norm(g[0], axis=1) / np.linalg.norm(g[1], axis=1)
  np.testing.assert_allclose(both.cos[1, :, 1, 3], cos, atol=1e-4)


@pytest.mark.parametrize('at', ['xt', 'mean', 'x0'])
def test_two_classes_always_oppose_each_other(at):
  classifier = linear(2, scale=0.05).replace(at=at)
  x0, keys = pictures(4), zsi.keys(1, 4)
  denoiser = Mixture()
  found = gradients.class_gradients(keys, PROCESS, denoiser, [classifier], x0, ROWS)
  np.testing.assert_allclose(found.cos[..., 0, 1], -1, atol=1e-3)
  assert found.norms.shape == (4, 4, 2) and (found.norms > 0).all()


def test_an_example_depends_on_its_own_key_alone_and_rows_share_a_program():
  classifier, x0, keys = linear(2), pictures(6), zsi.keys(2, 6)
  before = gradients._row._cache_size()
  every = gradients.class_gradients(keys, PROCESS, Constant(), [classifier], x0, ROWS)
  assert gradients._row._cache_size() == before + 1
  some = gradients.class_gradients(keys[3:], PROCESS, Constant(), [classifier], x0[3:], ROWS[2:])
  np.testing.assert_allclose(every.norms[2:, 3:], some.norms, rtol=1e-5)


def test_curves():
  values = np.array([[1.0, 2, 3], [np.nan, np.nan, np.nan], [5, np.inf, 7]])
  found = gradients.curve(values, [1, 2, 3])
  assert (found.x, found.y) == ([1, 3], [2, 6])
  assert found.low == pytest.approx([1.2, 5.2]) and found.high == pytest.approx([2.8, 6.8])
  with pytest.raises(MetricError, match='nothing'):
    gradients.curve(values[1:2], [2])
  with pytest.raises(MetricError, match=r'\[R, B\]'):
    gradients.curve(values, [1, 2])


def test_calls_for_gradients_that_are_refused():
  classifier, x0, keys = linear(2), pictures(3), zsi.keys(0, 3)

  def refused(words, keys=keys, x0=x0, rows=(0,)):
    with pytest.raises(MetricError, match=words):
      gradients.class_gradients(keys, PROCESS, Constant(), [classifier], x0, rows)

  refused('3 images and 2 keys', keys=keys[:2])
  refused('0 … 49', rows=(0, 50))
  refused('at least one', rows=())
  refused('uint8', x0=(x0 * 127).astype(np.uint8))
  refused('NaN', x0=x0 * np.nan)
  with pytest.raises(MetricError, match='no classifier'):
    gradients.class_gradients(keys, PROCESS, Constant(), [], x0, ROWS)
  refused('empty', x0=x0[:0], keys=keys[:0])


def test_a_classifier_map_is_the_mean_over_noises():
  """P of logits (0, t): the same everywhere; of a linear classifier: E sigmoid over noises."""
  row = 20
  level = PROCESS[row]
  knows = Classifier({'w': jnp.zeros((48, 2)), 't': jnp.array([0.0, 0.01])}, jnp.ones(2), NET)
  x0, keys = pictures(70), zsi.keys(0, 70)
  p = classifier_map.probabilities(keys, PROCESS, knows, x0, row, draws=2)
  want = 1 / (1 + np.exp(-0.01 * float(level.t)))
  assert p.shape == (70, 2)  # more than one batch, the last one filled up
  np.testing.assert_allclose(p[:, 1], want, rtol=1e-5)

  classifier = linear(2)
  p = classifier_map.probabilities(keys[:3], PROCESS, classifier, x0[:3], row, draws=150)
  w = np.asarray(classifier.variables['w'], float)
  d = w[:, 1] - w[:, 0]  # d . x is Gaussian
  z = np.random.default_rng(0).standard_normal(100_000)
  middle = float(level.alpha) * x0[:3].reshape(3, -1) @ d
  want = 1 / (1 + np.exp(-(middle[:, None] + float(level.sigma) * np.linalg.norm(d) * z)))
  np.testing.assert_allclose(p[:, 1], want.mean(axis=1), atol=0.12)
  np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
  alone = classifier_map.probabilities(keys[2:3], PROCESS, classifier, x0[2:3], row, draws=150)
  np.testing.assert_allclose(alone[0], p[2], rtol=1e-5)


def test_a_map_of_places():
  places = [(4, 10), (5, 10), (4, 12), (6, 12)]
  found = classifier_map.grid(places, np.array([0.1, 0.2, 0.3, 0.4]), t=300)
  np.testing.assert_array_equal(found.values, [[0.1, 0.2, np.nan], [0.3, np.nan, 0.4]])
  assert (found.extent, found.t) == ((4, 6, 10, 12), 300)


def test_maps_that_are_refused():
  classifier, x0, keys = linear(2), pictures(3), zsi.keys(0, 3)

  def refused(words, call, *args, **kwargs):
    with pytest.raises(MetricError, match=words):
      call(*args, **kwargs)

  refused('2 keys', classifier_map.probabilities, keys[:2], PROCESS, classifier, x0, 0)
  refused('row 50', classifier_map.probabilities, keys, PROCESS, classifier, x0, 50)
  refused('0 draws', classifier_map.probabilities, keys, PROCESS, classifier, x0, 0, draws=0)
  refused('float', classifier_map.probabilities, keys, PROCESS, classifier, x0.astype(int), 0)
  refused('one place', classifier_map.grid, [(1, 1), (1, 1)], np.array([0.1, 0.2]), 0)
  refused(r'\[2, 2\]', classifier_map.grid, [(1, 1)], np.array([0.1, 0.2]), 0)
  refused(r'\[0, 1\]', classifier_map.grid, [(1, 1)], np.array([1.1]), 0)
