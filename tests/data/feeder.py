"""One process of several, four CPU devices in all: puts batches on a mesh, writes its rows."""

from __future__ import annotations

import sys

import jax
import numpy as np

from tests.data.toy import Toy
from zsi_jax.data.mesh import on_mesh
from zsi_jax.data.pipeline import Pipeline

OPTIONS = {'batch': 8, 'seed': 3, 'flip': True, 'crop': 0.8, 'keep': ('exact',), 'epochs': 2}

if __name__ == '__main__':
  p, n, port = (int(x) for x in sys.argv[1:4])
  if n > 1:
    jax.distributed.initialize(f'127.0.0.1:{port}', n, p)
  mesh = jax.make_mesh((4,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
  pipeline = Pipeline(Toy(), pad=True, **OPTIONS)  # it finds the processes itself
  assert pipeline.process == (p, n)
  arrays, sums = {}, []
  total = jax.jit(lambda x: x.sum())
  with on_mesh(pipeline.batches(), mesh) as batches:
    for k, batch in enumerate(batches):
      sums.append(float(total(batch['image'])))
      for name, array in batch.items():
        assert array.shape[0] == 8 and array.sharding.spec == jax.sharding.PartitionSpec('data')
        for shard in array.addressable_shards:
          arrays[f'{k}/{name}/{shard.index[0].start}'] = np.asarray(shard.data)
  np.savez(sys.argv[4], sums=sums, **arrays)
