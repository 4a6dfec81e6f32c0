"""Weights between files and networks: published names and PyTorch layouts outside, Flax inside.

1. A module bears its published name, so path joined by dots, leaf renamed, is the key in the file:
   kernel, scale, embedding -> weight; bias, positional_embedding and others stay.
2. The layout follows from leaf and rank: kernel (kh,kw,I,O) <-> (O,I,kh,kw), (1,I,O) <-> (O,I,1),
   (I,O) <-> (O,I); positional_embedding (T,C) <-> (C,T); all else as it is.
3. Spectral norm, collection 'spectral' with u and v; Y = X.parametrizations:
   X/kernel <-> Y.weight.original, X/u <-> Y.weight.0._u, X/v <-> Y.weight.0._v; and, where linear
   layers have it too (the peer's reading), X/bias <-> Y.bias.original.
4. A collection 'constants' (key -> array) names what files hold but networks compute, such as the
   pos_embed of DiT: it may be missing, and if there it must agree.

5. Batch norm, collection 'batch_stats': X/mean <-> X.running_mean, X/var <-> X.running_var.

`empty(fill(tree, arrays))` is `arrays`, bit for bit, for float32 files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zsi_jax.io.errors import WeightsError
from zsi_jax.io.files import first, read, sha256, write

__all__ = ['check', 'empty', 'fill', 'read', 'reading', 'sha256', 'slice_head', 'slots', 'write']
RENAME = {'kernel': 'weight', 'scale': 'weight', 'embedding': 'weight'}
HEADS = ('out.2.c_proj',)  # what a classifier's logits come from
KERNELS = {4: (3, 2, 0, 1), 3: (2, 1, 0), 2: (1, 0)}  # axes of Flax in PyTorch's order


class Slot(NamedTuple):
  """Where an array of the file lives in the variables, and the axes of Flax in PyTorch's order."""

  path: tuple[str, ...]
  axes: tuple[int, ...]
  shape: tuple[int, ...]  # in the file
  dtype: Any


def slots(tree: Mapping[str, Any]) -> dict[str, Slot]:
  """Published name -> its place in the variables `tree` (arrays or shapes), by the rules."""
  leaves = {path: leaf for path, leaf in _leaves(tree) if path[0] != 'constants'}
  normed = {path[1:-1] for path in leaves if path[0] == 'spectral'}
  peer = any(len(leaves['params', *module, 'kernel'].shape) == 2 for module in normed)
  out = {}
  for path, leaf in leaves.items():
    collection, *module, name = path
    rank = len(leaf.shape)
    axes = tuple(range(rank))
    if collection == 'spectral':
      key = f'parametrizations.weight.0._{name}'
    elif collection == 'batch_stats':
      key = f'running_{name}'
    elif collection != 'params':
      raise ValueError(f'the collection {collection!r} has no published names (of {path})')
    else:
      key = RENAME.get(name, name)
      if tuple(module) in normed and (key == 'weight' or peer):
        key = f'parametrizations.{key}.original'
      if name == 'kernel':
        axes = KERNELS[rank]
      elif name == 'positional_embedding':
        axes = (1, 0)
    shape = tuple(leaf.shape[a] for a in axes)
    out['.'.join((*module, key))] = Slot(path, axes, shape, leaf.dtype)
  return out


def _leaves(
  tree: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
  for name, node in tree.items():
    if isinstance(node, Mapping):
      yield from _leaves(node, (*path, name))
    else:
      yield (*path, name), node


def fill(
  tree: Mapping[str, Any],
  arrays: Mapping[str, np.ndarray],
  *,
  file: str | Path = 'the weights file',
) -> dict[str, Any]:
  """The variables of the abstract `tree` (jax.eval_shape of init) with the file's numbers.

  Every key is checked before anything is copied: all or nothing.
  """
  want = slots(tree)
  missing = [key for key in want if key not in arrays]
  constants = tree.get('constants', {})
  extra = [key for key in arrays if key not in want and key not in constants]
  other = [k for k, s in want.items() if k in arrays and arrays[k].shape != s.shape]
  if missing or extra or other:
    raise WeightsError(_misfit(want, arrays, missing, extra, other, str(file)))
  check(arrays, file=file)
  for key, value in constants.items():
    if key in arrays and not _agree(arrays[key], np.asarray(value)):
      raise WeightsError(
        f'{file}: {key} is a constant of the network, and the one in the file differs: expected '
        f'{list(np.shape(value))} within 1e-4, found {list(arrays[key].shape)}. The weights belong '
        'to a variant that is not known here.'
      )
  variables: dict[str, Any] = {}
  for key, (path, axes, _, dtype) in want.items():
    at = variables
    for name in path[:-1]:
      at = at.setdefault(name, {})
    back = np.argsort(axes)  # an array of its own: the file may go
    at[path[-1]] = np.array(arrays[key].transpose(back), dtype=dtype, order='C')
  return variables


def _agree(found: np.ndarray, want: np.ndarray) -> bool:
  return found.shape == want.shape and bool(np.allclose(found.astype('f4'), want, 0, 1e-4))


def _misfit(
  want: Mapping[str, Slot],
  arrays: Mapping[str, np.ndarray],
  missing: list[str],
  extra: list[str],
  other: list[str],
  file: str,
) -> str:
  lines = [f'{file} does not fit the network, and nothing was loaded:']
  if missing:
    lines.append(f'{len(missing)} missing: {first(f"{k} {list(want[k].shape)}" for k in missing)}')
  if extra:
    lines.append(
      f'{len(extra)} not in the network: {first(f"{k} {list(arrays[k].shape)}" for k in extra)}'
    )
  if other:
    lines.append(f"{len(other)} of another shape (PyTorch's layout): " + first(
      f'{k}: expected {list(want[k].shape)}, found {list(arrays[k].shape)}' for k in other
    ))  # fmt: skip
  lines.append(_advice(want, arrays, other, keys=bool(missing or extra)))
  return '\n  '.join(lines)


def _advice(want: Iterable[str], found: Iterable[str], other: list[str], keys: bool) -> str:
  asked, given = reading(want), reading(found)
  if asked != given:
    return f'The weights have spectral={given!r}, the network {asked!r}: give spectral={given!r}.'
  if not keys and all(key.startswith(HEADS) for key in other):
    return 'Only the logits differ: give classes=K to keep the first K of them.'
  return 'Give the hyper-parameters that the weights were trained with, or the file that fits them.'


def reading(keys: Iterable[str]) -> str | None:
  """The reading of spectral norm that names show: the peer's normalises biases too."""
  keys = list(keys)
  if any(key.endswith('.parametrizations.bias.original') for key in keys):
    return 'peer'
  return 'paper' if any(key.endswith('.parametrizations.weight.0._u') for key in keys) else None


def empty(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Arrays by published name in PyTorch's layout: the way back from `fill`."""
  leaves = dict(_leaves(variables))
  return {
    key: np.asarray(np.asarray(leaves[slot.path]).transpose(slot.axes), order='C')
    for key, slot in slots(variables).items()
  } | {key: np.asarray(value) for key, value in variables.get('constants', {}).items()}


def check(arrays: Mapping[str, np.ndarray], *, file: str | Path = 'the weights file') -> None:
  """Weights are finite floats (16, 32 or 64 bits); float32 holds them."""
  whole = [k for k, a in arrays.items() if a.dtype.kind in 'iubc']
  if whole:
    found = first(f'{k} {arrays[k].dtype}' for k in whole)
    raise WeightsError(
      f'{file}: floats were expected, found {found}. Is it quantised or a dataset?'
    )
  with np.errstate(over='ignore'):
    bad = [k for k, a in arrays.items() if not np.isfinite(a.astype(np.float32, copy=False)).all()]
  if bad:
    raise WeightsError(
      f'{file}: NaN or infinite numbers in {first(bad)}. The training diverged there: take an '
      'earlier checkpoint.'
    )


def slice_head(
  arrays: Mapping[str, np.ndarray], classes: int, *, file: str | Path = 'the weights file'
) -> dict[str, np.ndarray]:
  """The first `classes` logits of a classifier: the same log-softmax as slicing its output."""
  heads = [head for head in HEADS if f'{head}.weight' in arrays]
  if not heads:
    raise WeightsError(f'{file}: classes={classes} was asked, but it has no {HEADS[0]}.weight: '
                       'these are no classifier\'s weights.')  # fmt: skip
  rows = len(arrays[f'{heads[0]}.weight'])
  if not 0 < classes <= rows:
    raise WeightsError(f'{file}: classes={classes} was asked of {heads[0]}.weight, {rows} rows: '
                       f'give 1 to {rows}.')  # fmt: skip
  names = (f'{heads[0]}.weight', f'{heads[0]}.bias')
  return {k: a[:classes] if k in names else a for k, a in arrays.items()}
