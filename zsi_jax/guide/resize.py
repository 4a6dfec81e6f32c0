"""Resizes equal to PyTorch's: y = A x B^T for one matrix an axis, so linear and differentiable.

(1) row i of n -> m looks at p = (i + 1/2) n / m - 1/2, or at p = i (n - 1) / (m - 1) with `corners`
(2) bilinear, bicubic: weights k(p - j) of the pixels j around p; those outside count for the frame
(3) antialias: weights k((p - j) / max(n / m, 1)) of the pixels that are there, normalised
(4) nearest: pixel floor(i n / m); area: mean of the pixels floor(i n / m) to ceil((i + 1) n / m)
(5) k is the triangle, or Keys' cubic: a = -3/4, but -1/2 where antialiased

jax.image.resize has a = -1/2 always, and no `corners`: it differs by up to 1 on [-1, 1].
"""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
METHODS = 'nearest', 'bilinear', 'bicubic', 'area'
REACH = {'bilinear': 1, 'bicubic': 2}


def kernel(x: np.ndarray, method: str, a: float) -> np.ndarray:
  """(5)"""
  x = np.abs(x)
  if method == 'bilinear':
    return np.maximum(1 - x, 0)
  near = ((a + 2) * x - (a + 3)) * x**2 + 1
  far = a * (((x - 5) * x + 8) * x - 4)
  return np.where(x < 1, near, np.where(x < 2, far, 0))


@cache
def matrix(
  n: int, m: int, method: str, antialias: bool = False, corners: bool = False
) -> np.ndarray:
  """The rows of n -> m pixels, float32 [m, n]."""
  rows = np.arange(m)
  out = np.zeros((m, n))
  if method == 'nearest':  # PyTorch places them in float32
    place = np.floor(rows.astype(np.float32) * np.float32(n / m)).astype(int)
    out[rows, np.minimum(place, n - 1)] = 1
  elif method == 'area':
    for i in rows:
      first, stop = i * n // m, -(-(i + 1) * n // m)
      out[i, first:stop] = 1 / (stop - first)
  elif antialias:
    shrink = max(n / m, 1)
    for i in rows:
      centre, reach = (i + 0.5) * n / m, REACH[method] * shrink
      j = np.arange(max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), n))
      share = kernel((j + 0.5 - centre) / shrink, method, -0.5)
      out[i, j] = share / share.sum()
  else:
    place = rows * ((n - 1) / max(m - 1, 1)) if corners else (rows + 0.5) * n / m - 0.5
    low = np.floor(place).astype(int)
    for step in range(1 - REACH[method], REACH[method] + 1):
      share = kernel(place - low - step, method, -0.75)
      np.add.at(out, (rows, np.clip(low + step, 0, n - 1)), share)
  out = out.astype(np.float32)
  out.flags.writeable = False
  return out


def resize(
  x: Array,
  size: int | tuple[int, int],
  method: str = 'bicubic',
  *,
  antialias: bool = False,
  corners: bool = False,
) -> Array:
  """Images [B, H, W, C] -> [B, *size, C]; `corners` is PyTorch's align_corners."""
  if method not in METHODS:
    raise ValueError(f'method is one of {METHODS}, not {method!r}')
  if (antialias and corners) or ((antialias or corners) and method not in REACH):
    raise ValueError(f'{method!r} with antialias={antialias}, corners={corners}: bilinear and '
                     'bicubic take one of the two')  # fmt: skip
  sides = (size, size) if isinstance(size, int) else tuple(size)
  if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f'resize takes float images [B, H, W, C], not {x.dtype} {list(x.shape)}')
  if len(sides) != 2 or min(sides) < 1 or min(x.shape[1:3]) < 1:
    raise ValueError(f'resize from {list(x.shape)} to {size}: sides of at least one pixel')
  for axis, form in ((1, 'mn,bnwc->bmwc'), (2, 'mn,bhnc->bhmc')):
    n, m = x.shape[axis], sides[axis - 1]
    if n != m:  # every matrix of n -> n is the identity
      x = jnp.einsum(form, matrix(n, m, method, antialias, corners), x, precision='highest')
  return x


adaptive_pool = partial(resize, method='area')  # PyTorch's adaptive_avg_pool2d
