"""How strong, when, and where training-free guidance enters: the rules of FreeDoM, UGD and DPS.

(1) FreeDoM's faces: x' -= rho alpha grad |r|, after a step of DDNM(.5), while t > stop
(2) its text: a share of the model's own score, into eps: .02 Rms
(3) UGD forward: eps + sigma w grad E, which is w Energy under 'eps'
(4) UGD backward: x0_hat + D, D from m steps down E(x0_hat + D), no denoiser in between
(5) DPS: x' -= zeta grad |y - A(x0_hat)|, which is zeta times an energy with 'norm', 'sample'
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from zsi_jax.core import (
  Array,
  During,
  Energy,
  Guidance,
  Level,
  Rms,
  Score,
  Step,
  Tree,
  static,
  weight,
)
from zsi_jax.core.guidance import Notes
from zsi_jax.core.tree import bcast, positive

FACES = {  # rho, stop
  'segmentation': (0.2, 200),
  'sketch': (20.0, 100),
  'landmarks': (500.0, 200),
  'identity': (100.0, 100),
}
LAST = 1e6  # later than any t


class Alpha(Tree):
  """The schedule rho alpha: a weight that fades where there is more noise (1)."""

  rho: Any = weight()

  def __call__(self, level: Level) -> Array:
    told: Array = self.rho * level.alpha
    return told


def face(
  term: Guidance, kind: str, rho: float | None = None, stop: float | None = None
) -> Guidance:
  """(1) for one of FACES; put it into DDNM(.5), whose scores enter as they are."""
  if kind not in FACES:
    raise ValueError(f'kind is one of {tuple(FACES)}, not {kind!r}')
  usual = FACES[kind]
  own, last = (b if a is None else a for a, b in zip((rho, stop), usual, strict=True))
  return until(Alpha(own) * term, last)


def until(term: Guidance, stop: float) -> Guidance:
  """Without guidance in the last steps, where t <= stop: what is skipped costs nothing."""
  return During((stop + 0.5, LAST), then=term)


def words(term: Guidance, fraction: float = 0.02) -> Guidance:
  """(2), for Ancestral(inject='eps') or DDIM()."""
  return Rms(term, fraction)


class Backward(Guidance):
  """(4) as a score that moves x0_hat by D under 'eps'."""

  term: Energy
  rate: Any = weight()
  rounds: int = static(10)

  def __post_init__(self) -> None:
    super().__post_init__()
    if not isinstance(self.term, Energy):
      raise ValueError(f'Backward goes down an Energy, not {self.term!r}')
    if not isinstance(self.rounds, int) or self.rounds < 1:
      raise ValueError(f'Backward takes rounds >= 1, not {self.rounds}')

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    def energy(x0: Array) -> Array:
      told: Array = self.term.energy(jnp.clip(x0, -1, 1), s.given)
      return told

    def down(x0: Array, _: None) -> tuple[Array, None]:
      return x0 - self.rate * jax.grad(lambda x0: energy(x0).sum())(x0), None

    start = s.pred.x0
    end, _ = jax.lax.scan(down, start, None, self.rounds)
    push = bcast(s.level.alpha / positive(s.level.sigma**2), start)
    return Score(direct=push * (end - start)), {f'energy/{self.term.name}': energy(start)}
