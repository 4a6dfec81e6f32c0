"""Green lips: an island of green where mouths are, and how green it is elsewhere.

Walls, clothes and hats may be green, too, and a wall may show beside a chin; but that is a part of
something that lies outside of the region of mouths, and lips are not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from zsi_jax.evaluate.pixels import blocks

GREEN = 0.1  # by which green exceeds red and blue, black to white being 1; plain lips have none
LEAST = 0.015  # of the region of mouths: what painted lips are more than
WITHIN = 0.8  # share of an island that lies in the region
# Where mouths of portraits are, and those of CelebA's aligned middle: centre and half axes of an
# ellipse, in shares of the sides.
MOUTH = (0.5, 0.7), (0.27, 0.15)


class Found(NamedTuple):
  """One row for each of N images."""

  lips: np.ndarray  # [N] bool
  mouth: np.ndarray  # [N] float64: share of the region that islands of green cover
  elsewhere: np.ndarray  # [N] float64: share of the rest of the image that is green


def measure(images: Any, region: np.ndarray | None = None) -> Found:
  """Of images [N, H, W, 3], uint8 or in [-1, 1]; `region` is bool [H, W]."""
  rows = [np.zeros((0, 2))]
  for _, block in blocks(images, 'the lip meter'):
    if block.shape[3] != 3:
      raise ValueError('the lip meter reads colours: images need 3 channels')
    green = block[..., 1] - np.maximum(block[..., 0], block[..., 2]) > GREEN
    where = ellipse(*green.shape[1:]) if region is None else np.asarray(region, bool)
    if where.shape != green.shape[1:] or not 0 < where.sum() < where.size:
      raise ValueError(f'a region of {where.shape} is no part of images {list(np.shape(images))}')
    islands = np.array([island(mask, where) for mask in green])
    rows.append(np.stack([islands / where.sum(), green[:, ~where].mean(1)], 1))
  mouth, elsewhere = np.concatenate(rows).T
  return Found(mouth >= LEAST, mouth, elsewhere)


def island(green: np.ndarray, where: np.ndarray) -> int:
  """Pixels of the region in connected parts of which nearly all lie there."""
  _, labels, stats, _ = cv2.connectedComponentsWithStats(green.astype(np.uint8), connectivity=8)
  inside = np.bincount(labels[where], minlength=len(stats))
  real = inside >= WITHIN * stats[:, cv2.CC_STAT_AREA]
  real[0] = False  # what is not green
  return int(inside[real].sum())


def ellipse(height: int, width: int) -> np.ndarray:
  """bool [H, W]: the region of mouths."""
  y, x = np.mgrid[:height, :width]
  (cx, cy), (a, b) = MOUTH
  u, v = (x + 0.5) / width - cx, (y + 0.5) / height - cy
  return np.asarray((u / a) ** 2 + (v / b) ** 2 <= 1)
