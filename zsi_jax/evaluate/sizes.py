"""How large the object of an image is, with the background removed."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from zsi_jax.evaluate.pixels import LEVEL, blocks, foreground

SHARE = 0.2  # of the strongest difference from the background: where an object ends
SPECK = 0.1  # share of the largest part's area below which another part is no second object
AREA = 6  # px, the least of an object


class Found(NamedTuple):
  """One row for each of N images, NaN where nothing is; of several objects, of the largest."""

  size: np.ndarray  # [N] float64: 0 is `smallest`, 1 is `largest`, and a little beyond at times
  objects: np.ndarray  # [N] int64
  extent: np.ndarray  # px, the longer side of the bounding box
  x: np.ndarray  # px, the middle of the box; (0, 0) is the centre of the first pixel
  y: np.ndarray


def measure(images: Any, smallest: float = 0.2, largest: float = 0.8) -> Found:
  """Size in [0, 1] = (extent / image − smallest) / (largest − smallest), of [N, H, W, C].

  `smallest` and `largest` are shares of the longer side of the image, those of the data set.
  """
  if not 0 <= smallest < largest <= 1:
    raise ValueError(f'0 <= smallest < largest <= 1 is needed, not {smallest} and {largest}')
  rows, side = [], 1
  for _, block in blocks(images, 'the size meter'):
    rest, noise = foreground(block)
    rows += [_box(image, s) for image, s in zip(rest, noise, strict=True)]
    side = max(block.shape[1:3])
  objects, extent, x, y = np.array(rows, float).reshape(-1, 4).T
  size = (extent / side - smallest) / (largest - smallest)
  return Found(size, objects.astype(int), extent, x, y)


def _box(rest: np.ndarray, noise: float) -> tuple[float, float, float, float]:
  """(number of objects, longer side, middle x, middle y) to fractions of a pixel."""
  strength = np.linalg.norm(rest, axis=2)
  least = max(LEVEL, 5 * noise * np.sqrt(3), SHARE * float(np.percentile(strength, 99.5)))
  mask = (strength > least).astype(np.uint8)
  _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
  areas = stats[1:, cv2.CC_STAT_AREA]
  objects = int((areas >= max(AREA, SPECK * areas.max(initial=0))).sum())
  if not objects:
    return 0, np.nan, np.nan, np.nan
  own = np.where(_grown(labels == 1 + int(areas.argmax())), strength, 0)
  left, right = _ends(own.max(axis=0), least)
  top, bottom = _ends(own.max(axis=1), least)
  return objects, max(right - left, bottom - top), (left + right) / 2, (top + bottom) / 2


def _grown(mask: np.ndarray) -> np.ndarray:
  """With one pixel around it: the faint ones that an edge covers in part."""
  return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _ends(profile: np.ndarray, least: float) -> tuple[float, float]:
  """Where a profile begins and ends: its outermost full pixels, and the covered share of the next.

  A pixel is full from half of the level that its neighbours inwards have.
  """
  ends = []
  for line in (profile, profile[::-1]):
    first = int(np.argmax(line > least))
    full = line[first : first + 3].max()
    covered = float(np.clip(line[max(first - 1, 0) : first + 2] / full, 0, 1).sum())
    ends.append(first + min(2, len(line) - first) - covered - 0.5)
  return ends[0], len(profile) - 1 - ends[1]
