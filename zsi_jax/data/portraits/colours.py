"""Colours of skin, hair, eyes and cloth, as tuples (red, green, blue) in 0 … 255."""

from __future__ import annotations

from zsi_jax.data.portraits.person import Person

Colour = tuple[float, float, float]

SKIN: list[Colour] = [
  *((255, 226, 204), (244, 203, 172), (222, 172, 134), (182, 126, 90), (126, 82, 56))
]
HAIR: list[Colour] = [(26, 22, 26), (66, 42, 30), (116, 76, 44), (184, 134, 72), (240, 210, 138)]
IRIS: list[Colour] = [(70, 44, 24), (110, 84, 40), (76, 112, 62), (70, 120, 160), (120, 150, 170)]
GREY: Colour = (206, 204, 202)
GOLD: Colour = (236, 204, 110)
WHITE: Colour = (255, 255, 255)


def ease(x: float, low: float, high: float) -> float:
  """0 below `low`, 1 above `high`, smooth between."""
  t = min(max((x - low) / (high - low), 0.0), 1.0)
  return t * t * (3 - 2 * t)


def mix(a: Colour, b: Colour, share: float) -> Colour:
  return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2])


def times(a: Colour, b: Colour) -> Colour:
  return min(a[0] * b[0], 255.0), min(a[1] * b[1], 255.0), min(a[2] * b[2], 255.0)


def ramp(table: list[Colour], value: float) -> Colour:
  """A colour along a table, value in [0, 1]."""
  at = min(max(value, 0.0), 1.0) * (len(table) - 1)
  i = min(int(at), len(table) - 2)
  return mix(table[i], table[i + 1], at - i)


def hue(turns: float, saturation: float, value: float) -> Colour:
  red, green, blue = (
    255 * value * (1 - saturation * min(max(min(q, 4 - q), 0.0), 1.0))
    for q in ((n + 6 * turns) % 6 for n in (5, 3, 1))
  )
  return red, green, blue


def skin(p: Person) -> Colour:
  pink = p.trait('undertone')
  tone = times(ramp(SKIN, 0.5 + 0.48 * p.trait('skin')), (1 + 0.02 * pink, 1.0, 1 - 0.05 * pink))
  return times(tone, (1 - 0.04 * p.age, 1 - 0.05 * p.age, 1 - 0.07 * p.age))


def hair(p: Person) -> Colour:
  """Black to blond, and then grey with age, but never so grey that it cannot be told."""
  return mix(ramp(HAIR, p.hair), GREY, 0.62 * ease(p.age, 0.35, 1.0))


def iris(p: Person) -> Colour:
  return ramp(IRIS, 0.5 + 0.5 * p.trait('iris'))


def lips(p: Person) -> Colour:
  hue_ = p.trait('lip_hue')
  rose = times((196, 84, 88), (0.9 + 0.1 * hue_,) * 3)
  return mix(skin(p), rose, 0.5 + 0.22 * hue_ - 0.18 * p.age)


def cloth(p: Person) -> Colour:
  return hue(p.cloth, 0.5, 0.70)


def hat(p: Person) -> Colour:
  """Green, blue, purple: no colour of hair."""
  return hue(0.36 + 0.5 * p.cloth, 0.52, 0.62)


def wall(p: Person) -> Colour:
  """Red 0, yellow, green, blue, purple 1: not the whole circle, so that its ends differ."""
  return hue(0.83 * p.background, 0.38, 0.86)
