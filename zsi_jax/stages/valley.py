"""What conditions cost around one x_t, and where each way goes there (Z-Magic, Fig. 2).

(1) a path: x <- x + d(x), d what the guidance of a way adds to a move, at one level and key
(2) the plane: through where all paths start, along the first two principal axes of their states
(3) the cost: sum of rho_i E_i of what the denoiser expects there
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from zsi_jax.build import conditions
from zsi_jax.core import Field, Move, Nothing, sample
from zsi_jax.core.tree import fold, take

if TYPE_CHECKING:
  from zsi_jax.stages.steps import Way

SHARE = 0.5  # of the moves that lead to x_t
STEPS, SIDE, SPARE = 16, 25, 0.35  # of a path; cells of the plane; of its extent around the paths


def figures(ways: list[Way]) -> list[Any]:
  """The plane of the first image, with the paths of ways of the same conditions and strengths."""
  first, rows = ways[0], np.zeros(1, int)
  moves = first.process.reverse()
  r = int(SHARE * len(moves.i))
  if len(ways) < 2 or not r:
    return []
  keys, given = first.keys[rows], first.given(rows)
  move = take(moves, r)
  x = sample(
    keys, take(moves, slice(r)), first.denoiser, first.guidance, first.solver,
    shape=first.shape, given=given,
  )  # fmt: skip
  paths = np.stack([path(way, fold(keys, move.i), x, move, given) for way in ways])
  spots, axes = plane(paths)
  low, high = spots.min((0, 1)), spots.max((0, 1))
  room = np.maximum(SPARE * (high - low), 1e-6)
  across, up = np.linspace(low - room, high + room, SIDE).T
  values = np.array([costs(first, keys, x + line(axes, across, b), move, given) for b in up])
  t = float(move.level.t)
  return [
    {'kind': 'heatmap', 'title': f'Where each way goes at t = {t:.0f}',
     'note': f'One image. The cost is the sum of rho E; each path takes {STEPS} steps from one '
     'x_t, at that t; the axes are the principal ones of all their states.',
     'x': 'first axis', 'y': 'second axis', 'values': values[::-1].tolist(),
     'extent': [float(across[0]), float(across[-1]), float(up[0]), float(up[-1])],
     'paths': [{'label': way.name, 'x': p[:, 0].tolist(), 'y': p[:, 1].tolist()}
               for way, p in zip(ways, spots, strict=True)]}
  ]  # fmt: skip


def path(way: Way, keys: Any, x: Any, move: Move, given: Any) -> np.ndarray:
  """(1), [STEPS + 1, ...]."""
  states = [x]
  for _ in range(STEPS):
    x = stepped(way.denoiser, way.guidance, way.solver, way.bare, keys, x, move, given)
    states.append(x)
  return np.concatenate(states).astype(np.float64)


@jax.jit
def stepped(
  denoiser: Any, guidance: Any, solver: Any, bare: Any, keys: Any, x: Any, move: Any, given: Any
) -> Any:
  """One step of (1)."""
  field, free = Field(denoiser, guidance or Nothing()), Field(denoiser, Nothing())
  led = solver(keys, field, x, solver.init(x), move, given).x
  return x + led - bare(keys, free, x, bare.init(x), move, given).x


def plane(paths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(2) of [W, S, ...]: ([W, S, 2] where the states are, [2, ...] the axes)."""
  shape = paths.shape[2:]
  flat = (paths - paths[:1, :1]).reshape(*paths.shape[:2], -1)
  _, _, axes = np.linalg.svd(flat.reshape(-1, flat.shape[-1]), full_matrices=False)
  return flat @ axes[:2].T, axes[:2].reshape(2, *shape)


def line(axes: np.ndarray, across: np.ndarray, b: float) -> np.ndarray:
  """Steps away from the start, [SIDE, ...]."""
  found: np.ndarray = np.tensordot(across, axes[0], 0) + b * axes[1]
  return found.astype(np.float32)


def costs(way: Way, keys: Any, x: Any, move: Move, given: Any) -> list[float]:
  """(3) of rows x that share what one image brings."""
  many = {k: np.repeat(v, len(x), 0) for k, v in given.items()}
  notes = asked(way.denoiser, way.summed, way.bare, keys[np.zeros(len(x), int)], x, move, many)
  total = np.zeros(len(x))
  for condition, rho in zip(way.conditions, way.rho, strict=True):
    if condition != conditions.LABEL:
      total += rho * np.asarray(notes[f'energy/{condition}'])
  found: list[float] = total.tolist()
  return found


@jax.jit
def asked(
  denoiser: Any, guidance: Any, solver: Any, keys: Any, x: Any, move: Any, given: Any
) -> Any:
  """The notes of a move."""
  return solver(keys, Field(denoiser, guidance), x, solver.init(x), move, given).notes
