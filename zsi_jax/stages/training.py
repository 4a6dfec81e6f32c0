"""denoiser, classifier: a network of the records that prepare left for it, trained to its end.

workdir/<role>/checkpoints/, metrics.jsonl, tb/, grids/   while it is trained
workdir/<role>/<role>.json                                written last: where it is, it was finished
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from zsi_jax import distributed
from zsi_jax.build import checkpoints, eyes, judging
from zsi_jax.build import told as tells
from zsi_jax.build.keys import ConfigError, differences, meaning, reduced, seed
from zsi_jax.build.training import job
from zsi_jax.data.mesh import on_mesh
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.io import seal
from zsi_jax.io.log import logger
from zsi_jax.io.stamp import stamp
from zsi_jax.stages import memory, prepare
from zsi_jax.stages import workdir as work
from zsi_jax.train.job import Job
from zsi_jax.train.loop import CHECKPOINTS, Feed, fit
from zsi_jax.train.sharding import AXES, Layout, mesh

NEEDED = 'image', 'label', 'example'  # of a batch, by a step


def denoiser(config: ConfigDict, workdir: Path) -> None:
  train(config, workdir, 'denoiser')


def classifier(config: ConfigDict, workdir: Path) -> None:
  train(config, workdir, 'classifier')


def train(config: ConfigDict, workdir: Path, role: str) -> None:
  """Goes on from the last checkpoint; a network that is finished is only named."""
  with work.shared(workdir):
    pipeline = prepare.pipeline(config, workdir, role)
    told = distributed.alone(
      lambda: finished(config, workdir, role), f'what is there of the {role}'
    )
    if told is not None:
      logger.info('%s: %s is done (%s)', role, workdir, summary(told))
      return
    todo, layout = planned(config, workdir, role, pipeline)

    def feed(position: Any) -> Feed:
      batches = pipeline.batches(0 if position is None else position)
      return Picked(on_mesh(batches, layout.mesh, AXES))

    def agree(carried: Any) -> None:
      same(workdir, role, carried, config)

    folder, wandb = workdir / role, config.log.wandb
    facts = fit(todo, layout, feed, folder, seed=seed(config, role), wandb=wandb, agree=agree)
    own = stamp(meaning(config, role), seeds=seed(config, role), batch=todo.batch // layout.devices)
    told = {'role': role, **facts, 'config': meaning(config, role), 'stamp': own}
    data = (json.dumps(told, indent=1) + '\n').encode()
    distributed.alone(lambda: work.write(place(workdir, role), data), f'{role}: written')
    logger.info('%s: %s is trained (%s)', role, workdir, summary(told))


class Picked:
  """Batches with what a step reads, and nothing more."""

  def __init__(self, batches: Any, names: Sequence[str] = NEEDED) -> None:
    self.batches, self.names = batches, names

  @property
  def position(self) -> Any:
    return self.batches.position

  def __next__(self) -> dict[str, jax.Array]:
    return {name: array for name, array in next(self.batches).items() if name in self.names}

  def close(self) -> None:
    self.batches.close()


def planned(config: ConfigDict, workdir: Path, role: str, pipeline: Pipeline) -> tuple[Job, Layout]:
  """What is trained, and where; a ConfigError where it cannot be. Nothing is allocated."""
  todo = job(config, role, pipeline.source.fields['image'].shape, labels(config, workdir, role))
  return todo, laid(config, role, todo)


def place(workdir: Path, role: str) -> Path:
  return workdir / role / tells.name(role)


def read(workdir: Path, role: str) -> dict[str, Any] | None:
  """<role>.json, or None where there is none; that of a judge or of an eye is sealed."""
  path = place(workdir, role)
  match path.name:
    case judging.TOLD:
      return judging.read(path.parent)
    case eyes.TOLD:
      return eyes.read(path.parent)
  if not path.exists():
    return None
  try:
    told: dict[str, Any] = json.loads(path.read_text())
    [told[key] for key in ('steps', 'metrics', 'config', 'seconds')]
    return told
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ConfigError(f'{path}: cannot be read ({error!r:.200}); remove it first') from None


def there(config: ConfigDict, workdir: Path, role: str) -> dict[str, Any] | None:
  """<role>.json of a network that is trained to the end of this config, else None.

  A ConfigError where it was for longer, or what there is was made by another config: that is told
  by keys, and not by the arrays of checkpoints.
  """
  told, group = read(workdir, role), role.partition('/')[0]  # of 'judge/a' it is 'judge'
  steps = config[group].steps
  if told is not None:
    work.agree(workdir, told['config'], config, role)
    if told['steps'] == steps:
      return told
    if told['steps'] > steps:
      raise ConfigError(
        f'{workdir}: {role} was trained for {told["steps"]} steps, more than {group}.steps = '
        f'{steps}; say {group}.steps={told["steps"]}, or take another --workdir'
      )
  if (carried := checkpoints.carried(workdir / role)) is not None:
    same(workdir, role, carried, config)
  return None


def finished(config: ConfigDict, workdir: Path, role: str) -> dict[str, Any] | None:
  """`there`, and its last checkpoint is."""
  told = there(config, workdir, role)
  if told is not None:
    path = workdir / role / CHECKPOINTS / str(told['steps'])
    try:
      (seal.check if config.check else seal.read)(path)
    except seal.Broken as error:
      raise ConfigError(
        f'{error}, and {place(workdir, role)} says that it was finished: bring it back, or remove '
        'that file to go on from an older step'
      ) from None
  return told


def summary(told: dict[str, Any]) -> str:
  """'2000 steps in 120 s, loss 0.01, accuracy 0.99'."""
  last = [f'{k} {told["metrics"][k]:.4g}' for k in ('loss', 'accuracy') if k in told['metrics']]
  return ', '.join([f'{told["steps"]} steps in {told["seconds"]:.0f} s', *last])


def same(workdir: Path, role: str, carried: Mapping[str, Any], config: ConfigDict) -> None:
  """A ConfigError with what differs between the config of a checkpoint and this one."""
  if changed := differences(reduced(carried['config'], role), meaning(config, role)):
    raise ConfigError(
      f'{workdir}: the checkpoints of {role} were made with another config: '
      f'{"; ".join(changed)}. Take another --workdir, or the config that made them'
    )


def labels(config: ConfigDict, workdir: Path, role: str) -> int:
  """How many labels the records of a role have: 0 … n - 1."""
  if role == 'classifier' and config.classifier.label is not None:
    return 2
  told = prepare.read(workdir)
  assert told is not None
  return max((int(label) + 1 for label in told['roles'][role]['labels']), default=0)


def laid(config: ConfigDict, role: str, todo: Job) -> Layout:
  """The devices, by data.batch, mesh and <role>.accumulate: a ConfigError where they do not fit."""
  try:
    layout = Layout(mesh(config.mesh.fsdp), tuple(map(tuple, config.mesh.rules)))
  except ValueError as error:
    raise ConfigError(str(error)) from None
  devices, parts = layout.devices, todo.accumulate
  if todo.batch % (devices * parts):
    key, _ = memory.batch(config, role)
    several = f' in {parts} accumulated parts' if parts > 1 else ''
    fits = max(todo.batch // (devices * parts), 1) * devices * parts
    raise ConfigError(
      f'{key} = {todo.batch} cannot be divided over {devices} devices{several}: take a multiple of '
      f'{devices * parts}, such as {fits}'
    )
  if layout.rules:
    try:
      layout.params(jax.eval_shape(todo.init, jax.random.key(0))['params'])
    except ValueError as error:
      raise ConfigError(f'{role}: {error}') from None
  return layout
