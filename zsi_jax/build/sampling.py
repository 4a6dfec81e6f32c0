"""`sample` of a config: the solver, the guidance of classifiers, the conditions of a denoiser.

| says    | pulls                                                                               |
|---------|-------------------------------------------------------------------------------------|
| weights | each classifier towards its row of them; of `classes`, where they are named         |
| aim     | one classifier of two classes, by aim (1 - z, z); z is that of each image           |
| cfg     | w: predictions mix as [-w, (1 + w)/K, ...], of no condition and of K classes        |
| cond    | which K; without cfg the mean of their predictions                                  |
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from zsi_jax.build import conditions
from zsi_jax.build.keys import ConfigError, near, plain

if TYPE_CHECKING:  # jax loads where something is drawn, not where a config is read
  from zsi_jax.build.models import Model

Rows = list[Sequence[float]]
UPWARD = 'ddim', 'dpm++', 'heun'  # solvers that also climb towards the noise
SLERP = 'task', 'labels', 'stop', 'points'
EDIT = 'task', 'labels', 'stop', 'upward'


def solver_of(kind: str) -> Callable[..., Any]:
  """What the options of a solver are the arguments of."""
  match kind:
    case 'ancestral':
      return ancestral
    case 'langevin':
      return langevin
    case 'ddim':
      return ddim
    case 'dpm++':
      return dpm
    case 'heun':
      return heun
    case 'ddnm':
      return ddnm
    case 'reverse':
      return reverse
  kinds = 'ancestral', 'langevin', 'ddim', 'dpm++', 'heun', 'ddnm', 'reverse'
  raise ConfigError(f'sample.solver.kind: there is no solver {kind!r}{near(kind, kinds)}')


def ancestral(*, inject: str = 'mean', clip: bool = True) -> Any:
  from zsi_jax.core import Ancestral

  return Ancestral(clip=clip, inject=inject)


def langevin(
  *,
  n: int = 1,
  snr: float = 0.16,
  during: tuple[float, float] | None = None,
  inject: str = 'mean',
  clip: bool = True,
) -> Any:
  """Ancestral, with n corrections at the noise where a move has landed; `during` in timesteps."""
  from zsi_jax.core import Ancestral, During, Langevin

  move = Ancestral(clip=clip, inject=inject)
  corrected = Langevin(move, n, snr)
  return corrected if during is None else During(during, then=corrected, otherwise=move)


def ddim(*, eta: float = 0.0, inject: str = 'eps', clip: bool = True) -> Any:
  from zsi_jax.core import DDIM

  return DDIM(eta, clip=clip, inject=inject)


def dpm(*, clip: bool = True) -> Any:
  from zsi_jax.core import DPMSolverPP

  return DPMSolverPP(clip=clip)


def heun(*, clip: bool = True) -> Any:
  from zsi_jax.core import Heun

  return Heun(clip=clip)


def ddnm(*, eta: float = 0.5, inject: str = 'sample', clip: bool = True) -> Any:
  """FreeDoM's for faces."""
  from zsi_jax.core import DDNM

  return DDNM(eta, clip, inject)


def reverse(*, inject: str = 'sample') -> Any:
  """Z-Magic's."""
  from zsi_jax.core import ReverseDiffusion

  return ReverseDiffusion(inject=inject)


def solver(config: ConfigDict) -> Any:
  own = config.sample.solver
  try:
    return solver_of(own.kind)(**{k: v for k, v in own.items() if k != 'kind'})
  except ValueError as error:
    raise ConfigError(f'sample.solver: {error}') from None


def seed(config: ConfigDict) -> int:
  """Of the keys of a set."""
  own = config.sample.seed
  return int(config.seed if own is None else own)


def guided(config: ConfigDict) -> bool:
  """Whether classifiers pull."""
  return config.sample.weights is not None or config.sample.aim is not None


def checked(config: ConfigDict) -> None:
  """What is wrong with how a set is drawn, whatever networks there are."""
  own = config.sample
  for key in ('aim', 'cfg'):
    if own[key] is not None and not (math.isfinite(own[key]) and (key == 'cfg' or own[key] > 0)):
      raise ConfigError(f'sample.{key} = {own[key]} is no strength')
  if own.cfg is not None and guided(config):
    key = 'weights' if own.aim is None else 'aim'
    raise ConfigError(
      f'sample.cfg = {own.cfg:g} and sample.{key} = {own[key]} are two guidances: say '
      f'sample.{key}=None, or sample.cfg=None'
    )
  if own.aim is not None and own.weights is not None:
    rows = weights(config) or []
    if [len(row) for row in rows] != [2]:
      raise ConfigError(
        f'sample.aim pulls one classifier between two classes, and sample.weights = '
        f'{tuple(own.weights)} are of {" and ".join(str(len(row)) for row in rows)}: '
        'aim with another classifier, or sample.weights=None'
      )
  if own.dial is not None and own.aim is None:
    raise ConfigError(f'sample.dial = {own.dial} turns what sample.aim asks for, which is None')
  if own.cond is not None and not own.cond:
    raise ConfigError('sample.cond = () names no class: (0,), or None')
  conditions.checked(config, solver(config))
  if own.task != 'draw':
    task(config)


def task(config: ConfigDict) -> None:
  """What is wrong with a task that starts from records."""
  own = config.sample
  kind = own.solver.kind
  if kind not in UPWARD:
    raise ConfigError(
      f'sample.task = {own.task} climbs to the noise first, which sample.solver.kind = {kind} '
      f'cannot: take {", ".join(UPWARD)}'
    )
  if not 0 < own.stop <= 1 or row(config) < 1:
    raise ConfigError(
      f'sample.stop = {own.stop:g} of sample.steps = {own.steps} is no way up: a share in (0, 1] '
      'that is two steps at least'
    )
  if own.task == 'slerp':
    if guided(config) or own.cfg is not None:
      raise ConfigError('sample.task = slerp decodes without guidance: say sample.weights=None')
    if own.solver.get('eta', 0.0):
      raise ConfigError('sample.task = slerp decodes without noise: say sample.solver.eta=0.')
    if own.points < 2 or len(own.labels) != 2:
      raise ConfigError(
        f'sample.task = slerp goes between records of two labels in two points or more, not '
        f'sample.labels = {tuple(own.labels)} and sample.points = {own.points}'
      )
  if not own.labels:
    raise ConfigError(f'sample.task = {own.task} needs sample.labels of the records')


def row(config: ConfigDict) -> int:
  """The row where the way up ends: that share of all moves leads down from it."""
  return int(round(config.sample.stop * config.sample.steps)) - 1


def dial_at(said: str, workdir: Path) -> Path | None:
  """Where a dial lies: in the workdir, or as it is said; None where it is not there."""
  path = Path(said).expanduser()
  return next((p for p in (workdir / path, path) if p.is_file()), None)


def told(config: ConfigDict, whole: bool) -> dict[str, Any]:
  """What images depend on of `sample`, as JSON; not `whole`: those that are drawn unguided."""
  said, names = plain(config)['sample'], ['batch', 'per_file', 'steps', 'solver']
  if whole and said['cfg'] is not None:
    names += ['cfg', 'cfg_variance']
  elif whole and said['aim'] is not None:
    names += ['aim', 'at']
  elif whole and said['weights'] is not None:
    names += ['weights', 'at'] + ['classes'] * (said['classes'] is not None)
  names += {'slerp': SLERP, 'edit': EDIT}.get(said['task'], ()) if whole else ()
  names += ['conditions', 'guide', 'tuples'] if whole and said['conditions'] else []
  names += ['cfg_variance'] if whole and conditions.LABEL in said['conditions'] else []
  names += ['cond'] * (said['cond'] is not None)
  return {name: said[name] for name in names}


def guidance(config: ConfigDict, model: Model) -> Any:
  """Every classifier of the model pulling towards its row of sample.weights, or one aimed."""
  if not guided(config):
    return None
  fits(config, {name: term.net.classes for name, term in model.classifier.items()})
  rows: Sequence[Any] = weights(config) or ()
  if config.sample.aim is not None:
    from zsi_jax.core import Aim

    rows = [Aim(config.sample.aim)]
  terms = []
  for term, row in zip(model.classifier.values(), rows, strict=True):
    try:
      w = row if callable(row) or hasattr(row, 'read') else dense(config, row, term.net.classes)
      terms.append(term.replace(at=config.sample.at).towards(w))
    except ValueError as error:
      raise ConfigError(f'sample: {error}') from None
  return functools.reduce(operator.add, terms)


def dense(config: ConfigDict, row: Sequence[float], classes: int) -> list[float]:
  """A weight for each class, 0 where none was said."""
  picked = config.sample.classes
  if picked is None:
    return list(row)
  said = dict(zip(picked, row, strict=True))
  return [said.get(k, 0.0) for k in range(classes)]


def fits(config: ConfigDict, classes: Mapping[str, int]) -> None:
  """A ConfigError unless each classifier has its row, and each of its classes a number."""
  if config.sample.aim is not None:
    if [*classes.values()] != [2]:
      there = ', '.join(f'{name!r} with {n} classes' for name, n in classes.items())
      raise ConfigError(f'sample.aim pulls one classifier between two classes; here is {there}')
    return
  rows, picked = weights(config) or [], config.sample.classes
  if len(rows) != len(classes):
    raise ConfigError(
      f'sample.weights has {len(rows)} rows and there are {len(classes)} classifiers '
      f'({", ".join(classes)}): one row for each'
    )
  for row, (name, n) in zip(rows, classes.items(), strict=True):
    if picked is not None and (len(set(picked)) < len(picked) or len(row) != len(picked)):
      raise ConfigError(
        f'sample.weights: {tuple(row)} has {len(row)} numbers and sample.classes = {tuple(picked)}'
        f' names {len(set(picked))} classes: one number for each'
      )
    if picked is None and len(row) != n:
      raise ConfigError(
        f'sample.weights: {tuple(row)} has {len(row)} numbers and the classifier {name!r} '
        f'{n} classes: one number for each'
      )
    if picked is not None and not all(0 <= k < n for k in picked):
      raise ConfigError(
        f'sample.classes = {tuple(picked)}: the classifier {name!r} has classes 0 … {n - 1}'
      )


def weights(config: ConfigDict) -> Rows | None:
  """A row of weights for each classifier."""
  said = config.sample.weights
  if said is None:
    return None
  return list(said) if said and isinstance(said[0], tuple | list) else [said]


def conditioned(config: ConfigDict, denoiser: Any, whole: bool) -> Any:
  """The denoiser under sample.cfg and sample.cond; not `whole`: without the former."""
  null = denoiser.null
  if whole and (led := asked(config, null)) is not None:
    from zsi_jax.core import Mix

    return Mix(denoiser, led, variance=config.sample.cfg_variance)
  labels = getattr(denoiser.net, 'labels', None)
  mixed = mixture(config, labels, None if null is None else int(null), whole)
  if mixed is None:
    return denoiser
  from zsi_jax.core import Mix

  variance = config.sample.cfg_variance if whole else 'clipped'
  return Mix(denoiser, mixed[0], variance=variance).shared(mixed[1])


def asked(config: ConfigDict, null: Any) -> list[float] | None:
  """Coefficients of no condition and of the label that each image brings; None: it brings none."""
  names = conditions.asked(config)
  if conditions.LABEL not in names:
    return None
  if null is None:
    raise ConfigError(
      f'sample.conditions: {conditions.LABEL!r} is what the denoiser is told, and this one cannot '
      'be: train it with denoiser.drop=.1'
    )
  w = float(config.sample.guide.rho[names.index(conditions.LABEL)])
  return [-w, 1 + w]


def mixture(
  config: ConfigDict, labels: int | None, null: int | None, whole: bool = True
) -> tuple[list[float], list[int]] | None:
  """(coefficients, label rows) of the predictions that mix; None: the denoiser as it is."""
  w = config.sample.cfg if whole else None
  cond = config.sample.cond
  if w is not None and null is None:
    raise ConfigError(
      f'sample.cfg = {w:g} needs a denoiser that knows "no condition", and this one does not: '
      'train it with denoiser.drop=.1'
    )
  if not labels:
    if cond is not None:
      raise ConfigError(f'sample.cond = {tuple(cond)}, and the denoiser takes no condition')
    return None
  classes = [k for k in range(labels) if k != null]
  if cond is None and w is None:
    if null is None:
      raise ConfigError(
        f'the denoiser draws one of {labels} classes and knows no other way: say which, '
        f'as in sample.cond="({classes[0]},)"'
      )
    return None
  chosen = classes if cond is None else list(cond)
  if not set(chosen) <= set(classes):
    raise ConfigError(
      f'sample.cond = {tuple(chosen)}: the denoiser has classes 0 … {len(classes) - 1}'
    )
  if w is None:
    return [1 / len(chosen)] * len(chosen), chosen
  assert null is not None
  return [-w, *[(1 + w) / len(chosen)] * len(chosen)], [null, *chosen]
