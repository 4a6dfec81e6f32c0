"""Portraits as a data set: who person i is, drawn by chance that depends on (seed, i) alone."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from zsi_jax.data import limits
from zsi_jax.data.chance import uniforms
from zsi_jax.data.portraits.person import (
  EMOTIONS,
  EXPRESSION,
  IDENTITY,
  PROTOTYPES,
  REST,
  WORDS,
  Person,
  tokens,
)
from zsi_jax.data.record import Field, Record, place

UNIT = Field(low=0.0, high=1.0)
TURNED = dataclasses.replace(UNIT, mirrored=True)
FIELDS: Mapping[str, Field] = {
  **dict.fromkeys(('smile', 'age', 'hair'), UNIT),
  'yaw': Field(low=-90, high=90, mirrored=True),
  'pitch': Field(low=-90, high=90),
  'roll': Field(low=-90, high=90, mirrored=True),
  **dict.fromkeys(('glasses', 'mouth_open', 'brow', 'background', 'stretch', 'furrow'), UNIT),
  **dict.fromkeys(('eye_open', 'cloth', 'earring', 'necklace', 'hat', 'intensity'), UNIT),
  **dict.fromkeys(('light', 'skew', 'jaw_shift'), TURNED),
  'valence': Field(low=-1, high=1),
  'arousal': Field(low=-1, high=1),
  'feeling': Field(dtype='int32', low=0, high=len(EMOTIONS) - 1),
  'person': Field(dtype='int64', low=0),
  'emotion': Field((len(EMOTIONS),), low=0, high=1),
  'identity': Field((len(IDENTITY),), low=0, high=1),
  'tokens': Field((9,), 'int32', mirrored=True, low=0, high=len(WORDS) - 1),
  'landmarks': Field((68, 2), mirrored=True, cropped=True),
  'visible': Field((68,), 'uint8', mirrored=True, cropped=True, low=0, high=1),
}
SCALARS = tuple(name for name, field in FIELDS.items() if field.shape == ())
SIZES = 32, 64, 128
RANGES = {'age': (0.0, 1.0), **dict.fromkeys(('yaw', 'pitch', 'roll'), (-90.0, 90.0))}
DRAWING = 1  # of this code: other pixels for the same parameters are another number


@dataclasses.dataclass(frozen=True)
class Portraits:
  """n drawn faces. smile, age and hair are uniform and independent of each other and of the pose;
  emotion follows the smile, the rest of the face follows the emotion."""

  size: int = 64
  n: int = 60_000
  seed: int = 0
  age: tuple[float, float] = (0.0, 1.0)  # uniform; above .5 hair is grey, and its colour faint
  yaw: tuple[float, float] = (-30.0, 30.0)  # degrees, uniform; (-90, 90) for turning heads
  pitch: tuple[float, float] = (-12.0, 12.0)
  roll: tuple[float, float] = (-8.0, 8.0)
  glasses: float = 0.2  # share of people who wear some
  extras: float = 0.12  # share with a hat, with earrings, with a necklace, each on its own
  people: int | None = None  # identities; record i shows person i % people. None: n of them
  close: bool = False  # the face alone: drawn at twice the size, and the middle cut out

  def __post_init__(self) -> None:
    limits.one_of('size', self.size, SIZES)
    if self.close:
      limits.one_of('size of a close face', self.size, SIZES[:-1])
    limits.whole('n', self.n, 1)
    limits.whole('seed', self.seed, 0, limits.SEEDS)
    if self.people is not None:
      limits.whole('people', self.people, 1)
    for name in ('glasses', 'extras'):
      limits.real(name, getattr(self, name), 0, 1)
    for name in ('age', 'yaw', 'pitch', 'roll'):
      low, high = RANGES[name]
      object.__setattr__(self, name, limits.span(name, getattr(self, name), low, high))

  @property
  def name(self) -> str:
    return 'portraits'

  @property
  def parameters(self) -> Mapping[str, Any]:
    own = dataclasses.asdict(self)
    own |= {} if own.pop('close') is False else {'close': True}  # the name of what was there before
    return {**own, 'drawing': DRAWING}

  @functools.cached_property
  def fields(self) -> Mapping[str, Field]:
    square = self.size, self.size
    return {
      'image': Field((*square, 3), 'uint8', 'image'),
      'mask': Field((*square, 1), 'uint8', 'image', mirrored=True, cropped=True, low=0, high=18),
      **FIELDS,
    }

  def __len__(self) -> int:
    return self.n

  def person(self, index: int) -> Person:
    """Who is on record `index`."""
    index = place(index, self.n)
    who = index if self.people is None else index % self.people
    identity = uniforms(self.seed, who, len(IDENTITY), stream=1)
    u = iter(uniforms(self.seed, index, 64, stream=2).tolist())

    def between(low: float, high: float) -> float:
      return low + (high - low) * next(u)

    smile, age, hair = next(u), between(*self.age), next(u)
    yaw, pitch, roll = between(*self.yaw), between(*self.pitch), between(*self.roll)
    worn, frame = next(u), next(u)
    emotion, intensity = feel(smile, next(u), next(u), between(0.55, 1.0)), between(0.25, 1.0)
    expression = {'smile': smile}
    for name in EXPRESSION[1:]:
      rest = REST[name]
      pulled = sum(
        e * (to - rest) for e, to in zip(emotion, PROTOTYPES.get(name, ()), strict=False)
      )
      expression[name] = rest + intensity * pulled + 0.12 * (next(u) + next(u) - 1)
    if next(u) < 0.3:  # mouths open without a feeling, too
      expression['mouth_open'] += between(0.0, 0.8)
    extra = [float(next(u) < self.extras) for _ in range(3)]
    return Person(
      identity=tuple(identity.round(6).tolist()),
      age=round(age, 6),
      hair=round(hair, 6),
      yaw=round(yaw, 4),
      pitch=round(pitch, 4),
      roll=round(roll, 4),
      glasses=round(frame, 6) if worn < self.glasses else 0.0,
      light=round(next(u), 6),
      background=round(next(u), 6),
      cloth=round(next(u), 6),
      emotion=emotion,
      intensity=round(intensity, 6),
      hat=extra[0],
      earring=extra[1],
      necklace=extra[2],
      **{k: round(min(max(v, 0.0), 1.0), 6) for k, v in expression.items()},
    )

  def attributes(self, index: int) -> Record:
    index = place(index, self.n)
    return self._scalars(index, self.person(index))

  def _scalars(self, index: int, p: Person) -> Record:
    own = {
      'feeling': int(np.argmax(p.emotion)),
      'person': index if self.people is None else index % self.people,
    }
    return {
      name: np.dtype(FIELDS[name].dtype).type(own[name] if name in own else getattr(p, name))
      for name in SCALARS
    }

  def __getitem__(self, index: int) -> Record:
    index = place(index, self.n)
    p = self.person(index)
    return {
      **draw(p, self.size, self.close),
      **self._scalars(index, p),
      'emotion': np.array(p.emotion, np.float32),
      'identity': np.array(p.identity, np.float32),
      'tokens': tokens(p),
    }


def draw(person: Person, size: int = 64, close: bool = False) -> Record:
  """image, mask, landmarks and visible of one person; `close`: from brows to chin."""
  from zsi_jax.data.portraits.render import render

  if not close:
    return render(person, size)
  left, top = size // 2, 11 * size // 16
  whole = render(person, 2 * size)
  points = whole['landmarks'] - np.array([left, top], whole['landmarks'].dtype)
  inside = ((points >= -0.5) & (points < size - 0.5)).all(1)
  cut = np.s_[top : top + size, left : left + size]
  return {
    'image': np.ascontiguousarray(whole['image'][cut]),
    'mask': np.ascontiguousarray(whole['mask'][cut]),
    'landmarks': points,
    'visible': whole['visible'] * inside.astype(whole['visible'].dtype),
  }


def feel(smile: float, first: float, second: float, share: float) -> tuple[float, ...]:
  """Shares of the EMOTIONS: one by chance, `share` of it, and of another the rest."""
  odds = np.array([1, 3 * smile, 1.3 * (1 - smile), 1, 0.8, 0.8 * (1 - smile), 1 - smile, 0.7])
  below = np.cumsum(odds)
  one, two = (int(np.searchsorted(below, u * below[-1], side='right')) for u in (first, second))
  shares = [0.0] * len(EMOTIONS)
  shares[one] += round(share, 6)
  shares[two] += round(1 - share, 6)
  return tuple(shares)
