"""What a picture goes through between the disk and a network: numpy and Pillow, 8 bits.

Chance comes in as numbers in [0, 1), so that who draws it, and where, is decided elsewhere.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from zsi_jax.data.errors import DataError


def normalise(image: np.ndarray) -> np.ndarray:
  """uint8 to float32 in [−1, 1]: x / 127.5 − 1."""
  return image.astype(np.float32) / np.float32(127.5) - np.float32(1)


def mirror(image: np.ndarray) -> np.ndarray:
  """Left to right."""
  return image[:, ::-1]


def center_crop(image: Image.Image, side: int, size: int) -> np.ndarray:
  """The square of `side` in the middle, bilinear and antialiased to uint8 [size, size, C]."""
  if min(image.size) < side:
    raise DataError(
      f'an image of {image.width} x {image.height} has no square of {side} in it; crop less'
    )
  left, top = (round((n - side) / 2) for n in image.size)  # halves to even, as torchvision
  square = image.crop((left, top, left + side, top + side))
  return _array(square.resize((size, size), Image.Resampling.BILINEAR))


def fit(image: Image.Image, size: int) -> np.ndarray:
  """uint8 [size, size, C] of any picture: halved by boxes while twice too big, bicubic, cropped."""
  scaled = _smaller_side(image, size)
  left, top = ((n - size) // 2 for n in scaled.size)
  return _array(scaled.crop((left, top, left + size, top + size)))


def random_crop(image: np.ndarray, least: float, chance: np.ndarray) -> np.ndarray:
  """A window of the picture's own size after enlarging it to size … ceil(size / least).

  `chance` holds three numbers in [0, 1): for the size, the top and the left of the window.
  """
  height, width = image.shape[:2]
  size = min(height, width)
  large = size + pick(chance[0], math.ceil(size / least) - size + 1)
  scaled = _smaller_side(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), large)
  top, left = pick(chance[1], scaled.height - height + 1), pick(chance[2], scaled.width - width + 1)
  return _array(scaled.crop((left, top, left + width, top + height)))


def pick(chance: float, n: int) -> int:
  """One of 0 … n − 1, for a number in [0, 1)."""
  return int(chance * n)


def _smaller_side(image: Image.Image, size: int) -> Image.Image:
  while min(image.size) >= 2 * size:
    image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
  scale = size / min(image.size)
  shape = (round(image.width * scale), round(image.height * scale))
  return image.resize(shape, Image.Resampling.BICUBIC)


def _array(image: Image.Image) -> np.ndarray:
  array = np.array(image)
  return array[..., None] if array.ndim == 2 else array
