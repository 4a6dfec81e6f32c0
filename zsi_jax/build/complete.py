"""Every key of a config, its type, and the options that a kind brings; no other."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Container, Mapping
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from zsi_jax.build import conditions, data, networks, sampling, splits
from zsi_jax.build.keys import GROUPS, ROLES, ConfigError, cast, flat, near, override
from zsi_jax.build.typed import arguments, fitted, optional
from zsi_jax.data import limits

TRAINED: Mapping[str, Any] = {  # of each network
  'batch': int | None,
  'steps': int,
  'lr': float,
  'warmup': int,
  'decay': str,
  'weight_decay': float,
  'clip': float | None,
  'ema': float | None,
  'accumulate': int,
  'times': tuple[float, float, float],
  'log_every': int,
  'save_every': int,
  'keep': int,
  'net.kind': str,
}
KEYS: Mapping[str, Any] = {  # that every config has, and their types
  'seed': int,
  'check': bool,
  'data.source': str,
  'data.root': str | None,
  'data.skip_corrupt': bool,
  'data.batch': int,
  'data.flip': bool,
  'data.crop': float | None,
  'data.keep': tuple[str, ...],
  'data.workers': int,
  'split.kind': str,
  'support.kind': str,
  'process.schedule': str,
  'process.T': int,
  **{f'denoiser.{key}': hint for key, hint in TRAINED.items()},
  'denoiser.loss': str,
  'denoiser.predicts': str,
  'denoiser.variance': str,
  'denoiser.drop': float | None,
  'denoiser.grid_every': int | None,
  **{f'classifier.{key}': hint for key, hint in TRAINED.items()},
  'classifier.name': str,
  'classifier.seed': int | None,
  'classifier.label': str | None,
  'classifier.crop': float | None,
  **{f'judge.{key}': hint for key, hint in TRAINED.items() if key != 'times'},
  'judge.copies': tuple[str, ...],
  'judge.truth': tuple[str, ...],
  'judge.kind': str,
  'judge.attributes': tuple[str, ...],
  'judge.draws': int | None,
  'judge.holdout': float,
  'judge.ranked': bool,
  'judge.shift': int,
  'judge.optimizer': str,
  'judge.momentum': float,
  **{f'eyes.{k}': v for k, v in TRAINED.items() if k not in ('times', 'net.kind')},
  'eyes.kinds': tuple[str, ...],
  'eyes.copies': tuple[str, ...],
  'eyes.holdout': float,
  'eyes.blur': float,
  'eyes.noise': float,
  'eyes.net.width': int,
  'mesh.fsdp': int,
  'mesh.rules': tuple[tuple[str, str], ...],
  'log.wandb': str | None,
  'sample.name': str,
  'sample.n': int,
  'sample.seed': int | None,
  'sample.unguided': int,
  'sample.batch': int,
  'sample.per_file': int,
  'sample.steps': int,
  'sample.weights': tuple[float, ...] | tuple[tuple[float, ...], ...] | None,
  'sample.at': str,
  'sample.classes': tuple[int, ...] | None,
  'sample.aim': float | None,
  'sample.dial': str | None,
  'sample.cfg': float | None,
  'sample.cfg_variance': str,
  'sample.cond': tuple[int, ...] | None,
  'sample.task': str,
  'sample.labels': tuple[int, ...],
  'sample.stop': float,
  'sample.points': int,
  'sample.upward': str,
  'sample.denoiser': str | None,
  'sample.classifiers': tuple[str, ...],
  'sample.eyes': str | None,
  'sample.conditions': tuple[str, ...],
  'sample.tuples': str,
  'sample.guide.kind': str,
  'sample.solver.kind': str,
  'evaluate.judges': str | None,
  'evaluate.unfit': bool,
  'evaluate.bins': int,
  'evaluate.bootstrap': int,
  'evaluate.full': int,
  'evaluate.mild': int,
  'evaluate.fid': bool,
  'evaluate.inception': str | None,
  'evaluate.lpips': str | None,
  'evaluate.clip': str | None,
  'evaluate.pairs': int,
  'evaluate.neighbours': int,
  'evaluate.gradients': int,
  'evaluate.level': float,
  'report.title': str,
  'report.about': str,
  'report.config': str,
  'report.figure': str,
  'report.paper': tuple[tuple[str, str, str], ...],
  'report.headline': tuple[tuple[str, str, str], ...],
  'report.against': tuple[tuple[str, str], ...],
}
KINDS = {
  'data.source': 'data.options',
  'split.kind': 'split',
  'support.kind': 'support',
  'denoiser.net.kind': 'denoiser.net',
  'classifier.net.kind': 'classifier.net',
  'judge.net.kind': 'judge.net',
  'sample.solver.kind': 'sample.solver',
  'sample.guide.kind': 'sample.guide',
}
POSITIVE = [
  *('data.batch', 'process.T', 'mesh.fsdp', 'sample.n', 'sample.batch', 'sample.per_file'),
  *('eyes.net.width', 'sample.steps', 'judge.draws'),
  *('evaluate.full', 'evaluate.mild', 'evaluate.pairs'),
  *(
    f'{role}.{key}'
    for role in GROUPS
    for key in ('batch', 'steps', 'accumulate', 'log_every', 'save_every', 'keep', 'grid_every')
  ),
]
NAMES = {  # as core, nets and train have them, which load too slowly for a config
  'process.schedule': ('cosine', 'linear', 'scaled_linear'),
  **{f'{role}.decay': ('constant', 'linear', 'cosine') for role in GROUPS},
  'denoiser.loss': ('simple', 'hybrid', 'hybrid_paper', 'vlb'),
  'denoiser.predicts': ('eps', 'x0', 'v'),
  'denoiser.variance': ('learned', 'small', 'large'),
  **{f'{role}.net.dtype': ('float32', 'bfloat16', 'float16') for role in GROUPS},
  'judge.kind': ('binary', 'classes', 'regression'),
  'judge.optimizer': ('adam', 'sgd'),
  **{
    f'{role}.net.remat': ('full', 'dots_saveable', 'dots_with_no_batch_dims_saveable')
    for role in ROLES
  },
  'sample.at': ('xt', 'mean', 'x0'),
  'sample.cfg_variance': ('clipped', 'mixed'),
  'sample.task': ('draw', 'slerp', 'edit'),
  'sample.upward': ('invert', 'noise'),
  'sample.tuples': ('one', 'several'),
}
AT_LEAST_0 = (
  *('data.workers', 'sample.unguided', 'judge.shift'),
  *('evaluate.neighbours', 'evaluate.gradients'),
  *(f'{role}.warmup' for role in GROUPS),
)


def complete(config: ConfigDict) -> None:
  """Every key and every option of the source, the split and the support, of its type; no other."""
  there = flat(config)
  for key, hint in KEYS.items():
    if key not in there:
      raise ConfigError(f'it has no key {key}: let it start from base.get_config(preset)')
    at, name = _place(config, key)
    _put(at, name, cast(key, None, hint, at[name]), optional(hint))
  limits.whole('seed', config.seed, 0, limits.SEEDS)
  for key in ('classifier.seed', 'sample.seed'):
    if (own := flat(config)[key]) is not None:
      limits.whole(key, own, 0, limits.SEEDS)
  limits.whole('evaluate.bins', config.evaluate.bins, 2)
  limits.whole('evaluate.bootstrap', config.evaluate.bootstrap, 2)
  limits.real('evaluate.level', config.evaluate.level, 0, 1)
  there = flat(config)
  for least, keys in ((1, POSITIVE), (0, AT_LEAST_0)):
    for key in keys:
      if there.get(key) is not None:
        limits.whole(key, there[key], least)
  for key in KINDS:
    _fill(config, key)
  groups = {k.rpartition('.')[0] for k in KEYS if not k.endswith('.kind')} - {'data'}
  for group in groups - {''}:
    at = functools.reduce(lambda c, part: c[part], group.split('.'), config)
    known = {k[len(group) + 1 :].split('.')[0] for k in KEYS if k.startswith(f'{group}.')}
    for name in at:
      if name not in known:
        raise ConfigError(f'there is no key {group}.{name}{near(name, known)}')
  sensible(config)


def sensible(config: ConfigDict) -> None:
  """Names that are known, shares that are shares, rules that can be read."""
  there = flat(config)
  for key, names in NAMES.items():
    value = there.get(key)
    if value is not None and value not in names:
      raise ConfigError(f'{key}: there is no {value!r}{near(value, names)}')
  for key in [*(f'{role}.ema' for role in GROUPS), 'denoiser.drop']:
    if (value := there[key]) is not None:
      limits.real(key, value, 0, 1)
      if value == 1 and key != 'denoiser.drop':
        raise ConfigError(f'{key} = 1: an average that never moves; take .999, or None for none')
  for pattern, _ in config.mesh.rules:
    try:
      re.compile(pattern)
    except re.error as error:
      raise ConfigError(f'mesh.rules: {pattern!r} is no regular expression: {error}') from None


def turn(config: ConfigDict, key: str, own: Container[str], said: Mapping[str, Any]) -> None:
  """Another source, split, support, network or solver, with its own options.

  Of the options of before it keeps those that the config's file said (`own`), if it knows them as
  the same type: a radius may be whole pixels, or a share.
  """
  at, name = _place(config, key)
  if said[key] == at[name]:
    return
  override(config, key, said[key])
  group = KINDS[key]
  known, (above, last) = arguments(_make(config, key)), _place(config, group)
  held = above[last]
  for old in [f'{group}.{o}' for o in held if f'{group}.{o}' != key]:
    option = old.rpartition('.')[2]
    if old not in own or not _fits(said.get(old, held[option]), held[option], known.get(option)):
      del held[option]  # one that stays may be a reference
  for full, value in said.items():
    start, _, option = full.rpartition('.')
    if start == group and option not in held:
      held[option] = value
  complete(config)


def _fits(value: Any, before: Any, argument: tuple[Any, Any] | None) -> bool:
  """Whether the value, as the argument takes it, is of the type of the one before."""
  try:
    return argument is not None and type(fitted(value, argument[0])) is type(before)
  except TypeError:
    return False


def _make(config: ConfigDict, key: str) -> Callable[..., Any]:
  """What the options of a kind are the arguments of."""
  match key:
    case 'data.source':
      return data.maker(config.data.source, data.root(config))
    case 'split.kind':
      return splits.splitter(config.split.kind)
    case 'support.kind':
      return splits.promiser(config.support.kind)
    case 'sample.solver.kind':
      return sampling.solver_of(config.sample.solver.kind)
    case 'sample.guide.kind':
      return conditions.guide_of(config.sample.guide.kind)
  role = key.split('.')[0]
  return networks.described(role, config[role].net.kind)


def _place(config: ConfigDict, key: str) -> tuple[ConfigDict, str]:
  """The group that a key is in, and its last word."""
  *path, last = key.split('.')
  return functools.reduce(lambda c, part: c[part], path, config), last


def _fill(config: ConfigDict, key: str) -> None:
  """The group of a kind with each of its options, of the type of its annotation."""
  group, kind = KINDS[key], flat(config)[key]
  above, last = _place(config, group)
  at = above[last]
  known = {n: a for n, a in arguments(_make(config, key)).items() if n not in ('of', 'role')}
  for name in at:
    if name not in known and f'{group}.{name}' != key:
      raise ConfigError(f'{group}.{name}: {kind!r} has no such option{near(name, known)}')
  for name, (hint, default) in known.items():
    absent = default is inspect.Parameter.empty
    if name not in at and absent:
      raise ConfigError(f'{group}.{name} is not said, and {kind!r} needs it')
    value = at[name] if name in at else default
    value = cast(f'{group}.{name}', None if absent else default, hint, value)
    _put(at, name, value, optional(hint))


def _put(at: ConfigDict, name: str, value: Any, free: bool) -> None:
  """Holds the value, and None again where it is free to; a reference that fits stays one."""
  kind = object if free else type(value)
  if name in at and at.get_type(name) is kind:
    if repr(at[name]) != repr(value):
      at[name] = value
    return
  if name in at:
    del at[name]
  at[name] = placeholder(object) if free else value
  if free:
    at[name] = value
