"""Antialiased drawing by signed distances, with arithmetic that rounds alike everywhere.

A distance is negative inside; lengths are pixels. Only + − × ÷ √ min max and comparisons touch a
pixel (IEEE 754 rounds each of them exactly), so an image has the same bytes on every machine.
Angles become outlines through `on_grid`, which hides the last bits of a sine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

Point = tuple[float, float]  # x to the right, y downward


def on_grid(value: float, steps: int = 64) -> float:
  """The nearest multiple of 1 / steps, a power of two: exact in float32 too."""
  return math.floor(value * steps + 0.5) / steps


def pixels(size: int) -> tuple[np.ndarray, np.ndarray]:
  """x [1, size] and y [size, 1] of the centres of pixels."""
  line = np.arange(size, dtype=np.float64)
  return line[None], line[:, None]


def cover(distance: np.ndarray) -> np.ndarray:
  """Share of a pixel that lies inside: ½ − d, clipped to [0, 1]."""
  return np.clip(0.5 - distance, 0.0, 1.0)


def disc(x: np.ndarray, y: np.ndarray, centre: Point, radius: float) -> np.ndarray:
  return np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2) - radius


def box(x: np.ndarray, y: np.ndarray, centre: Point, half: Point, round: float = 0.0) -> np.ndarray:
  """A rectangle of half sizes `half`, corners included in it rounded by `round`."""
  dx = np.abs(x - centre[0]) - (half[0] - round)
  dy = np.abs(y - centre[1]) - (half[1] - round)
  outside = np.sqrt(np.maximum(dx, 0.0) ** 2 + np.maximum(dy, 0.0) ** 2)
  return outside + np.minimum(np.maximum(dx, dy), 0.0) - round


def line(x: np.ndarray, y: np.ndarray, a: Point, b: Point, width: float) -> np.ndarray:
  """A stroke from a to b with round ends."""
  bx, by = b[0] - a[0], b[1] - a[1]
  along = np.clip(((x - a[0]) * bx + (y - a[1]) * by) / (bx * bx + by * by), 0.0, 1.0)
  return np.sqrt((x - a[0] - along * bx) ** 2 + (y - a[1] - along * by) ** 2) - width / 2


def lens(x: np.ndarray, y: np.ndarray, centre: Point, half: Point, round: float) -> np.ndarray:
  """Where two equal discs overlap, `half` wide and high, pointed below and above, tips rounded.

  The nearest point is the tip beyond the normal of the arc there, and on the arc elsewhere.
  """
  wide, high = half[0] - round, half[1] - round
  shift = (high * high - wide * wide) / (2 * wide)  # of the centre of each disc, for high > wide
  px, py = np.abs(x - centre[0]), np.abs(y - centre[1])
  tip = np.sqrt(px**2 + (py - high) ** 2)
  arc = np.sqrt((px + shift) ** 2 + py**2) - (wide + shift)
  return np.where((py - high) * shift > px * high, tip, arc) - round


def polygon(
  x: np.ndarray, y: np.ndarray, points: Iterable[Point], round: float = 0.0
) -> np.ndarray:
  """The polygon through the points, widened by `round`; exact distance, even-odd inside."""
  corners = list(points)
  nearest = np.full(np.broadcast(x, y).shape, np.inf)
  inside = np.zeros(nearest.shape, bool)
  for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
    ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
    along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0.0, 1.0)
    nearest = np.minimum(nearest, (px - along * ex) ** 2 + (py - along * ey) ** 2)
    if ey:
      inside ^= ((ay > y) != (by > y)) & (px < py * ex / ey)
  return np.where(inside, -1.0, 1.0) * np.sqrt(nearest) - round


def paint(image: np.ndarray, share: np.ndarray, colour: np.ndarray) -> None:
  """Lay a colour, [3] or [H, W, 3] in [0, 1], over an image [H, W, 3], in place."""
  image += share[..., None] * (colour - image)


def rgb(hue: float, saturation: float, value: float) -> np.ndarray:
  """[3] in [0, 1] of a hue in degrees, any turn of it: piecewise linear, no table."""
  turn = np.array([5.0, 3.0, 1.0]) + hue / 60.0
  k = turn - 6.0 * np.floor(turn / 6.0)
  return value * (1.0 - saturation * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0))


def to_uint8(image: np.ndarray) -> np.ndarray:
  """[0, 1] -> {0 … 255}, to the nearest."""
  return np.floor(np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
