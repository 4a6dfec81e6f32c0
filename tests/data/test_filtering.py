"""The paper's filter against brute force, and its error estimate against the printed figures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from zsi_jax.data import filtering, subsets
from zsi_jax.data.errors import DataError


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('over', ['confident', 'all'])
def test_agreement_is_brute_force(seed, over):
  draw = np.random.default_rng(seed)
  label = draw.integers(-1, 2, 300)
  sure = np.where(label == 1, 0.85, 0.15)
  judge, ensemble = (np.clip(draw.normal(sure, 0.2, (m, 300)), 0, 1) for m in (1, 5))
  found = filtering.agree(label, judge[0], ensemble, (0.7, 0.6), over)
  wanted = {}
  for i, y in enumerate(label):
    p = [s if y == 1 else 1 - s for s in ensemble[:, i]]
    first = judge[0, i] if y == 1 else 1 - judge[0, i]
    if y >= 0 and min(p) > 0.6 and (over == 'all' or first > 0.7):
      wanted[i] = y
  assert dict(zip(found.index.tolist(), found.label.tolist(), strict=True)) == wanted
  assert subsets.top_k(judge[0], 3, found).label.sum() == 3


def test_agreement_refuses_what_does_not_fit():
  label, judge, ensemble = np.array([0, 1, 1]), np.array([0.1, 0.9, 0.9]), np.full((5, 3), 0.5)
  with pytest.raises(DataError, match=r'\(3 and 0 of 3\): 0 of label 0, 0 of label 1'):
    filtering.agree(label, judge, ensemble, (0.8, 0.6))
  with pytest.raises(DataError, match='ensemble 0: 2 numbers for 3'):
    filtering.agree(label, judge, ensemble[:, :2])
  with pytest.raises(DataError, match='judge 0: 1 of 3 are NaN'):
    filtering.agree(label, np.array([0.1, np.nan, 1]), ensemble)
  with pytest.raises(DataError, match='no probabilities'):
    filtering.agree(label, judge * 2, ensemble)
  with pytest.raises(DataError, match='models, records'):
    filtering.agree(label, judge, ensemble[0])
  with pytest.raises(DataError, match='labels are 0, 1'):
    filtering.agree(label + 1, judge, ensemble)
  with pytest.raises(DataError, match='tau'):
    filtering.agree(label, judge, ensemble, (0.3, 0.9))


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('models', [1, 5])
def test_the_threshold_is_the_least_of_precision_one(seed, models):
  draw = np.random.default_rng(seed)
  truth = draw.integers(0, 2, 200)
  clear = np.where(truth == 1, 0.8, 0.2)
  scores = np.clip(clear + draw.normal(0, 0.18, (models, 200)), 0, 1)

  def precise(tau):
    one, zero = (scores > tau).all(0), (1 - scores > tau).all(0)
    return not (one & (truth == 0)).any() and not (zero & (truth == 1)).any()

  tau = filtering.threshold(scores[0] if models == 1 else scores, truth)
  assert precise(tau)
  assert tau == 0.5 or not precise(tau - 1e-9)


def test_no_threshold_where_a_judge_is_surest_of_an_error():
  with pytest.raises(DataError, match='record 2 is of label 0 .* p = 0.99; .* 1 of 2 .* 0 of 2'):
    filtering.threshold(np.array([0.001, 0.9, 0.99, 0.8]), np.array([0, 1, 0, 1]))
  assert filtering.threshold(np.array([0.1, 0.9]), np.array([0, 1])) == 0.5
  with pytest.raises(DataError, match='0 or 1'):
    filtering.threshold(np.array([0.1, 0.9]), np.array([0, 2]))


def test_the_printed_error_estimates():
  p = 0.15**5
  bounds = {k: filtering.chernoff(60_000, p, k) for k in (10, 15, 20)}
  assert round(bounds[10], 3) == 0.089 and f'{bounds[20]:.1e}' == '7.2e-07'
  assert f'{bounds[15]:.2e}' == '5.93e-04'  # printed 5e-4
  exact = {k: filtering.binomial_tail(60_000, p, k) for k in (10, 15, 20)}
  assert all(exact[k] < bounds[k] < 12 * exact[k] for k in bounds)


@pytest.mark.parametrize(
  'n, p', [(1, 0.3), (7, 0.5), (60_000, 0.15**5), (1000, 0.97), (200, 1e-12)]
)
def test_the_tail_is_exact(n, p):
  for k in {0, 1, n // 2, n - 1, n, int(n * p), min(n, int(n * p) + 20)}:
    wanted = stats.binom.sf(k - 1, n, p)
    assert filtering.binomial_tail(n, p, k) == pytest.approx(wanted, rel=1e-8, abs=1e-300)
    assert filtering.chernoff(n, p, k) >= filtering.binomial_tail(n, p, k) * (1 - 1e-9)


def test_the_ends_of_the_tail():
  assert filtering.binomial_tail(5, 0.0, 1) == 0 == filtering.chernoff(5, 0.0, 1)
  assert filtering.binomial_tail(5, 1.0, 5) == 1 == filtering.chernoff(5, 1.0, 5)
  assert filtering.binomial_tail(5, 0.0, 0) == 1 == filtering.chernoff(5, 0.0, 0)
  for bad in [(0, 0.1, 0), (5, 1.1, 1), (5, 0.1, 6), (5, float('nan'), 1)]:
    with pytest.raises(ValueError):
      filtering.chernoff(*bad)


@pytest.mark.parametrize('n', [1, 5, 7])
def test_parts_are_disjoint_and_even(n):
  label = np.random.default_rng(0).integers(-1, 2, 200)
  whole = subsets.join('x', *(np.flatnonzero(label == side) for side in (0, 1)))
  parts = filtering.parts(whole, n, 3)
  assert sorted(np.concatenate([p.index for p in parts])) == whole.index.tolist()
  for side in (0, 1):
    sizes = [(p.label == side).sum() for p in parts]
    assert max(sizes) - min(sizes) <= 1
  for p in parts:
    assert (label[p.index] == p.label).all() and (np.diff(p.index) > 0).all()
  again, other = filtering.parts(whole, n, 3), filtering.parts(whole, n, 4)
  assert all((a.index == p.index).all() for a, p in zip(again, parts, strict=True))
  assert n == 1 or any(len({*a.index} ^ {*p.index}) for a, p in zip(other, parts, strict=True))


def test_too_few_for_so_many_parts():
  whole = subsets.join('x', np.arange(3), np.arange(3, 40))
  with pytest.raises(DataError, match='4 parts of 3 records of label 0 and 37 of label 1'):
    filtering.parts(whole, 4, 0)


def test_what_is_apart_is_a_share_of_each_label():
  label = np.repeat([-1, 0, 1], [30, 100, 41])
  few, more = (filtering.apart(label, share, 1) for share in (0.1, 0.3))
  assert [few[label == side].sum() for side in (-1, 0, 1)] == [0, 10, 4]
  assert not (few & ~more).any() and not filtering.apart(label, 0, 1).any()
  with pytest.raises(DataError, match='share of 1'):
    filtering.apart(label, 1, 1)


def test_candidates_are_sure_of_both_labels_and_of_contradictions():
  draw = np.random.default_rng(0)
  z, pool = draw.random(3000), np.arange(500, 2500)
  label = ((z > 0.5) ^ (draw.random(3000) < 0.05)).astype(int)
  found = filtering.candidates(z, label, pool, 60)
  assert len({*found}) == 60 and {*found} <= {*pool}
  assert (label[found] == np.repeat([0, 1], 30)).all()
  for side in (0, 1):
    mine, all_ = found[label[found] == side], pool[label[pool] == side]
    assert (np.diff(z[mine]) >= 0).all()
    assert z[mine[0]] == z[all_].min() and z[mine[-1]] == z[all_].max()
    assert np.abs(z[mine] - 0.5).min() > 0.2
    assert ((z[mine] > 0.5) != side).any()  # where a label is wrong
  assert len(filtering.candidates(z, label, pool[:7], 60)) <= 7
