"""A wrong call of the sampler is refused before anything compiles, and told the right one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core.compose import role
from zsi_jax.core.process import Move, Process
from zsi_jax.core.solvers import Solver
from zsi_jax.core.tree import Tree

Watch = tuple[str, ...]


def check(
  keys: Any, process_or_moves: Process | Move, shape: Any, x: Any, given: Any, watch: Any
) -> tuple[tuple[int, ...] | None, Watch]:
  """What is static of a right call: the shape of an example, if said, and what to watch."""
  B = check_keys(keys)
  rows, known = check_schedule(process_or_moves)
  size = check_start(shape, x, B)
  check_given(given, B)
  return size, check_watch(watch, rows, known)


def check_keys(keys: Any) -> int:
  """The number of examples."""
  typed = hasattr(keys, 'dtype') and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
  if not typed or keys.ndim != 1:
    what = f'{keys.dtype}{list(keys.shape)}' if hasattr(keys, 'dtype') else type(keys).__name__
    raise ValueError(
      'keys: one typed key for each example, as in jax.random.split(jax.random.key(0), 8); '
      f'got {what}'
    )
  B: int = keys.shape[0]
  if B == 0:
    raise ValueError('no keys, no examples: keys has shape [0]')
  return B


def check_schedule(process_or_moves: Any) -> tuple[int, set[int] | None]:
  """The number of rows, and which they are; None where they are traced."""
  match process_or_moves:
    case Process():
      i: Any = np.arange(len(process_or_moves))
    case Move() if np.ndim(process_or_moves.i) == 1:
      i = process_or_moves.i
    case _:
      raise ValueError(
        'the second argument is a Process or its moves: '
        'sample(keys, Process.make(cosine(4000), 250), denoiser, ...); '
        f'got {type(process_or_moves).__name__}'
      )
  rows: int = i.shape[0]
  if rows == 0:
    raise ValueError('an empty schedule: these moves have no rows')
  return rows, None if isinstance(i, jax.core.Tracer) else set(np.asarray(i).tolist())


def check_start(shape: Any, x: Any, B: int) -> tuple[int, ...] | None:
  """The shape of one example, if said."""
  if x is None and shape is None:
    raise ValueError('sample needs shape=(H, W, C) of one example, or x=[B, H, W, C] to start from')
  if x is not None and not (hasattr(x, 'dtype') and jnp.issubdtype(x.dtype, jnp.floating)):
    what = getattr(x, 'dtype', type(x).__name__)
    raise ValueError(f'x is a float array [B, H, W, C], images in [-1, 1]; got {what}')
  if x is not None and (x.ndim < 1 or x.shape[0] != B):
    raise ValueError(f'x has shape {tuple(x.shape)}, but there are {B} keys: one x for each key')
  if x is not None:
    check_finite(x, 'x')
  if shape is not None and not isinstance(shape, Sequence):
    raise ValueError(f'shape is that of one example, shape=(H, W, C), not {shape!r}')
  size = None if shape is None else tuple(int(n) for n in shape)
  if x is not None and size is not None and x.shape[1:] != size:
    raise ValueError(
      f'x has shape {tuple(x.shape)}, but shape={size} was asked for: leave shape out'
    )
  return size


def check_given(given: Any, B: int) -> None:
  for path, v in jax.tree_util.tree_leaves_with_path(given):
    if np.ndim(v) < 1 or np.shape(v)[0] != B:
      raise ValueError(
        f'given{jax.tree_util.keystr(path)} has shape {np.shape(v)}, but there are {B} keys: '
        f'everything in given has the batch in front, [{B}, ...]'
      )
    check_finite(v, f'given{jax.tree_util.keystr(path)}')


def check_finite(v: Any, name: str) -> None:
  """Floats that can be looked at hold no NaN."""
  known = not isinstance(v, jax.core.Tracer) and getattr(v, 'is_fully_addressable', True)
  floats = jnp.issubdtype(getattr(v, 'dtype', float), jnp.floating)
  if known and floats and not np.isfinite(v).all():
    raise ValueError(f'{name} holds NaN or infinite numbers')


def check_watch(watch: str | Sequence[str], rows: int, known: set[int] | None) -> Watch:
  """The patterns, as a tuple."""
  patterns = (watch,) if isinstance(watch, str) else tuple(watch)
  try:
    kept = watched(patterns)[1]
  except ValueError:
    raise ValueError(f"watch={patterns}: rows are numbers, as in 'x0@0,50'") from None
  lost = [i for i in kept if known is not None and i not in known]
  if lost:
    raise ValueError(
      f'watch={patterns}: rows {lost} are not among the {rows} rows of this schedule'
    )
  return patterns


def watched(watch: Watch) -> tuple[Watch, tuple[int, ...]]:
  """('energy/*', 'x0@0,50') -> (('energy/*',), (0, 50))."""
  rows = [w[3:].split(',') for w in watch if w.startswith('x0@')]
  names = tuple(w for w in watch if not w.startswith('x0@'))
  return names, tuple(int(i) for row in rows for i in row)


def check_roles(denoiser: Any, guidance: Any, solver: Any) -> None:
  """Each argument in its own place."""
  for name, v in {'denoiser': denoiser, 'guidance': guidance, 'solver': solver}.items():
    if hasattr(v, 'apply') and not isinstance(v, Tree):
      raise ValueError(f'the {name} needs its variables: Denoiser(variables, net), not a bare net')
    if isinstance(v, type) or not callable(v):
      raise ValueError(f'the {name} is a value that can be called, as in DDIM(), not {v!r}')
  if not isinstance(solver, Solver) or role(solver) != 'solver':
    raise ValueError(f'{solver!r} is no solver: sample(keys, process, denoiser, guidance, solver)')
  if isinstance(guidance, Solver) and role(guidance) == 'solver':
    raise ValueError(f'{guidance!r} is a solver: sample(..., denoiser, guidance, solver)')


def check_direction(process_or_moves: Any, solver: Solver, x: Any) -> None:
  """A chain that climbs needs a solver that can, and something to start from."""
  beta = process_or_moves.beta
  if isinstance(process_or_moves, Process) or isinstance(beta, jax.core.Tracer):
    return
  if np.all(np.asarray(beta) >= 0):
    return
  if x is None:
    raise ValueError('a chain that climbs starts from images: sample(..., solver=DDIM(), x=images)')
  if not solver.climbs:
    raise ValueError(f'{solver!r} draws noise and cannot climb: solver=DDIM() inverts')
