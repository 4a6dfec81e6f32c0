"""What is wrong with an energy, said of a few images before a chain is compiled.

A distance that is not softened has no slope where it is met, and a chain that is guided well comes
there: the numbers it then draws are NaN, hours later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core import Array, Energy, Guidance, Solver
from zsi_jax.core.terms import slope
from zsi_jax.guide.energies import Near, reference


def energies(of: Any) -> Iterator[Energy]:
  """Those in a guidance, or in a solver that asks some."""
  if isinstance(of, Energy):
    yield of
  elif isinstance(of, tuple | list):
    for part in of:
      yield from energies(part)
  elif isinstance(of, Guidance | Solver):
    for field in dataclasses.fields(of):  # type: ignore[arg-type]
      yield from energies(getattr(of, field.name))


def probe(of: Guidance | Solver, images: Array, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """{energy: its values}; a ValueError that names the one that is not one number an example, or
  whose value, slope or curvature is no number: at images, at black ones, and where it is met.

  That is known of `Near`; of another energy where given['x0'] is its optimum.
  """
  x = jnp.asarray(images)
  if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f'probe takes float images [B, H, W, C], not {x.dtype} {list(x.shape)}')
  found = dict[str, np.ndarray]()
  for term in energies(of):
    places = {'these images': (x, dict(given)), 'black images': (-jnp.ones_like(x), dict(given))}
    if isinstance(term.energy, Near):
      beside = {name: given[name] for name in term.energy.beside}
      places['its optimum'] = (x, {**given, **reference(term, x, **beside)})
    elif 'x0' in given:
      places['its optimum'] = (jnp.asarray(given['x0']), dict(given))
    for where, (x0, own) in places.items():
      found.setdefault(term.name, look(term, where, x0, own))
  return found


def look(term: Energy, where: str, x0: Array, given: dict[str, Any]) -> np.ndarray:
  def energy(x0: Array) -> Array:
    told: Array = jnp.asarray(term.energy(x0, given))
    return told

  try:
    v, g = slope(energy, x0)
  except ValueError as error:
    raise ValueError(f'energy {term.name!r}: {error}') from None
  turn = jax.jvp(jax.grad(lambda x0: energy(x0).sum()), (x0,), (jnp.ones_like(x0),))[1]
  for what, a in (('value', v), ('slope', g), ('curvature', turn)):
    if not np.isfinite(a).all():
      raise ValueError(
        f'energy {term.name!r}: its {what} is NaN or infinite at {where}. A norm has none where it '
        'is zero: zsi_jax.guide.energies.soft(r) is one that has'
      )
  return np.asarray(v)
