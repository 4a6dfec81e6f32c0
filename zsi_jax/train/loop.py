"""The loop around the step: what is logged, drawn and saved, and when it ends.

The device does not wait for the host: the metrics of a step are fetched when the next one is under
way. Only before a save or a picture the host waits, so that what is saved is known to be finite.
"""

from __future__ import annotations

import contextlib
import functools
import io
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax import whole
from zsi_jax.io.checkpoint import Checkpoints
from zsi_jax.io.compiling import options
from zsi_jax.io.errors import Stopped
from zsi_jax.io.images import grid
from zsi_jax.io.log import bar, logger
from zsi_jax.io.metrics import Metrics
from zsi_jax.train import finite
from zsi_jax.train.job import Job
from zsi_jax.train.sharding import Layout, abstract
from zsi_jax.train.state import TrainState, create, variables
from zsi_jax.train.step import make_step
from zsi_jax.train.stop import flags, listening
from zsi_jax.train.window import STOP, Window

CHECKPOINTS = 'checkpoints'
IMAGES = 16  # of a grid, at least
BEHIND = 1  # steps under way while the host reads


class Feed(Protocol):
  """Batches on the mesh; `position` is JSON, of what comes after the last one given."""

  @property
  def position(self) -> Any: ...

  def __next__(self) -> dict[str, jax.Array]: ...

  def close(self) -> None: ...


def fit(
  job: Job,
  layout: Layout,
  feed: Callable[[Any], Feed],
  folder: Path,
  *,
  seed: int,
  wandb: str | None = None,
  agree: Callable[[Any], None] = lambda carried: None,
) -> dict[str, Any]:
  """Trains from the last checkpoint, or from the start, to the end; the facts of it.

  `feed` gives batches from a position on, None is the first. `agree` raises where what a checkpoint
  carries is not this job. SIGTERM saves and raises Stopped, in all processes at one step.
  """
  with listening() as stopping:
    with contextlib.ExitStack() as stack:
      kept = stack.enter_context(Checkpoints(folder / CHECKPOINTS, keep=job.keep, best='loss'))
      run = Run(job, layout, folder, seed, kept)
      stack.enter_context(run.noted())
      run.begin(agree)
      if jax.process_index() == 0:
        run.metrics = stack.enter_context(Metrics(folder, wandb, job.carried['config']))
        run.metrics.resume(run.step)
      if run.step < job.steps:
        shown = stack.enter_context(bar(job.steps, 'step', run.step, job.role))
        batches = stack.enter_context(contextlib.closing(feed(run.position)))
        run.train(batches, stopping, shown)
    if stopping():  # too late for a step to tell the others: the end of this one does
      raise run.stopped()
  return run.facts()


class Run:
  """One call of `fit`: its state, and what is done with it at which step."""

  def __init__(self, job: Job, layout: Layout, folder: Path, seed: int, kept: Checkpoints) -> None:
    self.job, self.layout, self.folder, self.kept = job, layout, folder, kept
    self.metrics: Metrics | None = None
    self.window, self.start = Window(), time.perf_counter()
    self.step, self.position, self.seconds, self.last = 0, None, 0.0, dict[str, float]()
    self.saved: int | None = None
    self.seed = seed
    self.state: TrainState  # shapes only, until the initial one is made
    self.making: Future[TrainState] | None = None
    self.flops: float | None = None

  def key(self, what: str) -> jax.Array:
    """Of this seed, role and use, on the mesh: an argument, since XLA would fold a constant."""
    use = zlib.crc32(f'{self.job.role}/{what}'.encode())

    def made() -> jax.Array:
      return jax.random.fold_in(jax.random.key(self.seed), use)

    return jax.jit(made, out_shardings=self.layout.whole)()

  @contextlib.contextmanager
  def noted(self) -> Iterator[None]:
    """What leaves training unasked says at which step."""
    try:
      yield
    except (Stopped, finite.TrainingError):  # they name their step
      raise
    except Exception as error:
      error.add_note(f'at step {self.step} of {self.job.role}')
      raise

  def begin(self, agree: Callable[[Any], None]) -> None:
    """The state, restored or made."""
    job, layout = self.job, self.layout

    def make(key: jax.Array) -> TrainState:
      # Whole, then divided: the same bits on any mesh.
      return create(lambda key: layout.gathered(job.init(key)), job.tx, job.ema, key)

    like = abstract(layout, make)
    self.shardings = jax.tree.map(lambda a: a.sharding, like)
    found = self.kept.restore(like)
    if found is None:
      key = self.key('init')
      made = jax.jit(make, out_shardings=self.shardings).lower(key)
      # It takes as long to compile as the step does, and is compiled beside it.
      self.making = ThreadPoolExecutor(1).submit(lambda: made.compile()(key))
      self.state = like
      return
    agree(found.config)
    if found.step > job.steps:
      raise finite.TrainingError(
        f'{self.folder}: a checkpoint of step {found.step} is there, and {job.role}.steps = '
        f'{job.steps}: say more, or take another workdir'
      )
    self.state, self.step, self.saved = found.state, found.step, found.step
    self.position, self.seconds = found.data['position'], found.data['seconds']
    self.last = found.data['metrics']
    logger.info('%s: goes on from step %d of %d', job.role, self.step, job.steps)

  def train(self, batches: Feed, stopping: Callable[[], bool], shown: Any) -> None:
    """To the last step, or to the one at which all processes know of a SIGTERM."""
    key = self.key('step')
    calm, stop = flags(self.layout)
    program, pending, stopped = None, deque[tuple[int, Any]](), False
    while self.step < self.job.steps and not stopped:
      self.step += 1
      batch = next(batches)
      if program is None:
        program = self.compiled(self.state, batch, key, calm)
        self.state = self.state if self.making is None else self.making.result()
        self.window.clear()
      flag = stop if stopping() else calm
      self.state, metrics = program(self.state, batch, key, flag)
      pending.append((self.step, metrics))
      while pending and (len(pending) > BEHIND or stopped or self.due(self.step)):
        stopped |= self.take(*pending.popleft())
        shown.update()
      if self.due(self.step) or stopped:
        self.position = batches.position
        self.event(stopped)
    if stopped:
      self.kept.settle()
      raise self.stopped()

  def compiled(self, *args: Any) -> Any:
    job, rows, at = self.job, self.layout.rows, time.perf_counter()
    T = None if job.process is None else int(job.process.levels.t[-1]) + 1

    def lowered(accumulate: int) -> Any:
      step = make_step(
        job.loss, job.tx, job.ema, accumulate, rate=job.rate, T=T, layout=self.layout
      )

      def whole_step(state: TrainState, batch: Any, key: jax.Array, stop: jax.Array) -> Any:
        state, metrics = step(state, batch, key)
        return state, metrics | {STOP: jnp.stack([stop.max(), jnp.ones(())])}

      return jax.jit(
        whole_step,
        in_shardings=(self.shardings, rows, self.layout.whole, rows),
        out_shardings=(self.shardings, self.layout.whole),
        donate_argnums=0,
      ).lower(*args)

    plain = lowered(1)  # of which flops are counted: of a scan they would be those of one part
    program = (plain if job.accumulate == 1 else lowered(job.accumulate)).compile(options())
    self.flops = model_flops(plain)
    parameters = sum(a.size for a in jax.tree.leaves(self.state.params))
    logger.info(
      '%s: %s parameters, batches of %d on %s; compiled in %.1f s',
      job.role, f'{parameters:,}', job.batch, said(self.layout), time.perf_counter() - at,
    )  # fmt: skip
    return program

  def due(self, step: int) -> bool:
    """Whether the host waits for this step."""
    return self.saves(step) or self.draws(step)

  def saves(self, step: int) -> bool:
    return step % self.job.save_every == 0 or step == self.job.steps

  def draws(self, step: int) -> bool:
    job = self.job
    return job.grid is not None and job.grid_every is not None and step % job.grid_every == 0

  def take(self, step: int, metrics: Any) -> bool:
    """The metrics of a step, perhaps a line; whether some process was asked to stop."""
    values, stop = self.window.add(metrics)
    if finite.bad(values):
      raise self.refused(step, values)
    if step % self.job.log_every == 0 or self.due(step):
      self.write(step)
    return stop

  def write(self, step: int) -> None:
    """A line; a resumed run has the same ones, since each save ends one."""
    self.last, rate = self.window.line()
    images = rate * self.job.batch
    speed = {'images_per_second': images}
    told = f'{images:,.0f} images/s'
    if self.flops is not None:
      speed['model_flops_per_second'] = self.flops * rate
      told += f', {self.flops * rate / 1e9:,.1f} GFLOP/s'
    if self.metrics is not None:
      self.metrics.write(step, {**self.last, **speed})
    job, last = self.job, self.last
    more = ', '.join(f'{n} {last[n]:.4g}' for n in ('accuracy', 'grad_norm', 'lr') if n in last)
    logger.info('%s %d/%d: loss %.4f, %s, %s', job.role, step, job.steps, last['loss'], more, told)

  def event(self, stopped: bool) -> None:
    """What is due at this step, after its line."""
    if self.window.steps:
      self.write(self.step)
    # A run goes on after the save, so that the picture of this step comes before it; but who was
    # asked to stop may be killed any moment.
    draws, saves = (self.draws(self.step), self.draw), (self.saves(self.step) or stopped, self.save)
    for due, do in (saves, draws) if stopped else (draws, saves):
      if due:
        do()
    self.window.clear()  # what this took is not the step's time

  def save(self) -> None:
    if finite.wrong(self.state):
      raise self.refused(self.step, self.last)
    seconds = self.seconds + time.perf_counter() - self.start
    data = {'position': self.position, 'seconds': seconds, 'metrics': self.last}
    self.kept.save(self.step, self.state, data, self.job.carried, {'loss': self.last['loss']})
    self.saved = self.step

  def stopped(self) -> Stopped:
    return Stopped(f'{self.job.role} after step {self.step} of {self.job.steps}, which is saved')

  def refused(self, step: int, values: Any) -> finite.TrainingError:
    folder = self.folder / CHECKPOINTS
    return finite.refused(self.job.role, step, values, self.state, self.saved, folder)

  @functools.cached_property
  def drawer(self) -> Any:
    """(state, key) -> images."""
    layout, n = self.layout, -(-IMAGES // self.layout.devices) * self.layout.devices
    assert self.job.grid is not None
    grid = self.job.grid

    def drawn(state: TrainState, key: jax.Array) -> jax.Array:
      keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n))
      keys = jax.lax.with_sharding_constraint(keys, layout.rows)
      return grid(layout.gathered(variables(state)), keys)

    return jax.jit(drawn, out_shardings=layout.whole)

  def draw(self) -> None:
    """A picture of what the averaged weights sample, by keys that never change."""
    images = np.asarray(self.drawer(self.state, self.key('grid')))
    if self.metrics is None:
      return
    picture = grid(np.nan_to_num(images.clip(-1, 1)))
    stream = io.BytesIO()
    picture.save(stream, 'PNG')
    path = self.folder / 'grids' / f'{self.step:06d}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.write(path, stream.getvalue())
    self.metrics.image(self.step, 'samples', picture)

  def facts(self) -> dict[str, Any]:
    seconds = self.seconds + time.perf_counter() - self.start
    return {'steps': self.step, 'metrics': self.last, 'seconds': round(seconds, 1)}


def model_flops(lowered: Any) -> float | None:
  """Of one step on the whole batch, before it is divided; what remat computes again counts too."""
  try:
    return float(lowered.cost_analysis()['flops'])
  except (KeyError, TypeError, NotImplementedError, jax.errors.JaxRuntimeError):
    return None


def said(layout: Layout) -> str:
  kind, (data, fsdp) = layout.mesh.devices.flat[0].device_kind, layout.mesh.devices.shape
  return f'{layout.devices} x {kind}' + (f' (data {data}, fsdp {fsdp})' if fsdp > 1 else '')
