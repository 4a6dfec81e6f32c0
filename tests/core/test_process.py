"""Schedules against the published numbers, and the algebra of levels and moves."""

import numpy as np
import pytest

from zsi_jax.core import Process, cosine, linear, scaled_linear, spaced, strided


def respaced_betas(T, n):
  ab = np.cumprod(1 - cosine(T))[spaced(T, n)]
  return 1 - ab / np.append(1, ab[:-1]), ab


def test_cosine_is_the_published_table():
  betas = cosine(4000)
  ab = np.cumprod(1 - betas)
  golden = [9.865818813681315e-06, 0.749999962, 0.999]
  np.testing.assert_allclose(betas[[0, 3998, 3999]], golden, rtol=1e-8)
  assert np.sum(betas == 0.999) == 1
  golden = [0.9999901341811863, 0.8467314331, 0.49345397967, 0.14399841397, 1.5179804688514517e-10]
  np.testing.assert_allclose(ab[[0, 1000, 2000, 3000, 3999]], golden, rtol=1e-9)


def test_linear_keeps_its_total_noise_at_any_length():
  np.testing.assert_allclose(linear(4000)[[0, -1]], [2.5e-5, 0.005])
  np.testing.assert_allclose(np.prod(1 - linear(4000)), 4.2467e-5, rtol=1e-4)
  np.testing.assert_allclose(linear(1000)[[0, -1]], [1e-4, 0.02])
  np.testing.assert_allclose(np.diff(np.sqrt(scaled_linear(1000)), 2), 0, atol=1e-15)
  np.testing.assert_allclose(scaled_linear(1000)[[0, -1]], [0.00085, 0.012])


@pytest.mark.parametrize(
  'n, head, tail, total, gaps, betas, var1',
  [
    (
      250,
      [0, 16, 32, 48, 64, 80],
      [3951, 3967, 3983, 3999],
      499875,
      {16: 234, 17: 15},
      {0: 9.865818813681315e-06, 1: 1.99125850e-4, 125: 0.013327686, -1: 0.99999609},
      9.400173869e-06,
    ),
    (
      64,
      [0, 63, 127, 190, 254, 317, 381],
      [3809, 3872, 3936, 3999],
      127968,
      {63: 33, 64: 30},
      {1: 1.23303191e-3, 32: 0.0485114377, -1: 0.99999975},
      9.787602148e-06,
    ),
  ],
)
def test_respacing_is_the_published_one(n, head, tail, total, gaps, betas, var1):
  t = spaced(4000, n)
  assert (t[: len(head)].tolist(), t[-4:].tolist(), t.sum()) == (head, tail, total)
  assert dict(zip(*np.unique(np.diff(t), return_counts=True), strict=True)) == gaps
  beta, ab = respaced_betas(4000, n)
  for row, b in betas.items():
    np.testing.assert_allclose(beta[row], b, rtol=1e-7)
  np.testing.assert_allclose(beta[1] * (1 - ab[0]) / (1 - ab[1]), var1, rtol=1e-8)
  process = Process.make(cosine(4000), n)
  np.testing.assert_allclose(process.beta, beta, rtol=1e-6)
  np.testing.assert_allclose(np.exp(process.levels.logvar_min[:2]), [var1, var1], rtol=2e-6)


def test_sections_and_strides():
  assert spaced(300, (10, 15, 20))[[0, 9, 10, 24, 25, 44]].tolist() == [0, 99, 100, 199, 200, 299]
  assert spaced(10, 1).tolist() == [0]
  t = strided(4000, 250)
  assert t[-1] == 3984 and set(np.diff(t)) == {16}
  assert strided(1000, 100).tolist() == list(range(0, 1000, 10))
  assert Process.make(linear(1000), strided(1000, 100)).levels.t[-1] == 990


def test_differences_are_made_in_float64():
  """From float32 tables 1 - (alpha / alpha')^2 is off by .8 % at 4000 steps; ours by rounding."""
  process = Process.make(cosine(4000))
  exact = cosine(4000)
  np.testing.assert_allclose(process.beta, exact, rtol=1e-6)
  alpha = np.asarray(process.levels.alpha)
  single = 1 - (alpha[1:] / alpha[:-1]) ** 2
  assert np.max(np.abs(single / exact[1:] - 1)) > 5e-3


def test_moves_are_one_chain_down_and_the_same_chain_up():
  process = Process.make(cosine(4000), 50)
  down, up = process.reverse(30), process.forward(30)
  assert down.i.tolist() == list(range(30, -1, -1)) and up.i.tolist() == list(range(30))
  np.testing.assert_array_equal(down.to.alpha[:-1], down.level.alpha[1:])
  assert (down.to.alpha[-1], down.to.sigma[-1], down.to.t[-1]) == (1, 0, 0)
  np.testing.assert_array_equal(up.to.sigma, down.level.sigma[::-1][1:])
  np.testing.assert_allclose(up.h, -down.h[:-1][::-1])
  np.testing.assert_allclose(up.alpha_ratio * down.alpha_ratio[:-1][::-1], 1, rtol=1e-6)
  np.testing.assert_allclose(1 - up.beta, 1 / (1 - down.beta[:-1][::-1]), rtol=1e-5)
  assert np.isinf(down.h[-1])


def test_posterior_agrees_with_the_forward_chain():
  """Bayes, q(x_s | x_t, x_0) q(x_t | x_0) = q(x_t | x_s) q(x_s | x_0), in means and variances."""
  process = Process.make(cosine(100), dtype=np.float32)
  level = process[np.arange(1, 100)]
  prev = process[np.arange(99)]
  beta = np.asarray(process.beta, np.float64)[1:]
  precision = (1 - beta) / beta + 1 / np.asarray(prev.sigma, np.float64) ** 2
  np.testing.assert_allclose(np.exp(level.logvar_min), 1 / precision, rtol=1e-4)
  np.testing.assert_allclose(level.coef_xt, np.sqrt(1 - beta) / beta / precision, rtol=1e-4)
  from_x0 = np.asarray(prev.alpha) / np.asarray(prev.sigma, np.float64) ** 2
  np.testing.assert_allclose(level.coef_x0, from_x0 / precision, rtol=1e-4)


@pytest.mark.parametrize(
  'betas, steps, message',
  [
    ([], None, 'empty schedule'),
    (cosine(10), 11, '1 <= steps <= T'),
    (cosine(10), 0, '1 <= steps'),
    ([0.1, np.nan], None, 'strictly between'),
    ([0.1, 1.0], None, 'strictly between'),
    (cosine(10), [3, 2], 'rise'),
    (cosine(10), [0, 10], 'rise'),
    (cosine(10), [0.5], 'number of timesteps'),
  ],
)
def test_bad_schedules_are_refused(betas, steps, message):
  with pytest.raises(ValueError, match=message):
    Process.make(betas, steps)


def test_rows_outside_the_chain_are_refused():
  process = Process.make(cosine(100), 10)
  for call in (process.reverse, process.forward):
    with pytest.raises(ValueError, match='rows 0 ... 9'):
      call(10)
  with pytest.raises(ValueError, match='no whole stride'):
    strided(10, 7)
