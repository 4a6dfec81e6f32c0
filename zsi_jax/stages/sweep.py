"""Variants of a config: what else a run draws, each told by its difference.

`sweep(preset)` of a config's file returns {name: {key: value}}. A variant that changes sample.*
alone draws into workdir/samples/<name>. One that changes what a network is trained with has a
workdir of its own, workdir/variants/<name>, and takes from the base's the networks they share.

workdir/sweep.json   base: its set; variants: {name: workdir (relative), sample, overrides}; stamp
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from zsi_jax.build import sampling
from zsi_jax.build.complete import KINDS
from zsi_jax.build.keys import ConfigError, flat, meaning, near, override, reduced
from zsi_jax.io.stamp import stamp
from zsi_jax.stages import STAGES
from zsi_jax.stages import config as configs
from zsi_jax.stages import workdir as work

TOLD, FOLDER, BASE, UNGUIDED = 'sweep.json', 'variants', 'base', 'unguided'
NETWORKS = {'denoiser': 'sample.denoiser', 'classifier': 'sample.classifiers'}  # where it is said
ONCE = 'eyes', 'judge', 'evaluate', 'report'  # for all variants: they are measured by one thing


@dataclasses.dataclass(frozen=True)
class Variant:
  """A config with its workdir: the base, or one of its variants."""

  name: str
  config: ConfigDict
  workdir: Path
  home: Path  # the workdir of the base
  stages: tuple[str, ...]  # that it goes through
  taken: tuple[str, ...] = ()  # roles whose networks are those of `home`
  overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def roles(self) -> tuple[str, ...]:
    """Networks that are trained for it."""
    return tuple(role for role in NETWORKS if role in self.stages)

  @property
  def folders(self) -> list[Path]:
    """Of the sets that it draws."""
    own = self.config.sample
    names = [own.name] + [UNGUIDED] * (own.unguided > 0)
    return [self.workdir / 'samples' / name for name in names]

  @property
  def waits(self) -> bool:
    """Whether its dial is not made yet; it is drawn when that is."""
    said = self.config.sample.dial
    return self.name != BASE and said is not None and sampling.dial_at(said, self.workdir) is None


def variants(spec: str, overrides: Mapping[str, Any], workdir: Path) -> list[Variant]:
  """The base and its variants, in order; a ConfigError for what is wrong with any of them."""
  base = Variant(BASE, configs.load(spec, overrides), workdir, workdir, tuple(STAGES))
  found, taken = [base], dict[Path, str]()
  for name, own in swept(spec).items():
    with named(name):
      found.append(variant(spec, overrides, base, name, own))
  for one in found:
    for folder in one.folders:
      if folder in taken:
        leave = ', or sample.unguided=0' if folder.name == UNGUIDED else ''
        raise ConfigError(
          f'sweep: {taken[folder]!r} and {one.name!r} draw into one folder, {folder}: give one of '
          f'them another sample.name{leave}'
        )
      taken[folder] = one.name
  return found


def lean(found: Sequence[Variant]) -> list[Variant]:
  """Without those networks of the base that nobody draws with."""
  base, *others = found

  def used(role: str) -> bool:
    here = [one for one in found if one.workdir == base.workdir]
    if role == 'denoiser':
      own = any(one.config.sample.denoiser is None for one in here)
    else:
      own = any(sampling.guided(one.config) and not one.config.sample.classifiers for one in here)
    return own or any(role in one.taken for one in others)

  stages = tuple(name for name in base.stages if name not in NETWORKS or used(name))
  return [dataclasses.replace(base, stages=stages), *others]


def swept(spec: str) -> dict[str, dict[str, Any]]:
  """What sweep(preset) of the file returns; {} where it has none."""
  head, said, preset = spec.partition('.py:')
  path = Path(head + '.py' if said else spec).expanduser()
  with configs.importable(path):
    make = getattr(configs.executed(path), 'sweep', None)
    if make is None:
      return {}
    given = (preset,) if said else ()
    try:
      inspect.signature(make).bind(*given)
    except TypeError as error:
      raise ConfigError(f'{path}: sweep and the preset {preset!r}: {error}') from None
    with configs.blamed(path, 'sweep fails'):
      rows = make(*given)
  if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
    raise ConfigError(
      f'{path}: sweep(preset) returns {{name: {{key: value}}}}, as in '
      f"{{'lambda_75': {{'sample.weights': (75.0, 75.0)}}}}, not {rows!r:.100}"
    )
  for name in rows:
    if not isinstance(name, str) or Path(name).name != name or name[:1] in ('', '.'):
      raise ConfigError(f'{path}: sweep names {name!r}, which is no name of a folder')
    if name == BASE:
      raise ConfigError(f'{path}: sweep names {BASE!r}, which is the config without a variant')
  return rows


def variant(
  spec: str, overrides: Mapping[str, Any], base: Variant, name: str, own: Mapping[str, Any]
) -> Variant:
  """One of them: what it says counts more than the command line, which is about all."""
  if wrong := [key for key in own if key.split('.')[0] in ONCE]:
    raise ConfigError(
      f'{wrong[0]}: {", ".join(ONCE[:-1])} and {ONCE[-1]} are for all variants at once: say '
      'it in the config'
    )
  own = placed(own, base.workdir)
  config = configs.load(spec, {**kept(overrides, base.config, own), **own})
  roles = [
    role
    for role, key in NETWORKS.items()
    if key not in own
    and differ(config, base.config, role)
    and (role != 'classifier' or sampling.guided(config))
  ]
  if 'denoiser' not in roles and 'sample.unguided' not in own:
    override(config, 'sample.unguided', 0)  # they are the base's
  if not roles:
    override(config, 'sample.name', own.get('sample.name', name))
    return Variant(name, config, base.workdir, base.workdir, ('sample',), (), dict(own))
  taken = []
  for role, key in NETWORKS.items():
    listed, home = role == 'classifier', str(base.workdir)
    if role in roles:
      override(config, key, () if listed else None)
    elif key not in own and not flat(base.config)[key]:
      override(config, key, (home,) if listed else home)
      taken += [role] * (not listed or sampling.guided(config))
  if config.eyes.kinds and 'sample.eyes' not in own and config.sample.eyes is None:
    override(config, 'sample.eyes', str(base.workdir))
  stages = ('prepare', *roles, 'sample')
  folder = base.workdir / FOLDER / name
  return Variant(name, config, folder, base.workdir, stages, tuple(taken), dict(own))


def placed(own: Mapping[str, Any], home: Path) -> dict[str, Any]:
  """Overrides in which variants/<name> is that of the base's workdir."""

  def at(path: str) -> str:
    return str(home / path) if Path(path).parts[:1] == (FOLDER,) else path

  whole = dict(own)
  if isinstance(path := own.get('sample.denoiser'), str):
    whole['sample.denoiser'] = at(path)
  if isinstance(paths := own.get('sample.classifiers'), tuple):
    whole['sample.classifiers'] = tuple(map(at, paths))
  return whole


def differ(config: ConfigDict, base: ConfigDict, role: str) -> bool:
  """Whether two configs train another network of this role."""
  a, b = ({'is': meaning(c, role), 'steps': c[role].steps} for c in (config, base))
  return a != b


def kept(overrides: Mapping[str, Any], base: ConfigDict, own: Mapping[str, Any]) -> dict[str, Any]:
  """Overrides of the command line without options of kinds that a variant changes."""
  before = flat(base)
  gone = {group for key, group in KINDS.items() if own.get(key, before[key]) != before[key]}
  return {key: v for key, v in overrides.items() if key.rpartition('.')[0] not in gone}


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
  """What is wrong with a variant is said of it."""
  try:
    yield
  except ValueError as error:
    if name == BASE:
      raise
    raise ConfigError(f'variant {name}: {error}') from error


def finished(one: Variant) -> None:
  """A ConfigError unless the networks that it takes from the base are trained to their end."""
  if one.taken:
    from zsi_jax.stages import training  # loads jax, which a config does not need

    for role in one.taken:
      if training.there(one.config, one.home, role) is None:
        raise ConfigError(
          f'the {role} of {one.home} is not finished: run --stage={role}, of the base or of all'
        )


def chosen(found: Sequence[Variant], name: str | None) -> list[Variant]:
  """All, or the one of this name."""
  if name is None:
    return list(found)
  names = [one.name for one in found]
  if name not in names:
    raise ConfigError(f'there is no variant {name!r}{near(name, names)}')
  return [found[names.index(name)]]


def write(workdir: Path, found: Sequence[Variant]) -> None:
  """sweep.json, of a config with variants: those that can be drawn."""
  base, *others = found
  if not others or not prepared(workdir, base.config):
    return
  rows = {
    one.name: {
      'workdir': one.workdir.relative_to(workdir).as_posix(),
      'sample': one.config.sample.name,
      'overrides': dict(one.overrides),
    }
    for one in others
    if not one.waits
  }
  told = json.loads(json.dumps({'base': base.config.sample.name, 'variants': rows}))
  there = read(workdir)
  if there is None or told != {key: there.get(key) for key in told}:
    told['stamp'] = stamp(told, device=False)
    work.write(workdir / TOLD, (json.dumps(told, indent=1) + '\n').encode())


def prepared(workdir: Path, config: ConfigDict) -> bool:
  """Whether nothing is there yet, or what this config made; a stage says what differs."""
  from zsi_jax.stages import prepare  # loads the data sets

  told = prepare.read(workdir)
  return told is None or reduced(told['config'], 'prepare') == meaning(config, 'prepare')


def read(workdir: Path) -> dict[str, Any] | None:
  """sweep.json, or None where there is none."""
  path = workdir / TOLD
  try:
    told: dict[str, Any] = json.loads(path.read_text())
    rows = [(row['workdir'], row['sample'], row['overrides']) for row in told['variants'].values()]
    if not all(isinstance(text, str) for text in (told['base'], *(w for w, *_ in rows))):
      raise ValueError('no names')
    return told
  except FileNotFoundError:
    return None
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise ConfigError(f'{path}: cannot be read ({error!r:.200}); remove it first') from None
