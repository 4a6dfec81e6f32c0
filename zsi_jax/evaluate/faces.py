"""Who, where, which pixels and which words: what was seen in faces against what is true of them.

(1) verification: a pair of images is of one person where their cosine is above a threshold.
    AUC = P(cosine of one person > that of two), ties count half; TAR at FAR f: the share of pairs
    of one person above what a share f of the pairs of two is above
(2) NME: mean distance of points, by the distance of the outer corners of the eyes
(3) IoU of a class: pixels where both say it, by those where one does; of classes that are true
    somewhere
(4) named: how often the likeliest class is true, and the mean of -log p of the true one
(5) retrieval: how often the nearest of n is the right one; the same words are as right
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zsi_jax.evaluate import given
from zsi_jax.evaluate.errors import MetricError

FAR = 0.01
CORNERS = 36, 45  # of the usual 68 points


def verification(rows: Any, who: Any, far: float = FAR) -> dict[str, Any]:
  """(1) over all pairs of embeddings [N, D] of persons [N]."""
  rows, who = given.features(rows, 'embeddings', 2).astype(np.float64), np.asarray(who)
  rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
  i, j = np.triu_indices(len(rows), 1)
  cosines, same = (rows @ rows.T)[i, j], who[i] == who[j]
  one, two = cosines[same], np.sort(cosines[~same])
  if not len(one) or not len(two):
    raise MetricError(
      f'verification of {len(rows)} images has {len(one)} pairs of one person and {len(two)} of '
      'two; it needs both'
    )
  below = (np.searchsorted(two, one, 'left') + np.searchsorted(two, one, 'right')) / 2
  threshold = two[min(int(np.ceil((1 - far) * len(two))), len(two)) - 1]
  return {
    'auc': float(below.mean() / len(two)),
    'tar': float((one > threshold).mean()),
    'far': far,
    'threshold': float(threshold),
    'pairs': {'same': len(one), 'other': len(two)},
  }


def located(found: Any, true: Any) -> dict[str, Any]:
  """(2) of points [N, K, 2] in pixels; NME of 68 points alone."""
  found, true = (given.floats(a, 'points', 3, '[N, K, 2]') for a in (found, true))
  if found.shape != true.shape:
    raise MetricError(f'points {list(found.shape)} against {list(true.shape)}')
  off = np.linalg.norm(found - true, axis=2).mean(1)
  told = {'px': float(off.mean())}
  if true.shape[1] == 68:
    apart = np.linalg.norm(true[:, CORNERS[0]] - true[:, CORNERS[1]], axis=1)
    told['nme'] = float((off / np.maximum(apart, 1)).mean())  # of a profile they meet
  return told


def overlap(found: Any, true: Any, classes: int) -> dict[str, Any]:
  """(3) of whole numbers [N, H, W]; the IoU of a class that is nowhere is None."""
  found, true = np.asarray(found), np.asarray(true)
  if found.shape != true.shape or not found.size:
    raise MetricError(f'masks {list(found.shape)} against {list(true.shape)}')
  pairs = true.astype(np.int64).ravel() * classes + found.astype(np.int64).ravel()
  both = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
  right, there = np.diag(both), both.sum(1) > 0
  each = right / np.maximum(both.sum(0) + both.sum(1) - right, 1)
  return {
    'miou': float(each[there].mean()),
    'accuracy': float(right.sum() / both.sum()),
    'iou': [float(v) if t else None for v, t in zip(each, there, strict=True)],
  }


def named(logits: Any, true: Any) -> dict[str, Any]:
  """(4) of logits [N, K] and classes [N]."""
  logits, true = given.floats(logits, 'logits', 2, '[N, K]'), np.asarray(true)
  if true.shape != logits.shape[:1] or not len(true):
    raise MetricError(f'logits {list(logits.shape)} against classes {list(true.shape)}')
  shifted = logits - logits.max(1, keepdims=True)
  logp = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
  return {
    'accuracy': float((logits.argmax(1) == true).mean()),
    'log_loss': float(-logp[np.arange(len(true)), true].mean()),
    'commonest': float(np.bincount(true).max() / len(true)),
  }


def retrieval(images: Any, words: Any, tokens: Any, of: int = 64) -> dict[str, Any]:
  """(5) of embeddings [N, D], `of` at a time: words of an image, and images of words."""
  images, words = (given.features(a, 'embeddings', 2) for a in (images, words))
  tokens, n = np.asarray(tokens), min(of, len(images))
  right = np.zeros(2)
  groups = len(images) // n
  for at in range(0, groups * n, n):
    told, own = (images[at : at + n] @ words[at : at + n].T), tokens[at : at + n]
    for k, best in enumerate((told.argmax(1), told.argmax(0))):
      right[k] += (own[best] == own).all(1).mean() / groups
  return {'words': float(right[0]), 'images': float(right[1]), 'of': n, 'groups': groups}
