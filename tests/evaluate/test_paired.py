"""Paired differences: intervals that hold what they should, and are narrower than unpaired ones."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.evaluate.errors import MetricError
from zsi_jax.evaluate.paired import mean, paired


def test_a_mean_and_its_interval():
  x = np.random.default_rng(0).normal(2, 1, 400)
  found = mean(x)
  assert found.value == pytest.approx(x.mean()) and found.low < found.value < found.high
  assert (found.high - found.low) / 2 == pytest.approx(1.96 / 20, rel=0.15)
  assert mean([1.0, np.nan, 3.0]).value == 2


def test_tuples_that_are_hard_for_both_do_not_count():
  rng = np.random.default_rng(1)
  hard = rng.normal(5, 2, 300)
  b = hard + rng.normal(0, 0.1, 300)
  a = hard - 0.2 + rng.normal(0, 0.1, 300)
  found = paired(a, b)
  assert found.difference.value == pytest.approx(-0.2, abs=0.02) and found.difference.high < 0
  assert found.relative.value == pytest.approx(-0.2 / 5, rel=0.2) and found.relative.high < 0
  assert found.difference.high - found.difference.low < 0.2 * (mean(a).high - mean(a).low)


def test_the_interval_covers():
  """In 95 of 100 worlds, about."""
  inside = 0
  for k in range(200):
    rng = np.random.default_rng(k)
    b = rng.normal(1, 1, 60)
    found = paired(b + rng.normal(0.1, 0.5, 60), b, draws=200, seed=k).difference
    inside += found.low <= 0.1 <= found.high
  assert 175 <= inside <= 200


def test_equal_is_equal_and_what_is_unknown_is_left_out():
  b = np.array([1.0, 2.0, np.nan, 4.0])
  found = paired(b, b)
  assert found.n == 3 and found.difference == (0, 0, 0) == found.relative


def test_refused():
  with pytest.raises(MetricError, match='same tuples'):
    paired(np.ones(3), np.ones(4))
  with pytest.raises(MetricError, match='both values'):
    paired(np.array([np.nan]), np.ones(1))
  with pytest.raises(MetricError, match='mean of nothing'):
    mean([np.nan])
