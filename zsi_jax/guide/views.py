"""What each network of others wants to see of images [B, H, W, 3] in [-1, 1], RGB; smooth in them.

(1) ImageNet's units: ((x + 1) / 2 - mean) / std
(2) a face for its identity: mean pixels of 256, the square [35:223, 32:220] of them, mean pixels
    of 112
(3) a face for its landmarks: output i of n looks at pixel (first + (i + 1/2) (last - first) / n)
    side - 1/2 of its box, bilinearly; outside the image it is black
(4) CLIP's units, as (1) with its own mean and deviation
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.guide.resize import adaptive_pool, resize

Array = jax.Array
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
CLIP_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
FACE = slice(35, 223), slice(32, 220)  # of 256 pixels


def vgg_view(x: Array) -> Array:
  """(1)"""
  return ((_images(x, 'vgg_view') + 1) / 2 - MEAN) / STD


def parsing_view(x: Array, size: int = 512) -> Array:
  """(1) of x, bicubic to `size`, for face parsing."""
  return vgg_view(resize(_images(x, 'parsing_view'), (size, size), 'bicubic'))


def identity_view(x: Array, size: int = 112) -> Array:
  """(2), for ArcFace."""
  x = adaptive_pool(_images(x, 'identity_view'), (256, 256))
  return adaptive_pool(x[:, *FACE], (size, size))


def clip_view(x: Array, size: int = 224) -> Array:
  """(4) of x, bicubic to `size`, not antialiased."""
  x = resize(_images(x, 'clip_view'), (size, size), 'bicubic')
  return ((x + 1) / 2 - CLIP_MEAN) / CLIP_STD


def landmark_view(x: Array, box: Array, size: int = 112, *, bgr: bool = True) -> Array:
  """(3) in [0, 1] within box [B, 4]: left, top, right, bottom, as parts of the image's sides.

  The published network learned from BGR. FreeDoM shows it the reference so and the sample in RGB,
  so that at its optimum the two differ; here both are alike, and `bgr=False` is for other weights.
  """
  x, box = _images(x, 'landmark_view'), jnp.asarray(box)
  if box.shape != (len(x), 4):
    raise ValueError(
      f'landmark_view takes a box [B, 4] for each of {len(x)} images (left, top, right, bottom as '
      f'parts of its sides), not {list(box.shape)}'
    )
  x = (x[..., ::-1] if bgr else x) / 2 + 0.5
  rows = _places(box[:, 1], box[:, 3], x.shape[1], size)
  columns = _places(box[:, 0], box[:, 2], x.shape[2], size)
  x = jnp.einsum('bih,bhwc->biwc', rows, x, precision='highest')
  return jnp.einsum('bjw,biwc->bijc', columns, x, precision='highest')


def _places(first: Array, last: Array, side: int, size: int) -> Array:
  """The rows of (3), [B, size, side]."""
  share = (np.arange(size, dtype=np.float32) + 0.5) / size
  place = (first[:, None] + share * (last - first)[:, None]) * side - 0.5
  inside = (place > -0.5) & (place < side - 0.5)
  place = jnp.clip(place, 0, side - 1)[..., None]
  hats = jnp.maximum(0, 1 - jnp.abs(place - np.arange(side, dtype=np.float32)))
  return jnp.where(inside[..., None], hats, 0)


def _images(x: Array, view: str) -> Array:
  if x.ndim != 4 or x.shape[3] != 3 or not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(
      f'{view} takes float images [B, H, W, 3] in [-1, 1], not {x.dtype} {list(x.shape)}: repeat '
      'the one channel of grey ones'
    )
  return x
