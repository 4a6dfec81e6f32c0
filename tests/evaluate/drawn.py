"""Images for the meters, drawn here and not by the data sets: by PIL, by cv2, by supersampling.

A style ends in '/' where its centres lie between pixels. 'fat' discs have the radius r + ½, 'exact'
ones r; 'aa' is LINE_AA of cv2.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw

STYLES = ('pil', 'cv2', 'fat/')
MORE_STYLES = ('aa', 'exact', 'fat', 'cv2/', 'aa/', 'exact/')
NEGATIVES = ('square', 'half', 'border', 'pair')
FINE = 8


def shape(style: str, size: int, centre: np.ndarray, r: int, square: bool = False) -> np.ndarray:
  """Covered share of each pixel, [size, size], of a disc or square 2r + 1 px across."""
  x, y = (float(c) for c in centre)
  if style == 'pil':
    image = Image.new('L', (size, size))
    draw = ImageDraw.Draw(image)
    (draw.rectangle if square else draw.ellipse)([x - r, y - r, x + r, y + r], fill=255)
    return np.asarray(image) / 255
  if style[:2] in ('cv', 'aa'):
    canvas = np.zeros((size, size), np.uint8)
    line = cv2.LINE_AA if style[:2] == 'aa' else cv2.LINE_8
    a, b, s = round(16 * x), round(16 * y), 16 * r  # cv2 counts sixteenths of a pixel
    if square:
      cv2.rectangle(canvas, (a - s, b - s), (a + s, b + s), 255, -1, line, 4)
    else:
      cv2.circle(canvas, (a, b), s, 255, -1, line, 4)
    return canvas / 255
  canvas = np.zeros((size, size))
  left, top = (max(int(c) - r - 2, 0) for c in (x, y))
  right, bottom = (min(int(c) + r + 3, size) for c in (x, y))
  u = left + (np.arange((right - left) * FINE) + 0.5) / FINE - 0.5 - x
  v = top + (np.arange((bottom - top) * FINE) + 0.5) / FINE - 0.5 - y
  half = r + 0.5 * (square or 'exact' not in style)
  far = np.maximum(abs(u)[None], abs(v)[:, None]) if square else np.hypot(u[None], v[:, None])
  blocks = (far <= half).reshape(bottom - top, FINE, right - left, FINE)
  canvas[top:bottom, left:right] = blocks.mean(axis=(1, 3))
  return canvas


def negative(rng: np.random.Generator, kind: str, style: str, size: int, r: int):
  """(shares, the middles of what was drawn) of something that is no circle."""
  whole = not style.endswith('/')

  def place(margin: float) -> np.ndarray:
    c = rng.uniform(margin, size - 1 - margin, 2)
    return np.round(c) if whole else c

  if kind == 'pair':
    while True:
      a, angle = place(3 * r), rng.uniform(0, 2 * np.pi)
      step = rng.uniform(r, 2 * r) * np.array([np.cos(angle), np.sin(angle)])
      b = a + (np.round(step) if whole else step)
      if r <= np.hypot(*(b - a)) <= 2 * r:
        return np.maximum(shape(style, size, a, r), shape(style, size, b, r)), [a, b]
  c = place(r + 1)
  if kind == 'border':  # the middle is on the edge, or a pixel outside
    c[rng.integers(2)] = rng.choice([-1, 0, size - 1, size])
  mask = shape(style, size, c, r, square=kind == 'square')
  if kind == 'half':
    y, x = np.mgrid[:size, :size]
    turn = rng.integers(8) * np.pi / 4
    side = (x - c[0]) * np.cos(turn) + (y - c[1]) * np.sin(turn)
    mask = mask * (side >= rng.choice([-1e-6, 0.5]))
  return mask, [c]


def scene(rng: np.random.Generator, style: str, r: int, n: int, kind: str | None, size: int = 64):
  """(shares [size, size], centres [n, 2]): n discs ≥ 3r apart, and one thing more."""
  mask, taken, centres = np.zeros((size, size)), [], []
  if kind:
    mask, taken = negative(rng, kind, style, size, r)
  while len(centres) < n:
    c = rng.uniform(r + 0.5, size - r - 1.5, 2)
    c = c if style.endswith('/') else np.round(c)
    if all(np.hypot(*(c - o)) >= 3 * r for o in centres) and all(
      np.hypot(*(c - o)) >= 4 * r for o in taken
    ):
      centres.append(c)
      mask = np.maximum(mask, shape(style, size, c, r))
  return mask, np.reshape(centres, (n, 2))
