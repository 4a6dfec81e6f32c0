"""How class gradients lie to each other over t: cosines and norms, on noised images of one's own.

Those of several classifiers stand one after the other, as k = 0, 1 | 2, 3 for two of two classes.

(1) g_k = ∇ log p(k | x_t), in x_t, at the site where the classifier asks (x_t, μ or x̂0)
(2) cos_kl = <g_k, g_l> / |g_k||g_l|;  with two classes that sum to one it is −1 at any x_t
(3) |g_k| beside |∇ log p(x_t)| = |ε̂| / σ, the model's own score
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core.guidance import Field
from zsi_jax.core.process import Level, Process
from zsi_jax.core.terms import Classifier
from zsi_jax.core.tree import fold, normal
from zsi_jax.evaluate import given
from zsi_jax.evaluate.errors import MetricError


class Gradients(NamedTuple):
  """At R rows of the schedule, for B images and K classes of all classifiers."""

  t: np.ndarray  # [R]
  norms: np.ndarray  # [R, B, K] of (1)
  cos: np.ndarray  # [R, B, K, K] (2), NaN where a gradient is zero
  score: np.ndarray  # [R, B] (3)


class Curve(NamedTuple):
  """A mean over examples and the middle 80 % of them, as a figure's series holds it."""

  x: list[float]
  y: list[float]
  low: list[float]
  high: list[float]


def class_gradients(
  keys: jax.Array,
  process: Process,
  denoiser: Any,
  classifiers: Sequence[Classifier],
  images: Any,
  rows: Sequence[int],
) -> Gradients:
  """(1-3) of images [B, H, W, C] in [-1, 1], noised to each row by their own keys."""
  x0 = jnp.asarray(given.floats(images, 'images in [-1, 1]', 4, '[B, H, W, C]'))
  if len(keys) != len(x0):
    raise MetricError(f'{len(x0)} images and {len(keys)} keys: one for each')
  if not classifiers:
    raise MetricError('gradients of no classifier')
  wrong = [i for i in rows if not 0 <= i < len(process)]
  if wrong or not len(rows):
    raise MetricError(f'rows are of 0 … {len(process) - 1}, at least one; not {list(rows)}')
  found = []
  for i in rows:
    gram, score = _row(i, keys, x0, process[i], denoiser, tuple(classifiers))
    found.append((np.asarray(gram, np.float64), np.asarray(score, np.float64)))
  gram, score = (np.stack(v) for v in zip(*found, strict=True))
  norms = np.sqrt(np.einsum('rbkk->rbk', gram))
  with np.errstate(invalid='ignore', divide='ignore'):
    cos = gram / norms[..., :, None] / norms[..., None, :]
  return Gradients(np.asarray(process[np.asarray(rows)].t), norms, cos, score)


@jax.jit
def _row(
  i: int, keys: jax.Array, x0: jax.Array, level: Level, denoiser: Any, own: tuple[Classifier, ...]
) -> tuple[jax.Array, jax.Array]:
  """Gram matrices [B, K, K] of (1), and (3)."""
  keys = fold(keys, i)
  x = level.noised(x0, normal(fold(keys, 'noise'), x0))

  def towards(classifier: Classifier, one_hot: jax.Array) -> tuple[jax.Array, jax.Array]:
    pred, score, _ = Field(denoiser, classifier.replace(weights=one_hot))(keys, x, level)
    return score.reshape(len(x), -1), pred.eps

  parts = []
  for classifier in own:
    logits = jax.eval_shape(
      classifier.net.apply, classifier.variables, x, jax.ShapeDtypeStruct((len(x),), x.dtype)
    )
    each = jax.vmap(partial(towards, classifier))(jnp.eye(logits.shape[-1], dtype=x.dtype))
    parts.append(each)
  g, eps = (jnp.concatenate(v) for v in zip(*parts, strict=True))
  gram = jnp.einsum('kbd,lbd->bkl', g, g, precision='highest')
  return gram, jnp.linalg.norm(eps[0].reshape(len(x), -1), axis=1) / level.sigma


def curve(values: Any, t: Any) -> Curve:
  """Of numbers [R, B] at t [R]; what is not finite (the cosine with a zero) is left out."""
  values, t = np.asarray(values, np.float64), np.asarray(t, np.float64)
  if values.ndim != 2 or t.shape != values.shape[:1]:
    raise MetricError(f'a curve takes numbers [R, B] and t [R], not {values.shape} and {t.shape}')
  kept = [(at, row[np.isfinite(row)]) for at, row in zip(t, values, strict=True)]
  kept = [(at, row) for at, row in kept if len(row)]
  if not kept:
    raise MetricError('a curve of nothing: no number of it is finite')
  low, high = zip(*(np.percentile(row, [10, 90]) for _, row in kept), strict=True)
  x, y = zip(*((at, row.mean()) for at, row in kept), strict=True)
  return Curve(*([float(v) for v in column] for column in (x, y, low, high)))
