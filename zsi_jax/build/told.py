"""What a network says of itself when it is finished; that of one that was tested is sealed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.build.keys import ConfigError
from zsi_jax.io.errors import WeightsError

TESTED = {'judge': 'judge.json', 'eyes': 'eye.json'}  # of 'judge/a', of 'eyes/text/guide'


def name(role: str) -> str:
  """The file of a role in its folder."""
  return TESTED.get(role.partition('/')[0], f'{role}.json')


def sealed(told: Mapping[str, Any]) -> str:
  """sha256 of what is said."""
  return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def read(path: Path, keys: Sequence[str]) -> dict[str, Any] | None:
  """What is said, or None where there is no file; a ConfigError where it was changed."""
  if not path.exists():
    return None
  try:
    told: dict[str, Any] = json.loads(path.read_text())
    whole = told.pop('seal') == sealed(told)
    [told[key] for key in ('steps', 'config', 'digest', 'records', *keys)]
    if not whole:
      raise ValueError('it was changed since it was written')
    return told
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    stage = next(stage for stage, file in TESTED.items() if file == path.name)
    raise ConfigError(
      f'{path}: cannot be read ({error!r:.200}); remove it, and --stage={stage} makes it again'
    ) from None


def needed(told: dict[str, Any] | None, folder: Path, stage: str) -> dict[str, Any]:
  """What is said; a WeightsError where nothing is."""
  if told is None:
    raise WeightsError(f'{folder}: there is no {TESTED[stage]}; train it first (--stage={stage})')
  return told


def same(folder: Path, stage: str, digest: str, told: Mapping[str, Any]) -> None:
  """A WeightsError unless the weights that are there are those that were tested."""
  if digest != told['digest']:
    file = TESTED[stage]
    raise WeightsError(
      f'{folder}: its newest checkpoint is not the one that {file} tells of ({digest[:16]}, not '
      f'{told["digest"][:16]}); bring that back, or remove {file} and run --stage={stage} again'
    )


def digest(parts: Iterable[np.ndarray]) -> str:
  """sha256 of the numbers of records in each part, whatever their order."""
  whole = hashlib.sha256()
  for part in parts:
    whole.update(np.sort(part).astype('<i8').tobytes())
  return whole.hexdigest()
