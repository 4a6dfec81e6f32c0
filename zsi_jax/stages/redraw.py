"""`--check` of a set of images: every byte, and some images drawn again."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from zsi_jax.data.errors import DataError
from zsi_jax.io.files import sha256
from zsi_jax.io.log import logger
from zsi_jax.io.stamp import stamp
from zsi_jax.stages.drawing import Crew, Task, micro_batches
from zsi_jax.stages.sampled import AGAIN, MAKER, Sampled

REDRAWN = 8


def verify(stored: Sampled, told: dict[str, Any]) -> None:
  """Every byte of every file."""
  for file in stored.files:
    stored.read(file)
    path = stored.path(file)
    if (found := sha256(path)) != (expected := told['files'][path.name]['sha256']):
      raise DataError(
        f'{path}: its sha256 is {found[:12]}…, not {expected[:12]}… as when it was written. {AGAIN}'
      )


def compare(task: Task, crew: Crew | None) -> None:
  """The same bits where the stamps name the same maker; elsewhere at most 1 of 255 apart."""
  stored = task.stored
  crew = crew or task.crew(jax.local_devices()[:1])
  batches = micro_batches(chosen(stored.n, task.batch), task.batch)
  now, worst, count = stamp(), 0, 0
  for rows, images in zip(batches, crew.map(map(task.item, batches)), strict=True):
    for i, image in zip(rows.values(), task.pixels(rows, images), strict=True):
      worst, count = max(worst, differs(stored, i, image, now)), count + 1
  how = 'the same bits' if not worst else 'at most 1 of 255 apart'
  logger.info('sample: %s: %d images drawn again: %s', stored.folder, count, how)


def differs(stored: Sampled, i: int, image: np.ndarray, now: dict[str, Any]) -> int:
  """The largest difference where it may be, else a DataError."""
  file = stored.file(i)
  images, made = stored.read(file)
  there, here = ({key: told[key] for key in MAKER} for told in (made, now))
  gap = np.abs(images[i - stored.rows(file).start].astype(int) - image)
  allowed = 0 if there == here else 1
  if gap.max() > allowed:
    made_by = '' if there == here else f'; it was drawn by {there}, here is {here}'
    raise DataError(
      f'{stored.path(file)}: image {i} is not what its key draws: {(gap > 0).sum()} of {gap.size} '
      f'values differ, by up to {gap.max()} of 255 (allowed: {allowed}{made_by}). The file was '
      'changed, or the code that draws: take another sample.name, or remove the folder'
    )
  return int(gap.max())


def chosen(n: int, batch: int) -> list[int]:
  """Images spread over the set, in rows of their own where a micro-batch has as many."""
  last = -(-n // batch) - 1
  if not last or batch < REDRAWN:
    return [int(i) for i in np.linspace(0, n - 1, min(n, REDRAWN))]
  k = np.arange(REDRAWN)
  rows = (REDRAWN - 1 - k) * batch // REDRAWN  # row 0 of the last, which may have no other
  return sorted(int(i) for i in k * last // (REDRAWN - 1) * batch + rows)
