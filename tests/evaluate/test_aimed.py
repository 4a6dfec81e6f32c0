"""Asked for against got: ranks, curves and the dial, against closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from zsi_jax.evaluate import aimed

RNG = np.random.default_rng(0)
ASKED = RNG.random(4_000)


def test_ranks_are_shared_by_equals():
  assert aimed.ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]


def test_any_rising_function_is_perfectly_ranked():
  assert aimed.correlation(ASKED, ASKED**3) == pytest.approx(1, abs=1e-12)
  assert aimed.correlation(ASKED, -np.exp(ASKED)) == pytest.approx(-1, abs=1e-12)
  assert abs(aimed.correlation(ASKED, RNG.permutation(ASKED))) < 0.05
  assert np.isnan(aimed.correlation(ASKED, np.ones_like(ASKED)))


def test_the_correlation_is_scipys():
  got = np.round(ASKED + RNG.normal(0, 0.3, len(ASKED)), 1)  # with ties
  expected = stats.spearmanr(ASKED, got).statistic
  assert aimed.correlation(ASKED, got) == pytest.approx(expected, abs=1e-12)


def test_what_is_not_known_is_left_out():
  got = np.where(ASKED < 0.5, np.nan, ASKED + 0.25)
  assert aimed.error(ASKED, got) == pytest.approx(0.25)
  assert aimed.correlation(ASKED, got) == pytest.approx(1)
  with pytest.raises(ValueError, match='fewer than two'):
    aimed.error(ASKED, np.full_like(ASKED, np.nan))
  with pytest.raises(ValueError, match='one value for each target'):
    aimed.error(ASKED, ASKED[1:])


def test_a_curve_is_the_mean_of_each_bin():
  found = aimed.curve(ASKED, ASKED**2, 10)
  third = (0.3**3 - 0.2**3) / 3 / 0.1  # mean of z^2 over [.2, .3]
  assert found.got[2] == pytest.approx(third, abs=0.01)
  assert found.number.sum() == len(ASKED)
  assert (found.low <= found.got).all() and (found.got <= found.high).all()
  empty = aimed.curve(np.array([0.05, 0.06]), np.array([0.0, 1.0]), 10)
  assert empty.got[0] == 0.5 and np.isnan(empty.got[1:]).all()
  with pytest.raises(ValueError, match=r'in \[0, 1\]'):
    aimed.curve(ASKED * 2, ASKED)


def test_pooling_keeps_the_mean_and_rises():
  values, weights = np.array([1.0, 3.0, 2.0, 5.0, 4.0, 0.0]), np.array([1.0, 1, 2, 1, 1, 3])
  pooled = aimed.monotone(values, weights)
  assert (np.diff(pooled) >= 0).all()
  assert pooled @ weights == pytest.approx(values @ weights)
  assert pooled[0] == 1.0  # what rises already stays
  rising = np.arange(5.0)
  assert np.array_equal(aimed.monotone(rising, np.ones(5)), rising)


@pytest.mark.parametrize('warp', [lambda z: z**2, lambda z: 0.1 + 0.8 * z, np.sqrt])
def test_a_dial_undoes_a_warp(warp):
  noisy = warp(ASKED) + RNG.normal(0, 0.02, len(ASKED))
  turned = aimed.dial(ASKED, noisy)
  wanted = np.linspace(0.2, 0.8, 50)
  assert np.abs(warp(turned(wanted)) - wanted).max() < 0.02
  assert (np.diff(turned(np.linspace(0, 1, 200))) >= 0).all()


def test_beyond_what_was_got_a_dial_stays_at_its_end():
  turned = aimed.dial(ASKED, 0.4 + 0.2 * ASKED)
  assert turned(0.0) == turned.asked[0] and turned(1.0) == turned.asked[-1]
