"""Wilson's interval against its closed forms, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.evaluate.shares import wilson


def test_the_ends():
  none, z2 = wilson(0, 100), 1.96**2
  assert none.value == none.low == 0 and none.high == pytest.approx(z2 / (100 + z2))
  every = wilson(100, 100)
  assert every.high == pytest.approx(1) and every.low == pytest.approx(100 / (100 + z2))


def test_it_is_where_the_score_test_turns():
  """p0 is in it as long as |p - p0| <= 1.96 sqrt(p0 (1 - p0) / n)."""
  found = wilson(37, 120)
  for end in found.low, found.high:
    assert abs(found.value - end) == pytest.approx(1.96 * np.sqrt(end * (1 - end) / 120))


@pytest.mark.parametrize('p', [0.02, 0.3, 0.9])
def test_it_covers_the_truth(p):
  hits = np.random.default_rng(1).binomial(200, p, 4_000)
  inside = [(w := wilson(int(k), 200)).low <= p <= w.high for k in hits]
  assert 0.92 < np.mean(inside) < 0.985


def test_a_share_of_nothing():
  with pytest.raises(ValueError, match='one at least'):
    wilson(0, 0)
  with pytest.raises(ValueError, match='3 of 2'):
    wilson(3, 2)
