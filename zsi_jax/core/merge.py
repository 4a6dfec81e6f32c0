"""Merges: pytrees from Gram matrices [B, K, K] to weights [B, K].

(1) d* = argmax_{|d - g0| <= c |g0|} min_k <g_k, d>, g0 the mean     CAGrad
(2) w* = argmin_{w in simplex} <g_w, g0> + c |g0| |g_w|              its dual, in Gram entries alone
(3) d* = (g0 + c |g0| g_w / |g_w|) / (1 + c)                         mean-like: c = 0 is g0
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core.tree import Array, Number, Tree, at_least, positive, root, static, weight

EXACT = 6  # three terms make six ordered pairs; 2^6 - 1 = 63 faces are still cheap


class Sum(Tree):
  """sum_k g_k."""

  total = True  # as strong as all gradients together, where others are as strong as one

  def __call__(self, gram: Array) -> Array:
    return jnp.ones(gram.shape[:2], gram.dtype)


class Mean(Tree):
  """sum_k g_k / K."""

  def __call__(self, gram: Array) -> Array:
    return jnp.full(gram.shape[:2], 1 / gram.shape[-1], gram.dtype)


class PCGrad(Tree):
  """sum_k of g_k without its components against the others, taken off in the order of the terms.

  g_k <- g_k - min(0, <g_k, g_j>) / |g_j|^2 g_j for j /= k: with K = 2 the order does not matter.
  """

  total = True

  def __call__(self, gram: Array) -> Array:
    K = gram.shape[-1]

    def surgery(G: Array) -> Array:
      diagonal = jnp.diagonal(G) + jnp.finfo(G.dtype).tiny
      rows = []
      for k in range(K):
        w = jnp.zeros(K, G.dtype).at[k].set(1)
        for j in range(K):
          if j != k:
            w = w.at[j].add(-jnp.minimum(0, w @ G[:, j]) / diagonal[j])
        rows.append(w)
      return jnp.sum(jnp.stack(rows), 0)

    return jax.vmap(surgery)(gram)


class CAGrad(Tree):
  """Conflict-averse weights (1-3): every face of the simplex is solved, the best one kept.

  Exact for K <= 6; above, projected gradient on (2), which `exact` refuses. Equal gradients give
  that one, whatever c.
  """

  c: Number = weight(0.5)
  exact: bool = static(False)

  def __post_init__(self) -> None:
    super().__post_init__()
    at_least(self.c, 0, 'CAGrad.c')

  def __call__(self, gram: Array) -> Array:
    K = gram.shape[-1]
    if self.exact and K > EXACT:
      raise ValueError(
        f'CAGrad(exact=True) of {K} gradients: 2^{K} faces are too many, {EXACT} gradients are the '
        "most; take fewer pairs (pairing='star' has one for each term), or exact=False"
      )
    solve = by_faces if K <= EXACT else by_descent
    eps = jnp.finfo(gram.dtype).eps

    def weights(G: Array) -> Array:  # [K, K] -> [K], at any scale of G
      G = G / positive(jnp.trace(G) / K) + 4 * eps * jnp.eye(K, dtype=G.dtype)
      b = G.mean(1)
      radius = self.c * root(b.mean())  # c |g0|
      w = solve(G, b, radius)
      pull = radius / jnp.sqrt(jnp.maximum(w @ G @ w, 4 * eps))
      return (1 / K + pull * w) / (1 + self.c)

    return jax.vmap(weights)(gram)


class MGDA(Tree):
  """The shortest vector in the hull of the gradients: (2) for c without end, weights that sum to 1.

  Zero where they cannot all be followed at once.
  """

  def __call__(self, gram: Array) -> Array:
    K = gram.shape[-1]
    solve = by_faces if K <= EXACT else by_descent
    eps = jnp.finfo(gram.dtype).eps

    def weights(G: Array) -> Array:
      G = G / positive(jnp.trace(G) / K) + 4 * eps * jnp.eye(K, dtype=G.dtype)
      return solve(G, jnp.zeros(K, G.dtype), jnp.ones((), G.dtype))

    return jax.vmap(weights)(gram)


def dual(G: Array, b: Array, radius: Array, w: Array) -> Array:
  """(2)"""
  return w @ b + radius * root(w @ G @ w)


def by_faces(G: Array, b: Array, radius: Array) -> Array:
  """The minimiser of (2): the stationary point of each face, and the best feasible one."""
  K = len(b)
  faces = np.array(list(itertools.product([0.0, 1.0], repeat=K)))[1:]

  def face(m: Array) -> tuple[Array, Array]:
    """The centre of the simplex stands in where the face has no such point."""
    A = m[:, None] * G * m + jnp.diag(1 - m)
    y1, yb = jnp.linalg.solve(A, jnp.stack([m, m * b], 1)).T
    a, g, d = y1.sum(), yb.sum(), (m * b) @ yb
    D = g * g - a * d + a * radius**2
    root = jnp.sqrt(jnp.where(D > 0, D, 1))
    w = ((g + root) / a * y1 - yb) / root
    ok = (D > 0) & jnp.all(w > -1e-5) & (jnp.abs(w.sum() - 1) < 1e-3)
    w = jnp.where(ok, jnp.maximum(w, 0), 1 / K)
    w = w / w.sum()
    return w, dual(G, b, radius, w)

  w, cost = jax.vmap(face)(jnp.asarray(faces, G.dtype))
  return w[jnp.argmin(cost)]


def by_descent(G: Array, b: Array, radius: Array, rounds: int = 100) -> Array:
  """The minimiser of (2) to about 1e-3 of its scale: the best of some projected steps, repeated."""
  K = len(b)
  steps = jnp.append(0, 4.0 ** jnp.arange(-8, 4)).astype(G.dtype)

  def project(w: Array) -> Array:  # onto the simplex: subtract the level that leaves a sum of one
    top = jnp.sort(w)[::-1]
    level = (jnp.cumsum(top) - 1) / jnp.arange(1, K + 1)
    return jnp.maximum(w - level[jnp.sum(top > level) - 1], 0)

  def descend(_: Any, w: Array) -> Array:
    slope = b + radius * (G @ w) / jnp.sqrt(jnp.maximum(w @ G @ w, jnp.finfo(G.dtype).eps))
    tries = jax.vmap(project)(w - steps[:, None] * slope)
    return tries[jnp.argmin(jax.vmap(lambda v: dual(G, b, radius, v))(tries))]

  vertices = jnp.vstack([jnp.full(K, 1 / K, G.dtype), jnp.eye(K, dtype=G.dtype)])
  start = vertices[jnp.argmin(jax.vmap(lambda v: dual(G, b, radius, v))(vertices))]
  best: Array = jax.lax.fori_loop(0, rounds, descend, start)
  return best
