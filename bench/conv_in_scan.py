"""A 3 x 3 convolution and its gradients inside `lax.scan`, against XLA's own outside it.

  JAX_PLATFORMS=cpu python -m bench.conv_in_scan --out conv_in_scan.json

A = one jitted call of `lax.conv_general_dilated` or its transpose, B = one step of a scan over
`zsi_jax.nets.conv`; every operand differs from step to step, so nothing can be hoisted. Rounds go
A B A B; the ratio is the median of the rounds' B / A, so that a load which drifts cancels.
`--cliff` adds what lax's own transposes cost inside the scan (minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from zsi_jax.io.stamp import stamp
from zsi_jax.nets.conv import conv

TARGET = 1.5
CASES = [(c, c, side, 1) for c in (32, 128) for side in (32, 8)]
MORE = [  # what else a U-Net at 64 px asks for
  (3, 128, 64, 1),
  (128, 128, 64, 1),
  (256, 128, 64, 1),
  (128, 128, 64, 2),
  (384, 384, 16, 1),
  (1024, 512, 8, 1),
  (128, 6, 64, 1),
]


def native(x, w, stride):
  return jax.lax.conv_general_dilated(
    x, w, (stride, stride), [(1, 1)] * 2, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


def forms(op: Callable, x, w) -> dict[str, Callable]:
  """y from (x, w), dx from (g, w), dw from (x, g)."""
  return {
    'forward': op,
    'd/dx': lambda g, w: jax.linear_transpose(lambda x: op(x, w), x)(g)[0],
    'd/dw': lambda x, g: jax.linear_transpose(lambda w: op(x, w), w)(g)[0],
  }


def clock(f: Callable, *args) -> float:
  start = time.perf_counter()
  jax.block_until_ready(f(*args))
  return time.perf_counter() - start


def in_scan(f: Callable) -> Callable:
  def run(a, b):
    first = jnp.zeros(jax.eval_shape(f, a[0], b[0]).shape)
    return jax.lax.scan(lambda _, ab: (f(*ab), None), first, (a, b))[0]

  return jax.jit(run)


def case(batch: int, steps: int, rounds: int, cliff: bool, shape: tuple) -> list[dict]:
  c_in, c_out, side, stride = shape
  key = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(key[0], (steps, batch, side, side, c_in))
  w = jax.random.normal(key[1], (steps, 3, 3, c_in, c_out))
  out = -(-side // stride)
  g = jax.random.normal(key[2], (steps, batch, out, out, c_out))
  operands = {'forward': (x, w), 'd/dx': (g, w), 'd/dw': (x, g)}
  rows = []
  for kind, (a, b) in operands.items():
    outside = jax.jit(forms(partial(native, stride=stride), x[0], w[0])[kind])
    inside = in_scan(forms(partial(conv, stride=stride), x[0], w[0])[kind])
    pairs = list(zip(a, b, strict=True))
    clock(outside, *pairs[0]), clock(inside, a, b)  # compile
    ours, theirs = [], []
    for _ in range(rounds):
      theirs.append(sum(clock(outside, *ab) for ab in pairs) / steps)
      ours.append(clock(inside, a, b) / steps)
    row = {
      'channels': [c_in, c_out],
      'side': side,
      'stride': stride,
      'kind': kind,
      'outside_ms': 1e3 * statistics.median(theirs),
      'inside_ms': 1e3 * statistics.median(ours),
      'ratio': statistics.median(o / t for o, t in zip(ours, theirs, strict=True)),
    }
    if cliff:
      naive = in_scan(forms(partial(native, stride=stride), x[0], w[0])[kind])
      short = (a[:2], b[:2])
      clock(naive, *short)
      row['lax_inside_ms'] = 1e3 * clock(naive, *short) / 2
    rows.append(row)
    print(
      f'{c_in:4d} -> {c_out:<4d} {side:3d}^2 /{stride} {kind:8s}',
      *(f'{k} {row[k]:8.2f} ' for k in ('outside_ms', 'inside_ms', 'lax_inside_ms') if k in row),
      f'ratio {row["ratio"]:5.2f}',
      flush=True,
    )
  return rows


def main() -> None:
  args = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  args.add_argument('--out', help='a JSON file to write')
  args.add_argument('--batch', type=int, default=16)
  args.add_argument('--steps', type=int, default=8, help='length of the scan')
  args.add_argument('--rounds', type=int, default=7)
  args.add_argument('--more', action='store_true', help='the shapes of a U-Net at 64 px too')
  args.add_argument('--cliff', action='store_true', help="lax's own transposes inside the scan too")
  args = args.parse_args()

  before = os.getloadavg()
  shapes = CASES + (MORE if args.more else [])
  rows = [
    r for shape in shapes for r in case(args.batch, args.steps, args.rounds, args.cliff, shape)
  ]
  report = {
    'target': TARGET,
    'worst': max(r['ratio'] for r in rows[: 3 * len(CASES)]),
    'rows': rows,
    'batch': args.batch,
    'steps': args.steps,
    'rounds': args.rounds,
    'load': {'before': before, 'after': os.getloadavg()},
    'cores': os.cpu_count(),
    'machine': platform.machine(),
    'stamp': stamp(batch=args.batch),
  }
  print({k: v for k, v in report.items() if k != 'rows'})
  if args.out:
    with open(args.out, 'w') as f:
      json.dump(report, f, indent=2)


if __name__ == '__main__':
  main()
