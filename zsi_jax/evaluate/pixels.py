"""What every meter does first: images of either kind to [0, 1], and wrong ones refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

BLOCK = 1000  # images at a time: 50 MB of 64 x 64
FAR = 4.0  # noisy samples leave [-1, 1] a little; pixels of 0 … 255 as floats do not stop here
EDGE = 2  # px of the frame that shows the background
LEVEL = 0.1  # a colour this far from the background is no background
SMOOTH = 0.02  # noise that is worth a blur


def blocks(images: Any, what: str) -> Iterator[tuple[int, np.ndarray]]:
  """(index of the first, block) of images [N, H, W, C], as float32 in [0, 1], but not clipped.

  uint8, or floats in [-1, 1].
  """
  images = np.asarray(images)
  if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape[1:]:
    raise ValueError(
      f'{what} takes images [N, H, W, C] with C = 1 or 3, not {list(images.shape)}: '
      'one image is images[None]'
    )
  if images.dtype != np.uint8 and images.dtype.kind != 'f':
    raise ValueError(f'{what} takes uint8 or floats in [-1, 1], not {images.dtype}')
  for at in range(0, len(images), BLOCK):
    block = images[at : at + BLOCK].astype(np.float32)
    if images.dtype == np.uint8:
      yield at, block / np.float32(255)
      continue
    size = np.abs(block).max(axis=(1, 2, 3))
    if len(bad := np.flatnonzero(~np.isfinite(size))):
      raise ValueError(f'{what}: image {at + bad[0]} holds NaN or infinity')
    if len(bad := np.flatnonzero(size > FAR)):
      raise ValueError(
        f'{what}: image {at + bad[0]} reaches {size[bad[0]]:.3g}; floats are in [-1, 1], '
        'pixels of 0 … 255 are uint8'
      )
    yield at, (block + 1) / 2


def foreground(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """What remains without the background, [N, H, W, C], and its noise [N], of images in [0, 1].

  The background is the plane through the outermost pixels, three times refitted without those
  that lie off it (an object may touch the edge). Noise is smoothed away where there is some.
  """
  n, height, width, channels = images.shape
  y, x = np.mgrid[:height, :width] / max(height, width) - 0.5
  planes = np.stack([np.ones_like(x), x, y], axis=-1).astype(np.float32)  # [H, W, 3]
  edge = np.ones((height, width), bool)
  edge[EDGE:-EDGE, EDGE:-EDGE] = False
  border, basis = images[:, edge], planes[edge]
  off = np.linalg.norm(border - np.median(border, axis=1, keepdims=True), axis=2)
  for _ in range(3):
    near = off <= np.maximum(3 * np.median(off, axis=1, keepdims=True), LEVEL)
    gram = np.einsum('np,pa,pb->nab', near, basis, basis) + 1e-6 * np.eye(3)
    fit = np.linalg.solve(gram, np.einsum('np,pa,npc->nac', near, basis, border))
    left = border - np.einsum('pa,nac->npc', basis, fit)
    off = np.linalg.norm(left, axis=2)
  noise = np.median(np.abs(left), axis=(1, 2)) / 0.6745
  rest = images - np.einsum('hwa,nac->nhwc', planes, fit).astype(np.float32)
  for i in np.flatnonzero(noise > SMOOTH):
    rest[i] = cv2.GaussianBlur(rest[i], (3, 3), 0.85).reshape(height, width, channels)
  return rest, noise * np.where(noise > SMOOTH, 0.38, 1)
