"""A world in which everything is known: x_0 ~ N(0, U diag(s) U^T), readings c = A x_0 + tau n.

(1) E[x_0 | x_t] = G x_t,  G = U diag(alpha s / (alpha^2 s + sigma^2)) U^T
(2) Cov[x_0 | x_t] = U diag(s sigma^2 / (alpha^2 s + sigma^2)) U^T = C
(3) log p(c | x_t) = log N(c; A G x_t, A C A^T + tau^2 I), exactly
(4) p(x_0 | c) = N(K c, (I - K A) S), K = S A^T (A S A^T + tau^2 I)^-1, S = U diag(s) U^T

Two readings taken together are one with both matrices, one below the other. What is known of each
alone does not add up to that: given x_t they depend on each other through x_0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from zsi_jax.core import Array, Level, Prediction, Tree, static
from zsi_jax.core.tree import bcast, normal, positive


class Gaussian(Tree):
  """The exact denoiser (1) of x [B, D]."""

  basis: Any  # U [D, D], orthonormal columns
  variance: Any  # s [D]

  @classmethod
  def drawn(cls, size: int, seed: int, decay: float = 1.0) -> Gaussian:
    """Of a random basis, with variances (k + 1)^-decay of mean 1."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((size, size)))
    s = (1.0 + np.arange(size)) ** -decay
    return cls(jnp.asarray(basis, float), jnp.asarray(s * size / s.sum(), float))

  @property
  def cov(self) -> Array:
    """S."""
    whole: Array = (self.basis * self.variance) @ self.basis.T
    return whole

  def through(self, x: Array, spectrum: Array) -> Array:
    """U diag(spectrum) U^T x."""
    return (x @ self.basis * spectrum) @ self.basis.T

  def total(self, level: Level) -> Array:
    """The variances of x_t."""
    return level.alpha**2 * self.variance + level.sigma**2

  def __call__(self, x: Array, level: Level, cond: Any = None) -> Prediction:
    x0 = self.through(x, level.alpha * self.variance / self.total(level))
    eps = (x - bcast(level.alpha, x) * x0) / positive(level.sigma)
    return Prediction(eps, x0, level.logvar(-jnp.ones_like(x)))

  def draw(self, keys: Array) -> Array:
    """x_0, one for each key."""
    z = normal(keys, jnp.zeros((len(keys), len(self.variance))))
    return (z * jnp.sqrt(self.variance)) @ self.basis.T


class Reading(Tree):
  """(x, level, given) -> log p(c | x_t) [B], c = given[name] [B, M] (3)."""

  world: Gaussian
  matrix: Any  # A [M, D]
  tau: Any  # a number, or [M]
  names: tuple[str, ...] = static(())  # of what is given, side by side

  def __call__(self, x: Array, level: Level, given: Any) -> Array:
    world, A = self.world, self.matrix
    gap = self.told(given) - world(x, level).x0 @ A.T
    B = A @ world.basis
    spread = (B * (world.variance * level.sigma**2 / world.total(level))) @ B.T
    S = spread + jnp.diag(jnp.broadcast_to(jnp.asarray(self.tau) ** 2, (len(A),)))
    log = 2 * jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(S))))
    return -0.5 * (
      jnp.sum(gap * jnp.linalg.solve(S, gap.T).T, -1) + log + len(A) * np.log(2 * np.pi)
    )

  def told(self, given: Any) -> Array:
    return jnp.concatenate([given[name] for name in self.names], -1)

  def energy(self, x0: Array, given: Any) -> Array:
    """|c - A x_0|^2 / (2 tau^2): what a method without the posterior's spread would take."""
    gap = (self.told(given) - x0 @ self.matrix.T) / jnp.asarray(self.tau)
    return 0.5 * jnp.sum(gap**2, -1)

  def read(self, keys: Array, x0: Array) -> Array:
    """c of x_0."""
    mean = x0 @ self.matrix.T
    return mean + jnp.asarray(self.tau) * normal(keys, mean)

  def posterior(self, c: Array) -> tuple[Array, Array]:
    """Mean [B, D] and covariance [D, D] of x_0 (4)."""
    S, A = self.world.cov, self.matrix
    noise = jnp.diag(jnp.broadcast_to(jnp.asarray(self.tau) ** 2, (len(A),)))
    K = jnp.linalg.solve(A @ S @ A.T + noise, A @ S).T
    return c @ K.T, S - K @ A @ S


def together(readings: Sequence[Reading]) -> Reading:
  """Several as one: p(c_1, c_2, ... | x_t) is no product of theirs."""
  first = readings[0]
  taus = [jnp.broadcast_to(jnp.asarray(r.tau, float), (len(r.matrix),)) for r in readings]
  names = tuple(name for r in readings for name in r.names)
  matrix = jnp.concatenate([r.matrix for r in readings])
  return Reading(first.world, matrix, jnp.concatenate(taus), names)


def alike(size: int, rows: int, overlap: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Two matrices [rows, size] of unit rows; the second looks where the first does by `overlap`."""
  rng = np.random.default_rng(seed)
  unit, _ = np.linalg.qr(rng.standard_normal((size, 2 * rows)))
  first, other = unit.T[:rows], unit.T[rows:]
  return first, overlap * first + np.sqrt(1 - overlap**2) * other


def divergence(mean: Array, cov: Array, samples: Array) -> float:
  """KL of the Gaussian of samples [N, D] from N(mean, cov), in nats for each dimension."""
  x = np.asarray(samples, np.float64)
  gap, own = x.mean(0) - np.asarray(mean, np.float64), np.cov(x.T)
  inverse = np.linalg.inv(np.asarray(cov, np.float64))
  logdets = np.linalg.slogdet(np.asarray(cov, np.float64))[1] - np.linalg.slogdet(own)[1]
  nats = 0.5 * (np.trace(inverse @ own) + gap @ inverse @ gap - len(gap) + logdets)
  return float(nats / len(gap))
