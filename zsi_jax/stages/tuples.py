"""What images shall be near to: records of persons whom no eye has seen, and what is seen in them.

Image i has a record for each condition, whatever their order: of 'one' record all of them, which
can be met together; of 'several' persons one each, which conflict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import conditions, eyes, sampling, told
from zsi_jax.build.keys import ConfigError
from zsi_jax.data.record import stacked, table
from zsi_jax.data.transforms import normalise
from zsi_jax.guide.probe import probe
from zsi_jax.stages import prepare
from zsi_jax.stages.given import picked

GUIDE, JUDGE = 0, 1  # places of the copies in eyes.copies


@dataclasses.dataclass(frozen=True)
class Tuples:
  """Records [n, K] of K conditions."""

  source: Any
  index: np.ndarray
  names: tuple[str, ...]
  told: dict[str, Any]  # JSON: which records they are, and which eyes see them

  def images(self, rows: np.ndarray, name: str) -> np.ndarray:
    """Of one condition, uint8 [B, H, W, C]."""
    return self.of(rows, name, 'image')

  def of(self, rows: np.ndarray, name: str, field: str) -> np.ndarray:
    return stacked(self.source, self.index[rows, self.names.index(name)], (field,))[field]

  def seen(self, rows: np.ndarray, looks: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """{condition: what is seen in its records}, of eyes, or of words for a text; of a feeling which
    one it is."""
    found = {}
    for name, look in looks.items():
      match name:
        case 'feeling' | conditions.LABEL:
          found[name] = self.of(rows, name, 'feeling')
        case 'text':
          found[name] = np.asarray(asked(look, self.of(rows, name, 'tokens')))
        case _:
          found[name] = np.asarray(asked(look, normalise(self.images(rows, name))))
    return found

  def given(self, rows: np.ndarray, looks: Mapping[str, Any], null: Any) -> dict[str, np.ndarray]:
    """What a chain needs: the same, with the label as the denoiser is told it."""
    found = self.seen(rows, looks)
    if conditions.LABEL in found:
      label = found.pop(conditions.LABEL)
      found['conds'] = np.stack([np.full_like(label, null), label], 1)
    return found


@jax.jit
def asked(look: Any, x: Any) -> Any:
  return look(x)


def drawn(config: ConfigDict, workdir: Path, n: int) -> Tuples:
  """A ConfigError where no eye was trained on these records."""
  names, made = conditions.asked(config), prepare.read(workdir)
  assert made is not None
  _, source = prepare.prepared(config, workdir)
  known = table(source)
  who = known['person'] if 'person' in known else np.arange(len(source))
  role = f'eyes/{next(iter(config.eyes.kinds), "identity")}/{config.eyes.copies[GUIDE]}'
  order = picked(eyes.parts(config, role, who).test, sampling.seed(config))
  image, K = np.arange(n), len(names)
  index = np.repeat(order[image % len(order)][:, None], K, axis=1)
  if config.sample.tuples == 'several':
    for k in range(1, K):
      index[:, k] = others(order, who, index[:, :k], k)
  index = index[:, [sorted(names).index(name) for name in names]]
  said = dataset(made)
  if eyes.home(config, workdir) != workdir:
    strangers(config, workdir, said, who)
  return Tuples(source, index, names, said)


def strangers(config: ConfigDict, workdir: Path, said: Mapping[str, Any], who: Any) -> None:
  """A ConfigError unless lent eyes have learned from all but the persons that are held out here."""
  lender = eyes.home(config, workdir)
  if dataset(prepare.read(lender) or {}) != said:
    raise ConfigError(
      f'sample.eyes = {lender}: its eyes have learned from {dataset(prepare.read(lender) or {})}, '
      f'and the records here are of {said}: nobody knows whom they have seen'
    )
  for name in conditions.asked(config):
    for copy in (GUIDE, JUDGE) if name not in conditions.BARE else ():
      home = place(config, workdir, name, copy)
      found = eyes.facts(home)['records']['digest']
      if found != told.digest(eyes.parts(config, str(home.relative_to(lender)), who)):
        raise ConfigError(
          f'{home}: it was tested on other persons than seed = {config.seed}, eyes.holdout = '
          f'{config.eyes.holdout:g} and eyes.copies = {tuple(config.eyes.copies)} hold out here: '
          'it may have learned from these'
        )


def dataset(made: Mapping[str, Any]) -> dict[str, Any]:
  """Which records prepare.json tells of."""
  own = made.get('dataset', {})
  return {key: own.get(key) for key in ('name', 'digest', 'numbering')}


def others(order: np.ndarray, who: np.ndarray, taken: np.ndarray, k: int) -> np.ndarray:
  """A record for each row, of another person than the rows' records have."""
  persons = who[order]
  if len(np.unique(persons)) <= taken.shape[1]:
    raise ConfigError(
      f'sample.tuples = several: {len(np.unique(persons))} persons are held out, and '
      f'{taken.shape[1] + 1} conditions need as many'
    )
  found = np.empty(len(taken), order.dtype)
  for i, row in enumerate(taken):
    at = (i + k * len(order) // (taken.shape[1] + 1)) % len(order)
    while persons[at] in who[row]:
      at = (at + 1) % len(order)
    found[i] = order[at]
  return found


def probed(near: Tuples, looks: Mapping[str, Any], *parts: Any) -> None:
  """A ConfigError where an energy is no number at a record, or where it is met."""
  rows = np.zeros(1, int)
  images = jnp.asarray(normalise(near.images(rows, near.names[0])))
  try:
    for part in parts:
      if part is not None:
        probe(part, images, near.seen(rows, looks))
  except ValueError as error:
    raise ConfigError(f'sample.conditions: {error}') from None


def guided(config: ConfigDict, workdir: Path, solver: Any) -> tuple[Any, Any, dict[str, str]]:
  """(guidance, solver, digests of the eyes) of the conditions."""
  guidance, solver = conditions.made(config, looks(config, workdir, GUIDE), solver)
  return guidance, solver, digests(config, workdir, GUIDE)


def digests(config: ConfigDict, workdir: Path, copy: int) -> dict[str, str]:
  """{condition: digest of the eye}; those without are not named."""
  seen = [name for name in conditions.asked(config) if name not in conditions.BARE]
  if copy == GUIDE:
    seen = [name for name in seen if name != conditions.LABEL]
  return {name: str(eyes.facts(place(config, workdir, name, copy))['digest']) for name in seen}


def place(config: ConfigDict, workdir: Path, name: str, copy: int) -> Path:
  """Where the eye lies that sees a condition."""
  return folder(config, workdir, conditions.eye_of(name), copy)


def folder(config: ConfigDict, workdir: Path, kind: str, copy: int) -> Path:
  """Where an eye lies."""
  return eyes.home(config, workdir) / 'eyes' / kind / str(config.eyes.copies[copy])


def aside(config: ConfigDict) -> str | None:
  """The first kind of eye that no condition is asked of: what it sees may say how images are."""
  names = [name for name in conditions.asked(config) if name not in conditions.BARE]
  asked = {conditions.eye_of(name) for name in names}
  return next((kind for kind in config.eyes.kinds if kind not in asked), None) if names else None


def looks(config: ConfigDict, workdir: Path, copy: int) -> dict[str, Any]:
  """{condition: images -> what is seen}, by one of the copies."""
  found = dict[str, Any]()
  for name in conditions.asked(config):
    if name in conditions.BARE:
      found[name] = jax.tree_util.Partial(conditions.colours)
    else:
      how = 'texture' if name in ('style', 'content') else None
      found[name] = eyes.eye(place(config, workdir, name, copy), how)
  return found


def references(config: ConfigDict, workdir: Path, copy: int) -> dict[str, Any]:
  """The same, for what the references are made by: of a text its words."""
  found = looks(config, workdir, copy)
  if 'text' in found:
    found['text'] = eyes.eye(place(config, workdir, 'text', copy), 'words')
  return found
