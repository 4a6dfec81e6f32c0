"""Faces as they are, and the same faces with green lips (Deschenaux et al., App. E).

The classifier sees both and the denoiser only plain ones, so what is green in a sample comes from
guidance alone: an extrapolation, since no image between was ever generated or seen either.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.data import limits, lists
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Field, Record, Source, digest, place

OUTER, INNER = slice(48, 60), slice(60, 68)  # of the 68 points
COLOUR, ALPHA = (0, 255, 0), 0.5  # as published
FINE = 8  # places of a pixel that are inside or not, a side
ALIGNED, SHARP = (178, 218), 16  # width and height of CelebA's images; parts of a pixel


def paint(
  image: np.ndarray,
  landmarks: np.ndarray,
  colour: Sequence[int] = COLOUR,
  alpha: float = ALPHA,
) -> np.ndarray:
  """uint8 [H, W, 3] with the lips in a colour, between the outer and the inner points.

  `landmarks` [68, 2] are (x, y) in pixels, (0, 0) the centre of the first one.
  """
  share = alpha * covered(landmarks, image.shape[0], image.shape[1])[..., None]
  mixed = image * (1 - share) + np.array(colour) * share
  return np.floor(mixed + 0.5).astype(np.uint8)


def covered(landmarks: np.ndarray, height: int, width: int) -> np.ndarray:
  """Share of each pixel that is lip: [H, W] in [0, 1]."""
  import cv2

  points = np.asarray(landmarks, np.float64)
  if points.shape != (68, 2) or not np.isfinite(points[OUTER.start :]).all():
    raise DataError(f'landmarks are 68 points (x, y), not {points.shape}, and finite')
  fine = np.zeros((height * FINE, width * FINE), np.uint8)
  rings = [
    np.round(((points[ring] + 0.5) * FINE - 0.5) * SHARP).astype(np.int32)
    for ring in (OUTER, INNER)
  ]
  cv2.fillPoly(fine, rings, (1,), shift=int(np.log2(SHARP)))  # inside one, outside the other
  return fine.reshape(height, FINE, width, FINE).mean((1, 3))


class Lips:
  """2 N records of N faces with landmarks: those as they are, then the same ones painted.

  `painted` is 0 or 1, `face` the number of the face among those of `of`. `points` has the landmarks
  of faces that bring none, [N, 68, 2] in pixels of their images; a face whose points are NaN has no
  known mouth and is left out.
  """

  name = 'lips'

  def __init__(
    self,
    of: Source,
    points: np.ndarray | None = None,
    colour: Sequence[int] = COLOUR,
    alpha: float = ALPHA,
  ) -> None:
    limits.real('alpha', alpha, 0, 1)
    if len(colour) != 3 or not all(0 <= c <= 255 for c in colour):
      raise DataError(f'a colour is three numbers of 0 … 255, not {tuple(colour)}')
    if points is None and 'landmarks' not in of.fields:
      raise DataError(f'{of.name}: its records have no landmarks; a sheet of them is needed')
    if points is not None and points.shape != (len(of), 68, 2):
      raise DataError(f'{of.name}: landmarks are [{len(of)}, 68, 2], not {points.shape}')
    self.of, self.points, self.alpha = of, points, float(alpha)
    self.colour = tuple(int(c) for c in colour)
    known = np.ones(len(of), bool) if points is None else np.isfinite(points).all((1, 2))
    self.faces = np.flatnonzero(known)
    if not self.faces.size:
      raise DataError(f'{of.name}: no face has landmarks')

  @functools.cached_property
  def parameters(self) -> Mapping[str, Any]:
    sha = None if self.points is None else hashlib.sha256(self.points.tobytes()).hexdigest()[:16]
    own = {'colour': list(self.colour), 'alpha': self.alpha, 'points': sha}
    return {'of': f'{self.of.name}/{digest(self.of)}', 'fine': FINE, **own}

  @property
  def fields(self) -> Mapping[str, Field]:
    kept = {n: f for n, f in self.of.fields.items() if n in ('image', 'file') or f.shape == ()}
    whole = Field(dtype='int32', low=0)
    return {**kept, 'painted': Field(dtype='int32', low=0, high=1), 'face': whole}

  def __len__(self) -> int:
    return 2 * len(self.faces)

  def attributes(self, index: int) -> Record:
    painted, face = divmod(place(index, len(self)), len(self.faces))
    return self._named(self.of.attributes(int(self.faces[face])), painted, face)

  def __getitem__(self, index: int) -> Record:
    painted, face = divmod(place(index, len(self)), len(self.faces))
    record = self.of[int(self.faces[face])]
    if painted:
      points = record['landmarks'] if self.points is None else self.points[self.faces[face]]
      record = {**record, 'image': paint(record['image'], points, self.colour, self.alpha)}
    return self._named(record, painted, face)

  def _named(self, record: Record, painted: int, face: int) -> Record:
    own = {'painted': np.int32(painted), 'face': np.int32(self.faces[face])}
    return {name: {**record, **own}[name] for name in self.fields if name in {**record, **own}}


def aligned(path: str | Path, files: Sequence[str], size: int, crop: int) -> np.ndarray:
  """[N, 68, 2] in pixels of CelebA's middle `crop`² at `size`²; NaN where no row names a face.

  A CSV with `file` and x48, y48 … x67, y67 (others are not read) in pixels of the aligned images.
  """
  sheet, points = lists.Sheet.read(path), np.full((len(files), 68, 2), np.nan, np.float32)
  number = {name: i for i, name in enumerate(files)}
  columns = [[sheet.numbers(f'{axis}{k}') for axis in 'xy'] for k in range(48, 68)]
  table = np.array(columns).transpose(2, 0, 1)  # [rows, 20, 2]
  corner = np.array([round((side - crop) / 2) for side in ALIGNED])
  table = (table - corner + 0.5) * (size / crop) - 0.5
  for name, row in zip(sheet.column('file'), table, strict=True):
    if name in number:
      points[number[name], :48] = 0
      points[number[name], 48:] = row
  return points
