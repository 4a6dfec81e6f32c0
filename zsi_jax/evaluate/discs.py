"""One coloured disc: where it is, which hue it has, and whether it is one, and a disc."""

from __future__ import annotations

import colorsys
from typing import Any, NamedTuple

import cv2
import numpy as np

from zsi_jax.evaluate.pixels import LEVEL, blocks, foreground

ROUND = 0.14  # share of its area by which a blob may differ from a disc; a square differs by .18
SHARE = 0.3  # of the brightest blob: where a blob ends, and what is too faint to be one
AREA = 6  # px, the least of a blob


class Found(NamedTuple):
  """One row for each of N images, NaN where nothing is; of several blobs, of the largest."""

  one: np.ndarray  # [N] bool: exactly one blob, and it is a disc
  blobs: np.ndarray  # [N] int64
  x: np.ndarray  # [N] float64, px, (0, 0) is the centre of the first pixel
  y: np.ndarray
  radius: np.ndarray  # px, of the disc of the same area
  hue: np.ndarray  # degrees in [-180, 180), 0 is red
  roundness: np.ndarray  # 1 − share of the area that lies off the best disc


def find(images: Any) -> Found:
  """Discs on an even background, in images [N, H, W, 3], uint8 or floats in [-1, 1]."""
  rows = []
  for _, block in blocks(images, 'the disc meter'):
    if block.shape[3] != 3:
      raise ValueError('the disc meter reads hues: images need 3 channels')
    rest, noise = foreground(block)
    rows += [_describe(image, s) for image, s in zip(rest, noise, strict=True)]
  table = np.array(rows, float).reshape(-1, 7).T
  return Found(table[0] > 0, table[1].astype(int), *table[2:])


def _describe(rest: np.ndarray, noise: float) -> tuple[float, ...]:
  strength = np.linalg.norm(rest, axis=2)
  least = max(LEVEL, 5 * noise * np.sqrt(3), SHARE * float(np.percentile(strength, 99.5)))
  mask = (strength > least).astype(np.uint8)
  _, labels, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=4)
  areas = stats[1:, cv2.CC_STAT_AREA]
  real = areas >= max(AREA, SHARE / 3 * areas.max(initial=0))
  if not real.any():
    return (0, 0, *[np.nan] * 5)
  largest = 1 + int(areas.argmax())
  inside = labels == largest
  area, (x, y) = float(areas[largest - 1]), centres[largest]
  radius = np.sqrt(area / np.pi)
  v, u = np.ogrid[: inside.shape[0], : inside.shape[1]]
  roundness = 1 - (inside != (np.hypot(u - x, v - y) <= radius)).sum() / area
  colour = rest[inside].mean(axis=0)
  share, saturation, _ = colorsys.rgb_to_hsv(*(colour - colour.min()))
  hue = (360 * share + 180) % 360 - 180 if saturation else np.nan
  one = real.sum() == 1 and roundness >= 1 - ROUND
  return one, real.sum(), x, y, radius, hue, roundness
