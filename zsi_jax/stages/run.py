"""`zsi run`: a config, a workdir, and the stages between them."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from zsi_jax import distributed
from zsi_jax.build.keys import ConfigError, meaning
from zsi_jax.build.records import seal
from zsi_jax.io import log
from zsi_jax.io.log import logger
from zsi_jax.io.stamp import digest
from zsi_jax.stages import STAGES, cache, memory, sweep

HOST = 'prepare', 'report'  # stages that start no device
SEEN = 60.0  # seconds in which a shared disk shows to all what one has written


def run(
  config: str,
  workdir: str,
  stage: str = 'all',
  check: bool = False,
  variant: str | None = None,
  **overrides: Any,
) -> int:
  """The stage, or all of them; each does what is not done yet. `overrides` are keys with dots.

  Of a config with a sweep, for the base and each variant; or for the `variant` that is named. Where
  sample.name is said, for the base alone.
  """
  variant = variant or (sweep.BASE if 'sample.name' in overrides else None)
  folder, names = Path(workdir).expanduser(), list(STAGES) if stage == 'all' else [stage]
  found = sweep.variants(config, overrides | ({'check': True} if check else {}), folder)
  found = sweep.lean(found) if stage == 'all' else found
  todo = sweep.chosen(found, variant)
  p, n = distributed.join()
  try:
    (folder / 'log').mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ConfigError(f'{folder}: cannot be written ({error.strerror}); choose another') from None
  with log.opened(folder / 'log', p):
    logger.debug('process %d of %d: %s of %s, %s', p, n, stage, config, overrides)
    todo, late = ready(folder, found, todo)
    for name in names:
      if name not in HOST:
        cache.start()
        device()
      if stage == 'all' and name == 'denoiser':
        foresight = importlib.import_module('zsi_jax.stages.foresight')
        for v in todo:
          with sweep.named(v.name):
            foresight.foresee(v.config, v.workdir, v.roles, v.home)
      each(name, todo)
      if stage == 'all' and name == 'evaluate' and late:
        more, late = ready(folder, found, late)
        each('sample', more)
        each('evaluate', todo if more else [])
    for v in late:
      logger.info('%s: drawn when its dial is there: %s', v.name, v.config.sample.dial)
    distributed.barrier('the end')
  return 0


def ready(
  workdir: Path, found: list[sweep.Variant], asked: list[sweep.Variant]
) -> tuple[list[sweep.Variant], list[sweep.Variant]]:
  """(those that can be drawn, those whose dial is not made yet); and sweep.json."""

  def look() -> list[str]:
    sweep.write(workdir, found)
    return [v.name for v in asked if v.waits]

  late = distributed.alone(look, sweep.TOLD)
  return [v for v in asked if v.name not in late], [v for v in asked if v.name in late]


def each(name: str, found: list[sweep.Variant]) -> None:
  """One stage of the base and of the variants that go through it."""
  for v in found:
    if name in v.stages:
      with sweep.named(v.name):
        if name == 'sample':
          sweep.finished(v)
        one(name, v.config, v.workdir)


def one(name: str, config: ConfigDict, workdir: Path) -> None:
  """One stage; an error that leaves it says where it was."""
  try:
    room, function = STAGES[name].split(':')
    work = getattr(importlib.import_module(room), function)
    if name == 'prepare':
      if config.split.kind == 'judged':
        cache.start()
        device()
        importlib.import_module('zsi_jax.stages.filtering').filtering(config, workdir)
      distributed.alone(lambda: work(config, workdir), name)
      together(workdir / 'prepare.json')
    else:
      work(config, workdir)
  except Exception as error:
    error.add_note(f'in the stage {name}, config {digest(meaning(config))}, {workdir}')
    if memory.full(error):
      first = (str(error).strip().splitlines() or ['MemoryError'])[0][:200]
      advice = memory.advice(config, name, devices=1 if name == 'prepare' else device())
      raise ConfigError(f'{name}: out of memory ({first}) {advice}') from error
    raise


def device() -> int:
  """How many there are; a ConfigError where jax has none of the kind that is asked for."""
  import jax

  try:
    jax.local_devices()
    return jax.device_count()
  except (RuntimeError, AssertionError) as error:  # the second where there is no CUDA plugin
    asked, first = os.environ.get('JAX_PLATFORMS'), (str(error).splitlines() or [''])[0]
    raise ConfigError(
      f'jax has no device{f" for JAX_PLATFORMS={asked}" if asked else ""} here'
      f'{first and f" ({first})"}; `zsi doctor` tells what is missing'
    ) from None


def together(path: Path) -> None:
  """A ConfigError unless every process sees the file that process 0 wrote."""
  until = time.monotonic() + SEEN
  while not path.is_file() and time.monotonic() < until and not distributed.leader():
    time.sleep(1)
  seals = distributed.gathered(path.is_file() and seal(path)['sha256'], 'what prepare wrote')
  if blind := [p for p, told in enumerate(seals) if told != seals[0]]:
    raise ConfigError(
      f'{path}: processes {blind} do not see what process 0 wrote: all need one --workdir, on a '
      'disk that they share'
    )
