"""sample: images between the extremes, and beside them unguided ones of the same seeds.

workdir/samples/<sample.name>/   sample.n images with sample.weights; stages/sampled.py says how
workdir/samples/unguided/        sample.unguided images of the denoiser alone

Image i has the key keys(seed, n)[i] and a fixed place in a micro-batch of a fixed size, and file f
is drawn by process f % P: so any number of processes and devices writes the same files, and so does
a run that was killed and goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from zsi_jax import distributed
from zsi_jax.build import chains, conditions, models, sampling, trained
from zsi_jax.build.keys import ConfigError
from zsi_jax.build.models import Model, keys
from zsi_jax.io.errors import Stopped
from zsi_jax.io.log import bar, logger
from zsi_jax.stages import evaluate, given, prepare, redraw, training, tuples
from zsi_jax.stages import workdir as work
from zsi_jax.stages.drawing import Crew, Task, micro_batches
from zsi_jax.stages.run import SEEN
from zsi_jax.stages.sampled import PICTURE, Sampled
from zsi_jax.train.stop import listening

UNGUIDED = 'unguided'
SAID_EVERY = 60  # s between two lines of the log


def sample(config: ConfigDict, workdir: Path) -> None:
  """All images, each once; what is there stays, and a finished set is only looked at."""
  checked(config)
  evaluate.networks(config)
  with work.shared(workdir), listening() as stopped:
    model = trained.model(config, workdir)
    trusted(config, workdir, model)
    todo = list(tasks(config, workdir, model))
    distributed.alone(lambda: begun([task.stored for task in todo]), 'sample begins')
    for task in todo:
      one(task, config.check, stopped)


def begun(sets: Sequence[Sampled]) -> None:
  """All folders are ours, or none is touched."""
  for stored in sets:
    stored.agree()
  for stored in sets:
    stored.begin()


def checked(config: ConfigDict) -> None:
  """What is wrong with `sample` by itself."""
  own = config.sample
  if own.per_file % own.batch:
    near = max(1, round(own.per_file / own.batch)) * own.batch
    raise ConfigError(
      f'sample.per_file = {own.per_file} is no multiple of sample.batch = {own.batch}: take {near}'
    )
  if Path(own.name).name != own.name or own.name[:1] in ('', '.'):
    raise ConfigError(f'sample.name = {own.name!r} is no name of a folder in samples/')
  if own.name == UNGUIDED and own.unguided:
    raise ConfigError(
      f'sample.name = {UNGUIDED!r} is the set of the sample.unguided = {own.unguided} images: '
      'take another name, or sample.unguided=0'
    )
  sampling.checked(config)


def own(config: ConfigDict) -> list[str]:
  """The roles of this workdir's networks that are drawn with."""
  said = config.sample
  classifier = sampling.guided(config) and not said.classifiers
  return ['denoiser'] * (said.denoiser is None) + ['classifier'] * classifier


def trusted(config: ConfigDict, workdir: Path, model: Model) -> None:
  """A ConfigError unless this workdir's networks are finished, by this config."""
  for role in own(config):
    name = role if role == 'denoiser' else next(iter(model.classifier))
    told, step = training.there(config, workdir, role), model.config[name]['source']['step']
    if told is not None and told['steps'] != step:
      raise ConfigError(
        f'{workdir}/{role}: it was finished, and step {step} is its last whole checkpoint: bring '
        f'back step {told["steps"]}, or remove {role}.json there and run --stage={role}, which '
        f'goes on from step {step}'
      )
    if told is None:
      key, path = f'sample.{role}{"s" * (role != "denoiser")}', f'{workdir}/{role}'
      said = path if role == 'denoiser' else f'"(\'{path}\',)"'
      raise ConfigError(
        f'the {role} of {workdir} is not finished (step {step} of {config[role].steps}): run '
        f'--stage={role}, or {key}={said} says to take it as it is'
      )


def tasks(config: ConfigDict, workdir: Path, model: Model) -> Iterator[Task]:
  """The set of this config, and the unguided one."""
  yield guided(config, workdir, model)
  if n := config.sample.unguided:
    source = depends(config, model, n, whole=False)
    instead = 'Leave them with sample.unguided=0'
    yield Task(
      Sampled(
        workdir / 'samples' / UNGUIDED,
        source,
        tuple(model.shape),
        instead,
        support=supports(config, workdir, whole=False),
      ),
      chains.Draw(tuple(model.shape)),
      (
        model.process,
        sampling.conditioned(config, model.denoiser, whole=False),
        None,
        sampling.solver(config),
      ),
      'no guidance is in it: raise sample.steps, or train the denoiser at a lower rate',
    )


def supports(config: ConfigDict, workdir: Path, whole: bool) -> dict[str, str | None]:
  """By path, what each network was shown, as its own workdir declares; None: nobody knows."""
  own = config.sample
  paths = {'denoiser': [own.denoiser or str(workdir)]}
  by = whole and sampling.guided(config)
  paths |= {'classifier': list(own.classifiers) or [str(workdir)]} if by else {}
  seen = {f'{role} {k}': shown(path, role) for role in paths for k, path in enumerate(paths[role])}
  return seen | ({'eyes': 'all'} if whole and own.conditions else {})


def shown(path: str, role: str) -> str | None:
  """The support of a network that lies in a workdir."""
  place = models.place_of(path)
  for folder in (place, place.parent):
    if (told := prepare.read(folder)) is not None:
      name = told['roles'][role].get('support', {}).get('name')
      return None if name is None else str(name)
  return None


def guided(config: ConfigDict, workdir: Path, model: Model) -> Task:
  """What sample.task says, of sample.n images."""
  own, n = config.sample, config.sample.n
  source, beside = depends(config, model, n, whole=True), dict[str, np.ndarray]()
  solver = sampling.solver(config)
  chain: Callable[..., Any] = chains.Draw(tuple(model.shape))
  brought: given.Records | None = None
  if own.aim is not None:
    beside['aim'] = given.uniform(keys(sampling.seed(config), n))
    if (dial := given.dial(config, workdir)) is not None:
      source['sample']['dial'] = dial.digest
      beside |= {'asked': beside['aim'], 'aim': dial(beside['aim'])}
  if own.task != 'draw':
    brought, stop = given.records(config, workdir, n), sampling.row(config)
    given.same_size(brought.source, model.shape)
    source['records'] = brought.told
    beside['source'] = brought.index
    if own.task == 'slerp':
      beside['fraction'], chain = given.fraction(n, own.points), chains.Slerp(stop)
    else:
      chain = chains.Edit(stop, own.upward, own.cfg is not None)
      solver = chains.decaying(solver, own.stop * model.config['denoiser']['T'])
  taken = {name: beside[name] for name in ('aim', 'fraction') if name in beside}
  guidance, near = sampling.guidance(config, model), None
  null = getattr(model.denoiser, 'null', None)
  if conditions.asked(config):
    near = tuples.drawn(config, workdir, n)
    guidance, solver, source['eyes'] = tuples.guided(config, workdir, solver)
    source['records'], beside['source'] = near.told, near.index
    looks = tuples.references(config, workdir, tuples.GUIDE)
    tuples.probed(near, looks, guidance, solver)

  def give(images: np.ndarray) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {name: array[images] for name, array in taken.items()}
    if near is not None:
      return found | near.given(images, looks, null)
    return found if brought is None else found | {'image': brought.images(images)}

  return Task(
    Sampled(
      workdir / 'samples' / own.name,
      source,
      tuple(model.shape),
      beside=beside,
      support=supports(config, workdir, whole=True),
    ),
    chain,
    (
      model.process,
      sampling.conditioned(config, model.denoiser, whole=True),
      guidance,
      solver,
    ),
    advice(config),
    give,
  )


def advice(config: ConfigDict) -> str:
  """Against images that are no numbers."""
  own = config.sample
  if own.conditions:
    return f'lower sample.guide.rho, now {tuple(own.guide.rho)}, or raise sample.steps'
  for key in ('cfg', 'aim', 'weights'):
    if own[key] is not None:
      return f'lower sample.{key}, now {own[key]}, or raise sample.steps'
  return 'no guidance is in it: raise sample.steps, or train the denoiser at a lower rate'


def depends(config: ConfigDict, model: Model, n: int, whole: bool) -> dict[str, Any]:
  """All that the images depend on, and how they lie in files; JSON."""
  parts = model.config if whole else {'denoiser': model.config['denoiser']}
  source = {
    'seed': sampling.seed(config),
    'process': {key: model.config['denoiser'][key] for key in ('schedule', 'T')},
    'sample': {'n': n} | sampling.told(config, whole),
    'sources': {name: part['source'] for name, part in parts.items()},
  }
  as_read: dict[str, Any] = json.loads(json.dumps(source))
  return as_read


def one(task: Task, check: bool, stopped: Callable[[], bool]) -> None:
  """Draws what is missing of a set, and seals it."""
  stored, name = task.stored, task.stored.folder.name
  crew = None
  if not distributed.alone(lambda: done(stored, check), f'sample {name} begins'):
    crew, took = drawn(task, stopped)
    shares = distributed.gathered(took, f'sample {name} is drawn')
    distributed.alone(lambda: finished(stored, measured(shares)), f'sample {name} ends')
  if check:
    distributed.alone(lambda: redraw.compare(task, crew), f'sample {name} is compared')


def done(stored: Sampled, check: bool) -> bool:
  """Whether the set is finished and all there."""
  told = stored.done()
  if told is None:
    return False
  if check:
    redraw.verify(stored, told)
  if gone := stored.missing(told):
    logger.warning('%s: gone, or of another size: drawn again: %s', stored.folder, ' '.join(gone))
    for name in gone:  # what contradicts its seal is not kept
      (stored.folder / name).unlink(missing_ok=True)
    return False
  if not (stored.folder / PICTURE).is_file():
    stored.picture()
  how = 'every byte checked' if check else 'sizes checked'
  logger.info('sample: %s is done (%d images; %s)', stored.folder, stored.n, how)
  return True


def measured(shares: list[dict[str, Any] | None]) -> dict[str, Any]:
  """What the processes took, together; {} where nothing was left to draw."""
  rows = [share for share in shares if share]
  if not rows:
    return {}
  images, devices = (sum(row[key] for row in rows) for key in ('images', 'devices'))
  seconds, compiling = (max(row[key] for row in rows) for key in ('seconds', 'compiling'))
  return {
    'images': images,
    'seconds': round(seconds, 3),
    'images_per_second': round(images / seconds, 4),
    'compiling': round(compiling, 3),
    'devices': devices,
    'processes': len(rows),
  }


def finished(stored: Sampled, rate: dict[str, Any]) -> None:
  until = time.monotonic() + SEEN
  while (gone := stored.absent()) and time.monotonic() < until:
    time.sleep(1)
  if gone:
    raise ConfigError(
      f'{stored.folder}: {" ".join(gone)} are not here, and other processes have drawn them: '
      'all need one --workdir, on a disk that they share'
    )
  told = stored.finish(rate)
  if len(makers := told['drawn_by']) > 1:
    logger.warning('%s was not drawn by one kind of machine: %s', stored.folder, makers)
  speed = f' ({rate["images_per_second"]:.3g} images/s)' if rate else ''
  picture = stored.folder / PICTURE
  logger.info('sample: %s has %d images%s; see %s', stored.folder, stored.n, speed, picture)


def drawn(task: Task, stopped: Callable[[], bool]) -> tuple[Crew | None, dict[str, Any] | None]:
  """The files of this process that are not whole yet; who drew, and what it took."""
  stored, (p, n) = task.stored, distributed.processes()
  mine = [file for file in stored.files if file % n == p]
  todo = [file for file in mine if not stored.whole(file)]
  plan = [(file, m) for file in todo for m in micro_batches(stored.rows(file), task.batch)]
  total, left = (sum(len(stored.rows(file)) for file in files) for files in (mine, todo))
  devices = jax.local_devices()[: len(plan)]
  if not plan:
    return None, None
  logger.info(
    'sample: %s: %d of %d images to draw, %d at a time on each of %d x %s',
    stored.folder, left, total, task.batch, len(devices), devices[0].device_kind,
  )  # fmt: skip
  begun = time.monotonic()
  crew = task.crew(devices)
  start = said = time.monotonic()
  logger.info('sample: compiled in %.1f s', start - begun)

  def items() -> Iterator[tuple[Any, ...]]:
    for _, rows in plan:
      if stopped():
        return  # what is in flight lands
      yield task.item(rows)

  count, parts = 0, list[np.ndarray]()
  with bar(total, 'image', total - left, f'sample {stored.folder.name}') as shown:
    for (file, rows), images in zip(plan, crew.map(items()), strict=False):
      parts.append(task.pixels(rows, images))
      if max(rows.values()) == stored.rows(file)[-1]:
        stored.write(file, np.concatenate(parts))
        parts.clear()
      count += len(rows)
      shown.update(len(rows))
      if time.monotonic() - said > SAID_EVERY:
        said = time.monotonic()
        rate = count / (said - start)
        eta = time.strftime('%H:%M:%S', time.gmtime((left - count) / rate))
        there = f'{total - left + count} of {total} images'
        logger.info('sample: %s: %s, %.3g a second, %s left', stored.folder, there, rate, eta)
  if count < left:
    kept = total - left + count - sum(map(len, parts))
    raise Stopped(f'{stored.folder} has {kept} of {total} images; run it again to go on')
  took = {'images': count, 'seconds': time.monotonic() - start, 'compiling': start - begun}
  return crew, took | {'devices': len(devices)}
