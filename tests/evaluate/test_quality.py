"""FID, KID, precision and recall: closed forms, and brute force."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.evaluate import distances, quality
from zsi_jax.evaluate.errors import MetricError
from zsi_jax.evaluate.quality import Moments


def rotation(d, seed=0):
  return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


def gaussian(mean, variances, seed=0):
  q = rotation(len(variances), seed)
  return Moments(99, np.asarray(mean, float), q * np.asarray(variances) @ q.T)


def test_fid_of_gaussians():
  """|d|^2 for a shift, and sum (sqrt a_i - sqrt b_i)^2 for covariances of the same axes."""
  a, b = np.array([0.5, 1, 2, 9]), np.array([3, 0.1, 2, 1])
  shift = np.array([1, -2, 0, 0.5])
  zero = np.zeros(4)
  assert quality.fid(gaussian(zero, a), gaussian(zero, a)) == pytest.approx(0, abs=1e-12)
  assert quality.fid(gaussian(zero, a), gaussian(shift, a)) == pytest.approx(shift @ shift)
  assert quality.fid(gaussian(zero, a), gaussian(zero, 4 * a)) == pytest.approx(a.sum())
  want = shift @ shift + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
  assert quality.fid(gaussian(shift, a), gaussian(zero, b)) == pytest.approx(want)


def test_fid_of_covariances_that_do_not_commute():
  """The square root by its definition: tr (S1 S2)^1/2 from the eigenvalues of the product."""
  one, two = gaussian(np.zeros(5), [1, 2, 3, 4, 5], 1), gaussian(np.ones(5), [5, 1, 0.2, 2, 1], 2)
  root = np.sqrt(np.linalg.eigvals(one.cov @ two.cov).real).sum()
  want = 5 + np.trace(one.cov) + np.trace(two.cov) - 2 * root
  assert quality.fid(one, two) == pytest.approx(want) == quality.fid(two, one)


def test_fid_of_features():
  """Fewer rows than features, a large common mean, float32: float64 is kept throughout."""
  rng = np.random.default_rng(0)
  x = (1000 + rng.standard_normal((40, 60))).astype(np.float32)
  assert quality.fid(x, x[::-1]) == pytest.approx(0, abs=1e-9)
  shifted = x + np.float32(0.5)
  assert quality.fid(x, shifted) == pytest.approx(15, rel=1e-6)
  moments = Moments.of(x)
  assert moments.n == 40
  np.testing.assert_allclose(moments.cov, np.cov(x.astype(float), rowvar=False), atol=1e-10)


def test_moments_in_blocks(monkeypatch):
  x = np.random.default_rng(0).standard_normal((47, 5))
  whole = Moments.of(x)
  monkeypatch.setattr(quality, 'BLOCK', 10)
  np.testing.assert_allclose(Moments.of(x).cov, whole.cov, rtol=1e-12)


def test_kid_is_unbiased():
  """0 on average for one distribution, the squared distance of mean embeddings for two."""
  rng = np.random.default_rng(1)
  x, y = rng.standard_normal((2, 4000, 3))
  same = quality.kid(x, y, subsets=200, size=100)
  assert abs(same.mean) < 4 * same.std / np.sqrt(200)
  # kernel (x y + 1)^3 of numbers: E k(x, y) from the moments 1, m, m^2 + 1, m^3 + 3 m of N(m, 1)
  p, q = np.array([1, 0, 1, 0]), np.array([1, 1, 2, 4])
  want = np.array([1, 3, 3, 1]) @ (p - q) ** 2
  far = quality.kid(x[:, :1], 1 + y[:, :1], subsets=200, size=100)
  assert far.mean == pytest.approx(want, rel=0.1)


def test_kid_of_all_points_is_its_definition():
  rng = np.random.default_rng(2)
  x, y = rng.standard_normal((2, 7, 4))

  def k(a, b):
    return (a @ b / 4 + 1) ** 3

  pairs = [(i, j) for i in range(7) for j in range(7) if i != j]
  want = np.mean([k(x[i], x[j]) + k(y[i], y[j]) for i, j in pairs])
  want -= 2 * np.mean([k(a, b) for a in x for b in y])
  found = quality.kid(x, y, subsets=3, size=7)
  assert found == (pytest.approx(want), pytest.approx(0, abs=1e-12))


def test_precision_and_recall_by_hand():
  """On a line: radii of real 0, 1, 2, 10 with k = 1 are 1, 1, 1, 8."""
  real = np.array([[0.0], [1], [2], [10]])
  fake = np.array([[2.5], [3.5], [30], [31.0]])
  # fakes within a ball of a real one: 2.5 and 3.5 (of 10: [2, 18]); real ones within a ball of a
  # fake one, radii 1: only 2
  assert quality.precision_recall(real, fake, k=1) == (0.5, 0.25)
  assert quality.precision_recall(fake, real, k=1) == (0.25, 0.5)
  assert quality.precision_recall(real, real, k=3) == (1, 1)


def test_precision_and_recall_in_blocks(monkeypatch):
  rng = np.random.default_rng(3)
  real, fake = rng.standard_normal((120, 4)), 0.6 * rng.standard_normal((90, 4)) + 0.5

  def within(x, centres, k):
    gap = np.linalg.norm(centres[:, None] - centres, axis=2)
    radius = np.sort(gap, axis=1)[:, k]
    return (np.linalg.norm(x[:, None] - centres, axis=2) <= radius).any(axis=1).mean()

  want = within(fake, real, 3), within(real, fake, 3)
  assert 0 < want[1] < want[0] < 1
  monkeypatch.setattr(distances, 'CELLS', 1000)
  assert quality.precision_recall(real, fake) == pytest.approx(want)
  assert quality.precision_recall(real + 1e4, fake + 1e4) == pytest.approx(want)


GOOD = np.random.default_rng(0).standard_normal((20, 4))
BROKEN = np.where(np.arange(20)[:, None] == 7, np.inf, GOOD)


@pytest.mark.parametrize(
  'metric',
  [quality.fid, quality.precision_recall, lambda x, y: quality.kid(x, y, size=10)],
  ids=['fid', 'precision', 'kid'],
)
@pytest.mark.parametrize(
  'bad, words',
  [
    (np.zeros((0, 4)), 'empty'),
    (np.zeros((20, 0)), 'empty'),
    (BROKEN, '1 of 20 hold NaN or infinity, the first is 7'),
    (GOOD[:, :3], 'two networks or two image sizes'),
    (GOOD[0], r'shape \[N, D\]'),
    (np.ones((20, 4), int), 'int64'),
    (GOOD.astype(object), 'object'),
    (GOOD[:1], 'at least|subsets'),
  ],
)
def test_features_that_are_refused(metric, bad, words):
  for pair in ((GOOD, bad), (bad, GOOD)):
    with pytest.raises(MetricError, match=words):
      metric(*pair)


def test_fewer_samples_than_neighbours():
  quality.precision_recall(GOOD, GOOD[:4])
  with pytest.raises(MetricError, match='fake set: 3 rows, and at least 4 are needed'):
    quality.precision_recall(GOOD, GOOD[:3])
  with pytest.raises(MetricError, match='subsets of 21, and one set has 20'):
    quality.kid(GOOD, GOOD, size=21)
  with pytest.raises(MetricError, match='k = 1'):
    quality.precision_recall(GOOD, GOOD, k=0)
