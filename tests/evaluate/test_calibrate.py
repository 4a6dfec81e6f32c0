"""Temperature scaling: the temperature that was put in is found; ECE by its definition."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.evaluate import calibrate, histogram
from zsi_jax.evaluate.errors import MetricError


def drawn(n=4000, K=None, seed=0):
  """Logits that are right at T = 1, and what is true of them."""
  rng = np.random.default_rng(seed)
  if K is None:
    logits = rng.normal(0, 2, n)
    return logits, (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(float)
  logits = rng.normal(0, 2, (n, K))
  p = np.exp(calibrate.log_softmax(logits))
  return logits, (p.cumsum(1) < rng.random((n, 1))).sum(1)


@pytest.mark.parametrize('T', [0.3, 1.0, 2.5, 8.0])
@pytest.mark.parametrize('K', [None, 4])
def test_the_temperature_that_was_put_in_is_found(T, K):
  logits, truth = drawn(20_000, K)
  cases = calibrate.yes_or_no if K is None else calibrate.classes
  one = calibrate.temperature(*cases(logits, truth))
  assert one == pytest.approx(1, abs=0.05)
  assert calibrate.temperature(*cases(logits * T, truth)) == pytest.approx(T * one, rel=1e-6)


def test_it_is_the_minimum():
  found, target = calibrate.classes(*drawn(500, 3))
  T = calibrate.temperature(found, target)
  around = [calibrate.nll(found / t, target) for t in T * np.linspace(0.9, 1.1, 21)]
  assert calibrate.nll(found / T, target) <= min(around)
  step = 1e-4
  slope = calibrate.nll(found / (T + step), target) - calibrate.nll(found / (T - step), target)
  assert abs(slope) / (2 * step) < 1e-7


def test_targets_that_are_probabilities_are_their_own_temperature():
  logits = np.linspace(-5, 5, 101)
  assert calibrate.temperature(
    *calibrate.yes_or_no(logits * 3, 1 / (1 + np.exp(-logits)))
  ) == pytest.approx(3, rel=1e-8)


def test_no_temperature_where_all_are_right_or_none():
  logits = np.array([-3.0, -1, 1, 2] * 10)
  with pytest.raises(calibrate.NoTemperature, match='all right on 40'):
    calibrate.temperature(*calibrate.yes_or_no(logits, logits > 0))
  with pytest.raises(calibrate.NoTemperature, match='no better than chance'):
    calibrate.temperature(*calibrate.yes_or_no(logits, logits < 0))


def test_reliability_and_ece_by_hand():
  p, true = np.array([0.01, 0.05, 0.5, 1.0]), np.array([0.0, 1.0, 0.25, 1.0])
  curve = calibrate.reliability(p, true)
  assert [b.records for b in curve] == [2, 1, 1]
  assert curve[0].p == pytest.approx(0.03) and curve[0].share == 0.5
  assert calibrate.ece(curve) == pytest.approx((2 * 0.47 + 0.25 + 0) / 4)
  exact = np.linspace(0, 1, 301)
  assert calibrate.ece(calibrate.reliability(exact, exact)) == pytest.approx(0, abs=1e-12)


def test_scaling_mends_what_is_too_sure():
  (tune, y), (test, truth) = drawn(8000, seed=1), drawn(8000, seed=2)
  found = calibrate.calibrated((4 * tune, y), (4 * test, truth), yes=True)
  assert found.ece[0] > 0.1 > 0.03 > found.ece[1] and found.nll[1] < found.nll[0]
  assert sum(b.records for b in found.reliability) == 8000
  assert found.temperature == pytest.approx(4, rel=0.1)


def test_of_classes_the_chosen_one_counts():
  logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]))
  p, hit = calibrate.said(*calibrate.classes(logits, np.array([0, 1])), yes=False)
  np.testing.assert_allclose(p, [0.7, 0.6])
  assert hit.tolist() == [1, 0]


@pytest.mark.parametrize(
  'make, said',
  [
    (lambda: calibrate.yes_or_no([0.0, np.nan], [0, 1]), '1 of 2 hold NaN'),
    (lambda: calibrate.yes_or_no([0.0, 1.0], [0, 2]), r'targets are in \[0, 1\]'),
    (lambda: calibrate.yes_or_no([0.0, 1.0], [0.0]), '2 rows of logits need as many targets'),
    (lambda: calibrate.classes(np.zeros((2, 3)), np.array([0, 3])), 'from 0 to 2'),
    (lambda: calibrate.classes(np.zeros((0, 3)), np.zeros(0, int)), 'an empty set'),
  ],
)
def test_what_cannot_be_calibrated(make, said):
  with pytest.raises(MetricError, match=said):
    make()


def blurred(n, seed=0, width=0.1):
  """Logits of E[z | x] of a uniform z that is seen with an error."""
  rng = np.random.default_rng(seed)
  z = rng.random(n)
  grid = (np.arange(400) + 0.5) / 400
  seen = z + width * rng.normal(size=n)
  likely = np.exp(-((grid - seen[:, None]) ** 2) / 2 / width**2)
  p = (likely * grid).sum(1) / likely.sum(1)
  return np.log(p / (1 - p)), z


def test_ranks_of_a_uniform_set_are_uniform_where_calibrated_scores_are_not():
  (tune, _), (test, z) = blurred(3000, 1), blurred(6000, 2)
  knots = calibrate.ranks(tune)

  def kld(logits):
    return histogram.score(1 / (1 + np.exp(-logits)), bootstrap=0).kld

  assert kld(test) > 0.08 > 0.03 > kld(calibrate.ranked(test, knots))
  order = np.argsort(test)
  assert (np.diff(calibrate.ranked(test, knots)[order]) >= 0).all()
  ranked = 1 / (1 + np.exp(-calibrate.ranked(test, knots)))
  assert np.sqrt(((ranked - z) ** 2).mean()) < 0.12


def test_of_logistic_logits_ranks_are_the_probabilities():
  """Their distribution is the sigmoid: F is the identity, beyond the last quantiles too."""
  u = (np.arange(200_000) + 0.5) / 200_000
  logits = np.log(u / (1 - u))
  far = np.array([-12.0, -3, 0, 2, 12])
  np.testing.assert_allclose(calibrate.ranked(far, calibrate.ranks(logits)), far, atol=0.02)


def test_one_score_for_many_has_no_rank():
  with pytest.raises(MetricError, match='quantiles that are equal'):
    calibrate.ranks(np.repeat([-1.0, 1.0], 500))
