"""Which images are evaluated: the sets that a run and its variants have drawn, and records."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.build.keys import ConfigError
from zsi_jax.io.stamp import digest
from zsi_jax.stages import sampled, sweep
from zsi_jax.stages.sweep import UNGUIDED

NUMBERED = re.compile(r'_\d+$')
ZERO_SHOT = 'extremes', 'turned', 'split B', 'split C'  # supports that keep the middle unseen


@dataclasses.dataclass(frozen=True)
class Images:
  """A set that `sample` has finished."""

  name: str
  folder: Path
  told: Mapping[str, Any]  # sample.json
  zero_shot: bool | None  # None: nobody knows what its networks have seen
  again: bool = False  # a variant that differs in its seed

  @property
  def n(self) -> int:
    return int(self.told['sample']['n'])

  @property
  def dialled(self) -> bool:
    """By judge A, who has seen the middle."""
    return self.told['sample'].get('dial') is not None

  @property
  def digest(self) -> str:
    """Of the bytes of its files."""
    return digest({name: seal['sha256'] for name, seal in self.told['files'].items()})

  @property
  def home(self) -> Path:
    """The workdir that it was drawn in."""
    return self.folder.parents[1]

  @property
  def seconds(self) -> float:
    """Compiling and drawing it; of a set that was drawn in parts, by the speed of the last."""
    rate = self.told.get('rate') or {'seconds': 0.0}
    whole: float = rate['seconds'] * self.n / rate.get('images', self.n) + rate.get('compiling', 0)
    return whole

  @property
  def weights(self) -> Any:
    return self.told['sample'].get('weights')

  @property
  def conditions(self) -> tuple[str, ...]:
    """What its images were to be near to."""
    return tuple(self.told['sample'].get('conditions', ()))

  @property
  def label(self) -> str:
    """'λ = 30', '75 : 0', 'unguided', 'aimed, 60'; the other settings belong to the name."""
    own = self.told['sample']
    if self.conditions:
      said = zip(self.conditions, own['guide']['rho'], strict=True)
      return f'{own["guide"]["kind"]}: {", ".join(f"{name} {rho:g}" for name, rho in said)}'
    if own.get('aim') is not None:
      return f'aimed, {own["aim"]:g}'
    if own.get('cfg') is not None:
      return f'w = {own["cfg"]:g}'
    if own.get('task', 'draw') != 'draw':
      return str(own['task'])
    if not isinstance(rows := own.get('weights'), list):
      return 'unguided'
    rows = rows if isinstance(rows[0], list) else [rows]
    if len({w for row in rows for w in row}) == 1:
      return f'λ = {rows[0][0]:g}'
    return ' | '.join(' : '.join(f'{w:g}' for w in row) for row in rows)

  def read(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(uint8 [n, H, W, C], what was given for each image)."""
    images, given = [], list[dict[str, np.ndarray]]()
    for file in sorted(self.told['files']):
      path = self.folder / file
      try:
        with np.load(path, allow_pickle=False) as arrays:
          rows = {name: arrays[name] for name in arrays.files}
      except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f'{path}: cannot be read ({error!r:.200}); draw it again') from None
      images.append(rows.pop('images'))
      n = len(images[-1])
      given.append({k: v for k, v in rows.items() if k != 'index' and v.shape[:1] == (n,)})
    names = given[0].keys()
    return np.concatenate(images), {k: np.concatenate([g[k] for g in given]) for k in names}


def found(workdir: Path) -> tuple[list[Images], list[str]]:
  """(the sets that are drawn, names of those of the sweep that are not): unguided ones first,
  then the base's and the variants' in their order, then what else lies in the base's samples/."""
  variants, seeded = sweep.read(workdir), set[tuple[Path, str]]()
  rows = list[tuple[Path, str]]()
  if variants is not None:
    rows = [(workdir, variants['base'])]
    for row in variants['variants'].values():
      rows.append((workdir / row['workdir'], row['sample']))
      if any(key.rpartition('.')[2] == 'seed' for key in row['overrides']):
        seeded.add(rows[-1])
  rows += [(workdir, path.name) for path in sorted((workdir / 'samples').glob('*'))]
  rows = [(folder, name) for folder, name in dict.fromkeys(rows) if name != UNGUIDED]
  folders = dict.fromkeys([workdir, *(folder for folder, _ in rows)])
  unguided = [(f, UNGUIDED) for f in folders if (f / 'samples' / UNGUIDED).is_dir()]
  drawn, missing = dict[str, Images](), list[str]()
  for folder, name in [*unguided, *rows]:
    path, called = folder / 'samples' / name, title(workdir, folder, name)
    if not (path / sampled.TOLD).is_file():
      missing.append(called)
      continue
    facts = told(path)
    drawn[called] = Images(called, path, facts, seen(facts), (folder, name) in seeded)
  if not drawn:
    raise ConfigError(f'{workdir}: no finished samples lie there; run --stage=sample first')
  return list(drawn.values()), missing


def repeated(found: Sequence[Images]) -> dict[str, list[str]]:
  """{group: names} of sets <group>_<number> that differ in their seeds, two at least."""
  numbered = [one.name for one in found if NUMBERED.search(one.name)]
  groups = dict[str, list[str]]()
  for group in dict.fromkeys(NUMBERED.sub('', one.name) for one in found if one.again):
    groups[group] = [name for name in numbered if NUMBERED.sub('', name) == group]
  names = {one.name for one in found}
  return {group: each for group, each in groups.items() if len(each) > 1 and group not in names}


def title(workdir: Path, folder: Path, name: str) -> str:
  """The set as the page calls it: of a variant with its own networks, the variant."""
  if folder == workdir:
    return name
  return folder.name if name != UNGUIDED else f'{folder.name} {UNGUIDED}'


def told(path: Path) -> dict[str, Any]:
  """sample.json of a finished set."""
  file = path / sampled.TOLD
  try:
    rows: dict[str, Any] = json.loads(file.read_text())
    [rows[key] for key in ('sample', 'files', 'shape', 'sources')]
    if not rows['files']:
      raise ValueError('it names no files')
    return rows
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ConfigError(f'{file}: cannot be read ({error!r:.200}); remove it first') from None


def seen(told: Mapping[str, Any]) -> bool | None:
  """Whether the middle was kept from all that a set was drawn by; None: nobody knows."""
  if told['sample'].get('dial') is not None:
    return False
  names = list(told.get('support', {}).values()) or [None]
  if None in names or 'listed' in names:
    return False if 'all' in names else None
  return all(name in ZERO_SHOT for name in names)
