"""Two steps of a judge with batch norm, on all devices: python -m tests.multidevice.judges."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np

from tests.nets.test_judges import FEW
from zsi_jax.evaluate.judge import JudgeLoss, Task
from zsi_jax.nets.efficientnet import EfficientNet
from zsi_jax.train.optim import optimizer
from zsi_jax.train.sharding import Layout, mesh
from zsi_jax.train.state import create
from zsi_jax.train.step import make_step

if __name__ == '__main__':
  layout = Layout(mesh())
  net = EfficientNet(out=1, stages=FEW, stem=8, last=16, dropout=0.0, drop_path=0.0)
  # sorted by brightness: on four devices each sees another mean
  image = (
    jax.random.normal(jax.random.key(1), (8, 16, 16, 3)) + jnp.arange(8.0)[:, None, None, None]
  )
  batch = {'image': image, 'z': jnp.linspace(0, 1, 8), 'example': jnp.arange(8)}
  batch = jax.device_put(batch, layout.rows)
  tx, _ = optimizer(0.1, kind='sgd')
  state = create(lambda key: net.init(key, image[:1]), tx, None, jax.random.key(0))
  state = jax.device_put(state, layout.whole)
  step = jax.jit(make_step(JudgeLoss(net, Task('binary', ('z',), 1)), tx, layout=layout))
  for _ in range(2):
    state, _ = step(state, batch, jax.random.key(2))
  kept = jax.tree_util.tree_leaves_with_path((state.collections, state.params))
  numbers = {jax.tree_util.keystr(path): np.asarray(a).ravel()[:8].tolist() for path, a in kept}
  print(json.dumps({'devices': layout.devices, 'numbers': numbers}))
