"""A network of a workdir, from its checkpoints: no config file and no other file is needed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.build.keys import ROLES
from zsi_jax.io import checkpoint, seal
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.files import sha256
from zsi_jax.io.steps import numbers

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
  found['source'] = {'step': step, 'sha256': fingerprint(trees)}
  collections = trees.pop('collections', {})
  [params] = trees.values()
  return name, found, jax.tree.map(jnp.asarray, {'params': params, **collections})


def carried(folder: Path) -> dict[str, Any] | None:
  """What the newest step says of itself, its arrays unread; None where it cannot be relied on."""
  import orbax.checkpoint as ocp

  for step in numbers(folder / FOLDER)[-1:]:
    path = folder / FOLDER / str(step)
    try:
      files = seal.read(path)[0]['files']
    except seal.Broken:
      return None
    if all(
      sha256(path / name) == s for name, (_, s) in files.items() if name.startswith('config/')
    ):
      told: dict[str, Any] = ocp.JsonCheckpointHandler().restore(path / 'config')
      return told
  return None


def fingerprint(trees: Any) -> str:
  """Of names, shapes and numbers: the same weights have the same one, however they are stored."""
  whole = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
    array = np.ascontiguousarray(leaf)
    whole.update(f'{jax.tree_util.keystr(path)} {array.dtype} {array.shape}'.encode())
    whole.update(array.tobytes())
  return whole.hexdigest()


def needed(told: Any) -> list[str]:
  """The parts of the state that a network is applied with."""
  params = 'params' if told['config'][told['kind']]['ema'] is None else 'ema'
  own = told['architecture']
  more = own.get('spectral') or own['net'] == 'efficientnet'  # u and v, or the means of batches
  return [params] + (['collections'] if more else [])


def arrays(variables: dict[str, Any], dtype: str | None) -> dict[str, Any]:
  """On the host, in a narrower type where one is asked for."""
  return jax.tree.map(
    lambda a: np.asarray(a) if dtype is None else np.asarray(jnp.asarray(a, dtype)), variables
  )
