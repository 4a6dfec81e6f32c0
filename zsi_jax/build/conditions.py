"""`sample.conditions` and `sample.guide` of a config: what images shall be near to, and how.

| kind      | one step                                                                          |
|-----------|-----------------------------------------------------------------------------------|
| sum       | all conditions at once, one pull-back                             FreeDoM         |
| merge     | the same, weighed by a merge in x_t or in x0                                      |
| lookahead | the first one, then the others where it lands                     Z-Magic, Alg. 1 |
| pairs     | each leads once, and a merge                                      Z-Magic, Alg. 2 |

rho is the strength of each condition in their order; rule says what it is of: 'alpha' fades it with
the noise, 'fixed' does not, 'share' makes it a share of the model's own score. No guidance where
t <= stop. The first one may be `label`, which no eye sees: the denoiser is told it, and its rho is
w: (1 + w) of the prediction with it less w of that without, at all t.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from zsi_jax.build.keys import ConfigError, near

KINDS = 'none', 'sum', 'merge', 'lookahead', 'pairs'
RULES = 'alpha', 'fixed', 'share'
MERGES = 'sum', 'mean', 'cagrad', 'pcgrad', 'mgda'
SEES = {  # the kind of eye that looks, of those that the stage eyes trains
  'identity': 'identity',
  'landmarks': 'landmarks',
  'segmentation': 'segmentation',
  'style': 'segmentation',
  'content': 'segmentation',
  'text': 'text',
  'feeling': 'feeling',
}
LABEL = 'label'  # what the denoiser is told
BARE = ('colour',)  # seen by none
NAMES = *SEES, LABEL, *BARE
CELLS = 4  # of an image across, of which colours are means
Made = tuple[Any, Any]  # guidance, solver


def guide_of(kind: str) -> Callable[..., Any]:
  """What the options of a kind are the arguments of."""
  made: dict[str, Callable[..., Any]] = {
    'none': none,
    'sum': summed,
    'merge': merged,
    'lookahead': lookahead,
    'pairs': pairs,
  }
  if kind not in made:
    raise ConfigError(f'sample.guide.kind: there is no {kind!r}{near(kind, KINDS)}')
  return made[kind]


def none() -> None:
  """No conditions."""


def summed(*, rho: tuple[float, ...], rule: str = 'alpha', stop: float = 0.0) -> Any:
  def make(terms: tuple[Any, ...], solver: Any) -> Made:
    asked = [term for term in terms if term is not None]
    return functools.reduce(operator.add, asked), solver

  return make


def merged(
  *,
  rho: tuple[float, ...],
  rule: str = 'alpha',
  stop: float = 0.0,
  merge: str = 'cagrad',
  c: float = 0.5,
  space: str = 'xt',
) -> Any:
  from zsi_jax.core import Combine

  weigh, many = merge_of(merge, c)

  def make(terms: tuple[Any, ...], solver: Any) -> Made:
    return (len(terms) if many else 1) * Combine(terms, weigh, space), solver

  return make


def lookahead(
  *,
  rho: tuple[float, ...],
  rule: str = 'alpha',
  stop: float = 0.0,
  mode: str = 'exact',
  noise: str = 'shared',
  gain: float = 1.0,
  most: float | None = None,
) -> Any:
  from zsi_jax.core import Lookahead

  def make(terms: tuple[Any, ...], solver: Any) -> Made:
    then = functools.reduce(operator.add, terms[1:])
    return terms[0], Lookahead(solver, then, mode=mode, noise=noise, gain=gain, most=most)

  return make


def pairs(
  *,
  rho: tuple[float, ...],
  rule: str = 'alpha',
  stop: float = 0.0,
  pairing: str = 'star',
  merge: str = 'cagrad',
  c: float = 0.5,
  mode: str = 'exact',
  noise: str = 'shared',
  gain: float = 1.0,
) -> Any:
  from zsi_jax.core import Pairs

  weigh, _ = merge_of(merge, c)

  def make(terms: tuple[Any, ...], solver: Any) -> Made:
    return None, Pairs(solver, terms, pairing, weigh, mode=mode, noise=noise, gain=gain)

  return make


def merge_of(name: str, c: float) -> tuple[Any, bool]:
  """(the merge, whether it is mean-like, so that n times it is as strong as a sum)."""
  from zsi_jax.core import MGDA, CAGrad, Mean, PCGrad, Sum

  made: dict[str, Callable[[], Any]]
  made = {'sum': Sum, 'mean': Mean, 'cagrad': lambda: CAGrad(c), 'pcgrad': PCGrad, 'mgda': MGDA}
  if name not in made:
    raise ConfigError(f'sample.guide.merge: there is no {name!r}{near(name, MERGES)}')
  weigh = made[name]()
  return weigh, not getattr(weigh, 'total', False)


def asked(config: ConfigDict) -> tuple[str, ...]:
  """The conditions; () where images are drawn without."""
  return tuple(config.sample.conditions)


def checked(config: ConfigDict, solver: Any) -> None:
  """What is wrong with conditions, before any network is there."""
  own, names = config.sample.guide, asked(config)
  if (own.kind == 'none') != (not names):
    raise ConfigError(
      f'sample.conditions = {names} and sample.guide.kind = {own.kind!r}: conditions need a way, '
      'and a way conditions'
    )
  if not names:
    return
  for name in names:
    if name not in NAMES:
      raise ConfigError(f'sample.conditions: there is no {name!r}{near(name, NAMES)}')
  blind = sorted({eye_of(n) for n in names if n not in BARE} - set(config.eyes.kinds))
  if blind and config.sample.eyes is None:
    raise ConfigError(
      f'sample.conditions: nobody sees {", ".join(blind)}; add them to eyes.kinds = '
      f"{tuple(config.eyes.kinds)}, or lend a workdir's eyes by sample.eyes"
    )
  if len(config.eyes.copies) < 2:
    raise ConfigError(f'eyes.copies = {tuple(config.eyes.copies)}: one guides, and another judges')
  if LABEL in names:
    told(config)
  if len(set(names)) < len(names):
    raise ConfigError(f'sample.conditions = {names}: each once')
  if len(own.rho) != len(names) or not all(r >= 0 for r in own.rho):
    raise ConfigError(
      f'sample.guide.rho = {tuple(own.rho)} and sample.conditions = {names}: a strength from 0 on '
      'for each'
    )
  if own.rule not in RULES:
    raise ConfigError(f'sample.guide.rule: there is no {own.rule!r}{near(own.rule, RULES)}')
  if own.rule == 'share' and 'x0' in (own.get('space'), own.get('mode')):
    raise ConfigError(
      "sample.guide.rule = share is of scores in x_t, and sample.guide.space or mode = 'x0' asks "
      'energies before there is one'
    )
  if own.kind in ('lookahead', 'pairs', 'merge') and len(names) < 2:
    raise ConfigError(f'sample.guide.kind = {own.kind} is of two conditions or more, not {names}')
  if config.sample.weights is not None or config.sample.aim is not None:
    raise ConfigError(
      'sample.conditions and classifiers at once: say sample.weights=None and sample.aim=None'
    )
  if config.sample.task != 'draw':
    raise ConfigError(
      f'sample.conditions start from noise, not from sample.task={config.sample.task}'
    )
  made(config, dict.fromkeys(SEES, abs), solver)


def told(config: ConfigDict) -> None:
  """What is wrong with a condition that the denoiser is told."""
  own, names = config.sample, asked(config)
  if names[0] != LABEL or len(names) < 2 or own.guide.kind not in ('sum', 'lookahead'):
    raise ConfigError(
      f'sample.conditions = {names} and sample.guide.kind = {own.guide.kind!r}: what the denoiser '
      f'is told leads a sum or a lookahead of others: ({LABEL!r}, …)'
    )
  if own.cfg is not None or own.cond is not None:
    key = 'cfg' if own.cfg is not None else 'cond'
    raise ConfigError(f'sample.{key} = {own[key]} and the condition {LABEL!r}: say one of them')
  if config.split.get('label') != SEES['feeling']:
    raise ConfigError(
      f'sample.conditions: {LABEL!r} is judged by an eye for feelings, and split.label = '
      f'{config.split.get("label")!r}'
    )


def eye_of(name: str) -> str:
  """The kind of eye that sees whether a condition is met."""
  return 'feeling' if name == LABEL else SEES[name]


def made(config: ConfigDict, eyes: Mapping[str, Any], solver: Any) -> Made:
  """(guidance, solver) of the conditions, seen by eyes {name: images -> what is seen}."""
  from zsi_jax.core import During
  from zsi_jax.guide.rules import LAST, until

  own = config.sample.guide
  options = {k: v for k, v in own.items() if k != 'kind'}
  make = guide_of(own.kind)(**options)
  terms = tuple(
    None if name == LABEL else term(own.rule, strength, energy(name, eyes.get(name)))
    for name, strength in zip(asked(config), own.rho, strict=True)
  )
  try:
    guidance, whole = make(terms, solver)
    if own.stop > 0:
      guidance = None if guidance is None else until(guidance, own.stop)
      if whole is not solver:
        whole = During((own.stop + 0.5, LAST), then=whole, otherwise=solver)
  except ValueError as error:
    raise ConfigError(f'sample.guide: {error}') from None
  return guidance, whole


def term(rule: str, strength: float, energy: Any) -> Any:
  from zsi_jax.core import Rms
  from zsi_jax.guide.rules import Alpha

  match rule:
    case 'alpha':
      return Alpha(strength) * energy
    case 'share':
      return Rms(energy, strength)
  return strength * energy


def energy(name: str, eye: Any) -> Any:
  """The condition of this name."""
  from zsi_jax.guide import energies

  match name:
    case 'colour':
      return energies.near(colours, name, 'rms')
    case 'feeling':
      return energies.near(eye, name, 'classes')
  return getattr(energies, name)(eye, name)


def colours(x: Any) -> Any:
  """Mean colours of a few cells."""
  from zsi_jax.guide.resize import resize

  return resize(x, CELLS, 'area')
