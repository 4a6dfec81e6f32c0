"""Small things to look at, each drawn from layers: mug, leaf, star, house, fish, mushroom.

A kind maps local coordinates u (right) and v (down) and the scale s, pixels to the unit, to layers
(signed distance in px, colour); the first is its whole outline. Its bounding box is centred on 0,
and the longer side is exactly 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from zsi_jax.data import shapes

Layer = tuple[np.ndarray, str]
Draw = Callable[[np.ndarray, np.ndarray, float], list[Layer]]

RIM = 0.025  # width of the dark outline in units of the object
PATTERNS = ('plain', 'stripes', 'dots')
HUE_OF_ACCENT = 150.0  # degrees from the object's own


def mug(u: np.ndarray, v: np.ndarray, s: float) -> list[Layer]:
  body = shapes.box(u, v, (-0.14 * s, 0.0), (0.36 * s, 0.45 * s), 0.1 * s)
  ring = np.abs(shapes.disc(u, v, (0.22 * s, 0.0), 0.225 * s)) - 0.055 * s
  drink = shapes.box(u, v, (-0.14 * s, -0.36 * s), (0.28 * s, 0.035 * s), 0.035 * s)
  return [
    (np.minimum(body, ring), 'dark'),
    (ring + RIM * s, 'accent'),
    (body + RIM * s, 'pattern'),
    (drink, 'dark'),
  ]


def leaf(u: np.ndarray, v: np.ndarray, s: float) -> list[Layer]:
  blade = shapes.lens(u, v, (0.0, -0.1 * s), (0.28 * s, 0.4 * s), 0.03 * s)
  stem = shapes.line(u, v, (0.0, -0.36 * s), (0.0, 0.465 * s), 0.07 * s)
  veins = [
    shapes.line(u, v, (0.0, at * s), (side * 0.15 * s, (at - 0.13) * s), 0.03 * s)
    for at in (-0.15, 0.0, 0.15)
    for side in (-1, 1)
  ]
  ribs = np.maximum(np.minimum.reduce(veins), blade + RIM * s)
  return [
    (np.minimum(blade, stem), 'dark'),
    (blade + RIM * s, 'pattern'),
    (ribs, 'light'),
    (stem + RIM * s, 'light'),
  ]


def star(u: np.ndarray, v: np.ndarray, s: float) -> list[Layer]:
  outline = shapes.polygon(u, v, [(s * a, s * b) for a, b in _STAR], _STAR_ROUND * s)
  eyes = [shapes.disc(u, v, (side * 0.085 * s, -0.02 * s), 0.035 * s) for side in (-1, 1)]
  smile = [
    shapes.line(u, v, (side * 0.055 * s, 0.07 * s), (0.0, 0.095 * s), 0.03 * s) for side in (-1, 1)
  ]
  return [
    (outline, 'dark'),
    (outline + RIM * s, 'pattern'),
    (np.minimum.reduce([*eyes, *smile]), 'dark'),
  ]


def house(u: np.ndarray, v: np.ndarray, s: float) -> list[Layer]:
  walls = shapes.box(u, v, (0.0, 0.2 * s), (0.36 * s, 0.26 * s), 0.03 * s)
  corners = [(-0.47 * s, 0.0), (0.47 * s, 0.0), (0.0, -0.43 * s)]
  roof = shapes.polygon(u, v, corners, 0.03 * s)
  chimney = shapes.box(u, v, (0.26 * s, -0.27 * s), (0.07 * s, 0.17 * s), 0.02 * s)
  door = shapes.box(u, v, (-0.14 * s, 0.3 * s), (0.09 * s, 0.16 * s), 0.03 * s)
  window = shapes.box(u, v, (0.16 * s, 0.18 * s), (0.1 * s, 0.09 * s), 0.02 * s)
  return [
    (np.minimum(np.minimum(walls, roof), chimney), 'dark'),
    (chimney + RIM * s, 'accent'),
    (walls + RIM * s, 'light'),
    (roof + RIM * s, 'pattern'),
    (door, 'accent'),
    (window, 'dark'),
    (window + RIM * s, 'accent'),
  ]


def fish(u: np.ndarray, v: np.ndarray, s: float) -> list[Layer]:
  body = shapes.lens(v, u, (0.0, -0.11 * s), (0.26 * s, 0.39 * s), 0.06 * s)
  corners = [(0.2 * s, 0.0), (0.46 * s, -0.2 * s), (0.38 * s, 0.0), (0.46 * s, 0.2 * s)]
  tail = shapes.polygon(u, v, corners, 0.04 * s)
  fin = shapes.line(u, v, (-0.06 * s, 0.07 * s), (0.06 * s, 0.1 * s), 0.07 * s)
  return [
    (np.minimum(body, tail), 'dark'),
    (tail + RIM * s, 'accent'),
    (body + RIM * s, 'pattern'),
    (fin, 'accent'),
    (shapes.disc(u, v, (-0.32 * s, -0.06 * s), 0.055 * s), 'white'),
    (shapes.disc(u, v, (-0.335 * s, -0.06 * s), 0.028 * s), 'dark'),
  ]


def mushroom(u: np.ndarray, v: np.ndarray, s: float) -> list[Layer]:
  cap = np.maximum(shapes.disc(u, v, (0.0, 0.0), 0.5 * s), v - 0.1 * s)
  stem = shapes.box(u, v, (0.0, 0.25 * s), (0.17 * s, 0.25 * s), 0.08 * s)
  places = ((-0.22, -0.06, 0.08), (0.05, -0.28, 0.1), (0.28, -0.02, 0.07), (-0.2, -0.31, 0.05))
  spots = [shapes.disc(u, v, (a * s, b * s), r * s) for a, b, r in places]
  return [
    (np.minimum(cap, stem), 'dark'),
    (stem + RIM * s, 'light'),
    (cap + RIM * s, 'main'),
    (np.minimum.reduce(spots), 'white'),
  ]


def _star() -> list[tuple[float, float]]:
  """Five points in a box 1 wide, its middle at 0; to 1 / 4096, so that no sine's last bit shows."""
  radius = (0.5 - _STAR_ROUND) / math.sin(math.radians(72))
  down = radius * (1 - math.cos(math.radians(36))) / 2
  rays = [(radius if k % 2 == 0 else radius * 0.5, math.radians(36 * k)) for k in range(10)]
  return [
    (shapes.on_grid(r * math.sin(t), 4096), shapes.on_grid(down - r * math.cos(t), 4096))
    for r, t in rays
  ]


_STAR_ROUND = 0.05
_STAR = _star()

KINDS: dict[str, Draw] = {f.__name__: f for f in (mug, leaf, star, house, fish, mushroom)}


def draw(
  image: np.ndarray,
  kind: str,
  centre: shapes.Point,
  extent: float,
  hue: float,
  *,
  pattern: str = 'plain',
  mirrored: bool = False,
) -> None:
  """Lay an object, `extent` px on its longer side, over an image [H, H, 3] in [0, 1], in place."""
  size = len(image)
  low = [max(math.floor(c - extent / 2) - 1, 0) for c in centre]
  high = [min(math.ceil(c + extent / 2) + 2, size) for c in centre]
  x, y = shapes.pixels(size)
  u = (x[:, low[0] : high[0]] - centre[0]) * (-1 if mirrored else 1)
  v = y[low[1] : high[1]] - centre[1]
  part = image[low[1] : high[1], low[0] : high[0]]
  layers = KINDS[kind](u, v, extent)
  shade = 1.06 - 0.3 * np.clip((x[:, low[0] : high[0]] - centre[0] + v) / extent + 0.4, 0.0, 1.0)
  colours = {
    'main': shapes.rgb(hue, 0.68, 0.85),
    'dark': shapes.rgb(hue, 0.7, 0.3),
    'light': shapes.rgb(hue, 0.25, 0.95),
    'accent': shapes.rgb(hue + HUE_OF_ACCENT, 0.5, 0.8),
    'white': np.full(3, 0.98),
  }
  for distance, colour in layers:
    flat = colours['main' if colour == 'pattern' else colour]
    shapes.paint(part, shapes.cover(distance), shade[..., None] * flat)
    if colour == 'pattern' and pattern != 'plain':
      marks = np.maximum(_marks(u, v, extent, pattern), distance)
      shapes.paint(part, shapes.cover(marks), shade[..., None] * colours['light'])


def _marks(u: np.ndarray, v: np.ndarray, s: float, pattern: str) -> np.ndarray:
  """Stripes .18 apart, or dots on a lattice of .2."""
  if pattern == 'stripes':
    return _fold(v + 0 * u, 0.18 * s) - 0.035 * s
  return np.sqrt(_fold(u, 0.2 * s) ** 2 + _fold(v, 0.2 * s) ** 2) - 0.045 * s


def _fold(along: np.ndarray, period: float) -> np.ndarray:
  """Distance to the nearest odd multiple of half a period."""
  return np.abs(along - period * (np.floor(along / period) + 0.5))
