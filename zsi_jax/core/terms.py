"""Terms: classifiers, regressors, energies and contrasts, as guidances.

(1) grad_x sum_c w_c log p(c | x, t)           one-hot w: classifier guidance; more: multi-guidance
(2)   = J^T (w - (sum_c w_c) softmax(logits))  one pass there and back for any number of classes;
                                               it rests where p_c = w_c / sum w
(3) -grad_x E(x0_hat(x))                       an energy, training-free, through the denoiser
(4) (eps - eps_other) / sigma                  classifier-free guidance as a score
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from zsi_jax.core.guidance import Guidance, Notes, Score, Step
from zsi_jax.core.predict import value
from zsi_jax.core.process import Level
from zsi_jax.core.tree import Array, Number, at_least, bcast, leaf, positive, repeat, static, weight

SITES = ('xt', 'mean', 'x0')


def slope(f: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
  """Values [B] of a per-example function, and their gradients."""
  v, pull = jax.vjp(f, x)
  if v.shape != x.shape[:1]:
    raise ValueError(
      f'a log-probability or an energy gives one number for each example, {x.shape[:1]}; '
      f'this one gives {v.shape}: sum over all axes but the first'
    )
  return v, pull(jnp.ones_like(v))[0]


def check_site(at: str) -> None:
  if at not in SITES:
    raise ValueError(f'at is one of {SITES}, not {at!r}')


class LogProb(Guidance):
  """grad log p of any fn (x, level, given) -> [B].

  'xt': at x_t; 'mean': at the posterior mean, as the papers write; 'x0': at x0_hat, through it.
  """

  fn: Callable[[Array, Level, Any], Array]
  at: str = static('xt')
  name: str = static('logp')
  clip: bool = static(True)  # x0_hat explodes as alpha -> 0

  def __post_init__(self) -> None:
    super().__post_init__()
    check_site(self.at)

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    def f(x: Array) -> Array:
      return self.fn(x, s.level, s.given)

    def see(x0: Array) -> Array:
      return jnp.clip(x0, -1, 1) if self.clip else x0

    match self.at:
      case 'xt':
        v, g = slope(f, s.x)
      case 'mean':
        v, g = slope(f, s.level.mean(see(s.pred.x0), s.x))
      case _:
        v, g = slope(lambda x0: f(see(x0)), s.pred.x0)
    return Score(**{'on_x0' if self.at == 'x0' else 'direct': g}), {f'logp/{self.name}': v}


class Classifier(Guidance):
  """grad sum_c w_c log p(c | x, t) (1): one-hot w is classifier guidance, more multi-guidance."""

  variables: Any
  weights: Any = weight()  # [K], [B, K] through Aim, or a schedule such as Blend
  net: Any = static()
  at: str = static('xt')
  name: str = static('classifier')

  def __post_init__(self) -> None:
    super().__post_init__()
    check_site(self.at)

  def towards(self, *weights: Any) -> Classifier:
    """The same one pulling elsewhere: towards(30., 30.), towards([30., 30.]), towards(Aim(60.))."""
    return self.replace(weights=weights[0] if len(weights) == 1 else leaf(weights))

  def logp(self, x: Array, level: Level, given: Any) -> Array:
    logits = self.net.apply(self.variables, x, jnp.broadcast_to(level.t, x.shape[:1]))
    w = jnp.asarray(value(self.weights, level, given), logits.dtype)
    K = logits.shape[-1]
    if K < 2:
      raise ValueError(
        f'Classifier {self.name!r} has one logit, so no classes: use Regressor or LogProb'
      )
    if not 1 <= w.ndim <= 2 or w.shape[-1] != K:
      raise ValueError(
        f'Classifier {self.name!r} has {K} classes and needs {K} weights, as in '
        f'towards({", ".join(["30."] * min(K, 4))}{", ..." if K > 4 else ""}); got shape {w.shape}'
      )
    if w.ndim == 2 and len(w) != len(x):
      raise ValueError(f'weights [B, {K}] belong to {len(w)} examples, and there are {len(x)}')
    return jnp.sum(w * jax.nn.log_softmax(logits), -1)

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    return LogProb(self.logp, self.at, self.name)(s)


class Regressor(Guidance):
  """grad -|f(x, t) - target|^2 / (2 tau^2)."""

  variables: Any
  target: Any = weight()  # a number, From('...'), or a schedule
  tau: Number = weight()
  net: Any = static()
  at: str = static('xt')
  name: str = static('regressor')

  def __post_init__(self) -> None:
    super().__post_init__()
    check_site(self.at)
    at_least(self.tau, 0, 'Regressor.tau', strict=True)

  def logp(self, x: Array, level: Level, given: Any) -> Array:
    out = self.net.apply(self.variables, x, jnp.broadcast_to(level.t, x.shape[:1]))
    out = out.reshape(x.shape[0], -1)
    target = jnp.asarray(value(self.target, level, given), out.dtype)
    if hasattr(self.target, 'read'):  # one for each example, else one for all
      target = target.reshape(x.shape[0], -1)
    gap = out - target
    return -jnp.sum(gap**2, -1) / (2 * self.tau**2)

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    return LogProb(self.logp, self.at, self.name)(s)


class Energy(Guidance):
  """-grad E(x0_hat(x_t)), E: (x0, given) -> [B] (3)."""

  energy: Callable[[Array, Any], Array]
  clip: bool = static(True)
  name: str = static('energy')

  def logp(self, x0: Array, level: Level, given: Any) -> Array:
    return -jnp.asarray(self.energy(x0, given))

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    score, notes = LogProb(self.logp, 'x0', self.name, self.clip)(s)
    return score, {f'energy/{self.name}': -v for v in notes.values()}


class Contrast(Guidance):
  """(eps - eps_other) / sigma (4)."""

  other: Any
  cond: Any = None  # [...], shared by the batch; None: the null row

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    gap = s.pred.eps - self.other(s.x, s.level, repeat(self.cond, s.x.shape[0])).eps
    return Score(direct=gap / bcast(positive(s.level.sigma), gap)), {}
