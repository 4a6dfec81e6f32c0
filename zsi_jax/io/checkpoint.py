"""Checkpoints of a training: whole or not there, whatever happens while they are written.

folder/<step>/state          arrays (orbax)
folder/<step>/data           JSON: where the batches stand
folder/<step>/config         JSON: what the arrays are of
folder/<step>/manifest.json  its seal: bytes and sha256 of all files, names and shapes of all arrays
folder/damaged-<step>        what `restore` found broken and moved aside; never deleted

1. A step is written and sealed under a scratch name, then renamed: one that bears its number was
   finished. Older steps go only after that, so there is a whole one at every moment but the first.
2. What is restored was compared with its seal, byte for byte: orbax restores a flipped byte in
   silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zsi_jax.io import seal
from zsi_jax.io.errors import CheckpointError
from zsi_jax.io.log import logger
from zsi_jax.io.manager import Named, agreed, manager, quiet, reason
from zsi_jax.io.steps import Layout, aside, layout, measured, newest, numbers, sweep

ITEMS = 'state', 'data', 'config'
Names = Iterable[str] | Callable[[Any], Iterable[str]]


class Restored(NamedTuple):
  """What `save` was given."""

  step: int
  state: Any
  data: Any
  config: Any


class Checkpoints:
  """The last `keep` steps, and the one with the lowest metric `best`; called by every process."""

  def __init__(self, folder: str | Path, *, keep: int = 3, best: str | None = None) -> None:
    if keep < 1:
      raise CheckpointError(f'keep={keep}: at least the last checkpoint is kept')
    self.folder = Path(folder).expanduser().absolute()
    self.best = best
    self._saving: dict[int, dict[str, Any]] = {}  # the step under way, or the last
    self._mine: set[int] = set()  # saved or restored here
    self._unfinished = agreed(lambda: {'names': sweep(self.folder)})['names']
    self._values = measured(self.folder, best) if best else {}
    self._manager = manager(self.folder, keep, self._saving, self._values)

  def __enter__(self) -> Checkpoints:
    return self

  def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
    try:
      self.close()
    except CheckpointError as second:
      if error is None:
        raise
      logger.error('%s', second)  # the first error is the one to tell

  def save(
    self, step: int, state: Any, data: Any, config: Any, metrics: Mapping[str, float] | None = None
  ) -> None:
    """Returns when the arrays are on the host, to go on training; a step of this run is kept as is.

    An error of the save before is raised here, or by `settle` and `close`.
    """
    import orbax.checkpoint as ocp

    self.settle()
    if step in self._mine:
      return
    agreed(lambda: self._free(step))
    finite = {k: float(v) for k, v in (metrics or {}).items() if math.isfinite(float(v))}
    self._saving.clear()
    self._saving[step] = {'arrays': layout(state), 'metrics': finite}
    if self.best in finite:
      self._values[step] = finite[self.best]
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(state),
      data=ocp.args.JsonSave(data),
      config=ocp.args.JsonSave(config),
    )
    with Named(self._current()):
      self._manager.save(step, args=args, force=True)
    self._mine.add(step)

  def settle(self) -> None:
    """Waits until the last save is on the disk and sealed, and old steps are gone."""
    try:
      with Named(self._current()):
        self._manager.wait_until_finished()
    except CheckpointError:
      self._mine -= self._saving.keys()  # it may be tried again
      raise

  def close(self) -> None:
    """`settle`, and an end."""
    with Named(self._current()):
      self._manager.close()

  def restore(self, abstract: Any) -> Restored | None:
    """The newest whole step into the shapes and shardings of `abstract`; None if never one was.

    Broken ones are moved aside with a warning. If all are, or the newest is of another
    architecture, it is a CheckpointError and nothing is touched.
    """
    import orbax.checkpoint as ocp

    self.settle()
    wanted = layout(abstract)
    step = agreed(lambda: {'step': self._choose(wanted)})['step']
    self._manager.reload()
    if step is None:
      return None
    args = ocp.args.Composite(
      state=ocp.args.StandardRestore(_placed(abstract)),
      data=ocp.args.JsonRestore(),
      config=ocp.args.JsonRestore(),
    )
    try:
      found = self._manager.restore(step, args=args)
    except Exception as error:
      raise CheckpointError(
        f'{self.folder / str(step)}: its bytes are whole, but it cannot be restored '
        f'({reason(error)}). Was it written by another version of orbax?'
      ) from error
    self._mine.add(step)
    return Restored(step, *(found[item] for item in ITEMS))

  def _choose(self, wanted: Layout) -> int | None:
    chosen, broken = newest(self.folder, wanted)
    instead = 'training starts afresh' if chosen is None else f'step {chosen} is used instead'
    for name in self._unfinished:
      logger.warning('%s: a save that was cut short, now removed; %s', self.folder / name, instead)
    for step, why in broken.items():
      name = aside(self.folder, step).name
      logger.warning('%s; step %d is now %s, %s', why, step, name, instead)
    self._unfinished = []
    return chosen

  def _free(self, step: int) -> dict[str, Any]:
    if later := [s for s in numbers(self.folder) if s >= step]:
      raise CheckpointError(
        f'{self.folder}: step {step} is to be saved, but step {later[-1]} is there and was not '
        'restored. Restore it first, or take another folder.'
      )
    return {}

  def _current(self) -> Path:
    return self.folder.joinpath(*map(str, self._saving))


def read(
  folder: str | Path,
  names: Names = ('ema', 'collections'),
  step: int | None = None,
) -> tuple[Any, dict[str, Any], int]:
  """(config, numpy trees of these fields of the state, step): no target, on any topology.

  The newest whole step, or this one; every byte of it agrees with its seal. Nothing is changed,
  and each process reads for itself. `names` may be a function of the config.
  """
  folder = Path(folder).expanduser().absolute()
  names = names if callable(names) else list(names)
  quiet()
  if step is None:
    return _newest(folder, names)
  try:
    seal.check(folder / str(step))
  except seal.Broken as error:
    have = ', '.join(map(str, numbers(folder))) or 'none'
    raise CheckpointError(f'{error}. Steps there: {have}.') from None
  return *_fields(folder / str(step), names), step


def _newest(folder: Path, names: Names, again: int = 2) -> tuple[Any, dict[str, Any], int]:
  """Training may go on meanwhile, and take away what is read here: then there are other steps."""
  there = numbers(folder)
  try:
    step, broken = newest(folder)
    if step is None:
      raise CheckpointError(f'{folder}: there is no checkpoint. Train first, or give its folder.')
    found = _fields(folder / str(step), names)
  except Exception:
    if not again or numbers(folder) == there:
      raise
    return _newest(folder, names, again - 1)
  if broken and again and numbers(folder) != there:
    return _newest(folder, names, again - 1)
  for why in broken.values():
    logger.warning('%s; step %s is used instead', why, step)
  return *found, step


def _fields(path: Path, names: Names) -> tuple[Any, dict[str, Any]]:
  """(config, fields of the state) of a step, unchecked."""
  import jax
  import orbax.checkpoint as ocp

  config = ocp.JsonCheckpointHandler().restore(path / 'config')
  handler = ocp.PyTreeCheckpointHandler()
  names = list(names(config) if callable(names) else names)
  tree = handler.metadata(path / 'state').tree
  if missing := [name for name in names if name not in tree]:
    raise CheckpointError(f'{path}: its state has no {missing[0]!r}, but {", ".join(tree)}.')
  some = {name: tree[name] for name in names}
  found = handler.restore(
    path / 'state',
    args=ocp.args.PyTreeRestore(
      item=some,
      restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), some),
      partial_restore=True,
    ),
  )
  return config, found


def _placed(abstract: Any) -> Any:
  """Leaves that name no sharding go to the first device."""
  import jax

  here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

  def place(x: Any) -> Any:
    sharding = getattr(x, 'sharding', None) or here
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  return jax.tree.map(place, abstract)
