"""Losses over noised images, as values: (variables, batch, keys) -> (loss, (metrics, collections)).

 (1) L_simple = mean |eps - eps_hat|^2, or the same of x0 or v
 (2) L_t = KL(q(x_s | x_t, x_0) || p(x_s | x_t)) in bits per dimension; at row 0 -log2 p(x_0 | x_0+)
 (3) L_hybrid = L_simple + w L_t, the mean of p held fixed: w = 1 is what the published code runs
     (so each of the T terms of L_vlb weighs 1/T), w = T / 1000 what its paper says (.001 L_vlb)
 (4) L_vlb = L_t alone, its mean learned too; times T it is the bound in expectation

The noise of an example belongs to its key, so it does not depend on the batch around it (dropout
does: a network draws it for the batch).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core.predict import Denoiser, Prediction
from zsi_jax.core.process import Level, Process
from zsi_jax.core.tree import Array, Number, Tree, bcast, fold, normal, static, weight

Losses = tuple[Array, tuple[dict[str, Array], dict[str, Any]]]
KINDS = ('simple', 'hybrid', 'hybrid_paper', 'vlb')


class Times(Tree):
  """Rows drawn from low <= u < high of the chain, u = low + (high - low) r^power, r uniform."""

  low: Number = weight(0.0)
  high: Number = weight(1.0)
  power: Number = weight(1.0)

  def draw(self, keys: Array, T: int) -> tuple[Array, Array]:
    """Rows [B] and importance weights [B] (all one: the loss is that of the drawn law)."""
    r = jax.vmap(jax.random.uniform)(fold(keys, 'times'))
    u = self.low + (self.high - self.low) * r**self.power
    return jnp.clip((u * T).astype(int), 0, T - 1), jnp.ones_like(r)


class Importance(Tree):
  """Rows drawn in proportion to the root mean square of their last losses  (iDDPM Eq. 18).

  Uniform until every row has a full history; unbiased by its weights 1 / (T p).
  """

  history: Array  # [T, n]
  counts: Array  # [T]
  floor: Number = weight(0.001)  # share of uniform draws

  @classmethod
  def make(cls, T: int, n: int = 10) -> Importance:
    return cls(jnp.zeros((T, n)), jnp.zeros(T, int))

  def probabilities(self) -> Array:
    T, n = self.history.shape
    p = jnp.sqrt(jnp.mean(self.history**2, 1))
    p = (1 - self.floor) * p / jnp.maximum(jnp.sum(p), jnp.finfo(p.dtype).tiny) + self.floor / T
    return jnp.where(jnp.all(self.counts >= n), p, 1 / T)

  def draw(self, keys: Array, T: int) -> tuple[Array, Array]:
    p = self.probabilities()
    if p.shape[0] != T:
      raise ValueError(f'this Importance was made for {p.shape[0]} rows, the process has {T}')
    cum = jnp.cumsum(p)
    r = jax.vmap(jax.random.uniform)(fold(keys, 'times')) * cum[-1]
    rows = jnp.clip(jnp.searchsorted(cum, r, side='right'), 0, T - 1)
    return rows, 1 / (T * p[rows])

  def update(self, rows: Array, losses: Array) -> Importance:
    """The same sampler with the losses of a batch remembered, the oldest forgotten."""

    def remember(seen: tuple[Array, Array], one: tuple[Array, Array]) -> tuple[Any, None]:
      (history, counts), (row, loss) = seen, one
      full = jnp.append(history[row, 1:], loss)
      part = history[row].at[jnp.minimum(counts[row], history.shape[1] - 1)].set(loss)
      line = jnp.where(counts[row] >= history.shape[1], full, part)
      return (history.at[row].set(line), counts.at[row].add(1)), None

    (history, counts), _ = jax.lax.scan(remember, (self.history, self.counts), (rows, losses))
    return self.replace(history=history, counts=counts)


def dropped(keys: Array, cond: Array, null: Any, rate: Any) -> Array:
  """Conditions, each replaced by the null row at `rate`: what classifier-free guidance learns."""
  out = jax.vmap(jax.random.uniform)(fold(keys, 'drop')) < rate
  null = jnp.asarray(null, cond.dtype)
  return jnp.where(out.reshape(-1, *(1,) * (cond.ndim - 1)), null, cond)


def mean(a: Array) -> Array:
  """Over all axes but the first."""
  return jnp.mean(a, range(1, a.ndim))


def normal_kl(mean1: Array, logvar1: Array, mean2: Array, logvar2: Array) -> Array:
  """KL between diagonal Gaussians, in nats, for each number."""
  gap = jnp.exp(logvar1 - logvar2) + (mean1 - mean2) ** 2 * jnp.exp(-logvar2)
  return 0.5 * (logvar2 - logvar1 - 1 + gap)


def discretized(x: Array, mean: Array, logvar: Array) -> Array:
  """log p of a pixel of 255 steps under N(mean, e^logvar), tails open, in nats  (DDPM Eq. 13)."""

  def cdf(z: Array) -> Array:
    """In the tanh form, as published: the exact one differs in the third digit."""
    return 0.5 * (1 + jnp.tanh(jnp.sqrt(2 / jnp.pi) * (z + 0.044715 * z**3)))

  inverse = jnp.exp(-0.5 * logvar)
  upper = cdf(inverse * (x - mean + 1 / 255))
  lower = cdf(inverse * (x - mean - 1 / 255))
  inside = jnp.where(x > 0.999, 1 - lower, upper - lower)
  return jnp.log(jnp.maximum(jnp.where(x < -0.999, upper, inside), 1e-12))


def bound(pred: Prediction, x0: Array, xt: Array, level: Level, rows: Array) -> Array:
  """(2), [B]."""
  believed = level.mean(pred.x0, xt)
  kl = normal_kl(level.mean(x0, xt), bcast(level.logvar_min, xt), believed, pred.logvar)
  nll = -discretized(x0, believed, pred.logvar)
  return jnp.where(rows == 0, mean(nll), mean(kl)) / jnp.log(2.0)


def check_keys(keys: Array, x0: Array) -> None:
  if keys.shape != x0.shape[:1]:
    raise ValueError(f'a loss takes one key for each example: {x0.shape[0]}, not {keys.shape}')


def applied(net: Any, variables: Any, *args: Any, key: Array, train: bool) -> tuple[Array, Any]:
  """The network's output and the collections that it changed: none outside training."""
  mutable = [name for name in variables if name != 'params'] if train else []
  out, changed = net.apply(variables, *args, train=train, mutable=mutable, rngs={'dropout': key})
  return out, changed


class DenoiserLoss(Tree):
  """(1-4) of batch['image'] [B, H, W, C] and, for a conditional net, batch['cond'] [B, ...]."""

  denoiser: Denoiser  # its variables are not looked at
  process: Process
  times: Any = dataclasses.field(default_factory=Times)
  drop: Number = weight(0.0)  # share of conditions replaced by the null row
  kind: str = static('hybrid')

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.kind not in KINDS:
      raise ValueError(f'DenoiserLoss.kind is one of {KINDS}, not {self.kind!r}')
    known = isinstance(self.drop, jax.Array) and not isinstance(self.drop, jax.core.Tracer)
    if known and np.any(self.drop) and getattr(self.denoiser, 'null', 0) is None:
      raise ValueError('drop replaces conditions by the null row: say which, Denoiser(..., null=K)')

  def __call__(self, variables: Any, batch: Any, keys: Array, train: bool = True) -> Losses:
    check_keys(keys, batch['image'])
    rows, weights = self.times.draw(keys, len(self.process))
    eps = normal(fold(keys, 'eps'), batch['image'])
    return self.at(variables, batch, keys, rows, eps, weights, train)

  def at(
    self,
    variables: Any,
    batch: Any,
    keys: Array,
    rows: Array,
    eps: Array,
    weights: Any = 1.0,
    train: bool = True,
  ) -> Losses:
    """The loss at given rows and noise."""
    x0, level = batch['image'], self.process[rows]
    xt, cond = level.noised(x0, eps), batch.get('cond')
    if cond is not None and self.denoiser.null is not None:
      cond = dropped(keys, cond, self.denoiser.null, self.drop)
    net = self.denoiser.net
    out, changed = applied(net, variables, xt, level.t, cond, key=keys[0], train=train)
    pred = self.denoiser.read(out, xt, level)
    metrics = {'t': level.t, 'mse': self.simple(pred, x0, eps, level)}
    losses = metrics['mse']
    if self.kind != 'simple':
      fixed = pred._replace(x0=jax.lax.stop_gradient(pred.x0)) if self.kind != 'vlb' else pred
      metrics['vb'] = bound(fixed, x0, xt, level, rows)
      w = len(self.process) / 1000 if self.kind == 'hybrid_paper' else 1.0
      losses = metrics['vb'] if self.kind == 'vlb' else losses + w * metrics['vb']
    metrics['loss'] = losses
    return jnp.mean(weights * losses), (metrics, changed)

  def simple(self, pred: Prediction, x0: Array, eps: Array, level: Level) -> Array:
    """(1), [B], of what the net predicts."""
    match self.denoiser.predicts:
      case 'eps':
        return mean((eps - pred.eps) ** 2)
      case 'x0':
        return mean((x0 - pred.x0) ** 2)
      case _:
        alpha, sigma = bcast(level.alpha, x0), bcast(level.sigma, x0)
        return mean((alpha * (eps - pred.eps) - sigma * (x0 - pred.x0)) ** 2)


class ClassifierLoss(Tree):
  """Cross-entropy of batch['label'] [B] from x_t: a noisy classifier."""

  process: Process
  net: Any = static()
  times: Any = dataclasses.field(default_factory=Times)

  def __call__(self, variables: Any, batch: Any, keys: Array, train: bool = True) -> Losses:
    out, (level, weights, changed) = noisy(self, variables, batch['image'], keys, train)
    logp = jax.nn.log_softmax(out)
    losses = -jnp.take_along_axis(logp, batch['label'][:, None], 1)[:, 0]
    right = (jnp.argmax(out, -1) == batch['label']).astype(out.dtype)
    metrics = {'t': level.t, 'loss': losses, 'accuracy': right}
    return jnp.mean(weights * losses), (metrics, changed)


class RegressorLoss(Tree):
  """|f(x_t, t) - target|^2 of batch['target'] [B] or [B, D]: a noisy regressor."""

  process: Process
  net: Any = static()
  times: Any = dataclasses.field(default_factory=Times)

  def __call__(self, variables: Any, batch: Any, keys: Array, train: bool = True) -> Losses:
    out, (level, weights, changed) = noisy(self, variables, batch['image'], keys, train)
    out, target = (a.reshape(len(keys), -1) for a in (out, batch['target']))
    if out.shape != target.shape:
      raise ValueError(f'the net gives {out.shape} and the targets are {target.shape}')
    losses = mean((out - target) ** 2)
    return jnp.mean(weights * losses), ({'t': level.t, 'loss': losses}, changed)


def noisy(
  loss: ClassifierLoss | RegressorLoss, variables: Any, x0: Array, keys: Array, train: bool
) -> tuple[Array, tuple[Level, Array, Any]]:
  """What a noisy network says of x_t, t drawn by the loss."""
  check_keys(keys, x0)
  rows, weights = loss.times.draw(keys, len(loss.process))
  level = loss.process[rows]
  xt = level.noised(x0, normal(fold(keys, 'eps'), x0))
  out, changed = applied(loss.net, variables, xt, level.t, key=keys[0], train=train)
  return out, (level, weights, changed)
