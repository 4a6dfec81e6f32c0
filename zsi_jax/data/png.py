"""Pixels to PNG and back, exactly, by one decoder."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from zsi_jax.data.errors import DataError


def encode(image: np.ndarray) -> bytes:
  """uint8 [H, W, 1, 3 or 4] as the bytes of a PNG."""
  stream = io.BytesIO()
  Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(stream, 'PNG')
  return stream.getvalue()


def decode(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
  """The pixels of a PNG of a known shape; a DataError where it is broken."""
  try:
    image = np.array(Image.open(io.BytesIO(data), formats=['PNG']))
  except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
    raise DataError(f'the PNG is broken ({error})') from None
  image = image[..., None] if image.ndim == 2 else image
  if image.shape != shape or image.dtype != np.uint8:
    raise DataError(f'the PNG holds {image.dtype} {image.shape}, not uint8 {shape}')
  return image
