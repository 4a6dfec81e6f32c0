"""The surfaces of a portrait: skin, ears, hair, neck and glasses as dense points to be drawn."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import cv2
import numpy as np

from zsi_jax.data.portraits import colours, head, paint
from zsi_jax.data.portraits.colours import Colour, ease, mix, times
from zsi_jax.data.portraits.paint import CLASS
from zsi_jax.data.portraits.person import Person

UNIT = 0.335  # half a head's height, in images
CENTRE = 0.5, 0.475
PIVOT = np.array([0.0, 0.35, -0.12], np.float32)  # a head turns about the top of its neck
FAR = 7.0  # the distance of the eye
GRID_BITS = 6
GRID = (
  1 << GRID_BITS
)  # parts of a pixel that positions are rounded to; whole numbers keep bits the same
HIDDEN = -1  # the depth of what faces away
DEPTH_BITS = 3  # positions lose so many of their binary digits to become depths
DEPTHS = GRID >> DEPTH_BITS  # parts of a pixel that depths are told apart by
DEEP = 4095  # depths are 0 … 2 * DEEP


class Points(NamedTuple):
  """x, y in whole pixels, depth (HIDDEN: not drawn), colour and class as bytes RGBL, brightness."""

  x: np.ndarray
  y: np.ndarray
  depth: np.ndarray
  paint: np.ndarray  # uint32
  shade: np.ndarray  # uint8, 128 leaves a colour as it is


class Scene(NamedTuple):
  person: Person
  surface: np.ndarray  # the skin before it turns
  rotation: np.ndarray
  light: np.ndarray
  size: int


def scene(p: Person, size: int) -> Scene:
  x = 1.5 * (p.light - 0.5)
  length = math.sqrt(x * x + 0.45**2 + 0.8**2)
  light = np.array([x / length, -0.45 / length, 0.8 / length], np.float32)
  return Scene(p, head.bend(weights(p)), head.turn(p.yaw, p.pitch, p.roll), light, size)


def project(points: np.ndarray, size: int) -> np.ndarray:
  """Head units to (x, y, z) in 1/GRID pixels of a square of `size`: whole numbers, float32.

  Centres of pixels are whole pixels.
  """
  unit = np.float32(size * UNIT * GRID)
  out = points * unit
  out[..., :2] *= np.float32(FAR) / (np.float32(FAR) - points[..., 2:])
  out[..., 0] += np.float32((CENTRE[0] * size - 0.5) * GRID)
  out[..., 1] += np.float32((CENTRE[1] * size - 0.5) * GRID)
  return np.rint(out)


def turned(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
  return head.rotate(points - PIVOT, rotation) + PIVOT


def normals(surface: np.ndarray) -> np.ndarray:
  """Unit normals of a grid of points, outwards."""
  u, v = np.empty_like(surface), np.empty_like(surface)
  u[:, 1:-1] = surface[:, 2:] - surface[:, :-2]
  u[:, 0], u[:, -1] = surface[:, 1] - surface[:, 0], surface[:, -1] - surface[:, -2]
  v[1:-1] = surface[2:] - surface[:-2]
  v[0], v[-1] = surface[1] - surface[0], surface[-1] - surface[-2]
  n = np.empty_like(surface)
  for k, i, j in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    n[..., k] = u[..., i] * v[..., j] - u[..., j] * v[..., i]
  x, y, z = n[..., 0], n[..., 1], n[..., 2]
  n /= np.sqrt(x * x + y * y + z * z + np.float32(1e-12))[..., None]
  return n


def lit(normal: np.ndarray, light: np.ndarray, low: float = 0.58, high: float = 0.58) -> np.ndarray:
  """Brightness, 128 neutral: a soft Lambert law."""
  cosine = normal[..., 0] * light[0] + normal[..., 1] * light[1] + normal[..., 2] * light[2]
  soft = np.maximum((cosine + np.float32(0.25)) * np.float32(0.8), 0)
  return soft * np.float32(128 * high) + np.float32(128 * low)


def pack(colour: Colour, label: int) -> np.ndarray:
  """A colour and a class to RGBL as uint32."""
  red, green, blue = (round(c) for c in colour)
  return np.array([red, green, blue, label], np.uint8).view(np.uint32)[0]


def grown(grid: np.ndarray, size: int) -> np.ndarray:
  """A coarse grid refined for a canvas: bytes, or whole float32 to int16.

  The same bits everywhere: weights are eighths or sixteenths, so that in float32 whole numbers
  below 2^15 are weighed without rounding, in any order.
  """
  times = head.FINE * max(1, size // 192)
  bytes_ = grid.dtype == np.uint8
  how = cv2.INTER_LINEAR_EXACT if bytes_ else cv2.INTER_LINEAR
  fine = cv2.resize(grid, None, fx=times, fy=times, interpolation=how)
  return fine if bytes_ else fine.astype(np.int16)


def dense(
  place: np.ndarray, facing: np.ndarray | None, rgbl: np.ndarray, shade: np.ndarray, size: int
) -> Points:
  """Coarse places [h, w, 3] to points; `facing` < 0 hides; `rgbl` is one paint or a fine grid."""
  four = np.empty((*place.shape[:2], 4), np.float32)
  four[..., :3] = place
  four[..., 3] = 1 if facing is None else np.rint(facing * 256)
  bright = grown(np.clip(shade, 0, 255).astype(np.uint8), size)
  planes: Any = cv2.split(grown(four, size))
  x, y, depth, away = planes
  depth >>= DEPTH_BITS
  depth += DEEP
  depth |= away >> 15  # all bits where it faces away: HIDDEN
  if rgbl.ndim == 0:
    rgbl = np.broadcast_to(rgbl, depth.shape)
  elif rgbl.shape != depth.shape:
    rgbl = cv2.resize(
      rgbl.view(np.uint8).reshape(*rgbl.shape, 4),
      depth.shape[::-1],
      interpolation=cv2.INTER_NEAREST,
    ).view(np.uint32)[..., 0]
  return Points(x, y, depth, rgbl, bright)


def weights(p: Person) -> dict[str, float]:
  """How far each shape of the surface goes: identity, then age, then expression."""
  t = p.trait
  return {
    'wide': 0.05 * t('wide') - 0.02 * p.age,
    'long': 0.05 * t('long') + 0.05 * (p.age - 0.4),
    'deep': 0.05 * t('deep'),
    'jaw': 0.08 * t('jaw') + 0.03 * p.age,
    'chin': 0.6 * t('chin'),
    'nose_long': 0.5 * t('nose_long') + 0.35 * (p.age - 0.3),
    'nose_wide': 0.8 * t('nose_wide') + 0.3 * p.age,
    'cheekbone': 0.6 * t('cheekbone') + 0.3 * p.age,
    'ridge': 0.6 * t('ridge') + 0.2 * p.age,
    'lips': 0.5 * t('lips') - 0.5 * p.age,
    'hollow': 0.9 * p.age,
    'jowl': ease(p.age, 0.25, 1.0),
    'open': p.mouth_open,
    'smile': 1.3 * max(0.0, p.smile - 0.25),
    'puff': 0.3 * t('wide') + 0.4 * (1 - p.age),
  }


def skin(s: Scene, canvas: paint.Canvas) -> Points:
  now = turned(s.surface, s.rotation)
  normal = normals(now)
  facing = normal[..., 2] + np.float32(0.06)
  m = head.mesh()
  for azimuth, height in ((84, 2.0),) if covered(s.person) else ((78, -0.12), (104, 0.2)):
    under = np.ix_(m.height < height, abs(m.azimuth) > math.radians(azimuth))
    facing[under] = -1  # skin that hair lies on
  rgbl = cv2.merge([canvas.colour, canvas.label]).view(np.uint32)[..., 0]
  return dense(project(now, s.size), facing, rgbl, lit(normal, s.light), s.size)


def covered(p: Person) -> bool:
  """Whether hair falls over the ears."""
  return p.trait('hair_length') > 0.1


@functools.cache
def ear_shape() -> tuple[np.ndarray, np.ndarray]:
  """The ear at the image's right, a coarse grid of points about its root, and their shade."""
  t, r = np.meshgrid(np.linspace(0, 2 * np.pi, 22), np.linspace(0.0, 1, 6))
  back, up = r * np.cos(t), r * np.sin(t)
  across = 0.135 * (back + 0.55) * (1 - 0.28 * np.clip(up, 0, 1))  # narrower at the lobe
  rim = np.exp(-(((r - 0.9) / 0.16) ** 2)) - 0.75 * np.exp(-(((r - 0.5) / 0.25) ** 2))
  x, z = 0.45 * across + 0.032 * rim, -0.9 * across + 0.016 * rim
  points = np.stack([x, 0.25 * up + 0.05 * back, z], -1)
  return points.astype(np.float32), (0.92 + 0.14 * rim).astype(np.float32)


def ears(s: Scene) -> list[Points]:
  p = s.person
  if covered(p):
    return []
  shape, shade = ear_shape()
  big = np.float32(1 + 0.16 * p.trait('ears') + 0.18 * p.age)
  tone = times(colours.skin(p), (1.0, 0.94, 0.93))
  parts = []
  for name, side in (('l_ear', -1), ('r_ear', 1)):
    flip = np.array([side, 1, 1], np.float32) * big
    at = head.grid_position(np.radians([side * 88.0]), np.array([0.12]))
    root = head.lift(s.surface, at)[0].astype(np.float32)
    place = project(turned(shape * flip + root, s.rotation), s.size)
    normal = head.rotate(np.array([side * 0.85, 0, 0.5], np.float32), s.rotation)
    parts.append(dense(place, None, pack(tone, CLASS[name]), shade * lit(normal, s.light), s.size))
    if p.earring > 0:
      ball = np.array([0.07, 0.30, -0.04], np.float32) * flip + root
      parts.append(dots(turned(ball[None], s.rotation), 0.026, colours.GOLD, 'ear_r', s.size))
  return parts


def dots(points: np.ndarray, radius: float, colour: Colour, label: str, size: int) -> Points:
  """Discs of a radius in head units around points [n, 3], a little nearer than they are."""
  place = project(points.astype(np.float32), size).astype(np.int32)
  reach = radius * size * UNIT
  n = math.ceil(reach)
  dy, dx = np.mgrid[-n : n + 1, -n : n + 1].reshape(2, -1)
  inside = dx * dx + dy * dy <= reach * reach + 0.3
  spread = place[:, None] + np.stack([dx, dy, 0 * dx], -1)[inside] * GRID
  x, y, z = spread.reshape(-1, 3).astype(np.int16).T
  depth = (z >> DEPTH_BITS) + np.int16(DEEP + size // 32)
  n = len(x)
  return Points(
    x, y, depth, np.broadcast_to(pack(colour, CLASS[label]), n), np.full(n, 128, np.uint8)
  )


ROUND = np.linspace(-np.pi - 0.05, np.pi + 0.05, 98)
AWAY = abs(ROUND) * (180 / np.pi)
DOWN = np.linspace(0, 1, 42)[:, None]
CROWDED = DOWN**1.2  # rows crowd at the crown
# Hair lies closer at its ends, at the temples most.
BRIM = -0.42  # the edge of a hat
THINNING = (1 - DOWN**3 * np.interp(AWAY, [55, 65, 100, 112], [0.5, 0.85, 0.85, 0])).astype(
  np.float32
)


def hair(s: Scene) -> Points:
  """A shell over the skull that ends at the hairline, and hangs where it is long."""
  p = s.person
  length, fringe = p.identity[-2], p.identity[-1]
  top = -0.56 + 0.30 * max(0.0, fringe - 0.45) - 0.09 * p.age
  long = max(0.0, length - 0.45) / 0.55
  side, back, low = -0.18 + 0.22 * length, 0.42 + 0.25 * length, -0.04
  if long:
    side, back, low = 0.35 + 0.85 * long, 0.65 + 0.75 * long, 0.35 + 0.85 * long
  if p.hat > 0:  # it covers the hairline
    top = max(top, BRIM + 0.02)
  ends = [top, top + 0.02, top + 0.06, -0.30, max(-0.05, 0.55 * side), low, back, back]
  end = np.interp(AWAY, [0, 30, 52, 66, 80, 93, 110, 183], ends)
  y = (CROWDED * (end + 1.0) - 1.0).astype(np.float32)
  hang = np.minimum(y, np.float32(0.12))
  skull = head.skull(ROUND, hang, weights(p))
  outward = skull - np.array([0, -0.1, -0.05], np.float32)
  outward /= np.sqrt((outward * outward).sum(-1, keepdims=True))
  thick = np.float32((0.07 + 0.05 * length) * (1 - 0.25 * p.age)) * THINNING
  capped = y < np.float32(BRIM) if p.hat > 0 else None
  if capped is not None:  # a knitted cap with a roll at its edge
    roll = np.maximum(1 - ((y - np.float32(BRIM - 0.05)) / np.float32(0.075)) ** 2, 0)
    thick = np.where(capped, np.float32(0.12) + np.float32(0.06) * roll, thick)
  shell = skull + outward * thick[..., None]
  below = y - hang
  shell[..., 1] += below
  shell[..., 0] *= 1 + np.float32(0.10) * below
  now = turned(shell, s.rotation)
  normal = normals(now)
  facing = normal[..., 2]
  streak = 1 + 0.10 * np.sin(ROUND * (23 + 9 * fringe) + 4 * np.sin(5 * ROUND + 9 * length))
  streak = (streak + 0.06 * np.sin(61 * ROUND)).astype(np.float32)
  gloss = np.maximum(1 - (y + np.float32(0.62)) ** 2 * 30, 0) * np.float32(0.22)
  inner = facing < np.float32(-0.05)
  shade = lit(normal * np.where(inner, np.float32(-1), np.float32(1))[..., None], s.light, 0.6, 0.5)
  strands = streak + gloss if capped is None else np.where(capped, np.float32(1), streak + gloss)
  shade *= strands * np.where(inner, np.float32(0.62), np.float32(1))
  # The inside of hair is seen only where it hangs free of the head.
  seen = np.where(y > np.float32(0.05), np.float32(1), facing + np.float32(0.06))
  rgbl = pack(colours.hair(p), CLASS['hair'])
  if capped is not None:
    rows = grown(np.rint(y * 4096), s.size)
    rgbl = np.where(rows < round(BRIM * 4096), pack(colours.hat(p), CLASS['hat']), rgbl)
  place = project(now, s.size)
  place[..., 2] += round(0.02 * s.size * UNIT * GRID)  # where both touch, hair lies on skin
  return dense(place, seen, rgbl, shade, s.size)


@functools.cache
def neck_shape() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """A grid of points, how dark the chin's shadow makes them, and how far they go with the head."""
  t = np.radians(np.linspace(-180, 180, 58))[None]
  y = np.linspace(0.05, 1.45, 26)[:, None]
  radius = 0.37 + 0.22 * head.step(y, 1.1, 1.5) + 0 * t
  nape = np.where(np.cos(t) < 0, 1 + 0.9 * (1 - head.step(y, 0.15, 0.8)), 1)  # to the skull
  points = np.stack([radius * np.sin(t), y + 0 * t, radius * nape * np.cos(t) * 0.95 - 0.22], -1)
  dark, follows = 0.70 + 0.30 * head.step(y, 0.9, 1.3), 1 - head.step(y, 0.3, 1.0)
  return points.astype(np.float32), dark.astype(np.float32), head.exact(follows)[..., None]


def neck(s: Scene) -> list[Points]:
  points, chin, follows = neck_shape()
  p = s.person
  half = head.turn(0.35 * p.yaw, 0, 0.2 * p.roll)
  now = turned(points, half)
  now += follows * (turned(points, s.rotation) - now)
  normal = normals(now)
  shade = lit(normal, s.light, 0.52, 0.5) * chin  # under the chin's shadow
  facing = normal[..., 2] + np.float32(0.1)
  parts = [dense(project(now, s.size), facing, pack(colours.skin(p), CLASS['neck']), shade, s.size)]
  if p.necklace > 0:
    t = np.linspace(-1.4, 1.4, 60)
    ring = np.stack([0.43 * np.sin(t), 1.16 + 0.09 * np.cos(t), 0.40 * np.cos(t) - 0.2], -1)
    parts.append(dots(turned(ring.astype(np.float32), half), 0.017, colours.GOLD, 'neck_l', s.size))
  return parts


def glasses(s: Scene) -> list[Points]:
  p = s.person
  if p.glasses <= 0:
    return []
  gap = 0.285 + 0.03 * p.trait('eye_gap')
  t, u, w = np.linspace(0, 2 * np.pi, 110), np.linspace(0, 1, 60), np.linspace(-1, 1, 24)
  front = float(head.lift(s.surface, head.texel(np.array([[0.0, 0.02]])))[0, 2]) + 0.10
  curves = [np.stack([w * (gap - 0.2), -0.03 + 0.02 * w**2, front + 0.02 + 0 * w], -1)]
  for side in (-1, 1):
    x, y = side * gap + 0.205 * np.cos(t), 0.16 * np.sin(t)
    curves.append(np.stack([x, y, front - 0.22 * x**2], -1))
    x = side * (gap + 0.205 + (0.535 - gap) * u**0.4)
    curves.append(np.stack([x, -0.04 + 0.04 * u, (front - 0.05) * (1 - u) - 0.02], -1))
  ink = mix((84, 76, 80), (26, 20, 24), p.glasses)
  line = turned(np.concatenate(curves).astype(np.float32), s.rotation)
  return [dots(line, 0.006 + 0.03 * p.glasses, ink, 'eye_g', s.size)]
