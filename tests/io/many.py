"""One process of several: `python -m tests.io.many ACTION FOLDER PROCESS PROCESSES PORT`."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from zsi_jax.io.checkpoint import Checkpoints, read
from zsi_jax.io.errors import CheckpointError


def host(step):
  rng = np.random.default_rng(step)
  return {
    'step': np.int32(step),
    'params': {'w': rng.standard_normal((8, 12)).astype(np.float32), 'b': np.float32(step)},
    'ema': {'w': rng.standard_normal((8, 12)).astype(jnp.bfloat16)},
    'collections': {},
  }


def shardings(tree, devices):
  """Rows over data, columns over fsdp; scalars everywhere."""
  fsdp = 2 if len(devices) > 1 else 1
  mesh = jax.make_mesh(
    (len(devices) // fsdp, fsdp), ('data', 'fsdp'), axis_types=(AxisType.Auto,) * 2, devices=devices
  )
  return jax.tree.map(lambda x: NamedSharding(mesh, P('data', 'fsdp') if x.ndim else P()), tree)


def placed(step):
  tree = host(step)
  return jax.tree.map(
    lambda x, s: jax.make_array_from_callback(x.shape, s, lambda at: x[at]),
    tree, shardings(tree, jax.devices()),
  )  # fmt: skip


def abstract(columns=12):
  tree = host(0)
  tree['params']['w'] = np.zeros((8, columns), np.float32)
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    tree, shardings(tree, jax.devices()),
  )  # fmt: skip


def digest(tree):
  whole = jax.tree.map(lambda x: multihost_utils.process_allgather(x, tiled=True), tree)
  return digest_host(whole)


def digest_host(tree):
  return hashlib.sha256(
    b''.join(np.asarray(x).tobytes() for x in jax.tree.leaves(tree))
  ).hexdigest()


def kept(checkpoints):
  restored = checkpoints.restore(abstract())
  same = jax.tree.map(lambda x, a: x.sharding == a.sharding, restored.state, abstract())
  return [restored.step, digest(restored.state), restored.data, all(jax.tree.leaves(same))]


def save(folder):
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(1, placed(1), {'at': 1}, {'kind': 'x'})
  return {'devices': jax.device_count()}


def go_on(folder):
  """Restores 1 on this topology, saves 2, loses it, goes on from 1, and saves 2 again."""
  said = {'devices': jax.device_count()}
  with Checkpoints(folder) as checkpoints:
    said['first'] = kept(checkpoints)
    checkpoints.save(2, placed(2), {'at': 2}, {})
  if jax.process_index() == 0:
    file = max((folder / '2').rglob('*'), key=lambda p: p.stat().st_size * p.is_file())
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
  multihost_utils.sync_global_devices('a byte is flipped')
  with Checkpoints(folder) as checkpoints:
    try:
      checkpoints.restore(abstract(columns=24))
    except CheckpointError as error:
      said['architecture'] = str(error)
    said['second'] = kept(checkpoints)
    try:
      checkpoints.save(1, placed(1), {}, {})  # of this run: nothing to do
      checkpoints.save(0, placed(0), {}, {})
    except CheckpointError as error:
      said['back'] = str(error)
    checkpoints.save(2, placed(2), {'at': 2}, {})
    checkpoints.settle()
    said['third'] = kept(checkpoints)
    if jax.process_index() == 1:  # waits for nobody
      _, trees, step = read(folder, ('ema',))
      said['read'] = [step, digest_host(trees['ema'])]
    said['ema'] = [2, digest_host(host(2)['ema'])]
  return said


def main(action, folder, process, processes, port):
  if int(processes) > 1:
    jax.distributed.initialize(
      f'127.0.0.1:{port}', int(processes), int(process), initialization_timeout=60
    )
  print(json.dumps({'save': save, 'go_on': go_on}[action](Path(folder))))


if __name__ == '__main__':
  main(*sys.argv[1:])
