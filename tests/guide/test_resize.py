"""Resizes: what is kept exactly, and what is refused."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.guide.resize import METHODS, adaptive_pool, matrix, resize

RNG = np.random.default_rng(0)
SIZES = [(5, 8), (8, 5), (7, 21), (21, 7), (4, 1), (1, 4)]
WAYS = [
  *((method, {}) for method in METHODS),
  *itertools.product(('bilinear', 'bicubic'), ({'antialias': True}, {'corners': True})),
]


@pytest.mark.parametrize('method, how', WAYS)
def test_a_colour_stays_and_a_size_too(method, how):
  for n, m in SIZES:
    np.testing.assert_allclose(matrix(n, m, method, **how).sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(matrix(n, n, method, **how), np.eye(n))
    turned = matrix(n, m, method, **how)[::-1, ::-1]
    if method != 'nearest' and (m > 1 or not how.get('corners')):  # those have a first side
      np.testing.assert_allclose(turned, matrix(n, m, method, **how), atol=1e-6)


def test_straight_lines_and_parabolas():
  """Away from the frame pixel i of 24 is at p = (i + 1/2) 10 / 24 - 1/2, or at i 9 / 23.

  Keys' cubic with a = -1/2 keeps parabolas; with -3/4 it bends even lines.
  """
  line, places = np.arange(10.0), (np.arange(24) + 0.5) * 10 / 24 - 0.5
  inner = (places > 2) & (places < 7)

  def gap(values, want, method, **how):
    return np.abs(matrix(10, 24, method, **how) @ values - want)[inner].max()

  assert gap(line, places, 'bilinear') < 1e-5
  assert gap(line, np.linspace(0, 9, 24), 'bilinear', corners=True) < 1e-5
  assert gap(line**2, places**2, 'bicubic', antialias=True) < 1e-5
  assert 0.04 < gap(line, places, 'bicubic') < 0.05


def test_rows_and_columns_are_each_their_own():
  x = RNG.standard_normal((2, 6, 9, 3)).astype(np.float32)
  y = resize(jnp.asarray(x), (4, 12), 'bicubic')
  rows, columns = matrix(6, 4, 'bicubic'), matrix(9, 12, 'bicubic')
  np.testing.assert_allclose(y, np.einsum('ph,bhwc,qw->bpqc', rows, x, columns), atol=1e-5)
  np.testing.assert_array_equal(resize(jnp.asarray(x), 4), resize(jnp.asarray(x), (4, 4)))


def test_means_of_whole_cells():
  x = RNG.standard_normal((1, 6, 8, 2)).astype(np.float32)
  want = x.reshape(1, 3, 2, 2, 4, 2).mean((2, 4))
  np.testing.assert_allclose(adaptive_pool(jnp.asarray(x), (3, 2)), want, atol=1e-6)


def test_the_gradient_is_the_transpose():
  x, v = RNG.standard_normal((1, 5, 5, 1)), RNG.standard_normal((1, 9, 9, 1))
  x, v = x.astype(np.float32), v.astype(np.float32)
  y, pull = jax.vjp(lambda x: resize(x, 9), x)
  assert float((y * v).sum()) == pytest.approx(float((pull(v)[0] * x).sum()), abs=1e-4)


@pytest.mark.parametrize(
  'word, size, method, how',
  [
    ('method is one of', 4, 'lanczos', {}),
    ('one of the two', 4, 'bicubic', {'antialias': True, 'corners': True}),
    ('antialias=True', 4, 'nearest', {'antialias': True}),
    ('corners=True', 4, 'area', {'corners': True}),
    ('at least one pixel', 0, 'bicubic', {}),
    ('at least one pixel', (4, 4, 4), 'bicubic', {}),
  ],
)
def test_what_is_refused(word, size, method, how):
  with pytest.raises(ValueError, match=word):
    resize(jnp.zeros((1, 8, 8, 3)), size, method, **how)


def test_images_that_are_none():
  with pytest.raises(ValueError, match='uint8'):
    resize(jnp.zeros((1, 8, 8, 3), jnp.uint8), 4)
  with pytest.raises(ValueError, match=r'\[8, 8, 3\]'):
    resize(jnp.zeros((8, 8, 3)), 4)
