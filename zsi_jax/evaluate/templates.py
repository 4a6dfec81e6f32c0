"""What a circle and what is no circle looks like: discs, squares, halves, pairs, pixel by pixel.

Each is drawn antialiased, without antialiasing as PIL and as cv2 draw, with LINE_AA of cv2, and
blurred, since samples of a small model are softer than what it was trained on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

TURNS = np.pi / 8 * np.arange(16)
BLURS = (0.65, 1.0)  # px, standard deviations
BLURRED = 0.3  # prior of each blur, to 1 of sharp shapes
DISCS_TO_OTHERS = 2.0  # prior odds; the three other kinds share theirs

Ink = Callable[[float, float], np.ndarray]  # the disc at dx, dy
Family = tuple[list[np.ndarray], float]  # one shape at every place of a grid; prior of a place
Place = tuple[float, float]


class Bank(NamedTuple):
  """M templates on the P pixels of a round window; discs come first."""

  window: np.ndarray  # bool [2h + 1, 2h + 1], around a blob
  templates: np.ndarray  # [P, M] float32, each of norm 1 in the window
  norms: np.ndarray  # [M] before that, so that amplitude = c / norm
  weights: np.ndarray  # [M] float32: prior
  places: np.ndarray  # [discs, 3]: dx, dy, radius


def cover(distance: np.ndarray) -> np.ndarray:
  """Share of a pixel inside, of its signed distance."""
  return np.clip(0.5 - distance, 0, 1)


@functools.lru_cache
def bank(radius: float, least: float) -> Bank:
  """Discs from `radius` to half a pixel more, and squares of half a side from `least` on."""
  reach = 2 * radius - 0.4  # a neighbour 3r away begins beyond
  h = int(np.ceil(reach))
  y, x = np.mgrid[-h : h + 1, -h : h + 1].astype(float)

  def smooth(r: float, dx: float, dy: float) -> np.ndarray:
    return cover(np.hypot(x - dx, y - dy) - r)

  def solid(square: float, dx: float, dy: float) -> np.ndarray:
    return ((x - dx) ** 2 + (y - dy) ** 2 <= square).astype(float)

  def drawn(line: int, r: float, dx: float, dy: float) -> np.ndarray:
    """As cv2 draws, in sixteenths of a pixel: LINE_AA of r = 2 is a soft rhomb of 16 px."""
    canvas = np.zeros(x.shape, np.uint8)
    centre = round(16 * (h + dx)), round(16 * (h + dy))
    return cv2.circle(canvas, centre, round(16 * r), 255, -1, line, 4) / 255

  def solids(r: float) -> list[float]:
    """Squared radii as of cv2 and of PIL; of half a pixel more they would be squares."""
    return [r**2, r**2 + r] if r % 1 == 0 else []

  radii = [radius, radius + 0.5] + [radius - 0.5] * (least < radius)  # smaller pairs look like one
  soft: list[Ink] = [functools.partial(smooth, r) for r in radii]
  hard: list[Ink] = [functools.partial(solid, s) for r in radii for s in solids(r)]
  aa: Ink = functools.partial(drawn, cv2.LINE_AA, radius)
  plain: Ink = functools.partial(drawn, cv2.LINE_8, radius)
  turns = [(np.cos(t), np.sin(t)) for t in TURNS]
  fine = np.arange(least, radius + 0.8, 0.25)

  exact, places = [], []
  for r in (radius, radius + 0.25, radius + 0.5):
    at = steps(1.25, 0.25)
    exact.append(([smooth(r, *p) for p in at], 2 * 0.25**2))
    places += [(*p, r) for p in at]
  blurred = len(BLURS) * places
  rough = []
  whole: list[Ink] = [functools.partial(solid, s) for s in solids(radius)]  # centres on pixels
  whole += [aa, *(functools.partial(smooth, r) for r in (radius, radius + 0.5))]
  for ink, far, step in [(i, 1.0, 1.0) for i in whole] + [(i, 0.75, 0.125) for i in (aa, plain)]:
    at = steps(far, step)
    rough.append(([ink(*p) for p in at], step**2))
    places += [(*p, np.sqrt(ink(*p).sum() / np.pi)) for p in at]
  places += blurred

  sharp = (
    exact + rough,
    _squares(x, y, turns[:4], fine),
    _halves(x, y, turns, [*soft, aa, plain], 0.5) + _halves(x, y, turns, hard, 1.0),
    _pairs(radius, [*soft, aa], 0.5) + _pairs(radius, hard, 1.0),
  )
  coarse = (
    exact,
    _squares(x, y, turns[:4], fine[::2]),
    _halves(x, y, turns[::2], soft, 1.0),
    _pairs(radius, soft, 1.0),
  )
  window = np.hypot(x, y) <= reach
  odds = (DISCS_TO_OTHERS, 1 / 3, 1 / 3, 1 / 3)
  parts = []
  for kind, soft_kind, odd in zip(sharp, coarse, odds, strict=True):
    parts.append(_normal(kind, window, 0, odd))
    parts += [_normal(soft_kind, window, blur, odd * BLURRED) for blur in BLURS]
  templates, norms, weights = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
  return Bank(window, templates, norms, weights.astype(np.float32), np.array(places))


def steps(reach: float, step: float) -> list[Place]:
  """The points of a square grid that is symmetric about 0."""
  line = np.arange(-reach, reach + step / 2, step)
  return [(float(a), float(b)) for a in line for b in line]


def _squares(x: np.ndarray, y: np.ndarray, turns: list[Place], halves: np.ndarray) -> list[Family]:
  families = []
  for cos, sin in turns:
    u, v = x * cos + y * sin, y * cos - x * sin
    prior = 0.5 if sin else 2.5  # those of data sets are upright, and many centres are on pixels
    for half in halves:
      for far, step in [(0.75, 0.25)] + [(1.0, 1.0)] * (not sin):
        masks = [cover(np.maximum(abs(u - a), abs(v - b)) - half) for a, b in steps(far, step)]
        families.append((masks, prior * step**2))
  return families


def _halves(
  x: np.ndarray, y: np.ndarray, turns: list[Place], inks: list[Ink], step: float
) -> list[Family]:
  families, at = [], steps(2, step)
  for ink in inks:
    for cos, sin in turns:
      across = x * cos + y * sin
      for t in (-0.5, 0.5):  # with the middle column, and without
        masks = [ink(a, b) * cover(t + a * cos + b * sin - across) for a, b in at]
        families.append((masks, step**2))
  return families


def _pairs(radius: float, inks: list[Ink], step: float) -> list[Family]:
  """Two discs that overlap or touch, every `step` px; the blob is one of them, or between them."""
  families: list[Family] = []
  furthest = 2 * radius + 1.5
  for vx, vy in steps(np.floor(furthest / step) * step, step):
    if 1 <= (apart := np.hypot(vx, vy)) <= furthest:
      at = steps(1, 1)
      if apart <= radius + 1.5:
        at += [p for a, b in at if (p := (a - round(vx / 2), b - round(vy / 2))) not in at]
      for ink in inks:
        families.append(([np.maximum(ink(a, b), ink(a + vx, b + vy)) for a, b in at], 1.0))
  return families


def _normal(
  families: list[Family], window: np.ndarray, blur: float, odds: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Templates, norms and priors of a kind; of those mostly outside the window there are none."""
  if not families:
    return np.zeros((window.sum(), 0), np.float32), np.zeros(0), np.zeros(0)
  masks = np.array([mask for family, _ in families for mask in family], np.float32)
  if blur:
    masks = np.stack(
      [cv2.GaussianBlur(m, (0, 0), blur, borderType=cv2.BORDER_REPLICATE) for m in masks]
    )
  prior = np.array([odds * p / len(families) for family, p in families for _ in family])
  inside = masks[:, window]
  norms = np.sqrt((inside**2).sum(axis=1))
  keep = norms**2 >= 0.35 * np.minimum((masks**2).sum(axis=(1, 2)), window.sum() / 2)
  return (inside[keep] / norms[keep, None]).T, norms[keep], prior[keep]
