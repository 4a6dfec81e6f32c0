"""One process of several: reads data sets through grain and writes what it got."""

from __future__ import annotations

import json
import sys

import numpy as np

from zsi_jax.data import store
from zsi_jax.data.pipeline import Pipeline


def read(source, start=0, stop=None, **options):
  """Batches from a position on, at most `stop` of them, and the position after the last."""
  with Pipeline(source, **options).batches(start) as batches:
    got = [b for _, b in zip(range(10**6 if stop is None else stop), batches, strict=False)]
    if stop is None:
      assert next(batches, None) is None
    return got, batches.position


if __name__ == '__main__':
  tasks, (p, n), out = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
  arrays = {}
  for name, (path, options) in tasks.items():
    batches, position = read(store.open(path), process=(p, n), **options)
    arrays[f'{name}/position'] = np.array(position['example'])
    arrays[f'{name}/batches'] = np.array(len(batches))
    for k, batch in enumerate(batches):
      arrays |= {f'{name}/{k}/{entry}': array for entry, array in batch.items()}
  assert 'tensorflow' not in sys.modules
  np.savez(out, **arrays)
