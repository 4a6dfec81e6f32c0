"""The folder of checkpoints as files: which steps are whole, what they are of, what goes aside."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from zsi_jax.io import seal
from zsi_jax.io.errors import CheckpointError

SCRATCH = '.orbax-checkpoint-tmp'  # in the names of what is not finished
ASIDE = 'damaged'
Layout = dict[str, list[Any]]  # [dtype, shape] of every array, by its path


def layout(tree: Any) -> Layout:
  """Of arrays, or of what stands for them."""
  import jax

  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): [str(x.dtype), list(x.shape)]
    for path, x in leaves
  }


def numbers(folder: Path) -> list[int]:
  try:
    names = [path.name for path in folder.iterdir() if path.is_dir()]
  except FileNotFoundError:
    return []
  except OSError as error:
    raise CheckpointError(f'{folder}: cannot be read ({error.strerror})') from None
  return sorted(int(name) for name in names if name.isdecimal() and name == str(int(name)))


def measured(folder: Path, name: str) -> dict[int, float]:
  """One of the metrics that steps were saved with."""
  found = {}
  for step in numbers(folder):
    try:
      said = seal.read(folder / str(step))[0].get('metrics', {})
    except seal.Broken:
      continue
    if name in said:
      found[step] = said[name]
  return found


def newest(folder: Path, wanted: Layout | None = None) -> tuple[int | None, dict[int, str]]:
  """The newest whole step, and why newer ones are not."""
  broken: dict[int, str] = {}
  for step in reversed(numbers(folder)):
    path = folder / str(step)
    try:
      told, _ = seal.read(path)
      if wanted is not None:
        same(path, told.get('arrays', {}), wanted)
      seal.check(path)
      return step, broken
    except seal.Broken as error:
      broken[step] = str(error)
  if broken:
    first = next(iter(broken.values()))
    raise CheckpointError(
      f'{first}, and no step before it is whole ({len(broken)} there). Nothing was changed: bring '
      f'back a good copy, or move {folder} away to start afresh.'
    )
  return None, broken


def same(path: Path, there: Layout, here: Layout) -> None:
  def shown(side: Layout, key: str) -> str:
    return f'{side[key][0]} {side[key][1]}' if key in side else 'nothing'

  keys = [k for k in {**here, **there} if there.get(k) != here.get(k)]
  if keys:
    first = '; '.join(f'{k} is {shown(there, k)} there, {shown(here, k)} here' for k in keys[:3])
    more = f'; and {len(keys) - 3} more' if len(keys) > 3 else ''
    raise CheckpointError(
      f'{path}: a checkpoint of another architecture or optimizer: {first}{more}. Take another '
      'workdir, or the config that made this one.'
    )


def sweep(folder: Path) -> list[str]:
  """Makes the folder, and takes away what killed saves left under scratch names."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in folder.iterdir() if SCRATCH in path.name)
    for name in names:
      shutil.rmtree(folder / name)
    probe = folder / '.writable'
    probe.touch()
    probe.unlink()
  except OSError as error:
    raise CheckpointError(f'{folder}: cannot be written ({error.strerror})') from None
  return names


def aside(folder: Path, step: int) -> Path:
  """Renames a step to what neither orbax nor `numbers` takes for one."""
  for n in range(10**6):
    path = folder / (f'{ASIDE}-{step}' + f'-{n}' * bool(n))
    if not path.exists():
      os.rename(folder / str(step), path)
      return path
  raise AssertionError
