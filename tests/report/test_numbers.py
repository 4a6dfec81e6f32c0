"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from zsi_jax.report.numbers import DASH, duration, printed, short


@pytest.mark.parametrize(
  'value, said',
  [
    (0.065211, '0.0652'), (0.5, '0.500'), (78.25, '78.2'), (100.0, '100'), (99.97, '100'),
    (999.6, '1,000'), (4000, '4,000'), (121063942, '121,063,942'), (12345.6, '12,346'),
    (0, '0'), (0.0, '0'), (-0.05, '−0.0500'), (3e-5, '3.00 × 10⁻⁵'), (-2.5e10, '−2.50 × 10¹⁰'),
    (10**12, '1.00 × 10¹²'), (0.001, '0.00100'), (12, '12'),
    (None, DASH), (math.nan, DASH), (math.inf, DASH), (True, DASH), ('7', DASH),
  ],
)  # fmt: skip
def test_three_digits(value, said):
  assert short(value) == said


def test_what_others_printed_gets_no_digit():
  assert [printed(v) for v in (0.065, 78, 0.1881, -3.5, math.nan)] == [
    '0.065', '78', '0.1881', '−3.5', DASH,
  ]  # fmt: skip


@pytest.mark.parametrize(
  'seconds, said',
  [
    (0.5, '0.500 s'), (12.34, '12.3 s'), (59.96, '1 min'), (754.2, '12 min 34 s'), (120, '2 min'),
    (3599.6, '1 h'), (5025, '1 h 24 min'), (7200, '2 h'), (3_600_000, '1,000 h'), (None, DASH),
  ],
)  # fmt: skip
def test_durations(seconds, said):
  assert duration(seconds) == said
