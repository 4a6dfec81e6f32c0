"""Random weights without a compilation: numpy fills the shapes of `init`."""

from __future__ import annotations

import jax
import numpy as np


def drawn(net, *args, seed=0):
  """Variables of `net` that are nowhere zero: kernels N(0, 1 / fan in), norms around one."""
  rng = np.random.default_rng(seed)

  def leaf(path, like):
    noise = rng.standard_normal(like.shape).astype(np.float32)
    match path[-1].key:
      case 'kernel':
        return noise / np.sqrt(np.prod(like.shape[:-1]), dtype=np.float32)
      case 'scale':
        return 1 + noise / 10
    return noise / 10

  tree = jax.eval_shape(net.init, jax.random.key(0), *args)
  return jax.tree_util.tree_map_with_path(leaf, tree)


def normal(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
