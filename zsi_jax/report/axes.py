"""Scales, ticks and the frame of a figure; lengths are units of its view box."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from zsi_jax.report.markup import Html, join, tag
from zsi_jax.report.numbers import MINUS, UP, number, short

WIDTH, HEIGHT = 440.0, 280.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 12.0, 46.0
LETTER = 6.6  # of the labels, about


class Scale(NamedTuple):
  """From low..high of the data to start..stop of the picture."""

  low: float
  high: float
  start: float
  stop: float
  log: bool = False

  def __call__(self, value: float) -> float:
    low, high = self.low, self.high
    if self.log:
      value, low, high = (math.log(max(v, 1e-300)) for v in (value, low, high))
    share = min(max((value - low) / (high - low), -0.02), 1.02)  # a little beyond, not far away
    return self.start + share * (self.stop - self.start)


class Box(NamedTuple):
  """Where the data are drawn."""

  left: float = LEFT
  top: float = TOP
  right: float = WIDTH - RIGHT
  bottom: float = HEIGHT - BOTTOM


def finite(values: Iterable[Any]) -> list[float]:
  return [float(v) for v in values if number(v)]


def ends(values: Iterable[Any], zero: bool = False, log: bool = False) -> tuple[float, float]:
  """Low < high around the values; with 0 where it belongs to them."""
  found = [v for v in finite(values) if v > 0 or not log]
  if not found:
    return (0.1, 1.0) if log else (0.0, 1.0)
  low, high = min(found), max(found)
  if log:
    return low / 1.1, high * 1.1
  if zero:
    low, high = min(low, 0.0), max(high, 0.0)
  if low == high:
    return low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
  spare = 0.04 * (high - low)
  return low - spare * (not zero or low < 0), high + spare * (not zero or high > 0)


def ticks(low: float, high: float, log: bool = False, about: int = 5) -> list[float]:
  """Round numbers in low..high: multiples of 1, 2 or 5, or powers of ten and 1, 2, 5 between."""
  if log:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / about))
    leads = (1, 2, 5) if last - first <= 2 else (1,)
    found = [m * 10.0**p for p in range(first, last + 1, every) for m in leads]
    inside = [v for v in found if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    return inside if len(inside) > 1 else [low, high]
  rough = (high - low) / about
  power = 10.0 ** math.floor(math.log10(rough))
  step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.75)
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [float(f'{i * step:.12g}') for i in range(first, last + 1)]


def label(value: float) -> str:
  """1000 is 1,000, .2 is 0.2; powers of ten where zeros would have to be counted."""
  if value == 0 or 1e-3 <= abs(value) < 1e6:
    return f'{value:,.0f}' if abs(value) >= 1e4 else f'{value:,.4g}'.replace('-', MINUS)
  power = math.log10(abs(value))
  if value > 0 and math.isclose(power, round(power), abs_tol=1e-9):
    return f'10{str(round(power)).translate(UP)}'
  return short(value)


def figure(title: str, *inside: Any, height: float = HEIGHT) -> Html:
  """A picture that a screen reader names by its title."""
  view = f'0 0 {WIDTH:g} {height:g}'
  return tag('svg', tag('title', title), *inside, viewBox=view, role='img', class_='chart')


def frame(
  box: Box, x: Scale, y: Scale, names: tuple[str, str], x_ticks: Sequence[float] | None = None
) -> Html:
  """Grid lines, ticks, and what the axes are."""
  parts: list[Html] = []
  for value in ticks(x.low, x.high, x.log) if x_ticks is None else x_ticks:
    at = spot(x(value))
    parts.append(line(at, box.top, at, box.bottom, 'grid'))
    parts.append(words(at, box.bottom + 15, label(value), 'tick middle'))
  for value in ticks(y.low, y.high, y.log):
    at = spot(y(value))
    parts.append(line(box.left, at, box.right, at, 'grid'))
    parts.append(words(box.left - 6, float(at) + 4, label(value), 'tick end'))
  parts.append(line(box.left, box.bottom, box.right, box.bottom, 'axis'))
  return join([*parts, named(box, *names)])


def named(box: Box, x: str, y: str) -> Html:
  """The labels of the axes."""
  across, up = (box.left + box.right) / 2, (box.top + box.bottom) / 2
  parts = [words(across, box.bottom + 36, cut(x, box.right - box.left), 'name middle')]
  if y:
    turned = f'rotate(-90 13 {spot(up)})'
    parts.append(words(13, up, cut(y, box.bottom - box.top), 'name middle', transform=turned))
  return join(parts)


def cut(text: str, room: float) -> str:
  """The text, or as much of it as there is room for."""
  most = max(1, int(room / LETTER))
  return text if len(text) <= most else text[: most - 1].rstrip() + '…'


def words(x: Any, y: Any, text: str, class_: str, **attributes: Any) -> Html:
  return tag('text', text, x=spot(x), y=spot(y), class_=class_, **attributes)


def line(x1: Any, y1: Any, x2: Any, y2: Any, class_: str) -> Html:
  return tag('line', x1=spot(x1), y1=spot(y1), x2=spot(x2), y2=spot(y2), class_=class_)


def spot(value: Any) -> str:
  """A coordinate, to a tenth of a unit."""
  return f'{float(value):.1f}'.removesuffix('.0')


def path(points: Iterable[tuple[float, float] | None], class_: str, **attributes: Any) -> Html:
  """Lines through the points; None leaves a gap."""
  said, pen = [], 'M'
  for point in points:
    if point is None:
      pen = 'M'
      continue
    said.append(f'{pen}{spot(point[0])} {spot(point[1])}')
    pen = 'L'
  return tag('path', d=''.join(said), class_=class_, **attributes) if said else Html()
