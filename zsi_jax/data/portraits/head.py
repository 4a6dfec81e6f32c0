"""A head in three dimensions: a surface over (azimuth, height) that bends, and 68 points on it.

Axes: x to the image's right, y down, z towards the viewer; half the height of a head is 1. A point
of the surface has azimuth a (0 in front, positive to the image's right) and row height h (-1 the
crown, 0 the eyes, 1 the chin). The surface is linear in what shapes it:

  P(a, h) = P0(a, h) + sum_k w_k B_k(a, h)

so one face costs a few sums over a coarse grid, refined FINE times where it is drawn.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FINE = 4  # texels of a cell of the coarse grid, each way

# Outline from the crown to under the chin: half width, depth in front, depth at the back, by h.
HEIGHTS = [-1.0, -0.97, -0.9, -0.7, -0.4, -0.2, 0.0, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95, 1.0, 1.04]
WIDTH = [0.0, 0.25, 0.40, 0.58, 0.68, 0.705, 0.705, 0.69, 0.675, 0.65, 0.585, 0.48, 0.36, 0.26, 0.0]
FRONT = [0.0, 0.24, 0.42, 0.64, 0.76, 0.79, 0.75, 0.755, 0.77, 0.79, 0.76, 0.80, 0.76, 0.68, 0.3]
BACK = [0.0, 0.30, 0.50, 0.78, 0.94, 0.96, 0.92, 0.82, 0.72, 0.6, 0.44, 0.36, 0.3, 0.25, 0.1]


def step(x: np.ndarray | float, low: float, high: float) -> np.ndarray:
  """0 below `low`, 1 above `high`, smooth between."""
  t = np.clip((np.asarray(x, np.float64) - low) / (high - low), 0, 1)
  return t * t * (3 - 2 * t)


def bump(x: np.ndarray, y: np.ndarray, at: tuple[float, float], width: float, height: float):
  """exp(-r²) around a point of the front view."""
  return np.exp(-(((x - at[0]) / width) ** 2) - ((y - at[1]) / height) ** 2)


def pair(x: np.ndarray, y: np.ndarray, at: tuple[float, float], width: float, height: float):
  """The same on both sides of the face."""
  return bump(x, y, at, width, height) + bump(x, y, (-at[0], at[1]), width, height)


class Mesh(NamedTuple):
  """The mean head and all that may be added to it, on the coarse grid."""

  azimuth: np.ndarray  # [W], radians
  height: np.ndarray  # [H]
  mean: np.ndarray  # [H, W, 3]
  shapes: dict[str, np.ndarray]  # name -> [H, W, 3]


def spread(knots: Sequence[tuple[float, float]], n: int) -> np.ndarray:
  """n values whose density follows (value, share of the way) knots."""
  values, shares = zip(*knots, strict=True)
  return np.interp(np.linspace(0, 1, n), shares, values)


@functools.cache
def mesh() -> Mesh:
  """Rows crowd where the face is, columns at the nose; what hair always covers is left out."""
  deg = np.pi / 180
  side = [(10, 0.39), (40, 0.25), (70, 0.13), (100, 0.07), (132, 0.0)]
  knots = [(-d, share) for d, share in side[::-1]] + [(d, 1 - share) for d, share in side]
  azimuth = deg * spread(knots, 78)
  height = spread([(-0.8, 0), (-0.4, 0.19), (0.95, 0.87), (1.04, 1)], 51)
  a, h = np.meshgrid(azimuth, height)
  across, ahead = np.sin(a), np.cos(a)
  half = np.interp(h, HEIGHTS, WIDTH)
  front, back = np.interp(h, HEIGHTS, FRONT), np.interp(h, HEIGHTS, BACK)
  # A face is flatter in front than an ellipse: its corners are pulled out.
  flat = 1 + 0.10 * np.sin(2 * a) ** 2 * (ahead > 0) * step(h, -0.6, -0.2)
  x = half * across * np.where(ahead > 0, flat, 1)
  z = np.where(ahead > 0, front * flat, back) * ahead
  # Rows of the jaw rise towards the ears.
  rise = 0.52 * step(h, 0.25, 1.0) * (1 - np.maximum(ahead, -0.2)) * step(1 - ahead, 0.0, 0.9)
  y = h - rise
  fx = half * across  # where the front view has this point before the corners were pulled
  one = np.maximum(ahead, 0)

  def out(amount: np.ndarray) -> np.ndarray:
    return np.stack([0 * amount, 0 * amount, amount * one], -1)

  def move(dx: np.ndarray | float, dy: np.ndarray | float, dz: np.ndarray | float) -> np.ndarray:
    return np.stack([dx + 0 * x, dy + 0 * x, dz + 0 * x], -1)

  ridge = step(h, -0.16, 0.27) * (1 - step(h, 0.27, 0.40))
  wide = 0.052 + 0.075 * step(h, 0.0, 0.33)
  nose = ridge * np.exp(-((fx / wide) ** 2))
  alae = pair(fx, h, (0.105, 0.315), 0.055, 0.065)
  lips = bump(fx, h, (0, 0.53), 0.20, 0.05) + bump(fx, h, (0, 0.63), 0.17, 0.05)
  mean = np.stack([x, y, z], -1)
  mean += out(0.27 * nose + 0.06 * alae + 0.045 * lips)
  mean += out(0.10 * bump(fx, h, (0, 0.58), 0.17, 0.15))  # teeth stand in an arch
  mean += out(-0.095 * pair(fx, h, (0.29, -0.02), 0.14, 0.085))  # sockets
  mean += out(0.045 * pair(fx, h, (0.29, -0.015), 0.085, 0.055))  # and what lies in them
  mean += out(0.03 * pair(fx, h, (0.28, -0.2), 0.2, 0.06))  # the ridge of the brows
  mean += out(0.05 * pair(fx, h, (0.36, 0.26), 0.16, 0.15))  # cheeks
  mean += out(0.05 * bump(fx, h, (0, 0.87), 0.15, 0.10) - 0.04 * bump(fx, h, (0, 0.73), 0.2, 0.05))
  low, jaw = step(h, 0.15, 0.8), step(h, 0.56, 0.74)
  shapes = {
    'wide': move(x, 0, 0),
    'long': move(0, y * (y > 0), 0),
    'deep': move(0, 0, z),
    'jaw': move(x * low, 0, 0),
    'chin': move(0, 0.09 * step(h, 0.75, 1.0), 0) + out(0.09 * bump(fx, h, (0, 0.9), 0.2, 0.12)),
    'nose_long': move(0, 0.10 * nose, 0) + out(0.12 * nose),
    'nose_wide': move(0.06 * np.sign(x) * alae, 0, 0) + out(0.03 * alae),
    'cheekbone': out(0.06 * pair(fx, h, (0.42, 0.12), 0.13, 0.10))
    + move(0.05 * across * pair(x, h, (0.6, 0.1), 0.2, 0.15), 0, 0),
    'ridge': out(0.06 * pair(fx, h, (0.22, -0.19), 0.2, 0.06)),
    'lips': out(0.05 * lips),
    # What age does: cheeks hollow, jowls hang, the nose and the ears grow.
    'hollow': out(-0.07 * pair(fx, h, (0.38, 0.42), 0.12, 0.13)),
    'jowl': move(0.07 * across * pair(x, h, (0.45, 0.78), 0.14, 0.12), 0, 0)
    + move(0, 0.05 * pair(fx, h, (0.34, 0.82), 0.14, 0.12), 0),
    # What moves: the jaw, the cheeks of a smile.
    'open': move(0, 0.17 * jaw * step(np.cos(a), -0.1, 0.5), -0.05 * jaw),
    'smile': out(0.06 * pair(fx, h, (0.36, 0.27), 0.13, 0.11))
    + move(0, -0.03 * pair(fx, h, (0.36, 0.3), 0.15, 0.13), 0),
    'puff': out(0.04 * pair(fx, h, (0.3, 0.5), 0.15, 0.12)),
  }
  return Mesh(azimuth, height, exact(mean), {k: exact(v) for k, v in shapes.items()})


def exact(values: np.ndarray) -> np.ndarray:
  """float32 rounded to 2**-16: what exp and sin of one machine round otherwise is gone."""
  return (np.rint(values * 65536) / 65536).astype(np.float32)


def bend(weights: dict[str, float]) -> np.ndarray:
  """[H, W, 3] float32: the mean and its weighted shapes, summed in the order of `weights`."""
  m = mesh()
  surface = m.mean.copy()
  for name, weight in weights.items():
    surface += np.float32(weight) * m.shapes[name]
  return surface


def skull(azimuth: np.ndarray, height: np.ndarray, weights: dict[str, float]) -> np.ndarray:
  """Points [h, w, 3] of the bare skull, where there is hair."""
  across, ahead = np.sin(azimuth), np.cos(azimuth)
  depth = np.where(ahead > 0, np.interp(height, HEIGHTS, FRONT), np.interp(height, HEIGHTS, BACK))
  flat = 1 + 0.10 * np.sin(2 * azimuth) ** 2 * (ahead > 0) * step(height, -0.6, -0.2)
  wide = np.interp(height, HEIGHTS, WIDTH) * flat * (1 + weights['wide'])
  long = 1 + weights['long'] * (height > 0)
  points = [wide * across, height * long, depth * flat * ahead * (1 + weights['deep'])]
  return np.stack(points, -1).astype(np.float32)


def texel(points: np.ndarray) -> np.ndarray:
  """Points (x, h) of the mean front view [N, 2] to (column, row) of the fine grid, float64."""
  points = np.asarray(points, np.float64)
  half = np.interp(points[:, 1], HEIGHTS, WIDTH)
  azimuth = np.arcsin(np.clip(points[:, 0] / np.maximum(half, 1e-3), -1, 1))
  return grid_position(azimuth, points[:, 1])


def grid_position(azimuth: np.ndarray, height: np.ndarray) -> np.ndarray:
  """(column, row) of the fine grid where the surface has this azimuth and row height."""
  m = mesh()
  column = np.interp(azimuth, m.azimuth, np.arange(len(m.azimuth)))
  row = np.interp(height, m.height, np.arange(len(m.height)))
  # Texel i of the fine grid lies at (i + 1/2) / FINE - 1/2 of the coarse one.
  return np.stack([(column + 0.5) * FINE - 0.5, (row + 0.5) * FINE - 0.5], -1)


def lift(grid: np.ndarray, at: np.ndarray) -> np.ndarray:
  """Values of a coarse grid [H, W, C] at fine positions (column, row) [N, 2], bilinear."""
  where = (at + 0.5) / FINE - 0.5
  low = np.clip(np.floor(where).astype(int), 0, [grid.shape[1] - 2, grid.shape[0] - 2])
  (u, v), (c, r) = (where - low).T[..., None], low.T
  top = grid[r, c] * (1 - u) + grid[r, c + 1] * u
  return top * (1 - v) + (grid[r + 1, c] * (1 - u) + grid[r + 1, c + 1] * u) * v


def turn(yaw: float, pitch: float, roll: float) -> np.ndarray:
  """Rotation [3, 3]; degrees. yaw > 0: the nose to the image's left; pitch > 0: up; roll > 0: the
  head tips to the image's right."""
  (cy, sy), (cp, sp), (cr, sr) = (
    (math.cos(math.radians(d)), math.sin(math.radians(d))) for d in (yaw, pitch, roll)
  )
  about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
  about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
  about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
  return about_z @ about_x @ about_y


def rotate(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
  """points [..., 3] turned, term by term: no BLAS, so the same bits everywhere."""
  r = rotation.astype(points.dtype)
  x, y, z = points[..., 0], points[..., 1], points[..., 2]
  return np.stack([r[i, 0] * x + r[i, 1] * y + r[i, 2] * z for i in range(3)], -1)
