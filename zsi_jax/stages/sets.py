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
  def weights(self) -> Any:
    return self.told['sample'].get('weights')

  @property
  def label(self) -> str:
    """'λ = 30', '75 : 0', 'unguided', 'aimed, 60'; the other settings belong to the name."""
    own = self.told['sample']
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


def found(workdir: Path, foreign: bool = False) -> list[Images]:
  """The sets of the base and of the variants in their order, unguided ones first.

  `foreign`: networks of the base come from elsewhere, and nobody here knows what they have seen.
  """
  variants, seeded = sweep.read(workdir), set[tuple[Path, str]]()
  if variants is not None:
    rows = [(workdir, variants['base'])]
    for row in variants['variants'].values():
      rows.append((workdir / row['workdir'], row['sample']))
      if any(key.rpartition('.')[2] == 'seed' for key in row['overrides']):
        seeded.add(rows[-1])
  else:
    rows = [(workdir, path.name) for path in sorted((workdir / 'samples').glob('*'))]
  names = list(dict.fromkeys((folder, name) for folder, name in rows))
  unguided = [(folder, 'unguided') for folder in dict.fromkeys(folder for folder, _ in names)]
  sets = dict[str, Images]()
  for folder, name in dict.fromkeys([*unguided, *names]):
    path = folder / 'samples' / name
    if name == 'unguided' and not (path / sampled.TOLD).is_file():
      continue
    again = (folder, name) in seeded
    unknown = foreign and folder == workdir
    known = None if unknown else seen(folder)
    one = Images(title(workdir, folder, name, variants), path, told(path), known, again)
    sets[one.name] = dataclasses.replace(one, zero_shot=False) if one.dialled else one
  if not sets:
    raise ConfigError(f'{workdir}: no samples lie there; run --stage=sample first')
  return list(sets.values())


def repeated(found: Sequence[Images]) -> dict[str, list[str]]:
  """{group: names} of sets <group>_<number> that differ in their seeds, two at least."""
  names = [one.name for one in found]
  groups = dict[str, list[str]]()
  for group in dict.fromkeys(NUMBERED.sub('', one.name) for one in found if one.again):
    groups[group] = [name for name in names if NUMBERED.sub('', name) == group]
  return {group: each for group, each in groups.items() if len(each) > 1}


def title(workdir: Path, folder: Path, name: str, variants: Mapping[str, Any] | None) -> str:
  """The set as the page calls it: of a variant with its own networks, the variant."""
  if folder == workdir or variants is None:
    return name
  return folder.name if name != 'unguided' else f'{folder.name} unguided'


def told(path: Path) -> dict[str, Any]:
  """sample.json of a finished set."""
  file = path / sampled.TOLD
  if not file.is_file():
    raise ConfigError(f'{path}: it is not drawn to its end; run --stage=sample first')
  try:
    rows: dict[str, Any] = json.loads(file.read_text())
    [rows[key] for key in ('sample', 'files', 'shape', 'sources')]
    if not rows['files']:
      raise ValueError('it names no files')
    return rows
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ConfigError(f'{file}: cannot be read ({error!r:.200}); remove it first') from None


def seen(folder: Path) -> bool | None:
  """Whether the middle was kept from the networks of a workdir."""
  try:
    roles = json.loads((folder / 'prepare.json').read_text())['roles']
    names = [roles[role]['support']['name'] for role in ('denoiser', 'classifier')]
  except (OSError, ValueError, KeyError, TypeError):
    return None
  return None if 'listed' in names else all(name in ZERO_SHOT for name in names)
