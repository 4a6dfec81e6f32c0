"""Distances to uniform: the papers' anchors, closed forms, intervals that cover, floors."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.evaluate import heatmap, histogram
from zsi_jax.evaluate.errors import MetricError

ENDS = np.repeat([0.0, 1.0], 300)


@pytest.mark.parametrize('how', ['fixed', 'peer'])
def test_the_anchors_of_the_papers(how):
  ends, one = histogram.score(ENDS, how=how), histogram.score(np.full(500, 0.3), how=how)
  assert (round(ends.l2, 4), round(ends.kld, 5)) == (0.7, 3.91202)
  assert (round(one.l2, 5), round(one.kld, 5)) == (0.99499, 4.60517)
  assert (one.l2_low, one.l2_high) == pytest.approx((one.l2, one.l2))


def test_flat_is_zero_and_kld_is_nats():
  flat = (np.arange(1000) + 0.5) / 1000
  assert histogram.score(flat).l2 == pytest.approx(0, abs=1e-12)
  p = np.array([1, 2, 3, 4]) / 10
  l2, kld = histogram.distances([10, 20, 30, 40])
  assert l2 == pytest.approx(np.sqrt(((p - 0.25) ** 2).sum()))
  assert kld == pytest.approx((p * np.log(4 * p)).sum())


def test_bins_are_closed_below_and_one_belongs_to_the_last():
  edges = np.linspace(0, 1, 101)
  want = np.ones(100, int)
  want[-1] = 2
  assert (histogram.counts(edges) == want).all()
  assert (histogram.counts(edges.astype(np.float32)).sum(), histogram.counts([0.5])[50]) == (101, 1)


def test_the_peer_stretches_what_it_counts():
  """A set that fills only [.4, .6] is uniform to the peer, and far from it on [0, 1]."""
  p = np.linspace(0.4, 0.6, 2000)
  assert histogram.score(p, how='peer', bootstrap=0).l2 < 0.01
  assert histogram.score(p, bootstrap=0).l2 > 0.19
  assert (histogram.counts(p, how='peer') == np.histogram(p, 100)[0]).all()


@pytest.mark.parametrize('n', [200, 4000, 10_000])
def test_the_floor_is_that_of_uniform_samples(n):
  l2, kld = histogram.floor(n)
  assert l2 == pytest.approx(np.sqrt(0.99 / n), rel=0.02)  # E l2^2 = (1 - 1/B) / n
  if n >= 4000:
    assert kld == pytest.approx(99 / (2 * n), rel=0.05)
  peer = histogram.floor(n, how='peer')
  assert peer == pytest.approx((l2, kld), rel=0.05)
  fresh = histogram.score(np.random.default_rng(1).random(n), bootstrap=0)
  assert fresh.l2 == pytest.approx(l2, rel=0.3) and fresh.floor_l2 == l2


@pytest.mark.parametrize(
  'source, how', [('uniform', 'fixed'), ('ends', 'fixed'), ('bump', 'fixed'), ('ends', 'peer')]
)
def test_intervals_cover_the_score_of_another_sample(source, how):
  """95 % intervals hold the mean score of samples of that size; as many as 8 of 80 may miss it."""
  rng = np.random.default_rng(2)
  draw = {
    'uniform': lambda n: rng.random(n),
    'ends': lambda n: rng.beta(0.3, 0.3, n),
    'bump': lambda n: rng.beta(4, 2, n),
  }[source]
  found = [histogram.score(draw(1500), how=how, bootstrap=200) for _ in range(80)]
  for name in ('l2', 'kld'):
    mean = np.mean([getattr(s, name) for s in found])
    missed = [not getattr(s, f'{name}_low') <= mean <= getattr(s, f'{name}_high') for s in found]
    assert sum(missed) <= 8
    width = np.mean([getattr(s, f'{name}_high') - getattr(s, f'{name}_low') for s in found])
    assert width < 8 * np.std([getattr(s, name) for s in found])  # and they are no wider than that


def test_shares_of_the_middle_and_what_repeats():
  p = np.concatenate([np.full(90, 0.1), np.full(60, 0.3), np.full(50, 0.5)])
  s = histogram.score(p)
  assert (s.n, s.mild, s.middle) == (200, 0.55, 0.25)
  assert s == histogram.score(p) and s != histogram.score(p, seed=1)
  assert s.l2_low < s.l2 < s.l2_high
  assert np.isnan(histogram.score(p, bootstrap=0).l2_low)


@pytest.mark.parametrize(
  'p, words',
  [
    (np.zeros(0), 'empty'),
    (np.full(99, 0.5), '99 scores and 100 bins'),
    (np.append(ENDS, np.nan), 'NaN or infinity, the first is 600'),
    (np.append(ENDS, 1.0001), r'\[0, 1\].*number 600 is 1.0001.*logits'),
    (np.append(-1e-9, ENDS), 'number 0'),
    (np.zeros((300, 2)), r'shape \[N\]'),
    (np.ones(300, int), 'int64'),
    (np.array(['a'] * 300), 'not <U1'),
    (np.ones(300, complex), 'complex'),
  ],
)
def test_scores_that_are_refused(p, words):
  with pytest.raises(MetricError, match=words):
    histogram.score(p)


def test_calls_that_are_refused():
  with pytest.raises(MetricError, match="'fixed'.*'peer'.*'mine'"):
    histogram.counts(ENDS, how='mine')
  with pytest.raises(MetricError, match='two bins'):
    histogram.score(ENDS, bins=1)


def test_the_heat_map_of_the_peer():
  x, y = np.array([0.02, 0.02, 0.97, 1.0]), np.array([0.52, 0.52, 0.0, 0.04])
  counts = heatmap.counts(x, y)
  assert counts.shape == (20, 20) and counts.sum() == 4
  assert counts[10, 0] == 2 and counts[0, 19] == 2  # row by y, column by x, 1.0 in the last
  with pytest.raises(MetricError, match='4 scores.*3'):
    heatmap.counts(x, y[:3])
  with pytest.raises(MetricError, match='two bins'):
    heatmap.counts(x, y, bins=1)
