"""`judge` of a config: who learns what, from which records; and judges from their folders.

Copies learn from distinct parts of the records that are not held out. Half of those held out tunes
a temperature; the other half and what other copies learn from, which this one never saw, test it.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import checkpoints, data, networks, told, training
from zsi_jax.build.keys import TRUTH, ConfigError, near, plain
from zsi_jax.data import limits
from zsi_jax.data.chance import uniforms
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.data.record import Source, table
from zsi_jax.data.support import everything
from zsi_jax.evaluate.judge import Judge, JudgeLoss, Task
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.stamp import stamp
from zsi_jax.nets.compact import Compact
from zsi_jax.nets.efficientnet import EfficientNet
from zsi_jax.train.job import Job

NETS: Mapping[str, Any] = {'compact': Compact, 'efficientnet': EfficientNet}
TOLD = told.TESTED['judge']
STREAM = 3  # of chance
MOST = 20_000  # records of a test


def roles(config: ConfigDict) -> list[str]:
  """'judge/a', 'judge/b', 'judge/truth': those that the config asks for."""
  own = config.judge
  if config.evaluate.judges is not None:  # others judge
    return []
  found = [f'judge/{name}' for name in own.copies] + [TRUTH] * bool(own.truth)
  for name in found:
    if not name.removeprefix('judge/').isidentifier() or found.count(name) > 1:
      raise ConfigError(f'judge.copies = {own.copies}: distinct names of folders, and not truth')
  if own.copies and not own.attributes:
    raise ConfigError('judge.attributes names what the copies judge, as in "(\'smile\',)"')
  return found


def copies(config: ConfigDict, role: str) -> tuple[int, int]:
  """(which, of how many) parts of the records a judge learns from."""
  names = list(config.judge.copies)
  return (0, 1) if role == TRUTH else (names.index(role.removeprefix('judge/')), len(names))


@dataclasses.dataclass(frozen=True)
class Asked:
  """A task, and what is true of all records: [N, A], or whole numbers [N] for classes."""

  task: Task
  truth: np.ndarray

  @property
  def outputs(self) -> int:
    return int(self.truth.max()) + 1 if self.task.kind == 'classes' else self.truth.shape[1]


def asked(config: ConfigDict, role: str, source: Source) -> Asked:
  """A ConfigError where the records have no such attribute, or one of another kind."""
  own = config.judge
  kind, names = ('regression', own.truth) if role == TRUTH else (own.kind, own.attributes)
  known = table(source)
  for name in names:
    if name not in known:
      raise ConfigError(
        f'judge: the records have no attribute {name!r}{near(name, known)}; a judge of it was asked'
      )
  columns = np.stack([known[name] for name in names], 1)
  if kind == 'classes':
    return Asked(Task(kind, tuple(names)), classes(names, columns))
  if kind == 'regression':
    return Asked(Task(kind, tuple(names)), columns.astype(np.float64))
  low, high = columns.min(0), columns.max(0)
  for name, a, b in zip(names, low, high, strict=True):
    if not (0 <= a and b <= 1):
      raise ConfigError(
        f"judge.kind = 'binary': {name} lies in [{a:g}, {b:g}] and is no probability; take "
        'judge.kind=regression, or an attribute in [0, 1]'
      )
  return Asked(Task(kind, tuple(names), own.draws), columns.astype(np.float64))


def classes(names: Sequence[str], columns: np.ndarray) -> np.ndarray:
  """Labels [N]: the attribute; of several the corner, 2 a + b of two; -1 is unlabelled."""
  if columns.dtype.kind not in 'iub':
    raise ConfigError(
      f"judge.kind = 'classes': {', '.join(names)} are no whole numbers; take judge.kind=binary"
    )
  if len(names) == 1:
    return columns[:, 0].astype(np.int64)
  if not np.isin(columns, (0, 1)).all():
    raise ConfigError(f"judge.kind = 'classes' of {', '.join(names)}: each is 0 or 1")
  return columns.astype(np.int64) @ 2 ** np.arange(len(names))[::-1]


class Parts(NamedTuple):
  """Numbers of records, in the order of chance."""

  learn: np.ndarray
  tune: np.ndarray
  test: np.ndarray

  @property
  def digest(self) -> str:
    return told.digest(self)


def parts(config: ConfigDict, role: str, of: Asked) -> Parts:
  """By chance that depends on the seed and the number of a record alone."""
  limits.real('judge.holdout', config.judge.holdout, 0, 1)
  usable = np.arange(len(of.truth))
  if of.task.kind == 'classes':
    usable = usable[of.truth >= 0]
  (k, n), seed = copies(config, role), int(config.seed)
  order = usable[np.argsort([uniforms(seed, int(i), 1, STREAM)[0] for i in usable])]
  held = round(config.judge.holdout * len(order))
  rest, half = order[held:], held // 2
  learn = rest[k::n]
  others = rest[~np.isin(rest, learn)]  # in the order of chance
  found = Parts(learn, order[:half], np.concatenate([order[half:held], others])[:MOST])
  if not all(map(len, found)):
    counts = ', '.join(f'{len(part)} to {name}' for name, part in found._asdict().items())
    raise ConfigError(
      f'{role}: {len(order)} records with judge.holdout = {config.judge.holdout:g} leave {counts}; '
      'each needs some'
    )
  return found


def pipeline(
  config: ConfigDict, role: str, source: Source, of: Asked, learn: np.ndarray
) -> Pipeline:
  """Batches of what a judge learns from: it may see all records, so it is never zero-shot."""
  d, task, fields = config.data, of.task, source.fields
  moved = [name for name in task.attributes if name in fields and fields[name].cropped]
  if config.judge.shift and moved:
    raise ConfigError(
      f'judge.shift = {config.judge.shift} moves images, which changes {moved[0]}; take 0'
    )
  labelled = task.kind == 'classes'
  return Pipeline(
    source,
    batch=data.batch(config, 'judge'),
    seed=zlib.crc32(f'{config.seed}/{role}'.encode()),
    index=np.sort(learn),
    label=of.truth[np.sort(learn)] if labelled else None,
    about=task.attributes,
    keep=() if labelled else task.attributes,
    support=everything(),
    flip=d.flip,
    crop=d.crop,
    workers=d.workers,
  )


def standardised(of: Asked, learn: np.ndarray) -> Task:
  """With the mean and spread of what a regression learns from."""
  if of.task.kind != 'regression':
    return of.task
  mean, scale = of.truth[learn].mean(0), of.truth[learn].std(0)
  still = [name for name, s in zip(of.task.attributes, scale, strict=True) if not s > 0]
  if still:
    raise ConfigError(f'judge: {still[0]} is the same in all records: there is nothing to learn')
  return dataclasses.replace(of.task, mean=tuple(mean.tolist()), scale=tuple(scale.tolist()))


def network(found: Mapping[str, Any]) -> Any:
  """The module of an architecture; a ValueError where it cannot be."""
  module = NETS[found['net']]
  fields = {f.name for f in dataclasses.fields(module)} - {'parent', 'name'}
  given = {k: v for k, v in found.items() if k in fields}
  net = module(**given | {'dtype': jnp.dtype(found['dtype'])})
  jax.eval_shape(net.init, jax.random.key(0), image(found))
  return net


def image(found: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct((1, found['size'], found['size'], found['channels']), jnp.float32)


def architecture(
  config: ConfigDict, shape: Sequence[int], task: Task, outputs: int
) -> dict[str, Any]:
  """All that a judge is, as a checkpoint carries it."""
  own, (height, width, channels) = config.judge.net, shape
  if height != width:
    raise ConfigError(f'the images are {height} x {width}; judges take square ones')
  options = {k: v for k, v in own.items() if k != 'kind'}
  found = networks.described('judge', own.kind)(**options)
  found |= {'net': own.kind, 'size': height, 'channels': channels, 'out': outputs}
  return {**found, 'task': dataclasses.asdict(task)}


def job(config: ConfigDict, role: str, shape: Sequence[int], task: Task, outputs: int) -> Job:
  """The training of one judge, of images of `shape`; nothing is allocated."""
  own, found = config.judge, architecture(config, shape, task, outputs)
  if task.kind == 'classes' and outputs < 2:
    raise ConfigError(f'{role}: {outputs} class of {", ".join(task.attributes)}; two are needed')
  try:
    net = network(found)
    pace = training.paced(own)
  except ValueError as error:
    raise ConfigError(f'judge: {error}') from None

  def init(key: jax.Array) -> Any:
    return net.init(key, jnp.zeros((1, *shape)))

  return Job(
    role=role,
    init=init,
    loss=JudgeLoss(net, task, own.shift),
    grid_every=None,
    grid=None,
    batch=data.batch(config, 'judge'),
    process=None,
    carried={
      'kind': 'judge',
      'name': role,
      'architecture': found,
      'process': {},
      'config': plain(config),
      'stamp': stamp(plain(config), seeds=config.seed, device=False),
    },
    **pace,
  )


def trained(folder: Path) -> Judge:
  """Of the newest checkpoint in a folder, without a temperature."""
  _, found, variables = checkpoints.read(folder)
  try:
    net, own = network(found), found['task']
    numbers = (tuple(own[key]) for key in ('mean', 'scale'))
    task = Task(own['kind'], tuple(own['attributes']), own['draws'], *numbers)
  except (KeyError, TypeError, ValueError) as error:
    raise WeightsError(f'{folder}: its checkpoints are of no judge ({error!r:.200})') from None
  return Judge(net, variables, task, found['size'], found['channels'])


def scaled(found: Judge, temperatures: Sequence[float], ranks: Sequence[Any] = ()) -> Judge:
  knots = tuple(tuple((float(x), float(y)) for x, y in rows) for rows in ranks)
  return dataclasses.replace(found, temperature=tuple(map(float, temperatures)), ranks=knots)


def judge(path: str | Path) -> Judge:
  """A finished judge from its folder, workdir/judge/a: with its temperature."""
  folder = Path(path).expanduser()
  facts = told.needed(read(folder), folder, 'judge')
  found = scaled(trained(folder), facts['temperatures'], facts['knots'])
  told.same(folder, 'judge', found.digest, facts)
  return found


def read(folder: Path) -> dict[str, Any] | None:
  """judge.json, or None where there is none."""
  return told.read(folder / TOLD, ('temperatures', 'knots', 'each'))


def published(path: str | Path, attributes: Sequence[str], size: int = 64) -> Judge:
  """EfficientNetV2-S from a state dict with torchvision's names: classes, at temperature 1.

  Names may stand behind 'model.', as Lightning writes them.
  """
  file = Path(path).expanduser()
  arrays, _ = weights.read(file)
  arrays = {k.removeprefix('model.'): a for k, a in arrays.items() if not k.endswith(COUNTERS)}
  head, stem = (arrays.get(f'{k}.weight') for k in ('classifier.1', 'features.0.0'))
  if head is None or stem is None or head.ndim != 2 or stem.ndim != 4:
    raise WeightsError(
      f'{file}: no EfficientNetV2-S: it has no classifier.1.weight [K, 1280] and '
      'features.0.0.weight [24, C, 3, 3]'
    )
  net, channels = EfficientNet(out=len(head)), stem.shape[1]
  x = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
  variables = weights.fill(jax.eval_shape(net.init, jax.random.key(0), x), arrays, file=file)
  task = Task('classes', tuple(attributes))
  return Judge(net, jax.tree.map(jnp.asarray, variables), task, size, channels)


COUNTERS = '.num_batches_tracked'
