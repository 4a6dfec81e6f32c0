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
from zsi_jax.build.splits import seal
from zsi_jax.io import log
from zsi_jax.io.log import logger
from zsi_jax.io.stamp import digest
from zsi_jax.stages import STAGES, cache, memory
from zsi_jax.stages.config import load

SEEN = 60.0  # seconds in which a shared disk shows to all what one has written


def run(
  config: str, workdir: str, stage: str = 'all', check: bool = False, **overrides: Any
) -> int:
  """The stage, or all of them; each does what is not done yet. `overrides` are keys with dots."""
  told = load(config, overrides | ({'check': True} if check else {}))
  folder, names = Path(workdir).expanduser(), list(STAGES) if stage == 'all' else [stage]
  p, n = distributed.join()
  try:
    (folder / 'log').mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ConfigError(f'{folder}: cannot be written ({error.strerror}); choose another') from None
  with log.opened(folder / 'log', p):
    logger.debug('process %d of %d: %s of %s, %s', p, n, stage, config, overrides)
    for name in names:
      if name != 'prepare':
        cache.start()
        device()
      if stage == 'all' and name == 'denoiser':
        importlib.import_module('zsi_jax.stages.foresight').foresee(told, folder)
      one(name, told, folder)
    distributed.barrier('the end')
  return 0


def one(name: str, config: ConfigDict, workdir: Path) -> None:
  """One stage; an error that leaves it says where it was."""
  try:
    room, function = STAGES[name].split(':')
    work = getattr(importlib.import_module(room), function)
    if name == 'prepare':
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
