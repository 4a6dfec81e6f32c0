"""Who is drawn: everything about one portrait, as numbers that are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from zsi_jax.data.errors import DataError

# What stays with a person, each in [0, 1], 1/2 the mean.
IDENTITY = (
  'skin', 'undertone', 'wide', 'long', 'deep', 'jaw', 'chin', 'cheekbone', 'ridge', 'eye_size',
  'eye_gap', 'iris', 'brow_thick', 'nose_long', 'nose_wide', 'lips', 'lip_hue', 'ears',
  'hair_length', 'fringe',
)  # fmt: skip
EXPRESSION = ('smile', 'mouth_open', 'stretch', 'brow', 'furrow', 'eye_open', 'skew', 'jaw_shift')
REST = dict(zip(EXPRESSION, (0.3, 0.0, 0.5, 0.5, 0.4, 0.6, 0.5, 0.5), strict=True))

EMOTIONS = ('neutral', 'happy', 'sad', 'surprise', 'fear', 'disgust', 'anger', 'contempt')
# Where each lies on the circumplex: (valence, arousal) at full intensity.
CIRCUMPLEX = np.array(
  [(0, 0), (0.8, 0.3), (-0.7, -0.4), (0.2, 0.8), (-0.6, 0.7), (-0.7, 0.3), (-0.6, 0.6), (-0.5, 0.1)]
)
# What a face does at full intensity, in the order of EMOTIONS.
PROTOTYPES: Mapping[str, tuple[float, ...]] = {
  'mouth_open': (0.0, 0.15, 0.0, 0.75, 0.45, 0.1, 0.2, 0.0),
  'stretch': (0.5, 0.6, 0.4, 0.3, 0.8, 0.6, 0.6, 0.5),
  'brow': (0.5, 0.55, 0.45, 0.95, 0.85, 0.3, 0.15, 0.5),
  'furrow': (0.4, 0.4, 0.1, 0.35, 0.2, 0.7, 1.0, 0.45),
  'eye_open': (0.6, 0.5, 0.4, 1.0, 0.95, 0.35, 0.7, 0.5),
  'skew': (0.5, 0.5, 0.5, 0.5, 0.5, 0.6, 0.5, 0.95),
}

ROWS = (
  ('young', 'adult', 'old'),
  ('black', 'brown', 'blond'),
  ('unsmiling', 'faint-smile', 'smiling'),
)
WORDS = (
  *(w for row in ROWS for w in row),
  *('left', 'half-left', 'frontal', 'half-right', 'right'),
  *('bare', 'glasses', 'closed', 'open', 'short', 'long', 'lit-left', 'lit-front', 'lit-right'),
  *EMOTIONS,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Person:
  """One portrait. Numbers lie in [0, 1], angles in degrees: yaw > 0 turns to the image's left,
  pitch > 0 looks up, roll > 0 tips to the image's right. Nothing else decides a pixel."""

  identity: tuple[float, ...] = (0.5,) * len(IDENTITY)
  smile: float = 0.3
  age: float = 0.3
  hair: float = 0.3  # black 0, brown, golden, blond 1
  yaw: float = 0.0
  pitch: float = 0.0
  roll: float = 0.0
  glasses: float = 0.0  # none 0, then the frame grows from a wire to horn
  mouth_open: float = 0.0
  brow: float = 0.5  # lowered 0, raised 1
  light: float = 0.4  # from the image's left 0, from its right 1
  background: float = 0.3  # red 0, yellow, green, blue, purple 1
  stretch: float = 0.5
  furrow: float = 0.4  # inner ends of the brows raised 0, knit 1
  eye_open: float = 0.6
  skew: float = 0.5  # one corner of the mouth above the other
  jaw_shift: float = 0.5
  emotion: tuple[float, ...] = (1.0,) + (0.0,) * 7  # shares of EMOTIONS
  intensity: float = 0.0
  cloth: float = 0.6
  earring: float = 0.0
  necklace: float = 0.0
  hat: float = 0.0

  def __post_init__(self) -> None:
    for name in NUMBERS:
      limit = 90 if name in ANGLES else 1
      if not (-limit if name in ANGLES else 0) <= getattr(self, name) <= limit:
        raise DataError(f'person: {name} = {getattr(self, name)} is not in {_range(name)}')
    for name, names in (('identity', IDENTITY), ('emotion', EMOTIONS)):
      values = getattr(self, name)
      if len(values) != len(names) or not all(0 <= v <= 1 for v in values):
        raise DataError(f'person: {name} is {len(names)} numbers in [0, 1], not {values}')

  @property
  def valence(self) -> float:
    return float(self.intensity * (np.array(self.emotion) * CIRCUMPLEX[:, 0]).sum())

  @property
  def arousal(self) -> float:
    return float(self.intensity * (np.array(self.emotion) * CIRCUMPLEX[:, 1]).sum())

  def trait(self, name: str) -> float:
    """A number of the identity, moved to [-1, 1] with 0 the mean."""
    return 2 * self.identity[IDENTITY.index(name)] - 1


ANGLES = ('yaw', 'pitch', 'roll')
NUMBERS = tuple(f.name for f in dataclasses.fields(Person) if f.type == 'float')


def _range(name: str) -> str:
  return '[-90, 90] degrees' if name in ANGLES else '[0, 1]'


def tokens(person: Person) -> np.ndarray:
  """What a caption would say, as 9 numbers of WORDS."""
  p = person

  def third(value: float) -> int:
    return min(int(3 * value), 2)

  side = int(np.searchsorted([-50, -15, 15, 50], -p.yaw))
  words = [
    ROWS[0][third(p.age)],
    ROWS[1][third(p.hair)],
    ROWS[2][third(p.smile)],
    ('left', 'half-left', 'frontal', 'half-right', 'right')[side],
    'glasses' if p.glasses > 0 else 'bare',
    'open' if p.mouth_open > 0.3 else 'closed',
    'long' if p.trait('hair_length') > 0 else 'short',
    ('lit-left', 'lit-front', 'lit-right')[third(p.light)],
    EMOTIONS[int(np.argmax(p.emotion))],
  ]
  return np.array([WORDS.index(w) for w in words], np.int32)


def caption(numbers: np.ndarray) -> str:
  """The words of tokens."""
  return ' '.join(WORDS[int(n)] for n in numbers)
