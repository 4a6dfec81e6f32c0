"""What a noisy classifier says of an object at each place of the image (Fig. 7b)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core.process import Level, Process
from zsi_jax.core.terms import Classifier
from zsi_jax.core.tree import fold, normal
from zsi_jax.evaluate import given
from zsi_jax.evaluate.errors import MetricError

BATCH = 64


class Map(NamedTuple):
  """P of one class at places of a grid, NaN where no image was given."""

  values: np.ndarray  # [H, W], row 0 is the least y
  extent: tuple[float, float, float, float]  # x0, x1, y0, y1 of the centres
  t: float  # the noise level


def probabilities(
  keys: jax.Array, process: Process, classifier: Classifier, images: Any, row: int, draws: int = 8
) -> np.ndarray:
  """P [N, K] of images in [-1, 1] noised to a row, a mean over `draws` noises of their own."""
  x = given.floats(images, 'images in [-1, 1]', 4, '[N, H, W, C]').astype(np.float32)
  if len(keys) != len(x):
    raise MetricError(f'{len(x)} images and {len(keys)} keys: one for each')
  if not 0 <= row < len(process) or draws < 1:
    raise MetricError(
      f'a row is of 0 … {len(process) - 1} and draws are 1 or more, not row {row}, {draws} draws'
    )
  n, size = len(x), min(BATCH, len(x))
  out = []
  for at in range(0, n, size):
    rows = np.minimum(np.arange(at, at + size), n - 1)  # the last batch is as large as all
    given_to = keys[rows], x[rows], process[row], classifier
    p = np.stack([_classes(draw, *given_to) for draw in range(draws)])
    out.append(p.astype(np.float64).mean(axis=0)[: n - at])
  return np.concatenate(out)


@jax.jit
def _classes(
  draw: int, keys: jax.Array, x0: jax.Array, level: Level, classifier: Classifier
) -> jax.Array:
  x = level.noised(x0, normal(fold(keys, draw), x0))
  logits = classifier.net.apply(classifier.variables, x, jnp.broadcast_to(level.t, len(x)))
  return jax.nn.softmax(logits, axis=-1)


def grid(positions: Any, p: Any, t: float) -> Map:
  """Places (x, y) [N, 2] and numbers [N] as a picture."""
  positions = given.floats(np.asarray(positions, np.float64), 'positions', 2, '[N, 2]')
  p = given.scores(p)
  if positions.shape != (len(p), 2):
    raise MetricError(f'{len(p)} numbers want positions [{len(p)}, 2], not {positions.shape}')
  (xs, column), (ys, row) = (np.unique(v, return_inverse=True) for v in positions.T)
  if len(np.unique(positions, axis=0)) < len(p):
    raise MetricError('two numbers for one place: give each place once')
  values = np.full((len(ys), len(xs)), np.nan)
  values[row, column] = p
  return Map(values, (float(xs[0]), float(xs[-1]), float(ys[0]), float(ys[-1])), float(t))
