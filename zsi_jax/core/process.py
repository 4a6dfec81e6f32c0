"""The noise: levels, the table of them, and the moves between them.

(1) x_t = alpha x_0 + sigma eps                           a Level; lambda = log(alpha / sigma)
(2) q(x_s | x_t, x_0) = N(coef_x0 x_0 + coef_xt x_t, .)   the posterior mean, DDPM Eq. 7
(3) x0_hat = (x_t - sigma eps_hat) / alpha                what a prediction says of x_0
(4) log Sigma = f log beta + (1 - f) log beta_tilde       iDDPM Eq. 15, f = (v + 1) / 2
(5) beta = 1 - (alpha / alpha_s)^2 and h = lambda_s - lambda are differences: float64, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core.tree import Array, Tree, bcast, brief, take


class Level(Tree):
  """One noise level, or a stack of them (1)."""

  t: Array  # the timestep the networks were trained with
  u: Array  # place in the chain: 0 = cleanest row, 1 = noisiest
  alpha: Array  # sqrt(alpha_bar_t)
  sigma: Array  # sqrt(1 - alpha_bar_t)
  coef_x0: Array  # (2)
  coef_xt: Array
  logvar_min: Array  # log beta_tilde_t, its first entry repeated
  logvar_max: Array  # log beta_t

  def noised(self, x0: Array, eps: Array) -> Array:
    return bcast(self.alpha, x0) * x0 + bcast(self.sigma, x0) * eps

  def x0(self, xt: Array, eps: Array) -> Array:
    """(3)"""
    return (xt - bcast(self.sigma, xt) * eps) / bcast(self.alpha, xt)

  def mean(self, x0: Array, xt: Array) -> Array:
    """(2)"""
    return bcast(self.coef_x0, xt) * x0 + bcast(self.coef_xt, xt) * xt

  def logvar(self, v: Array) -> Array:
    """(4): v in [-1, 1] interpolates log-variances, not variances."""
    f = (v + 1) / 2
    return f * bcast(self.logvar_max, v) + (1 - f) * bcast(self.logvar_min, v)

  def __repr__(self) -> str:
    return f'Level(t={brief(self.t)}, alpha={brief(self.alpha)}, sigma={brief(self.sigma)})'


class Move(NamedTuple):
  """One row of the scan, or a stack of them: from `level` to `to`, down or up (5)."""

  i: Array  # absolute row of `level`: noise is keyed by it
  level: Level
  to: Level
  beta: Array  # 1 - (alpha / alpha')^2; negative on upward moves
  alpha_ratio: Array  # alpha / alpha'
  h: Array  # lambda' - lambda; infinite on the move to x_0, negative upwards

  def __repr__(self) -> str:
    return f'Move(i={brief(self.i)}, t={brief(self.level.t)}, to={brief(self.to.t)})'


class Process(Tree):
  """A table of levels, cleanest first, with the moves that lead down from each."""

  levels: Level
  beta: Array
  alpha_ratio: Array
  h: Array

  @classmethod
  def make(
    cls, betas: Any, steps: int | Sequence[int] | np.ndarray | None = None, dtype: Any = np.float32
  ) -> Process:
    """Respaces and differences in float64; `dtype` is what the device gets.

    `steps` is a number of evenly `spaced` timesteps, or the timesteps themselves (`strided`).
    """
    t = timesteps(betas, steps)
    ab = np.cumprod(1 - np.asarray(betas, np.float64))[t]
    prev = np.append(1.0, ab[:-1])
    beta = 1 - ab / prev
    var = beta * (1 - prev) / (1 - ab)
    half_logsnr = np.append(np.inf, 0.5 * np.log(ab / (1 - ab)))
    # A chain of one row has no second entry to repeat: its variance is beta.
    var_min = np.append(var[1:2] if len(t) > 1 else beta, var[1:])

    def cast(v: Any) -> Array:
      return jnp.asarray(v, dtype)

    levels = Level(
      t=cast(t),
      u=cast(np.arange(len(t)) / max(len(t) - 1, 1)),
      alpha=cast(np.sqrt(ab)),
      sigma=cast(np.sqrt(1 - ab)),
      coef_x0=cast(beta * np.sqrt(prev) / (1 - ab)),
      coef_xt=cast((1 - prev) * np.sqrt(1 - beta) / (1 - ab)),
      logvar_min=cast(np.log(var_min)),
      logvar_max=cast(np.log(beta)),
    )
    h = half_logsnr[:-1] - half_logsnr[1:]
    return cls(levels, cast(beta), cast(np.sqrt(ab / prev)), cast(h))

  def __len__(self) -> int:
    return int(self.levels.t.shape[0])

  def __getitem__(self, i: Any) -> Level:
    return take(self.levels, i)

  def __repr__(self) -> str:
    t = self.levels.t
    if isinstance(t, jax.core.Tracer):
      return f'Process({len(self)} rows)'
    return f'Process({len(self)} rows, t = {float(t[0]):g} ... {float(t[-1]):g})'

  def row(self, i: int | None, name: str) -> int:
    if i is not None and not 0 <= i < len(self):
      raise ValueError(f'{name}={i} is no row of this process: it has rows 0 ... {len(self) - 1}')
    return len(self) - 1 if i is None else i

  def reverse(self, start: int | None = None) -> Move:
    """From row `start` (the noisiest) down to x_0, where alpha = 1 and sigma = 0."""
    n = self.row(start, 'start') + 1
    to = jax.tree.map(lambda a: jnp.concatenate([a[:1], a[:-1]]), self.levels)
    to = to.replace(t=to.t.at[0].set(0), alpha=to.alpha.at[0].set(1), sigma=to.sigma.at[0].set(0))
    i = jnp.arange(len(self))
    down = Move(i, self.levels, to, self.beta, self.alpha_ratio, self.h)
    return take(take(down, slice(n)), slice(None, None, -1))

  def forward(self, stop: int | None = None) -> Move:
    """From row 0 up to row `stop` (the noisiest), where `reverse(stop)` begins."""
    n = self.row(stop, 'stop')
    low, high = self[slice(0, n)], self[slice(1, n + 1)]
    beta, ratio, h = (a[1 : n + 1] for a in (self.beta, self.alpha_ratio, self.h))
    return Move(jnp.arange(n), low, high, -beta / (1 - beta), 1 / ratio, -h)


def cosine(T: int, s: float = 0.008) -> np.ndarray:
  """beta_t = 1 - f(t + 1) / f(t) <= .999, f(t) = cos^2((t/T + s) / (1 + s) pi/2) (iDDPM Eq. 17)."""
  u = np.arange(T + 1) / T
  f = np.cos((u + s) / (1 + s) * np.pi / 2) ** 2
  betas: np.ndarray = np.minimum(1 - f[1:] / f[:-1], 0.999)
  return betas


def linear(T: int, start: float | None = None, stop: float | None = None) -> np.ndarray:
  """beta from 1e-4 to .02 at T = 1000, and the same total noise at any other T  (DDPM, sec. 4)."""
  ends = 0.1 / T if start is None else start, 20 / T if stop is None else stop
  return np.linspace(*ends, T, dtype=np.float64)


def scaled_linear(T: int, start: float = 0.00085, stop: float = 0.012) -> np.ndarray:
  """sqrt(beta) is linear  (latent diffusion)."""
  return np.linspace(start**0.5, stop**0.5, T, dtype=np.float64) ** 2


def spaced(T: int, n: int | Sequence[int]) -> np.ndarray:
  """n of T timesteps, both ends included, rounded half to even; or n_k of each equal section."""
  sections = [n] if isinstance(n, int | np.integer) else list(n)
  if not sections:
    raise ValueError(f'no steps of {T}: spaced({T}, 250), or a number for each section')
  share, rest = divmod(T, len(sections))
  edges = np.cumsum([0] + [share + (k < rest) for k in range(len(sections))])
  rows = []
  for first, last, count in zip(edges[:-1], edges[1:], sections, strict=True):
    if not 1 <= count <= last - first:
      raise ValueError(
        f'{count} steps do not fit into {last - first} timesteps: need 1 <= steps <= T'
      )
    stride = (last - first - 1) / max(count - 1, 1)
    # Summed, not multiplied, as published: the two round apart on a half.
    rows.append(first + np.round(np.add.accumulate(np.append(0, np.full(count - 1, stride)))))
  return np.concatenate(rows).astype(int)


def strided(T: int, n: int) -> np.ndarray:
  """n of T timesteps 0, s, 2s, ... with a whole stride s  (DDIM, App. D.2 'linear')."""
  for stride in range(1, T):
    t = np.arange(0, T, stride)
    if len(t) == n:
      return t
  raise ValueError(f'no whole stride visits {n} of {T} timesteps: use spaced({T}, {n})')


def timesteps(betas: Any, steps: int | Sequence[int] | np.ndarray | None) -> np.ndarray:
  """The kept timesteps, checked."""
  betas = np.asarray(betas, np.float64)
  if betas.ndim != 1 or not len(betas):
    raise ValueError(
      f'an empty schedule: betas has shape {betas.shape}; try Process.make(cosine(4000), 250)'
    )
  if not np.all((betas > 0) & (betas < 1)):  # NaN fails too
    raise ValueError('every beta must lie strictly between 0 and 1')
  if steps is None or isinstance(steps, int | np.integer):
    return np.arange(len(betas)) if steps is None else spaced(len(betas), int(steps))
  t = np.asarray(steps)
  if t.ndim != 1 or not len(t) or not np.issubdtype(t.dtype, np.integer):
    raise ValueError(f'steps is a number of timesteps or a list of them, not {steps!r}')
  if t[0] < 0 or t[-1] >= len(betas) or np.any(np.diff(t) <= 0):
    raise ValueError(f'timesteps must rise within 0 ... {len(betas) - 1}; got {t[0]} ... {t[-1]}')
  return t
