"""A network of a workdir, from its checkpoints: no config file and no other file is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.io import checkpoint
from zsi_jax.io.errors import WeightsError

ROLES = 'denoiser', 'classifier'
FOLDER = 'checkpoints'


def roles(path: Path) -> list[Path]:
  """The folders of networks below a workdir, or the folder itself if it is one."""
  found = [path] if (path / FOLDER).is_dir() else [path / role for role in ROLES]
  return [folder for folder in found if (folder / FOLDER).is_dir()]


def read(folder: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
  """(its name, its architecture, its variables): the averaged weights where there are any.

  'source' of the architecture says which step of which bytes it was, 'trained' by which config.
  """
  try:
    told, trees, step = checkpoint.read(folder / FOLDER, needed)
    found = {k: tuple(v) if isinstance(v, list) else v for k, v in told['architecture'].items()}
    found |= {**told['process'], 'trained': told}
    name = told['name']
  except (KeyError, TypeError) as error:
    raise WeightsError(
      f'{folder}: its checkpoints do not say what network they are of ({error!r}); they were not '
      'written by `zsi run`'
    ) from None
  found['source'] = {'step': step, 'sha256': checkpoint.digest(folder / FOLDER, step)}
  collections = trees.pop('collections', {})
  [params] = trees.values()
  return name, found, jax.tree.map(jnp.asarray, {'params': params, **collections})


def needed(told: Any) -> list[str]:
  """The parts of the state that a network is applied with."""
  params = 'params' if told['config'][told['kind']]['ema'] is None else 'ema'
  return [params] + (['collections'] if told['architecture'].get('spectral') else [])


def arrays(variables: dict[str, Any], dtype: str | None) -> dict[str, Any]:
  """On the host, in a narrower type where one is asked for."""
  return jax.tree.map(
    lambda a: np.asarray(a) if dtype is None else np.asarray(jnp.asarray(a, dtype)), variables
  )
