"""What is not finite, and where."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SHOWN = 3


class TrainingError(ValueError):
  """Training that cannot go on: the step, what is wrong, the last good step, what to do."""


@jax.jit
def _count(tree: Any) -> Any:
  return jax.tree.map(lambda a: jnp.sum(~jnp.isfinite(a)), tree)


def wrong(tree: Any) -> dict[str, int]:
  """path -> how many numbers of it are NaN or infinite, where any are."""
  counts = jax.tree_util.tree_leaves_with_path(_count(tree))
  rows = {
    jax.tree_util.keystr(p, simple=True, separator='/'): int(np.asarray(n)) for p, n in counts
  }
  return {path: n for path, n in rows.items() if n}


def bad(values: Mapping[str, float]) -> list[str]:
  return [name for name, value in values.items() if not math.isfinite(value)]


def refused(
  role: str, step: int, values: Mapping[str, float], state: Any, saved: int | None, folder: Path
) -> TrainingError:
  """The error for a step whose metrics or arrays are not finite."""
  said = ', '.join(f'{name} = {values[name]}' for name in bad(values)) or 'no metric tells'
  tree, kind = state.params, 'parameters'
  if not (found := wrong(tree)):  # then it is the moments, the average or a collection
    tree, kind, found = state, 'arrays of the state', wrong(state)
  first = ', '.join(f'{path} ({n})' for path, n in list(found.items())[:SHOWN])
  which = f' (first {first})' if found else ''
  key = role.split('/')[0]
  last = f'step {saved}, in {folder / str(saved)}' if saved else 'none was saved'
  return TrainingError(
    f'{role}: step {step} is not finite: {said}; {len(found)} of '
    f'{len(jax.tree.leaves(tree))} {kind} hold {sum(found.values()):,} numbers that are '
    f'not{which}. The last good step: {last}. Lower {key}.lr, set {key}.clip or a longer '
    f'{key}.warmup, and take another workdir'
  )
