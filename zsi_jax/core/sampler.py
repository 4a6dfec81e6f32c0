"""The only loop over timesteps: a scan over the rows of a schedule.

Each example depends on its own key and its own `given`, noise is keyed by the absolute row, and
nothing calls back to the host: so a batch may be split, sharded or drawn in chunks of rows, and the
images are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zsi_jax.core.check import Watch, check, watched
from zsi_jax.core.guidance import Field, Notes, Nothing
from zsi_jax.core.process import Move, Process
from zsi_jax.core.solvers import Ancestral
from zsi_jax.core.tree import Array, bcast, fold, normal, oneline, take


class State(NamedTuple):
  """All that one row of the scan hands to the next."""

  x: Array
  carry: Any
  frames: Array  # [R, B, ...]: x0_hat at the watched rows

  def __repr__(self) -> str:
    return oneline(self)


def sample(
  keys: Array,
  process_or_moves: Process | Move,
  denoiser: Any,
  guidance: Any = None,
  solver: Any = None,
  *,
  shape: Sequence[int] | None = None,
  x: Array | None = None,
  given: Any = None,
  watch: str | Sequence[str] = (),
) -> Any:
  """One x_0 per key; with `watch`, also notes [steps, B] and 'x0' [rows, B, ...].

  `x` starts from given images instead of noise, `given` holds what belongs to each example. The
  whole chain is one compiled loop; call it inside a `jax.jit` of your own or as it is.
  """
  size, names = check(keys, process_or_moves, shape, x, given, watch)
  return _sample(keys, process_or_moves, denoiser, guidance, solver, x, given, size, names)


def sample_by(
  every: int,
  keys: Array,
  process_or_moves: Process | Move,
  denoiser: Any,
  guidance: Any = None,
  solver: Any = None,
  *,
  shape: Sequence[int] | None = None,
  x: Array | None = None,
  given: Any = None,
  watch: str | Sequence[str] = (),
  progress: bool = False,
) -> Iterator[Any]:
  """`sample` so far, after every `every` rows; the last one is `sample`, bit for bit.

  A single row left over joins the chunk before it. `progress` shows a bar of rows.
  """
  size, names = check(keys, process_or_moves, shape, x, given, watch)
  if every < 2:  # XLA inlines a scan of one row, and then rounds otherwise
    raise ValueError(f'a chunk has at least two rows, not {every}: sample_by(50, keys, ...)')
  return chunks(
    every, keys, process_or_moves, denoiser, guidance, solver, x, given, size, names, progress
  )


def chunks(
  every: int,
  keys: Array,
  process_or_moves: Process | Move,
  denoiser: Any,
  guidance: Any,
  solver: Any,
  x: Array | None,
  given: Any,
  shape: tuple[int, ...] | None,
  watch: Watch,
  progress: bool,
) -> Iterator[Any]:
  moves, field, solver = parts(process_or_moves, denoiser, guidance, solver)
  state, notes = _begin(keys, moves, solver, shape, x, watch), []
  rows = len(moves.i)
  edges = [*range(0, max(rows - 1, 1), every), rows]
  bar = None
  if progress:
    from tqdm.auto import tqdm

    bar = tqdm(total=rows, unit='row', desc='sampling')
  for start, stop in itertools.pairwise(edges):
    part = take(moves, slice(start, stop))
    state, more = _advance(keys, part, field, solver, given, state, watch)
    notes.append(more)
    if bar is not None:
      jax.block_until_ready(state.x)
      bar.update(len(part.i))
    yield outcome(state, jax.tree.map(lambda *n: jnp.concatenate(n), *notes), watch)
  if bar is not None:
    bar.close()


def begin(
  keys: Array,
  moves: Move,
  solver: Any,
  shape: tuple[int, ...] | None,
  x: Array | None,
  watch: Watch,
) -> State:
  """x, or noise drawn as if by the row above the first."""
  if x is None:
    like = jnp.zeros((keys.shape[0], *(shape or ())), moves.level.alpha.dtype)
    x = normal(fold(keys, moves.i[0] + 1), like)
  frames = jnp.zeros((len(watched(watch)[1]), *x.shape), x.dtype)
  return State(x, solver.init(x), frames)


def advance(
  keys: Array, moves: Move, field: Field, solver: Any, given: Any, state: State, watch: Watch
) -> tuple[State, Notes]:
  """The scan."""
  names, rows = watched(watch)

  def row(state: State, move: Move) -> tuple[State, Notes]:
    land = solver(fold(keys, move.i), field, state.x, state.carry, move, given)
    for name in names:
      if not any(fnmatch(k, name) for k in land.notes):
        raise ValueError(
          f'watch={name!r} matches none of the notes {sorted(land.notes) or "(none)"}'
        )
    hit = bcast(jnp.asarray(rows, int) == move.i, state.frames)
    frames = jnp.where(hit > 0, land.pred.x0, state.frames) if rows else state.frames
    notes = {k: v for k, v in land.notes.items() if any(fnmatch(k, n) for n in names)}
    return State(land.x, land.carry, frames), notes

  last: tuple[State, Notes] = jax.lax.scan(row, state, moves)
  return last


def run(
  keys: Array,
  process_or_moves: Process | Move,
  denoiser: Any,
  guidance: Any,
  solver: Any,
  x: Array | None,
  given: Any,
  shape: tuple[int, ...] | None,
  watch: Watch,
) -> Any:
  moves, field, solver = parts(process_or_moves, denoiser, guidance, solver)
  state = begin(keys, moves, solver, shape, x, watch)
  state, notes = advance(keys, moves, field, solver, given, state, watch)
  return outcome(state, notes, watch)


_sample = jax.jit(run, static_argnums=(7, 8))
_begin = jax.jit(begin, static_argnums=(3, 5))
_advance = jax.jit(advance, static_argnums=6)


def parts(
  process_or_moves: Process | Move, denoiser: Any, guidance: Any, solver: Any
) -> tuple[Move, Field, Any]:
  moves = process_or_moves.reverse() if isinstance(process_or_moves, Process) else process_or_moves
  guidance = Nothing() if guidance is None else guidance
  return moves, Field(denoiser, guidance), Ancestral() if solver is None else solver


def outcome(state: State, notes: Notes, watch: Watch) -> Any:
  if watched(watch)[1]:
    notes = notes | {'x0': state.frames}
  return (state.x, notes) if watch else state.x
