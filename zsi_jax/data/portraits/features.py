"""Where brows, eyes, nose and mouth lie on the mean front view (x, h), and the 68 points.

The points are those of the usual 68: 0-16 jaw, 17-26 brows, 27-35 nose, 36-47 eyes, 48-59 the
outside of the lips, 60-67 the inside; 'left' in names below is the image's left of a frontal face.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from zsi_jax.data.portraits import head
from zsi_jax.data.portraits.person import Person

# The jaw, (azimuth in degrees, row height), from the image's left ear to the chin.
JAW = [
  *((-88, -0.02), (-88, 0.16), (-86, 0.34), (-82, 0.52), (-74, 0.68)),
  *((-60, 0.82), (-42, 0.92), (-21, 0.985), (0, 1.0)),
]
# Point k of the mirrored face is point MIRROR[k] of the face.
MIRROR = np.array(
  [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
  + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
  + [*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)]
)
ACROSS = np.linspace(-1, 1, 13)
ALONG = np.linspace(0, 1, 13)  # a brow, from its outer end
BROW = np.sin(np.pi * (0.12 + 0.68 * ALONG))[:, None] * (0, 1)
ARCHED = 0.045 * np.sin(np.pi * (0.25 + 0.6 * ALONG)) ** 2 - 0.03
NOSTRIL = np.array([(-0.0425, 0.0), (0.0, -0.016), (0.0425, 0.0), (0.0, 0.016)])
BRIDGE = np.array([(0, -0.08), (0, 0.04), (0, 0.15), (0, 0.265)])


class Features(NamedTuple):
  """Curves [n, 2] on the mean front view."""

  eyes: tuple[
    np.ndarray, np.ndarray
  ]  # upper lid out and in, then the lower one; image's left first
  irises: tuple[np.ndarray, np.ndarray]  # centre and a point on the rim
  brows: tuple[np.ndarray, ...]
  upper: np.ndarray  # the upper lip: its outer edge, then its inner edge backwards
  lower: np.ndarray
  gap: np.ndarray  # between the lips
  teeth: np.ndarray
  nose: np.ndarray
  nostrils: tuple[np.ndarray, np.ndarray]
  points: np.ndarray  # [51, 2]: points 17-67


def features(p: Person) -> Features:
  lid, eyes, irises = _eyes(p)
  brows = tuple(_brow(p, side) for side in (-1, 1))
  rim = 0.034 * (1 + 0.45 * p.trait('brow_thick')) * BROW
  outer_up, inner_up, inner_low, outer_low = _mouth(p)
  wide = 0.115 * (1 + 0.22 * p.trait('nose_wide'))
  side = [(0.055, 0.16), (wide + 0.02, 0.29), (wide, 0.345), (0.06, 0.36)]
  nose = np.array([(0, -0.1), (0.045, 0.0), *side, (0, 0.375)])
  base = np.array([(-wide, 0.335), (-0.06, 0.352), (0, 0.37), (0.06, 0.352), (wide, 0.335)])
  thirds = np.array([0, 4, 8, 12])  # corners and thirds of a lid of 13 points
  left, right = (np.concatenate([lid[s][0][thirds], lid[s][1][[8, 4]]]) for s in (0, 1))
  lips = [
    outer_up[[0, 2, 5, 6, 7, 10, 12]], outer_low[[10, 8, 6, 4, 2]],
    inner_up[[0, 4, 6, 8, 12]], inner_low[[8, 6, 4]],
  ]  # fmt: skip
  points = np.concatenate(
    [brows[0][[0, 3, 6, 9, 12]], brows[1][[12, 9, 6, 3, 0]], BRIDGE, base, left, right, *lips]
  )
  tooth = inner_up + np.minimum((inner_low - inner_up) * 0.72, (0, 0.055))
  return Features(
    eyes=eyes,
    irises=irises,
    brows=tuple(np.concatenate([b - rim, (b + rim)[::-1]]) for b in brows),
    upper=np.concatenate([outer_up, inner_up[::-1]]),
    lower=np.concatenate([inner_low, outer_low[::-1]]),
    gap=np.concatenate([inner_up, inner_low[::-1]]),
    teeth=np.concatenate([inner_up, tooth[::-1]]),
    nose=np.concatenate([nose, nose[::-1] * (-1, 1)]),
    nostrils=(NOSTRIL + (-0.062, 0.352), NOSTRIL + (0.062, 0.352)),
    points=points,
  )


def _eyes(p: Person):
  size, gap = (
    1 + 0.17 * p.trait('eye_size') - 0.15 * (p.age - 0.4),
    0.285 + 0.03 * p.trait('eye_gap'),
  )
  wide = 0.138 * size
  # A smile lifts the lower lid; age lets the upper one hang.
  high = (0.012 + 0.1 * p.eye_open) * size - 0.012 * p.age
  low = 0.038 * size * (0.45 + 0.55 * min(1.0, 1.5 * p.eye_open)) - 0.022 * max(0.0, p.smile - 0.3)
  arch = 1 - ACROSS**2
  lid, irises = [], []
  for side in (-1, 1):
    x = side * gap + wide * ACROSS
    tilt = -0.012 * side * ACROSS  # outer corners a little higher
    upper = np.stack([x, -0.02 + tilt - high * arch**0.8], -1)
    lower = np.stack([x, -0.02 + tilt + low * arch], -1)
    lid.append((upper, lower))
    centre = np.array([side * gap, -0.028])
    irises.append(np.stack([centre, centre + (0.062 * size, 0)]))
  eyes = tuple(np.concatenate([up, down[::-1]]) for up, down in lid)
  return lid, eyes, tuple(irises)


def _brow(p: Person, side: int) -> np.ndarray:
  knit = p.furrow - 0.4
  x = 0.47 - (0.36 + 0.05 * max(0.0, knit)) * ALONG
  # The inner end goes down in anger and up in sorrow.
  y = -0.235 - 0.11 * (p.brow - 0.5) - ARCHED + 0.10 * knit * (ALONG - 0.35)
  return np.stack([side * x, y], -1)


def _mouth(p: Person) -> tuple[np.ndarray, ...]:
  """Outer edge of the upper lip, inner edges, outer edge of the lower lip, left to right."""
  smile = p.smile - 0.25
  wide = 0.25 + 0.12 * smile + 0.05 * (p.stretch - 0.5) - 0.035 * p.mouth_open
  centre = 0.585 + 0.02 * smile
  corners = centre - (0.19 if smile > 0 else 0.13) * smile + 0.09 * (p.skew - 0.5) * ACROSS
  x = wide * ACROSS + 0.03 * (p.jaw_shift - 0.5)
  line = centre + (corners - centre) * ACROSS**2
  arch = 1 - ACROSS**2
  gap = (0.16 * p.mouth_open + 0.135 * max(0.0, smile - 0.08)) * arch
  full = 1 + 0.3 * p.trait('lips') - 0.25 * p.age
  bow = 1 - 0.22 * np.exp(-((ACROSS / 0.16) ** 2))
  inner_up, inner_low = line - 0.3 * gap, line + 0.7 * gap
  outer_up = inner_up - 0.052 * full * bow * arch**0.7
  outer_low = inner_low + 0.066 * full * arch**0.6
  return tuple(np.stack([x, y], -1) for y in (outer_up, inner_up, inner_low, outer_low))


@functools.cache
def jaw() -> np.ndarray:
  """Points 0-16 as (column, row) of the fine grid."""
  half = np.array(JAW, np.float64)
  whole = np.concatenate([half, half[-2::-1] * (-1, 1)])
  return head.grid_position(np.radians(whole[:, 0]), whole[:, 1])


def landmarks(f: Features) -> np.ndarray:
  """All 68 points as (column, row) of the fine grid."""
  return np.concatenate([jaw(), head.texel(f.points)])
