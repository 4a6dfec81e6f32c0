"""Numbers as people read them: three significant digits; what is not finite is a dash."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

DASH = '–'
MINUS = '−'
UP = str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹')


def number(value: Any) -> TypeGuard[float]:
  """Whether it is a finite number; true and false are none."""
  return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def short(value: Any) -> str:
  """0.0652 -> 0.0652, 4000 -> 4,000, 3e-5 -> 3.00 × 10⁻⁵, NaN and None -> a dash."""
  if not number(value):
    return DASH
  size = abs(value)
  if isinstance(value, int) and size < 10**9 or size >= 999.5 and size < 1e7:
    said = f'{value:,.0f}'
  elif size == 0:
    said = '0'
  elif size < 1e-3 or size >= 1e7:
    digits, power = f'{value:.2e}'.split('e')
    said = f'{digits} × 10{str(int(power)).translate(UP)}'
  else:
    said = f'{value:#.3g}'.rstrip('.')
  return said.replace('-', MINUS)


def duration(seconds: Any) -> str:
  """12.3 -> 12.3 s, 754 -> 12 min 34 s, 5025 -> 1 h 23 min."""
  if not number(seconds):
    return DASH
  if seconds < 59.95:
    return f'{short(float(seconds))} s'
  whole = round(seconds)
  if whole < 3600:
    return f'{whole // 60} min {whole % 60} s' if whole % 60 else f'{whole // 60} min'
  minutes = round(seconds / 60)
  return f'{minutes // 60:,} h {minutes % 60} min' if minutes % 60 else f'{minutes // 60:,} h'


def printed(value: Any) -> str:
  """As somebody else printed it: no digit is added, 0.065 stays 0.065."""
  return f'{value:,.6g}'.replace('-', MINUS) if number(value) else DASH
