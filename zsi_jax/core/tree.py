"""Values: numbers that may change are leaves, programs are static fields.

A new leaf never recompiles; a new program does. Everything a user builds (denoisers, terms,
solvers, merges, schedules) is a frozen pytree that prints on one line.
"""

from __future__ import annotations

import dataclasses
import numbers
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Number = Array | float
T = TypeVar('T')


def static(default: Any = dataclasses.MISSING, kw_only: bool = False) -> Any:
  """A field that is part of the program: a new value recompiles."""
  return dataclasses.field(metadata={'static': True}, default=default, kw_only=kw_only)


def weight(default: Any = dataclasses.MISSING, kw_only: bool = False) -> Any:
  """A field of finite numbers, made float arrays, or a schedule of them; NaN is refused."""
  return dataclasses.field(metadata={'weight': True}, default=default, kw_only=kw_only)


def is_number(v: Any) -> bool:
  return isinstance(v, numbers.Number | np.generic | jax.Array)


def is_numeric(v: Any) -> bool:
  """A number, an array, or a non-empty list of such."""
  if isinstance(v, list | tuple):
    return len(v) > 0 and all(map(is_numeric, v))
  return is_number(v) or isinstance(v, np.ndarray)


def leaf(v: Any) -> Any:
  """Lists of numbers become arrays, plain functions Partials; everything else is data already."""
  if isinstance(v, list | tuple | np.ndarray) and is_numeric(v):
    return jnp.asarray(v)
  return jax.tree_util.Partial(v) if callable(v) and jax.tree_util.all_leaves([v]) else v


def finite(v: Any, where: str) -> Any:
  """v as a float array; a ValueError where it is concrete and not finite."""
  if not is_numeric(v) or isinstance(v, bool):
    if not callable(v) and not hasattr(v, 'read') and not hasattr(v, 'shape'):  # nor abstract
      raise ValueError(f'{where} is numbers or a schedule of them, as in [30., 30.]; got {v!r}')
    return leaf(v)
  v = jnp.asarray(v, float)
  if not isinstance(v, jax.core.Tracer) and v.is_fully_addressable:
    if not np.isfinite(np.asarray(v)).all():
      raise ValueError(f'{where} must be finite numbers, as in [30., 30.]; got {np.asarray(v)}')
  return v


def at_least(v: Any, low: float, where: str, strict: bool = False) -> None:
  """A ValueError where v is a known number and too small."""
  if isinstance(v, jax.Array) and not isinstance(v, jax.core.Tracer):
    if np.any(np.asarray(v) < low) or (strict and np.any(np.asarray(v) == low)):
      raise ValueError(f'{where} is {"above" if strict else "at least"} {low}, not {brief(v)}')


class Tree:
  """A value: weights are leaves, programs are static.

  Its fields are made fit when a user builds it, never when JAX rebuilds it: there they may be
  tracers, shapes, axes or anything else that `jax.tree.map` returns.
  """

  if TYPE_CHECKING:  # the fields of a subclass are its arguments

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

  def __init_subclass__(cls) -> None:
    dataclasses.dataclass(frozen=True, repr=False, eq=False)(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    data = [f.name for f in fields if not f.metadata.get('static')]
    meta = [f.name for f in fields if f.metadata.get('static')]

    def flatten(tree: Any) -> tuple[list[Any], tuple[Any, ...]]:
      return [getattr(tree, n) for n in data], tuple(getattr(tree, n) for n in meta)

    def flatten_with_keys(tree: Any) -> tuple[list[Any], tuple[Any, ...]]:
      leaves, rest = flatten(tree)
      return [(jax.tree_util.GetAttrKey(n), v) for n, v in zip(data, leaves, strict=True)], rest

    def unflatten(rest: Any, leaves: Any) -> Any:
      tree = object.__new__(cls)
      for name, v in zip((*data, *meta), (*leaves, *rest), strict=True):
        object.__setattr__(tree, name, v)
      return tree

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)

  def __post_init__(self) -> None:
    for f in dataclasses.fields(self):  # type: ignore[arg-type]
      if not f.metadata.get('static'):
        v, name = getattr(self, f.name), f'{type(self).__name__}.{f.name}'
        object.__setattr__(self, f.name, finite(v, name) if f.metadata.get('weight') else leaf(v))

  def replace(self, **changes: Any) -> Self:
    """The same value with some fields changed."""
    return dataclasses.replace(self, **changes)  # type: ignore[type-var]

  def __repr__(self) -> str:
    return oneline(self)


def oneline(v: Any) -> str:
  """Type(field=value, ...): only what differs from the default, big arrays by their shape."""
  fields = dataclasses.fields(v) if dataclasses.is_dataclass(v) else ()
  shown = []
  for f in fields:
    value = getattr(v, f.name, None)
    if f.name in ('parent', 'name') and hasattr(v, 'apply'):  # a linen module's own bookkeeping
      continue
    if value is None or (f.default is not dataclasses.MISSING and same(value, f.default)):
      continue
    shown.append(f'{f.name}={brief(value)}')
  if isinstance(v, tuple) and hasattr(v, '_fields'):
    shown = [f'{n}={brief(a)}' for n, a in zip(v._fields, v, strict=True) if a is not None]
  return f'{type(v).__name__}({", ".join(shown)})'


def same(value: Any, default: Any) -> bool:
  if isinstance(value, Tree):
    return repr(value) == repr(default)
  if isinstance(value, np.ndarray | jax.Array):
    return is_number(default) and value.ndim == 0 and brief(value) == brief(jnp.asarray(default))
  return type(value) is type(default) and bool(value == default)


def brief(v: Any) -> str:
  """One value on a fraction of a line."""
  if isinstance(v, Mapping):
    sizes = [np.size(a) for a in jax.tree.leaves(v)]
    return f'<{sum(sizes):,} numbers in {len(sizes)} arrays>'
  if isinstance(v, np.ndarray | jax.Array):
    dtype = str(v.dtype)
    if isinstance(v, jax.core.Tracer) or v.size > 8 or dtype.startswith('key'):
      return f'{dtype}{list(v.shape)}'
    return np.array2string(np.asarray(v), precision=4, separator=', ').replace('\n', '')
  if isinstance(v, jax.tree_util.Partial):
    return getattr(v.func, '__qualname__', repr(v.func))
  if isinstance(v, tuple) and not hasattr(v, '_fields'):
    return f'({", ".join(map(brief, v))}{"," if len(v) == 1 else ""})'
  if isinstance(v, type):
    return v.__name__
  return oneline(v) if dataclasses.is_dataclass(v) or hasattr(v, '_fields') else repr(v)


def take(tree: T, rows: Any) -> T:
  """The same tree at some rows of its leading axis."""
  taken: T = jax.tree.map(lambda a: a[rows], tree)
  return taken


def bcast(v: Any, x: Array) -> Array:
  """A number, or one per example, with axes appended to meet x."""
  c = jnp.asarray(v, x.dtype)
  return c.reshape(c.shape + (1,) * (x.ndim - c.ndim)) if c.ndim else c


def repeat(cond: Any, batch: int) -> Any:
  """One condition for every example: [...] -> [B, ...]."""
  return jax.tree.map(lambda c: jnp.broadcast_to(c, (batch, *jnp.shape(c))), cond)


def fold(keys: Array, i: Any) -> Array:
  """One key per example, folded with a number or with a name."""
  data = np.uint32(zlib.crc32(i.encode())) if isinstance(i, str) else i
  return jax.vmap(jax.random.fold_in, (0, None))(keys, data)


def normal(keys: Array, like: Array) -> Array:
  """One Gaussian per example, each from its own key."""
  return jax.vmap(lambda k: jax.random.normal(k, like.shape[1:], like.dtype))(keys)


def positive(a: Array) -> Array:
  """a, or 1 where a = 0: at x_0 there is no noise to divide by."""
  return jnp.where(a > 0, a, 1)


def root(a: Array) -> Array:
  """sqrt(a), and 0 with slope 0 where a <= 0: a chain is differentiated through its norms."""
  return jnp.where(a > 0, jnp.sqrt(positive(a)), 0)


def rms(a: Array) -> Array:
  """Root mean square of each example, with axes kept."""
  return root(jnp.mean(a**2, range(1, a.ndim), keepdims=True))
