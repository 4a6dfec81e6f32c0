"""Trains a small job, alone or as one of several: python -m tests.multidevice.trains JSON.

Run by test_training.py in processes of its own, since the number of devices is fixed at start-up.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

from tests.train import made
from zsi_jax.io import log
from zsi_jax.io.errors import Stopped
from zsi_jax.train.loop import fit
from zsi_jax.train.sharding import Layout, abstract, mesh
from zsi_jax.train.state import create
from zsi_jax.train.step import make_step


class Slow(made.Feed):
  """Leaves time for a signal."""

  pause = 0.0

  def __next__(self):
    time.sleep(self.pause)
    return super().__next__()


def initial(job, layout) -> str:
  """The sha256 of all parameters of step 0, as they lie on this mesh."""

  def make(key):
    return create(lambda key: layout.gathered(job.init(key)), job.tx, job.ema, key)

  like = abstract(layout, make)
  shardings = jax.tree.map(lambda a: a.sharding, like)
  state = jax.jit(make, out_shardings=shardings)(jax.random.key(0))
  divided = [a for a in jax.tree.leaves(state.params) if not a.is_fully_replicated]
  print('divided', len(divided), flush=True)
  tree = state.params, state.ema, state.collections
  whole = [np.asarray(a) for a in jax.tree.leaves(tree)]
  return hashlib.sha256(b''.join(a.tobytes() for a in whole)).hexdigest()


COLLECTIVES = 'all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute'


def moved(job, layout) -> list[str]:
  """What devices say to each other in a step."""

  def make(key):
    return create(job.init, job.tx, job.ema, key)

  like = abstract(layout, make)
  step = make_step(job.loss, job.tx, job.ema, job.accumulate, layout=layout)
  shardings = jax.tree.map(lambda a: a.sharding, like)
  program = jax.jit(
    step,
    in_shardings=(shardings, layout.rows, layout.whole),
    out_shardings=(shardings, layout.whole),
  )
  text = program.lower(like, made.batch(0, 16), jax.random.key(0)).compile().as_text()
  return [name for name in COLLECTIVES if f' {name}(' in text or f' {name}-start(' in text]


def main() -> None:
  said = json.loads(sys.argv[1])
  if (n := said.get('processes', 1)) > 1:
    address = f'127.0.0.1:{said["port"]}'
    jax.distributed.initialize(address, n, said['process'], initialization_timeout=60)
  layout = Layout(mesh(said.get('fsdp', 1)), tuple(map(tuple, said.get('rules', ()))))
  make = made.unet if said['net'] == 'unet' else made.linear
  job = dataclasses.replace(make(), **said.get('job', {}))
  if said.get('initial'):
    print(initial(job, layout), flush=True)
    return
  if said.get('moved'):
    print(json.dumps(moved(job, layout)), flush=True)
    return
  Slow.pause = said.get('pause', 0.0)
  folder = Path(said['folder'])
  with log.opened(folder / 'log', jax.process_index()):
    try:
      fit(job, layout, lambda position: Slow(layout, position), folder, seed=0)
    except Stopped as stopped:
      print(stopped, flush=True)
      sys.exit(143)


if __name__ == '__main__':
  main()
