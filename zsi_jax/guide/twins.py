"""What the twins of nets/twins.py learn from portraits; images that they see are rough at times.

(1) identity: -log softmax(s c), where c of the true person is cos(angle + m), as ArcFace's, its
    sine rounded by tan m: so it falls with the angle everywhere, and has no cusp
(2) landmarks: mean of sqrt(1 + |r|^2) - 1, r what a point is off by, in hundredths of the side
(3) segmentation: -log softmax of each pixel's class
(4) text: -log softmax of s <image, words>, over the words of a batch and over its images; who has
    the same words as another is no wrong answer
(5) feeling: -log softmax of the true class
(6) rough: blurred by a Gaussian of u `blur` pixels, then + v `noise` eps; u, v ~ U(0, 1): what a
    denoiser expects is blurred, and an energy that was never shown that is asked of it
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from zsi_jax.core.losses import applied
from zsi_jax.core.tree import fold, normal

Array = jax.Array
Said = tuple[Array, dict[str, Array]]  # the loss of each example, and what else is told of it
SCALE, MARGIN = 16.0, 0.2  # s and m of (1)
SHARPEST = 0.1  # pixels: a kernel that moves nothing
FAR = -1e9


@dataclasses.dataclass(frozen=True)
class TwinLoss:
  """(1-5) of batch['image'] and the batch's label, landmarks, mask, tokens or feeling."""

  net: Any
  kind: str
  blur: float = 0.0  # pixels
  noise: float = 0.0

  def __post_init__(self) -> None:
    if self.kind not in LOSSES:
      raise ValueError(f'kind is one of {tuple(LOSSES)}, not {self.kind!r}')
    if self.blur < 0 or self.noise < 0:
      raise ValueError(f'blur = {self.blur:g} and noise = {self.noise:g}: 0 is the least')

  def __call__(self, variables: Any, batch: Any, keys: Array, train: bool = True) -> Any:
    x = rough(keys, batch['image'], self.blur, self.noise) if train else batch['image']
    more = (batch['tokens'],) if self.kind == 'text' else ()
    out, changed = applied(self.net, variables, x, *more, key=keys[0], train=train)
    losses, told = LOSSES[self.kind](out, batch)
    return losses.mean(), ({'loss': losses, **told}, changed)


def identity(cosines: Array, batch: Any) -> Said:
  """(1): cos(a + m) = cos a cos m - sin a sin m, sin a = sqrt(1 - cos(a)^2 + tan(m)^2)."""
  label = batch['label']
  true = jnp.take_along_axis(cosines, label[:, None], 1)
  sine = jnp.sqrt(1 - true**2 + math.tan(MARGIN) ** 2)
  turned = math.cos(MARGIN) * true - math.sin(MARGIN) * sine
  mine = jax.nn.one_hot(label, cosines.shape[1], dtype=bool)
  logp = jax.nn.log_softmax(SCALE * jnp.where(mine, turned, cosines))
  right = (cosines.argmax(1) == label).astype(cosines.dtype)
  return -jnp.take_along_axis(logp, label[:, None], 1)[:, 0], {'accuracy': right}


def landmarks(points: Array, batch: Any) -> Said:
  """(2)"""
  side = batch['image'].shape[1]
  off = 100 * (points - parts(batch['landmarks'], side))
  square = (off**2).sum(-1)
  return (jnp.sqrt(1 + square) - 1).mean(1), {'off': jnp.sqrt(square).mean(1) / 100}


def parts(points: Array, side: int) -> Array:
  """Pixels as parts of the side: the centre of the first lies at 1/2 of one."""
  return (points + 0.5) / side


def segmentation(logits: Array, batch: Any) -> Said:
  """(3)"""
  mask = batch['mask'][..., 0].astype(int)
  logp = jnp.take_along_axis(jax.nn.log_softmax(logits), mask[..., None], -1)[..., 0]
  right = (logits.argmax(-1) == mask).astype(logits.dtype)
  return -logp.mean((1, 2)), {'accuracy': right.mean((1, 2))}


def text(out: tuple[Array, Array, Array], batch: Any) -> Said:
  """(4)"""
  image, words, scale = out
  own = jnp.eye(len(image), dtype=bool)
  same = (batch['tokens'][:, None] == batch['tokens'][None]).all(-1)
  logits = jnp.where(same & ~own, FAR, scale * image @ words.T)
  losses = -(jnp.diag(jax.nn.log_softmax(logits, 1)) + jnp.diag(jax.nn.log_softmax(logits, 0))) / 2
  right = (logits.argmax(1) == jnp.arange(len(image))).astype(logits.dtype)
  return losses, {'accuracy': right}


def feeling(logits: Array, batch: Any) -> Said:
  """(5)"""
  true = batch['feeling'].astype(int)
  logp = jnp.take_along_axis(jax.nn.log_softmax(logits), true[:, None], 1)[:, 0]
  return -logp, {'accuracy': (logits.argmax(1) == true).astype(logits.dtype)}


LOSSES: dict[str, Callable[[Any, Any], Said]] = {
  'identity': identity,
  'landmarks': landmarks,
  'segmentation': segmentation,
  'text': text,
  'feeling': feeling,
}


def rough(keys: Array, x: Array, blur: float, noise: float) -> Array:
  """(6), each image by its own key."""
  u, v = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(fold(keys, 'rough')).T
  if blur:
    x = blurred(x, u * blur)
  return x + noise * v[:, None, None, None] * normal(fold(keys, 'noise'), x) if noise else x


def blurred(x: Array, width: Array) -> Array:
  """By a Gaussian of `width` [B] pixels; what would come from outside is left out."""
  for axis, form in ((1, 'bmn,bnwc->bmwc'), (2, 'bmn,bhnc->bhmc')):
    place = jnp.arange(x.shape[axis])
    gap = (place[:, None] - place) / jnp.maximum(width, SHARPEST)[:, None, None]
    share = jax.nn.softmax(-(gap**2) / 2)
    x = jnp.einsum(form, share, x, precision='highest')
  return x
