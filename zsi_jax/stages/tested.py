"""Networks that are tested when they are trained, and say how good they are: judges and eyes.

workdir/<role>/checkpoints/, metrics.jsonl, tb/   while it is trained
workdir/<role>/judge.json, eye.json               written last, and sealed
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from zsi_jax import distributed
from zsi_jax.build import told
from zsi_jax.build.keys import meaning
from zsi_jax.data.mesh import on_mesh
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.io.log import logger
from zsi_jax.io.stamp import stamp
from zsi_jax.stages import training
from zsi_jax.stages import workdir as work
from zsi_jax.train.job import Job
from zsi_jax.train.loop import Feed, fit
from zsi_jax.train.sharding import AXES


class Lesson(NamedTuple):
  """What one of them learns, and how it is told what that is worth."""

  role: str
  job: Callable[[], Job]
  pipeline: Pipeline
  fields: Sequence[str]  # of a batch, beside those of any training
  test: Callable[[], dict[str, Any]]  # of a network that is there; its digest too
  check: Callable[[Mapping[str, Any]], None]  # that it is what was said of it
  summary: Callable[[Mapping[str, Any]], str]

  @property
  def group(self) -> str:
    return self.role.partition('/')[0]


def finish(config: ConfigDict, workdir: Path, lesson: Lesson) -> dict[str, Any] | None:
  """Goes on from the last checkpoint, and tests; None where that was done before."""
  role, folder = lesson.role, workdir / lesson.role
  before = distributed.alone(
    lambda: training.finished(config, workdir, role), f'what is there of {role}'
  )
  if before is not None:
    if config.check:
      distributed.alone(lambda: lesson.check(before), f'{role}: checked')
    logger.info('%s: %s is done (%s)', role, workdir, lesson.summary(before))
    return None

  def agree(carried: Any) -> None:
    training.same(workdir, role, carried, config)

  facts = taught(config, folder, lesson.group, lesson.job(), lesson.pipeline, lesson.fields, agree)

  def end() -> dict[str, Any]:
    own = meaning(config, role)
    whole = {'role': role, **facts, **lesson.test()}
    whole |= {'config': own, 'stamp': stamp(own, seeds=config.seed)}
    whole = json.loads(json.dumps(whole))
    whole['seal'] = told.sealed(whole)
    work.write(folder / told.name(role), (json.dumps(whole, indent=1) + '\n').encode())
    return whole

  now = distributed.alone(end, f'{role}: written')
  logger.info('%s: %s is trained (%s)', role, workdir, lesson.summary(now))
  return now


def foresee(config: ConfigDict, workdir: Path, role: str, lesson: Callable[[], Lesson]) -> None:
  """What `finish` would refuse; nothing is allocated."""
  if training.there(config, workdir, role) is None:
    one = lesson()
    training.laid(config, one.group, one.job())


def taught(
  config: ConfigDict,
  folder: Path,
  group: str,
  job: Job,
  pipeline: Pipeline,
  fields: Sequence[str],
  agree: Callable[[Any], None],
) -> dict[str, Any]:
  """Trained in a folder, from its last checkpoint on; the facts of it, by all processes."""
  layout = training.laid(config, group, job)
  names = *training.NEEDED, *fields

  def feed(position: Any) -> Feed:
    batches = pipeline.batches(0 if position is None else position)
    return training.Picked(on_mesh(batches, layout.mesh, AXES), names)

  return fit(job, layout, feed, folder, seed=config.seed, wandb=config.log.wandb, agree=agree)
