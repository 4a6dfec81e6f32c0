"""A mixture of two Gaussians: a denoiser and a classifier with closed forms.

(1) x_0 ~ 1/2 N(-mu, tau^2) + 1/2 N(mu, tau^2), so x_t ~ 1/2 N(-alpha mu, s2) + 1/2 N(alpha mu, s2),
    s2 = alpha^2 tau^2 + sigma^2
(2) log p(1 | x) - log p(0 | x) = d(x) = k x, k = 2 alpha mu / s2
(3) E[x_0 | x] = sum_c p_c (m_c + alpha tau^2 / s2 (x - alpha m_c)), and eps = (x - alpha E) / sigma
(4) guided by (w0, w1) the score is that of sum_c q_c(x) with d' = (w1 - W p_1) k, W = w0 + w1
(5) near the resting point p = p_1 an ancestral step multiplies a disturbance of x by
    m' - Sigma W p (1 - p) k^2, m' the slope of the unguided mean:
    m' = coef_x0 (alpha tau^2 / s2 + 2 p (1 - p) k mu sigma^2 / s2) + coef_xt.
    It overshoots, row by row, where this falls below -1: W > (1 + m') / (Sigma p (1 - p) k^2)
(6) the prior pulls too, as one class weight spread evenly would push back: p = (w1 - 1/2) / (W - 1)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core import Level, LogProb, Prediction, Process, Tree, cosine
from zsi_jax.core.predict import value
from zsi_jax.core.tree import bcast, positive


class Mixture(Tree):
  """The exact denoiser (3); `cond` 0 or 1 is the denoiser of one mode, 2 that of the mixture."""

  mu: float = 0.7
  tau: float = 0.15

  def logit(self, x, level: Level):
    """(2) for each number of x."""
    return 2 * bcast(level.alpha, x) * self.mu * x / self.s2(x, level)

  def s2(self, x, level: Level):
    return bcast(level.alpha, x) ** 2 * self.tau**2 + bcast(level.sigma, x) ** 2

  def __call__(self, x, level: Level, cond=None) -> Prediction:
    alpha, sigma = bcast(level.alpha, x), bcast(level.sigma, x)
    right = jax.nn.sigmoid(self.logit(x, level))
    if cond is not None:
      c = bcast(cond, x)
      right = jnp.where(c == 2, right, c)
    centre = self.mu * (2 * right - 1)
    x0 = centre + alpha * self.tau**2 / self.s2(x, level) * (x - alpha * centre)
    return Prediction((x - alpha * x0) / positive(sigma), x0, level.logvar(-jnp.ones_like(x)))


class Bayes(Tree):
  """sum_c w_c log p(c | x_t), exact, over the first number of each example."""

  mixture: Mixture
  weights: object

  def __call__(self, x, level: Level, given):
    d = self.mixture.logit(x, level).reshape(len(x), -1).sum(-1)
    logp = jnp.stack([jax.nn.log_sigmoid(-d), jax.nn.log_sigmoid(d)], -1)
    return jnp.sum(jnp.asarray(value(self.weights, level, given)) * logp, -1)


class BayesNet:
  """The same classifier as a network (variables, x, t) -> logits, for cosine schedules."""

  def __init__(self, mixture: Mixture, T: int):
    self.mixture, self.T = mixture, T

  def __eq__(self, other):
    return isinstance(other, BayesNet) and hash(self) == hash(other)

  def __hash__(self):
    return hash((self.T, float(self.mixture.mu), float(self.mixture.tau)))

  def apply(self, variables, x, t):
    table = jnp.asarray(np.cumprod(1 - cosine(self.T)), x.dtype)
    ab = table[t.astype(int)]
    level = Level(t, t, jnp.sqrt(ab), jnp.sqrt(1 - ab), t, t, t, t)
    d = self.mixture.logit(x, level).reshape(len(x), -1).sum(-1)
    return jnp.stack([jnp.zeros_like(d), d], -1) * variables['scale']


def guided(mixture: Mixture, weights, at: str = 'xt', name: str = 'bayes') -> LogProb:
  return LogProb(Bayes(mixture, weights), at, name)


def rest(w0: float, w1: float) -> float:
  """(6)"""
  return (w1 - 0.5) / (w0 + w1 - 1)


def stable_weights(mixture: Mixture, process: Process, p: float = 0.5) -> np.ndarray:
  """(5): for each row, the largest w0 + w1 at which an ancestral step does not overshoot."""
  level = jax.tree.map(lambda a: np.asarray(a, np.float64), process.levels)
  mu, tau = float(mixture.mu), float(mixture.tau)
  s2 = level.alpha**2 * tau**2 + level.sigma**2
  k = 2 * level.alpha * mu / s2
  x0 = level.alpha * tau**2 / s2 + 2 * p * (1 - p) * k * mu * level.sigma**2 / s2
  slope = level.coef_x0 * x0 + level.coef_xt
  return (1 + slope) / (np.exp(level.logvar_min) * p * (1 - p) * k**2)
