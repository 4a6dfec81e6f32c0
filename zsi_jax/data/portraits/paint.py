"""The skin of a head, its colour and the class of each texel, on the fine grid of its surface."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import cv2
import numpy as np

from zsi_jax.data.portraits import colours, head
from zsi_jax.data.portraits.colours import Colour, ease, mix, times
from zsi_jax.data.portraits.features import Features
from zsi_jax.data.portraits.person import Person

# The classes of CelebAMask-HQ as face-parsing networks number them; l_ is the image's left.
CLASSES = (
  'background', 'skin', 'l_brow', 'r_brow', 'l_eye', 'r_eye', 'eye_g', 'l_ear', 'r_ear', 'ear_r',
  'nose', 'mouth', 'u_lip', 'l_lip', 'neck', 'neck_l', 'cloth', 'hair', 'hat',
)  # fmt: skip
CLASS = {name: i for i, name in enumerate(CLASSES)}
SHIFT = 6  # binary digits of a coordinate below one texel
INK: Colour = (40, 20, 20)
TURN = np.linspace(0, 2 * np.pi, 20)
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], -1).round(6)
ACROSS = np.linspace(-1, 1, 9)


@functools.cache
def soft() -> dict[str, np.ndarray]:
  """Blurred patches of the face on the coarse grid, [H, W, 1] in [0, 1]."""
  m = head.mesh()
  a, h = np.meshgrid(m.azimuth, m.height)
  x = np.interp(h, head.HEIGHTS, head.WIDTH) * np.sin(a) + 9.0 * (np.cos(a) < 0)
  pair, bump, step = head.pair, head.bump, head.step
  fold = abs(abs(x) - (0.15 + 0.375 * np.maximum(h - 0.3, 0)))
  patches = {
    'blush': pair(x, h, (0.38, 0.27), 0.15, 0.12) + 0.5 * bump(x, h, (0, 0.27), 0.1, 0.1),
    'shade': 0.30 * pair(x, h, (0.28, -0.07), 0.17, 0.08)  # where light does not reach
    + 0.18 * pair(x, h, (0.13, -0.05), 0.05, 0.09)
    + 0.10 * pair(x, h, (0.1, 0.12), 0.04, 0.2)
    + 0.16 * bump(x, h, (0, 0.40), 0.10, 0.035)
    + 0.14 * bump(x, h, (0, 0.74), 0.16, 0.035)
    + 0.18 * step(h, 0.8, 1.02),
    'red_eye': pair(x, h, (0.285, -0.1), 0.15, 0.04) + pair(x, h, (0.28, 0.085), 0.12, 0.03),
    'age': 0.26 * pair(x, h, (0.28, 0.085), 0.12, 0.03)
    + 0.22 * pair(x, h, (0.42, 0.45), 0.11, 0.14),
    'fold': np.exp(-((fold / 0.035) ** 2)) * step(h, 0.28, 0.36) * (1 - step(h, 0.56, 0.68)),
    'frown': bump(x, h, (0, -0.42), 0.42, 0.14) + bump(x, h, (0, -0.2), 0.075, 0.08),
  }
  return {k: head.exact(v)[..., None] for k, v in patches.items()}


def skin(p: Person) -> np.ndarray:
  """[H, W, 3] float32 colours on the coarse grid: what is smooth, with no line drawn yet.

  Feelings show here that no landmark tells: blush by arousal, a dark brow by anger and disgust,
  red eyes by sorrow, a warm or a greenish tint by valence.
  """
  s, tone = soft(), colours.skin(p)
  _, _, sad, _, _, disgust, anger, _ = (p.intensity * e for e in p.emotion)
  dark, red = times(tone, (0.66, 0.58, 0.58)), times(tone, (0.98, 0.66, 0.64))
  fold = 0.12 + 0.3 * p.age + 0.22 * max(0.0, p.smile - 0.3)
  shade = s['shade'] + np.float32(p.age) * s['age'] + np.float32(fold) * s['fold']
  shade += np.float32(0.42 * anger + 0.34 * disgust) * s['frown']
  blush = np.float32(0.16 + 0.10 * p.smile + 0.65 * max(0.0, p.arousal)) * s['blush']
  colour = np.array(tone, np.float32) + np.minimum(shade, np.float32(0.8)) * np.float32(
    np.subtract(dark, tone)
  )
  blush += np.float32(0.75 * sad) * s['red_eye']
  colour += np.minimum(blush, np.float32(0.85)) * (np.array(red, np.float32) - colour)
  tint = red if p.valence > 0 else mix(tone, (214, 222, 190), 0.55)
  share = (0.16 if p.valence > 0 else 0.5) * abs(p.valence)
  colour += np.float32(share) * (np.array(tint, np.float32) - colour)
  return colour


class Canvas:
  """Texels of the surface: draws curves given on the front view, all placed in one go."""

  def __init__(self, base: np.ndarray) -> None:
    flat = np.clip(base, 0, 255).astype(np.uint8)
    self.colour = cv2.resize(
      flat, None, fx=head.FINE, fy=head.FINE, interpolation=cv2.INTER_LINEAR_EXACT
    )
    self.label = np.full(self.colour.shape[:2], CLASS['skin'], np.uint8)
    self._jobs: list[tuple[np.ndarray, Colour | None, str | None, float, int]] = []

  def fill(
    self, curve: np.ndarray, colour: Colour | None, label: str | None = None, inside: int = 0
  ) -> None:
    """A closed curve filled; no colour: only its class. The next `inside` jobs stay within it."""
    self._jobs.append((curve, _whole(colour), label, 0.0, inside))

  def line(self, curve: np.ndarray, colour: Colour, width: float) -> None:
    """An open curve; `width` in units of the head."""
    self._jobs.append((curve, _whole(colour), None, width, 0))

  def draw(self) -> None:
    places = head.texel(np.concatenate([job[0] for job in self._jobs]))
    places = np.rint(places * (1 << SHIFT)).astype(np.int32)
    ends = list(itertools.accumulate(len(job[0]) for job in self._jobs))
    fixed = [places[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    jobs = zip(fixed, self._jobs, strict=True)
    for q, (_, colour, label, width, inside) in jobs:
      if width and colour:
        thick = max(1, round(width * 100))
        cv2.polylines(self.colour, [q], False, colour, thick, cv2.LINE_AA, SHIFT)
        continue
      if colour:
        cv2.fillPoly(self.colour, [q], colour, cv2.LINE_AA, SHIFT)
      if label:
        cv2.fillPoly(self.label, [q], CLASS[label], cv2.LINE_8, SHIFT)
      if inside:
        self._within(q, [(r, job[1]) for r, job in itertools.islice(jobs, inside)])
    self._jobs.clear()

  def _within(self, window: np.ndarray, drawings: list[tuple[np.ndarray, Any]]) -> None:
    low = (window.min(0) >> SHIFT) - 1
    high = (window.max(0) >> SHIFT) + 2
    part = self.colour[low[1] : high[1], low[0] : high[0]]
    keep = np.zeros(part.shape[:2], np.uint8)
    cv2.fillPoly(keep, [window - (low << SHIFT)], 255, cv2.LINE_AA, SHIFT)
    drawn = part.copy()
    for q, colour in drawings:
      cv2.fillPoly(drawn, [q - (low << SHIFT)], colour, cv2.LINE_AA, SHIFT)
    share = keep[..., None].astype(np.uint16)
    part[:] = (drawn * share + part * (255 - share) + 127) // 255


def _whole(colour: Colour | None) -> Colour | None:
  return None if colour is None else (round(colour[0]), round(colour[1]), round(colour[2]))


def face(p: Person, f: Features) -> Canvas:
  """Skin with every feature drawn on it."""
  canvas, tone = Canvas(skin(p)), colours.skin(p)
  _wrinkles(p, canvas, tone)
  canvas.fill(f.nose, None, 'nose')
  for nostril in f.nostrils:
    canvas.fill(nostril, mix(tone, times(tone, (0.50, 0.40, 0.40)), 0.85))
  _eyes(p, f, canvas, tone)
  hair = mix(colours.hair(p), (40, 28, 24), 0.35)
  for name, brow in zip(('l_brow', 'r_brow'), f.brows, strict=True):
    canvas.fill(brow, hair, name)
  _mouth(p, f, canvas, tone)
  canvas.draw()
  return canvas


def _eyes(p: Person, f: Features, canvas: Canvas, tone: Colour) -> None:
  iris, lash, sad = colours.iris(p), mix(tone, INK, 0.82), p.intensity * p.emotion[2]
  white = mix((250, 248, 246), (240, 170, 160), 0.6 * sad)
  for name, eye, (centre, rim) in zip(('l_eye', 'r_eye'), f.eyes, f.irises, strict=True):
    disc = CIRCLE * (rim[0] - centre[0])
    canvas.fill(eye, white, name, inside=4)
    canvas.fill(centre + disc * 1.08, times(iris, (0.55, 0.55, 0.55)))
    canvas.fill(centre + disc * 0.9, iris)
    canvas.fill(centre + disc * 0.5, (16, 12, 14))
    canvas.fill(centre + disc * 0.3 - (0.022, 0.025), colours.WHITE)
    half = len(eye) // 2
    canvas.line(eye[:half], lash, 0.022)
    canvas.line(eye[half:], mix(tone, lash, 0.45), 0.01)
    canvas.line(eye[1 : half - 1] - (0, 0.035 + 0.008 * p.age), mix(tone, lash, 0.4), 0.01)
    if sad > 0.25:  # a tear
      drop = eye[half + 5] + (0, 0.03) + CIRCLE * (0.016, 0.03)
      canvas.fill(drop, mix(tone, (214, 236, 255), min(1.0, 1.4 * sad)))


def _mouth(p: Person, f: Features, canvas: Canvas, tone: Colour) -> None:
  lip = colours.lips(p)
  canvas.fill(f.gap, (92, 30, 36), 'mouth')
  canvas.fill(f.teeth, (250, 246, 238))
  canvas.fill(f.upper, times(lip, (0.9, 0.9, 0.9)), 'u_lip')
  canvas.fill(f.lower, lip, 'l_lip')
  canvas.line(f.gap[: len(f.gap) // 2], mix(lip, (60, 16, 24), 0.75), 0.012)


def _wrinkles(p: Person, canvas: Canvas, tone: Colour) -> None:
  """Lines that deepen with age, and a knit brow."""
  deep, frown = ease(p.age, 0.15, 1.0), ease(p.furrow, 0.6, 1.0)
  ink = mix(tone, times(tone, (0.58, 0.5, 0.5)), 0.55 * deep)
  if deep > 0.02:
    for k in range(3):
      y = -0.36 - 0.075 * k - 0.05 * (p.brow - 0.5) - 0.012 * WAVE
      canvas.line(np.stack([(0.34 - 0.05 * k) * ACROSS, y], -1), ink, 0.014)
    for side in (-1, 1):
      for k in (-1, 0, 1):
        canvas.line(CROW[k + 1] * (side, 1), ink, 0.012)
      canvas.line(BAG * (side, 1), ink, 0.012)
      canvas.line(FOLD * (side, 1), ink, 0.016)
  if frown > 0.02:
    for side in (-1, 1):
      canvas.line(KNIT * (side, 1), mix(tone, times(tone, (0.5, 0.5, 0.5)), 0.7 * frown), 0.014)


WAVE = np.cos(np.pi * ACROSS)
CROW = [
  np.array([(0.45, -0.02), (0.5, -0.02 + 0.03 * k), (0.56, -0.02 + 0.055 * k)]) for k in (-1, 0, 1)
]
BAG = np.stack([0.28 + 0.11 * ACROSS, 0.075 + 0.035 * (1 - ACROSS**2)], -1)
FOLD = np.array([(0.15, 0.33), (0.22, 0.42), (0.27, 0.52), (0.29, 0.62), (0.27, 0.7)])
KNIT = np.array([(0.035, -0.13), (0.045, -0.2), (0.04, -0.27)])
