"""What is trained: all that the loop needs to know of a network, without its data and devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax

from zsi_jax.core import Process


@dataclasses.dataclass(frozen=True)
class Job:
  """The training of one network."""

  role: str  # denoiser, classifier, judge/a
  init: Callable[[jax.Array], Any]  # key -> variables
  loss: Any  # (variables, batch, keys, train) -> (loss, (metrics, collections))
  tx: optax.GradientTransformation
  rate: Callable[[Any], Any]  # step -> learning rate
  ema: float | None
  accumulate: int
  steps: int
  log_every: int
  save_every: int
  keep: int  # newest checkpoints
  grid_every: int | None
  grid: Callable[[Any, jax.Array], jax.Array] | None  # (variables, keys) -> images
  batch: int
  process: Process | None  # that the noise of training comes from
  carried: dict[str, Any]  # JSON: what a checkpoint says of itself
