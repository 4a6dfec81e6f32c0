"""A person to pixels: the nearest point of each pixel of a larger canvas, averaged down."""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np

from zsi_jax.data.portraits import colours, head, paint, surfaces
from zsi_jax.data.portraits.features import features, landmarks
from zsi_jax.data.portraits.paint import CLASS
from zsi_jax.data.portraits.person import Person
from zsi_jax.data.portraits.surfaces import DEEP, DEPTHS, GRID, GRID_BITS, Points

CANVAS = {32: 192, 64: 192, 128: 384}  # what is averaged down, by size


def render(p: Person, size: int) -> dict[str, np.ndarray]:
  """image uint8 [size, size, 3]; mask uint8 [size, size, 1]; landmarks float32 [68, 2], (x, y) with
  pixel centres at whole numbers; visible uint8 [68]."""
  big = CANVAS[size]
  s, f = surfaces.scene(p, big), features(p)
  canvas = paint.face(p, f)
  parts = [
    surfaces.skin(s, canvas),
    surfaces.hair(s),
    *surfaces.ears(s),
    *surfaces.neck(s),
    *surfaces.glasses(s),
  ]
  owner, depth = nearest(parts, big)
  rgbl = np.take(np.concatenate([q.paint.reshape(-1) for q in parts]), owner)
  shade = np.take(np.concatenate([q.shade.reshape(-1) for q in parts]), owner)
  drawn = lit(rgbl.view(np.uint8).reshape(big, big, 4), shade)
  picture = np.where(depth > 0, drawn.view(np.uint32)[..., 0], backdrop(p, big))
  picture = picture.view(np.uint8).reshape(big, big, 4)
  down = big // size
  spots = surfaces.turned(head.lift(s.surface, landmarks(f)).astype(np.float32), s.rotation)
  spots = surfaces.project(spots, big)
  x, y = np.clip(np.rint(spots[:, :2] / GRID).astype(int), 0, big - 1).T
  own, slack = spots[:, 2] * (DEPTHS / GRID) + DEEP, 0.016 * big * DEPTHS
  around = cv2.dilate(depth, np.ones((3, 3), np.uint8))
  # Nothing is nearer than the point, and what is drawn there is not far behind it.
  seen = (own > depth[y, x] - slack) & (own < around[y, x] + slack)
  xy = (spots[:, :2] / GRID + np.float32(0.5)) / np.float32(down) - np.float32(0.5)
  return {
    'image': averaged(picture, down)[..., :3].copy(),
    'mask': np.ascontiguousarray(picture[down // 2 :: down, down // 2 :: down, 3:]),
    'landmarks': xy.astype(np.float32),
    'visible': seen.astype(np.uint8),
  }


def lit(rgbl: np.ndarray, shade: np.ndarray) -> np.ndarray:
  """Colours times their brightness / 128; the class stays."""
  factor = cv2.merge([shade, shade, shade, np.full_like(shade, 128)])
  product = np.multiply(rgbl, factor, dtype=np.uint16)
  product >>= 7
  return np.minimum(product, 255, out=product).astype(np.uint8)


def averaged(picture: np.ndarray, times: int) -> np.ndarray:
  """Each block of times² pixels as its mean, rounded."""
  rows = picture[::times].astype(np.uint16)
  for k in range(1, times):
    rows += picture[k::times]
  blocks = rows[:, ::times].copy()
  for k in range(1, times):
    blocks += rows[:, k::times]
  blocks += times * times // 2
  return (blocks // (times * times)).astype(np.uint8)


def nearest(parts: list[Points], size: int) -> tuple[np.ndarray, np.ndarray]:
  """[size, size]: the number of each pixel's nearest point, and its depth (0: there is none)."""
  kind: Any = np.int32 if sum(q.depth.size for q in parts) < 1 << 18 else np.int64
  bits = 18 if kind is np.int32 else 20
  wide = size + 2  # points outside fall on a margin
  best = np.zeros(wide * wide, kind)
  start = 0
  number = numbers(kind)
  for q in parts:
    x, y = ((v + (GRID // 2 + GRID)) >> GRID_BITS for v in (q.x, q.y))
    for v in (x, y):
      np.clip(v, 0, size + 1, out=v)
    pixel = y.astype(np.int32)
    pixel *= wide
    pixel += x
    key = q.depth.astype(kind)
    key <<= bits  # HIDDEN stays negative
    key = key.reshape(-1)
    key += number[start : start + key.size]
    np.maximum.at(best, pixel.reshape(-1), key)
    start += key.size
  best = np.ascontiguousarray(best.reshape(wide, wide)[1:-1, 1:-1])
  for _ in range(2):  # the second finds what the first left of larger ones
    fill(best, bits)
  return best & ((1 << bits) - 1), (best >> bits).astype(np.uint16)


@functools.cache
def numbers(kind: Any) -> np.ndarray:
  return np.arange(1 << (18 if kind is np.int32 else 20), dtype=kind)


def fill(best: np.ndarray, bits: int) -> None:
  """Pinholes between points, and what shows through them, take the nearest neighbour, in place."""
  depth = (best >> bits).astype(np.uint16)
  typical = cv2.medianBlur(depth, 3)
  y, x = np.nonzero(typical > depth + np.uint16(0.02 * len(best) * DEPTHS))
  inner = (y > 0) & (y < len(best) - 1) & (x > 0) & (x < len(best) - 1)
  y, x = y[inner], x[inner]
  ring = [best[y + i, x + j] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
  best[y, x] = np.max(ring, 0)


def backdrop(p: Person, size: int) -> np.ndarray:
  """RGBL behind the head, uint32: a soft gradient, then the shoulders."""
  t = np.arange(32, dtype=np.float32) / np.float32(32)
  glow = 1 - 0.5 * (
    (t - np.float32(0.35 + 0.3 * p.light)) ** 2 + (t[:, None] - np.float32(0.3)) ** 2
  )
  small = np.zeros((32, 32, 4), np.uint8)
  small[..., :3] = glow[..., None] * np.array(colours.wall(p), np.float32)
  picture = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR_EXACT)
  outline = shoulders() - (0.06 * p.yaw / 90, 0)
  outline = outline * (size * surfaces.UNIT) + np.array(surfaces.CENTRE) * size - 0.5
  cloth = [round(c) for c in colours.cloth(p)]
  corners = np.rint(outline * 16).astype(np.int32)
  cv2.fillPoly(picture, [corners], (*cloth, CLASS['cloth']), cv2.LINE_8, 4)
  return picture.view(np.uint32)[..., 0]


@functools.cache
def shoulders() -> np.ndarray:
  """The outline of the body [n, 2], in head units."""
  t = np.linspace(0, 1, 24)
  x = 0.42 + 0.9 * t
  y = 1.17 + 0.30 * (1 - np.sqrt(1 - (0.98 * t) ** 3)) + 0.10 * t
  right = np.stack([x, y], -1)
  left = right[::-1] * (-1, 1)
  return np.concatenate([[(-1.6, 2.5)], left, right, [(1.6, 2.5)]])
