"""A training that is killed again and again: one process that forks, kills and looks.

`python -m tests.io.killed FOLDER KILLS` prints a JSON line for each life: where it was killed, what
step it began from, what it found wrong. A step holds a function of its number.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint  # loaded once, before the forks

from zsi_jax import whole
from zsi_jax.io import manager, seal
from zsi_jax.io.checkpoint import Checkpoints

SIZE = 40_000


def state(step):
  noise = np.random.default_rng(step).random(SIZE, np.float32)
  return {'step': jnp.int32(step), 'params': {'w': jnp.asarray(noise)}, 'ema': None}


def die(*_, **__):
  os.kill(os.getpid(), signal.SIGKILL)


def before(module, name, nth=1, when=lambda *_: True):
  """Dies at the start of the nth call."""
  real, calls = getattr(module, name), []

  def call(*args, **kwargs):
    if when(*args):
      calls.append(1)
      if len(calls) == nth:
        die()
    return real(*args, **kwargs)

  setattr(module, name, call)


def half(path, data):
  (path.parent / f'.{path.name}.half.part').write_bytes(data[: len(data) // 2])
  die()


def step_name(_, final, *__):
  return Path(final).name.isdecimal()


PLACES = {
  'before the seal': lambda: before(seal, 'close', 3),
  'while bytes are counted': lambda: before(seal, 'sha256', 30),
  'amid the seal': lambda: setattr(whole, 'write', half),
  'between seal and name': lambda: before(manager.os, 'rename', 2, step_name),
  'at the removal of an old step': lambda: before(shutil, 'rmtree'),
  'amid the removal of an old step': lambda: before(os, 'unlink', 5),
}


def life(folder, place, ready):
  """Restores, checks and saves until it is killed."""
  with Checkpoints(folder, keep=1) as checkpoints:
    restored = checkpoints.restore(jax.eval_shape(lambda: state(0)))
    step = restored.step if restored else 0
    wrong = [
      name
      for name, same in {
        'state': not restored
        or np.array_equal(restored.state['params']['w'], state(step)['params']['w']),
        'data': not restored or restored.data == {'at': step},
      }.items()
      if not same
    ]
    os.write(ready, json.dumps({'step': step, 'wrong': wrong}).encode() + b'\n')
    if place in PLACES:
      PLACES[place]()
    while True:
      step += 1
      checkpoints.save(step, state(step), {'at': step}, {})


def main(folder, kills):
  random.seed(0)
  chance = [None] * kills
  for place in [*PLACES, *chance]:
    out, into = os.pipe()
    child = os.fork()
    if not child:
      os.close(out)
      try:
        life(folder, place, into)
      except BaseException as error:
        os.write(2, f'{type(error).__name__}: {error}\n'.encode())
      os._exit(1)
    os.close(into)
    with os.fdopen(out) as stream:
      said = json.loads(stream.readline() or '{}')
    if place is None:
      time.sleep(random.uniform(0, 0.4))
      os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    left = sorted(path.name for path in folder.iterdir())
    print(json.dumps({'place': place, 'signal': os.WTERMSIG(status), 'left': left, **said}))


if __name__ == '__main__':
  assert orbax.checkpoint.CheckpointManager
  main(Path(sys.argv[1]), int(sys.argv[2]))
