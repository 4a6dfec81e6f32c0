"""A sampler from one file: compiled by XLA for this machine's device, without any network's code.

The file is safetensors. `program`: the bytes of `jax.export`, a function of the other arrays, a
seed, the number of the first image of a batch, and what guides it; the header says how many.
"""

from __future__ import annotations

import math
import operator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.io.compiling import options
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.files import read

KIND, PROGRAM = 'sampler', 'program'
LACKS = "jax.export needs flatbuffers: pip install 'zsi_jax[export]'"


class Sampler:
  """`Sampler('smile.safetensors')(n=16, seed=0)`: n images [n, H, W, C] in [-1, 1].

  Image i is that of `zsi.draw` with this seed. By name: weights [K] of a classifier, instead of
  those that were said when it was exported; aim, z in [0, 1] of each image or of all.
  """

  def __init__(self, path: str | Path) -> None:
    arrays, told = read(path)
    self.path, self.facts = Path(path), told['header'] or {}
    if self.facts.get('kind') != KIND or PROGRAM not in arrays:
      raise WeightsError(f'{path}: it holds weights and no sampler; zsi export makes samplers')
    program = arrays.pop(PROGRAM).tobytes()
    from jax import export

    try:
      exported = export.deserialize(bytearray(program))
    except ImportError:
      raise WeightsError(f'{path}: {LACKS}') from None
    except Exception as error:
      raise WeightsError(
        f'{path}: this jax {jax.__version__} cannot read what jax {self.facts["stamp"]["jax"]} '
        f'exported ({error}); export it again'
      ) from None
    here = jax.default_backend()
    if not {here, {'gpu': 'cuda'}.get(here)} & set(exported.platforms):
      raise WeightsError(
        f'{path}: it is for {", ".join(exported.platforms)}, and this is a {here}: export it with '
        f'platforms={"cuda" if here == "gpu" else here}'
      )
    self._leaves = [jnp.asarray(arrays[f'{k}']) for k in range(len(arrays))]
    self._run = jax.jit(exported.call, compiler_options=options())

  def __repr__(self) -> str:
    keys = 'classifiers', 'aim', 'shape', 'steps', 'batch', 'platforms'
    return f'Sampler({self.path.name}: {", ".join(f"{k}={self.facts[k]}" for k in keys)})'

  def __call__(
    self, n: int | None = None, seed: int = 0, *, aim: Any = None, **weights: Any
  ) -> jax.Array:
    batch = self.facts['batch']
    n = batch if n is None else operator.index(n)
    if n < 1 or not 0 <= operator.index(seed) < 2**32:
      raise ValueError(f'n = {n} images of seed {seed}: n is 1 or more, a seed in [0, 2^32)')
    guides, z = self._weights(weights), self._aims(aim, n)
    parts = []
    for first in range(0, n, batch):
      own = guides if z is None else {'aim': z[first : first + batch]}
      parts.append(self._run(self._leaves, np.uint32(seed), np.int32(first), own))
    return jnp.concatenate(parts)[:n]

  def _weights(self, said: dict[str, Any]) -> dict[str, np.ndarray]:
    known = self.facts['weights']
    if gone := [name for name in said if name not in known]:
      what = 'aims, and is not pulled by weights' if self.facts['aim'] else f'knows {sorted(known)}'
      raise ValueError(f'{gone[0]}: this sampler {what}')
    found = {k: np.asarray(said.get(k, row), np.float32) for k, row in known.items()}
    for name, row in found.items():
      classes = self.facts['classifiers'][name]
      if row.shape != (classes,) or not np.isfinite(row).all():
        raise ValueError(f'{name} = {row.tolist()}: it takes {classes} finite weights')
    return found

  def _aims(self, z: Any, n: int) -> np.ndarray | None:
    """For whole batches; the last images are asked for what the last of the n is."""
    if self.facts['aim'] is None:
      if z is not None:
        raise ValueError('aim: this sampler is pulled by weights; export one with aim=60')
      return None
    if z is None:
      raise ValueError('this sampler aims: say aim=z, in [0, 1], one number or n of them')
    z = np.asarray(z, np.float32)
    if z.shape not in ((), (n,)) or not ((z >= 0) & (z <= 1)).all():
      raise ValueError(f'aim: one number in [0, 1] or {n} of them, not {z.tolist()}')
    whole = math.ceil(n / self.facts['batch']) * self.facts['batch']
    z = np.broadcast_to(z, n)
    return np.concatenate([z, np.repeat(z[-1:], whole - n)])
