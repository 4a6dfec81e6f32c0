"""The keys of a config: values change, keys and their types do not."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference

from zsi_jax.build.typed import fitted, said


class ConfigError(ValueError):
  """A config that cannot be used: names the key, and what would be right."""


def near(word: str, words: Iterable[str]) -> str:
  """': did you mean …', or all of them where none is near, or nothing where there are none."""
  words = list(words)
  found = difflib.get_close_matches(word, words, 1)
  every = f' but {", ".join(words)}' if words else ''
  return f': did you mean {found[0]}?' if found else every


def override(config: ConfigDict, key: str, value: Any) -> None:
  """config.a.b = value, for a key that is there and a value of its type."""
  *path, last = key.split('.')
  at = config
  for i, part in enumerate([*path, last]):
    if part not in at:
      raise ConfigError(f'there is no key {key!r} in this config{nearest(key, config)}')
    if i < len(path):
      at = at[part]
      if not isinstance(at, ConfigDict):
        raise ConfigError(f'{".".join(path[: i + 1])} is a value, not a group: no key {key!r}')
  old = at[last]
  if isinstance(old, ConfigDict):
    raise ConfigError(f'{key} is a group of keys ({", ".join(old)}): set one of them')
  held = dict(at.items(preserve_field_references=True))[last]
  optional = old is None or isinstance(held, FieldReference)  # a placeholder may be None again
  kind = at.get_type(last)
  free = kind is type(None) or (value is None and optional)
  at[last] = value if free else cast(key, old, kind, value)


def cast(key: str, old: Any, kind: Any, value: Any) -> Any:
  """The value as the type of the key, or a ConfigError; `old` is a value of that type, if any."""
  try:
    return fitted(value, kind)
  except TypeError:
    example = '' if old is None else f' ({old!r})'
    word = str in (kind, *get_args(kind)) and not isinstance(value, tuple | list | None)
    hint = f': quote it, {key}="\'{value}\'"' if word else ''
    raise ConfigError(f'{key} is of type {said(kind)}{example}, not {value!r}{hint}') from None


def nearest(key: str, config: ConfigDict) -> str:
  """The key that was meant, by its last word or as a whole."""
  keys = list(flat(config))
  same = [k for k in keys if k.split('.')[-1] == key.split('.')[-1]]
  return f': did you mean {same[0]}?' if len(same) == 1 else near(key, keys)


def plain(config: ConfigDict) -> dict[str, Any]:
  """The config as JSON has it: tuples are lists."""
  told: dict[str, Any] = json.loads(config.to_json())
  return told


def flat(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """'a.b.c' -> value."""
  rows: dict[str, Any] = {}
  for key, value in config.items():
    inner = isinstance(value, (Mapping, ConfigDict)) and len(value)
    rows |= flat(value, f'{prefix}{key}.') if inner else {prefix + key: value}
  return rows


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """'key: old -> new' for each key that two plain configs do not share."""
  a, b = flat(old), flat(new)
  changed = [k for k in a | b if k not in a or k not in b or a[k] != b[k]]

  def said(rows: Mapping[str, Any], key: str) -> str:
    return repr(rows[key]) if key in rows else 'absent'

  return [f'{k}: {said(a, k)} -> {said(b, k)}' for k in changed]


ROLES = 'denoiser', 'classifier'
GROUPS = *ROLES, 'judge', 'eyes'  # of a config: networks that are trained
NEVER = {  # what changes where, how fast and how long, but not which, numbers are made
  *('check', 'mesh', 'log', 'data.root', 'data.workers'),
  *(
    f'{role}.{key}'
    for role in GROUPS
    for key in ('accumulate', 'log_every', 'save_every', 'keep', 'grid_every', 'net.remat')
  ),
}
TRUTH = 'judge/truth'  # the one that measures attributes; the others are 'judge/<copy>'
DATA = 'seed', 'data', 'split', 'support'
BATCHES = 'data.flip', 'data.crop', 'data.keep'  # of what is trained, not of what is prepared


def seed(config: ConfigDict, role: str) -> int:
  """Of the training of a network: its own, else that of all."""
  own = config[role].get('seed') if role in config else None
  return int(config.seed if own is None else own)


def meaning(config: ConfigDict, stage: str = 'sample') -> dict[str, Any]:
  """The plain config, without what changes no number that this stage makes."""
  return reduced(plain(config), stage)


def reduced(config: Mapping[str, Any], stage: str) -> dict[str, Any]:
  """`meaning` of a plain config, or of what it left of one.

  A network that is trained for longer at a constant rate is the same one, later. The batch is that
  of each network, whichever key said it.
  """
  told, never = json.loads(json.dumps(config)), {*NEVER, 'data.batch'}
  for role in GROUPS:
    own = told.get(role, {})
    if own.get('decay') == 'constant':
      never.add(f'{role}.steps')
    if 'batch' in own and own['batch'] is None:
      own['batch'] = told['data'].get('batch')
    for key in ('seed', 'label'):
      if own.get(key, 0) is None:
        del own[key]
  if stage == 'sample':
    never |= {'judge', 'eyes'}  # what is drawn with eyes says which by their digests
  else:
    never |= {group for group in told if group not in DATA}
  if stage in ROLES:
    never -= {stage, 'process'}
  elif stage.startswith('judge/'):
    own = ('kind', 'attributes', 'draws', 'copies', 'ranked') if stage == TRUTH else ('truth',)
    never -= {'judge'}
    never |= {'split', 'support', 'data.keep', *(f'judge.{key}' for key in own)}
  elif stage.startswith('eyes/'):
    never -= {'eyes'}
    never |= {'split', 'support', 'eyes.kinds', *BATCHES}
  elif stage == 'prepare':
    never |= {*BATCHES}
  for key in sorted(never, key=lambda k: -k.count('.')):  # parts before the groups they are in
    *path, last = key.split('.')
    functools.reduce(lambda at, part: at.get(part, {}), path, told).pop(last, None)
  return dict(told)
