"""Guided chains with small nets on the devices of this process; prints its facts as JSON.

Run by test_sharding.py in a process of its own, since the number of devices is fixed at start-up.
"""

from __future__ import annotations

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import zsi_jax as zsi

N, MICRO, SHAPE = 8, 2, (8, 8, 3)  # MICRO: examples on a device at a time
COLLECTIVES = ('all-reduce', 'all-gather', 'all-to-all', 'collective-permute', 'reduce-scatter')


def initial(net):
  """Numbers for every variable, zero-initialised ones too, without compiling an init."""
  shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, *SHAPE)), jnp.zeros(1))
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda a: jnp.asarray(0.1 * rng.normal(size=a.shape), a.dtype), shapes)


def chains():
  """(guidance, solver) by name."""
  net = zsi.Encoder(size=8, width=32, mults=(1,), blocks=1, attend=(), head_width=32, classes=2)
  guide = zsi.Classifier(initial(net), zsi.Aim(60.0), net)
  pull = zsi.Energy(lambda x0, given: jnp.mean((x0 - given['ref']) ** 2, (1, 2, 3)))
  pairs = zsi.Pairs(zsi.Ancestral(inject='sample'), (guide, pull), mode='first_order')
  return {'multi-guidance': (guide, None), 'pairs': (None, pairs)}


def main() -> None:
  devices = jax.devices()
  mesh = jax.make_mesh((len(devices),), ('data',), axis_types=(AxisType.Auto,))
  over_data = NamedSharding(mesh, PartitionSpec('data'))
  net = zsi.UNet(width=32, mults=(1,), blocks=1, attend=(), out=6, heads=1)
  denoiser, process = zsi.Denoiser(initial(net), net), zsi.Process.make(zsi.cosine(1000), 5)
  given = {'aim': np.linspace(0, 1, N, dtype=np.float32), 'ref': np.zeros((N, *SHAPE), np.float32)}
  facts: dict = {'devices': len(devices)}
  for name, (guidance, solver) in chains().items():

    def chain(keys, given, guidance=guidance, solver=solver):
      return zsi.sample(keys, process, denoiser, guidance, solver, shape=SHAPE, given=given)

    run = jax.jit(chain)

    def draw(batch, place, run=run):
      parts = [
        jax.device_put(
          jax.tree.map(lambda a, s=s: a[s : s + batch], (zsi.keys(0, N), given)), place
        )
        for s in range(0, N, batch)
      ]
      program = run.lower(*parts[0]).compile()
      return [program(*part) for part in parts], program.as_text()

    sharded, text = draw(MICRO * len(devices), over_data)
    placed, _ = draw(MICRO, devices[-1])
    assert sharded[-1].sharding.is_equivalent_to(over_data, 4), sharded[-1].sharding
    found = [np.concatenate([np.asarray(x) for x in images]) for images in (sharded, placed)]
    facts[name] = {
      'sha256': hashlib.sha256(found[1].tobytes()).hexdigest(),
      'gap': float(np.abs(found[0] - found[1]).max()),
      'spread': float(found[0].std()),
      'collectives': [c for c in COLLECTIVES if f' {c}(' in text or f' {c}-start(' in text],
    }
  print(json.dumps(facts))


if __name__ == '__main__':
  main()
