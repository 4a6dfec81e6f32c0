"""Arrays to pictures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

WHITE = 255


def to_uint8(images: Any) -> np.ndarray:
  """[-1, 1] -> {0 … 255}: (x + 1) · 127.5, clipped, then truncated, as guided-diffusion does."""
  images = np.asarray(images, np.float32)
  if not np.isfinite(images).all():
    raise ValueError(
      f'{int((~np.isfinite(images)).sum())} of {images.size} pixels are NaN or infinite'
    )
  return ((images + 1) * np.float32(127.5)).clip(0, 255).astype(np.uint8)


def grid(images: Any, columns: int | None = None, gap: int = 2) -> Image.Image:
  """One picture of images [N, H, W, C] in [-1, 1], row by row, `gap` white pixels between them."""
  pixels = to_uint8(images)
  if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or not pixels.size:
    raise ValueError(
      f'grid takes images [N, H, W, C] with C = 1 or 3, not {list(pixels.shape)}: '
      'one image is images[None], NCHW becomes images.transpose(0, 2, 3, 1)'
    )
  n, height, width, channels = pixels.shape
  columns = math.ceil(math.sqrt(n)) if columns is None else columns
  if columns < 1 or gap < 0:
    raise ValueError(f'columns >= 1 and gap >= 0 are needed, not {columns} and {gap}')
  columns = min(columns, n)
  rows = math.ceil(n / columns)
  size = rows * (height + gap) - gap, columns * (width + gap) - gap, channels
  canvas = np.full(size, WHITE, np.uint8)
  for i, image in enumerate(pixels):
    top, left = i // columns * (height + gap), i % columns * (width + gap)
    canvas[top : top + height, left : left + width] = image
  return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)
