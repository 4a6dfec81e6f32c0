"""Conditions on what an image shows: energies of x0_hat, one number for each example.

(1) soft |r| = sqrt(|r|^2 + eta^2) - eta: zero and flat at r = 0, and never steeper than |r|
(2) rms: the same of r / sqrt(n), n numbers in r
(3) cosine: 1 - <a, b> / (|a|_eta |b|_eta), |.|_eta = sqrt(|.|^2 + eta^2): from 0 to 2
(4) gram: (2) of G(a) - G(b), G(f) = mean over places of f f^T        the style of Gatys et al.
(5) classes: mean over pixels of -log p(b), p = softmax(a), b whole numbers

A norm that is not softened has slope one where it is met, in a direction that nobody knows: the
step there never ends, and its curvature is infinite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from zsi_jax.core import Array, Energy, Tree, static

ETA = 1e-2
Distance = Callable[[Array, Array], Array]


def soft(r: Array, eta: float = ETA) -> Array:
  """(1) of all numbers of an example: [B, ...] -> [B]."""
  square = jnp.sum(r.reshape(len(r), -1) ** 2, -1)
  norm: Array = jnp.sqrt(square + eta**2) - eta
  return norm


def norm(a: Array, b: Array) -> Array:
  """(1) of a - b, as FreeDoM measures."""
  return soft(a - b)


def rms(a: Array, b: Array) -> Array:
  """(2) of a - b: the same at any size."""
  return soft((a - b) / (a[0].size ** 0.5), 1e-3)


def cosine(a: Array, b: Array) -> Array:
  """(3)"""
  a, b = (v.reshape(len(v), -1) for v in (a, b))
  lengths = [jnp.sqrt(jnp.sum(v**2, -1) + 1e-6) for v in (a, b)]
  told: Array = 1 - jnp.sum(a * b, -1) / (lengths[0] * lengths[1])
  return told


def gram(a: Array, b: Array) -> Array:
  """(4) of features [B, ..., C]."""
  return rms(correlations(a), correlations(b))


def correlations(f: Array) -> Array:
  """G of (4), [B, C, C]."""
  f = f.reshape(len(f), -1, f.shape[-1])
  return jnp.einsum('bpc,bpd->bcd', f, f, precision='highest') / f.shape[1]


def classes(a: Array, b: Array) -> Array:
  """(5) of logits [B, ..., K] and classes [B, ...]."""
  told = jnp.take_along_axis(jax.nn.log_softmax(a), b[..., None].astype(int), -1)
  return -told.reshape(len(a), -1).mean(-1)


DISTANCES: dict[str, Distance] = {
  'norm': norm,
  'rms': rms,
  'cosine': cosine,
  'gram': gram,
  'classes': classes,
}


class Eye(Tree):
  """What a network says of images [B, H, W, C] in [-1, 1], through its own view of them."""

  variables: Any
  net: Any = static()
  view: Any = static(None)  # images -> what the network takes; None: as they are
  method: str | None = static(None)  # of the network; None: __call__

  def __call__(self, x: Array, *more: Any) -> Any:
    seen = x if self.view is None else self.view(x, *more)
    return self.net.apply(self.variables, seen, method=self.method)


class Near(Tree):
  """(x0, given) -> [B]: how far what `eye` sees in x0 is from given[name]."""

  eye: Callable[..., Array]
  name: str = static()
  how: str = static('norm')
  beside: tuple[str, ...] = static(())  # more of what is given that the eye takes, as a box

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.how not in DISTANCES:
      raise ValueError(f'how is one of {tuple(DISTANCES)}, not {self.how!r}')

  def __call__(self, x0: Array, given: Any) -> Array:
    seen, ref = self.eye(x0, *(given[name] for name in self.beside)), given[self.name]
    told = seen.shape[:-1] if self.how == 'classes' else seen.shape
    if jnp.shape(ref) != told:
      raise ValueError(
        f'given[{self.name!r}] has shape {list(jnp.shape(ref))}, and what is seen in x0 has '
        f'{list(told)}: make it by reference(term, images) of as many images'
      )
    return DISTANCES[self.how](seen, ref)


def near(eye: Callable[..., Array], name: str, how: str = 'norm', **more: Any) -> Energy:
  """A condition, ready to be weighed and added: -grad of `Near` through the denoiser."""
  return Energy(Near(eye, name, how, **more), name=name)


def identity(eye: Callable[..., Array], name: str = 'identity') -> Energy:
  """The person of given[name], an embedding: by its cosine."""
  return near(eye, name, 'cosine')


def landmarks(eye: Callable[..., Array], name: str = 'landmarks', **more: Any) -> Energy:
  """Points [B, K, 2] of given[name]."""
  return near(eye, name, 'norm', **more)


def segmentation(eye: Callable[..., Array], name: str = 'segmentation') -> Energy:
  """The logits [B, h, w, K] of another image, as FreeDoM's; of a mask: near(…, 'classes')."""
  return near(eye, name, 'rms')


def text(eye: Callable[..., Array], name: str = 'text') -> Energy:
  """What a text tower made of words: by the cosine of both embeddings."""
  return near(eye, name, 'cosine')


def style(eye: Callable[..., Array], name: str = 'style') -> Energy:
  """Features [B, ..., C] that go together as in another image, wherever they are."""
  return near(eye, name, 'gram')


def content(eye: Callable[..., Array], name: str = 'content') -> Energy:
  """Features where they are."""
  return near(eye, name, 'rms')


def reference(term: Energy, images: Array, **beside: Array) -> dict[str, Any]:
  """What `given` needs of images that a condition shall be near to: {name: what is seen}."""
  own = term.energy
  if not isinstance(own, Near):
    raise ValueError(f'{term!r} has no reference of its own: put what it reads into given')
  seen = own.eye(jnp.asarray(images), *(beside[name] for name in own.beside))
  return {own.name: seen.argmax(-1) if own.how == 'classes' else seen}
