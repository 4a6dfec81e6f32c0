"""`sample` of a config: the solver, and the guidance of a model's classifiers."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from zsi_jax.build.keys import ConfigError, near

if TYPE_CHECKING:  # jax loads where something is drawn, not where a config is read
  from zsi_jax.build.models import Model


def solver_of(kind: str) -> Callable[..., Any]:
  """What the options of a solver are the arguments of."""
  match kind:
    case 'ancestral':
      return ancestral
    case 'ddim':
      return ddim
    case 'dpm++':
      return dpm
    case 'heun':
      return heun
  kinds = 'ancestral', 'ddim', 'dpm++', 'heun'
  raise ConfigError(f'sample.solver.kind: there is no solver {kind!r}{near(kind, kinds)}')


def ancestral(*, inject: str = 'mean', clip: bool = True) -> Any:
  from zsi_jax.core import Ancestral

  return Ancestral(clip=clip, inject=inject)


def ddim(*, eta: float = 0.0, inject: str = 'eps', clip: bool = True) -> Any:
  from zsi_jax.core import DDIM

  return DDIM(eta, clip=clip, inject=inject)


def dpm(*, clip: bool = True) -> Any:
  from zsi_jax.core import DPMSolverPP

  return DPMSolverPP(clip=clip)


def heun(*, clip: bool = True) -> Any:
  from zsi_jax.core import Heun

  return Heun(clip=clip)


def solver(config: ConfigDict) -> Any:
  own = config.sample.solver
  try:
    return solver_of(own.kind)(**{k: v for k, v in own.items() if k != 'kind'})
  except ValueError as error:
    raise ConfigError(f'sample.solver: {error}') from None


def guidance(config: ConfigDict, model: Model) -> Any:
  """Every classifier of the model pulling towards its row of sample.weights; None without."""
  rows = weights(config)
  if rows is None:
    return None
  fits(rows, {name: term.net.classes for name, term in model.classifier.items()})
  terms = []
  for term, row in zip(model.classifier.values(), rows, strict=True):
    try:
      terms.append(term.replace(at=config.sample.at).towards(*row))
    except ValueError as error:
      raise ConfigError(f'sample: {error}') from None
  return functools.reduce(operator.add, terms)


def fits(rows: Sequence[Sequence[float]], classes: Mapping[str, int]) -> None:
  """A ConfigError unless each classifier has its row, and each of its classes a number."""
  if len(rows) != len(classes):
    raise ConfigError(
      f'sample.weights has {len(rows)} rows and there are {len(classes)} classifiers '
      f'({", ".join(classes)}): one row for each'
    )
  for row, (name, n) in zip(rows, classes.items(), strict=True):
    if len(row) != n:
      raise ConfigError(
        f'sample.weights: {tuple(row)} has {len(row)} numbers and the classifier {name!r} '
        f'{n} classes: one number for each'
      )


def weights(config: ConfigDict) -> list[Sequence[float]] | None:
  """A row of weights for each classifier."""
  said = config.sample.weights
  if said is None:
    return None
  return list(said) if said and isinstance(said[0], tuple | list) else [said]
