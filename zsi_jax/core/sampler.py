"""The only loop over timesteps: a scan over the rows of a schedule.

Each example depends on its own key and its own `given`, noise is keyed by the absolute row, and
nothing calls back to the host: so a batch may be split, sharded or drawn in chunks of rows, and the
images are the same.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zsi_jax.core.check import Watch, check, check_direction, check_roles, watched
from zsi_jax.core.guidance import Field, Notes, Nothing
from zsi_jax.core.process import Move, Process
from zsi_jax.core.solvers import Ancestral
from zsi_jax.core.tree import Array, bcast, fold, leaf, normal, oneline, take


class Call(NamedTuple):
  """A call of the sampler, checked and with its defaults: all that is traced."""

  keys: Array
  moves: Any  # a Process stands for its way down
  field: Field
  solver: Any
  x: Array | None
  given: Any

  def rows(self) -> Move:
    moves: Move = self.moves.reverse() if isinstance(self.moves, Process) else self.moves
    return moves


class Plan(NamedTuple):
  """What is static of a call."""

  shape: tuple[int, ...] | None
  watch: Watch


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
  """One x_0 per key; with `watch`, also notes [steps, B, ...] and 'x0' [rows, B, ...].

  `x` starts from given images instead of noise, `given` holds what belongs to each example. The
  whole chain is one compiled loop; call it inside a `jax.jit` of your own or as it is.
  """
  return _sample(*ready(keys, process_or_moves, denoiser, guidance, solver, shape, x, given, watch))


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
  if (
    not isinstance(every, int) or every < 2
  ):  # XLA inlines a scan of one row, and then rounds otherwise
    raise ValueError(f'a chunk has at least two rows, not {every}: sample_by(50, keys, ...)')
  call, plan = ready(keys, process_or_moves, denoiser, guidance, solver, shape, x, given, watch)
  return chunks(every, call, plan, progress)


def ready(
  keys: Any,
  moves: Any,
  denoiser: Any,
  guidance: Any,
  solver: Any,
  shape: Any,
  x: Any,
  given: Any,
  watch: Any,
) -> tuple[Call, Plan]:
  """A wrong call is refused here, before anything compiles."""
  guidance = Nothing() if guidance is None else leaf(guidance)
  solver = Ancestral() if solver is None else solver
  check_roles(denoiser, guidance, solver)
  size, names = check(keys, moves, shape, x, given, watch)
  check_direction(moves, solver, x)
  return Call(keys, moves, Field(denoiser, guidance), solver, x, given), Plan(size, names)


def chunks(every: int, call: Call, plan: Plan, progress: bool) -> Iterator[Any]:
  moves, notes = call.rows(), []
  rows = len(moves.i)
  state = _begin(call, plan)
  with bar(rows if progress else None) as advanced:
    for start, stop in itertools.pairwise([*range(0, max(rows - 1, 1), every), rows]):
      part = call._replace(moves=take(moves, slice(start, stop)), x=None)
      state, more = _advance(part, state, plan)
      notes.append(more)
      advanced(stop - start, state.x)
      yield outcome(state, jax.tree.map(lambda *n: jnp.concatenate(n), *notes), plan)


@contextlib.contextmanager
def bar(rows: int | None) -> Iterator[Callable[[int, Array], None]]:
  """A bar on the terminal or in a notebook, told of finished rows; nothing without `rows`."""
  if rows is None:
    yield lambda n, x: None
    return
  from tqdm.auto import tqdm

  with tqdm(total=rows, unit='row', desc='sampling') as shown:

    def advanced(n: int, x: Array) -> None:
      jax.block_until_ready(x)
      shown.update(n)

    yield advanced


def begin(call: Call, plan: Plan) -> State:
  """x, or noise drawn as if by the row above the first."""
  moves, x = call.rows(), call.x
  dtype = moves.level.alpha.dtype
  if x is None:
    like = jnp.zeros((call.keys.shape[0], *(plan.shape or ())), dtype)
    x = normal(fold(call.keys, moves.i[0] + 1), like)
  x = jnp.asarray(x, dtype)
  frames = jnp.zeros((len(watched(plan.watch)[1]), *x.shape), x.dtype)
  return State(x, call.solver.init(x), frames)


def advance(call: Call, state: State, plan: Plan) -> tuple[State, Notes]:
  """The scan."""
  names, rows = watched(plan.watch)

  def row(state: State, move: Move) -> tuple[State, Notes]:
    keys = fold(call.keys, move.i)
    land = call.solver(keys, call.field, state.x, state.carry, move, call.given)
    for name in names:
      if not any(fnmatch(k, name) for k in land.notes):
        raise ValueError(
          f'watch={name!r} matches none of the notes {sorted(land.notes) or "(none)"}'
        )
    hit = bcast(jnp.asarray(rows, int) == move.i, state.frames)
    frames = jnp.where(hit > 0, land.pred.x0, state.frames) if rows else state.frames
    notes = {k: v for k, v in land.notes.items() if any(fnmatch(k, n) for n in names)}
    return State(land.x, land.carry, frames), notes

  last: tuple[State, Notes] = jax.lax.scan(row, state, call.rows())
  return last


def outcome(state: State, notes: Notes, plan: Plan) -> Any:
  if watched(plan.watch)[1]:
    notes = notes | {'x0': state.frames}
  return (state.x, notes) if plan.watch else state.x


def run(call: Call, plan: Plan) -> Any:
  state, notes = advance(call, begin(call, plan), plan)
  return outcome(state, notes, plan)


_sample = jax.jit(run, static_argnums=1)
_begin = jax.jit(begin, static_argnums=1)
_advance = jax.jit(advance, static_argnums=2)
