"""Which training record a sample resembles most, and whether it is that record (memorised)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from zsi_jax.evaluate import given
from zsi_jax.evaluate.distances import squared
from zsi_jax.evaluate.errors import MetricError

K = 8  # candidates of a sample
NEAR = 0.5  # of the usual distance between neighbours: less is a copy
QUERIES = 1000  # training records that the usual distance is the median of


@dataclass(frozen=True)
class Nearest:
  """The k nearest training records of each sample, nearest first."""

  index: np.ndarray  # [N, k] int64, rows of the training set
  cosine: np.ndarray  # [N, k], 1 is the same direction
  distance: np.ndarray  # [N, k], L2 of the features
  order: np.ndarray  # [N], the most suspicious samples first


@dataclass(frozen=True)
class Memorised:
  """Pixels of each sample against the nearest of its candidates."""

  index: np.ndarray  # [N] int64, that training record
  distance: np.ndarray  # [N], root mean square over pixels in [0, 1]
  ratio: np.ndarray  # [N], to the median of the training set's own
  usual: float  # that median
  share: float  # of samples with ratio < near
  chance: float  # of training records that have another training record so near
  order: np.ndarray  # [N], the smallest ratio first


def nearest(features: Any, train: Any, k: int = K, how: str = 'cosine') -> Nearest:
  """Features [N, D] in training features [M, D], by 'cosine' or 'l2'."""
  x = given.features(features, 'features of the samples')
  y = given.features(train, 'features of the training set')
  given.same_width(x, y, 'features of the samples', 'of the training set')
  return _nearest(x, y, k, how, None)


def memorised(
  images: Any,
  train: Any,
  features: Any,
  train_features: Any,
  *,
  mirrored: tuple[Any, Any] | None = None,
  k: int = K,
  how: str = 'cosine',
  near: float = NEAR,
  queries: int = QUERIES,
  seed: int = 0,
) -> Memorised:
  """Samples whose pixels lie nearer to a training record's than training records to each other.

  The training set is asked in the same way, each record without itself: `chance` is what a fresh
  sample would score, `share` what these do. With `mirrored`, features of the same samples and
  records from left to right, a mirrored copy is one, too.
  """
  images = given.images(images, 'images of the samples')
  train = given.images(train, 'images of the training set')
  given.same_width(images, train, 'images of the samples', 'of the training set')
  for pixels, rows, what in ((images, features, 'samples'), (train, train_features, 'training')):
    if len(pixels) != len(rows):
      raise MetricError(f'{len(pixels)} {what} images and {len(rows)} rows of their features')
  found = nearest(features, train_features, k, how)
  x, y = np.asarray(features), np.asarray(train_features)
  own = np.random.default_rng(seed).permutation(len(y))[:queries]
  views, others = [(images, found)], [(train[own], _nearest(y[own], y, k, how, own))]
  if mirrored is not None:
    shown = [given.features(v, 'features of mirrored images') for v in mirrored]
    for v, of in zip(shown, (x, y), strict=True):
      if v.shape != of.shape:
        raise MetricError(f'features {of.shape} of images, and {v.shape} of the same mirrored')
    views.append((images[:, :, ::-1], _nearest(shown[0], y, k, how, None)))
    others.append((train[own, :, ::-1], _nearest(shown[1][own], y, k, how, own)))
  index, distance = _closest(views, train)
  _, apart = _closest(others, train)
  usual = float(np.median(apart))
  if usual == 0:
    raise MetricError(
      'half of the training records have an equal twin, so no distance says what a copy is: '
      'remove the duplicates'
    )
  ratio = distance / usual
  share, chance = (float((v < near).mean()) for v in (ratio, apart / usual))
  return Memorised(index, distance, ratio, usual, share, chance, np.argsort(ratio, kind='stable'))


def _nearest(x: np.ndarray, y: np.ndarray, k: int, how: str, own: np.ndarray | None) -> Nearest:
  """`own`: row i of x is row own[i] of y, and no neighbour of itself."""
  if how not in ('cosine', 'l2'):
    raise MetricError(f"how is 'cosine' or 'l2', not {how!r}")
  available = len(y) - (own is not None)
  if not 1 <= k <= available:
    raise MetricError(f'{k} neighbours were asked of {available} training records')
  pair = (_directions(x), _directions(y)) if how == 'cosine' else (x, y)
  index = np.empty((len(x), k), np.int64)
  for rows, block in squared(*pair):
    if own is not None:
      block[np.arange(len(block)), own[rows]] = np.inf
    few = np.argpartition(block, k - 1, axis=1)[:, :k]
    near = np.take_along_axis(block, few, axis=1)
    index[rows] = np.take_along_axis(few, np.argsort(near, axis=1, kind='stable'), axis=1)
  cosine, distance = (
    np.stack([by(x, y[index[:, j]]) for j in range(k)], axis=1) for by in (_cosine, _apart)
  )
  suspicious = -cosine[:, 0] if how == 'cosine' else distance[:, 0]
  return Nearest(index, cosine, distance, np.argsort(suspicious, kind='stable'))


def _cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Row by row; NaN where a row is zero."""
  length = [np.linalg.norm(v, axis=1) for v in (x, y)]
  with np.errstate(invalid='ignore'):
    return np.einsum('nd,nd->n', x, y, dtype=np.float64) / (length[0] * length[1])


def _apart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  return np.linalg.norm(x.astype(np.float64) - y, axis=1)


def _directions(x: np.ndarray) -> np.ndarray:
  length = np.linalg.norm(x, axis=1, keepdims=True)
  if len(bad := np.flatnonzero(length == 0)):
    raise MetricError(f"features: row {bad[0]} is zero and has no direction; take how='l2'")
  return x / length


def _closest(
  views: list[tuple[np.ndarray, Nearest]], train: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Of each image the nearest record and its distance, whichever way it is looked at."""
  index, distance = zip(*(_pixels(view, train, found.index) for view, found in views), strict=True)
  which = np.argmin(distance, axis=0)[None]
  return tuple(np.take_along_axis(np.stack(v), which, 0)[0] for v in (index, distance))


def _pixels(
  images: np.ndarray, train: np.ndarray, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The nearest candidate of each image, and the root mean square between the two."""
  index, distance = np.empty(len(images), np.int64), np.empty(len(images))
  for i, (image, rows) in enumerate(zip(images, candidates, strict=True)):
    gap = (train[rows].astype(np.float32) - image) / 255
    apart = np.sqrt((gap**2).mean(axis=(1, 2, 3)))
    index[i], distance[i] = rows[apart.argmin()], apart.min()
  return index, distance
