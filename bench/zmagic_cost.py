"""What one step that looks ahead costs, in forward passes F of the denoiser, and how near it is.

  JAX_PLATFORMS=cpu python -m bench.zmagic_cost --out bench/results/zmagic_cost.json

The toy of the core: 64 px, width 48, mults (1, 2, 2), one block, random weights, two energies of
next to no cost; FLOP and temporary memory as XLA counts them for the scan's body by itself. Errors
are of the guidance part, against mode='exact'. Gauss-Newton, which takes J0^T (grad^2 E) J0 for
the Hessian of E(x0_hat(x)), is here alone: it saves memory and costs more work.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core import (
  Ancestral,
  CAGrad,
  Combine,
  Denoiser,
  Energy,
  Field,
  Lookahead,
  Mean,
  Nothing,
  Pairs,
  Process,
  cosine,
)
from zsi_jax.core.guidance import Still
from zsi_jax.core.tree import fold
from zsi_jax.io.stamp import stamp
from zsi_jax.nets import UNet

NET = UNet(width=48, mults=(1, 2, 2), blocks=1, attend=(), out=6)
MOVE = jax.tree.map(lambda a: a[20], Process.make(cosine(4000), 50).reverse())
KEYS = jax.random.split(jax.random.key(0), 2)
BASE = Ancestral(inject='sample')
STRENGTH = 0.01
LIMITS = {'sum of 4': 2.2, 'first_order': 4.5, 'exact': 6.8, 'star of 3': 18.0}


def energy(k: int) -> Energy:
  def far(x0: Any, given: Any) -> Any:
    gap = x0 - 0.1 * k
    return STRENGTH * jnp.sum(gap**2 + 0.1 * jnp.sin(3 * gap) ** 2, (1, 2, 3))

  return Energy(far, clip=False, name=f'e{k}')


ENERGIES = tuple(map(energy, range(4)))


class GaussNewton(Lookahead):
  """J^T v = A^T v + J0^T (grad^2 log p) J0 v."""

  def __call__(self, keys, field, x, carry, move, given=None):
    held = field.replace(guidance=Still(field.guidance))
    x_hat, pull, land = jax.vjp(
      lambda x: (lambda land: (land.x, land))(self.solver(keys, held, x, (), move, given)),
      x,
      has_aux=True,
    )
    there = field.replace(guidance=self.then)
    _, v, _ = there(fold(keys, 'then'), x_hat, move.to, given)

    def believed(x):
      return field.denoiser(x, move.level).x0

    x0, j = jax.jvp(believed, (x,), (v,))
    own = field.guidance.energy
    w = jax.jvp(jax.grad(lambda x0: -own(x0, given).sum()), (x0,), (j,))[1]
    back = jax.vjp(believed, x)[1](w)[0]
    score = pull(v)[0] + back
    return land._replace(x=self.add(land.x, score, move, land.pred), score=land.score + score)


def cases() -> dict[str, tuple[Any, Any]]:
  """name: (guidance, solver)."""
  one, two, *_ = ENERGIES
  ahead = {m: Lookahead(BASE, two, mode=m) for m in
           ('x0', 'first_order', 'no_hessian', 'finite_difference', 'exact')}  # fmt: skip
  products = {
    f'exact by {p}': Lookahead(BASE, two, product=p) for p in ('jvp', 'linearize', 'inner')
  }
  looking = {
    k: (one, v) for k, v in (ahead | products | {'Gauss-Newton': GaussNewton(BASE, two)}).items()
  }
  three = ENERGIES[:3]
  return {
    'unguided': (Nothing(), BASE),
    **{f'sum of {n}': (sum(ENERGIES[1:n], one), BASE) for n in (1, 2, 3, 4)},
    'CAGrad of 3, x_t': (Combine(three, CAGrad()), BASE),
    'CAGrad of 3, x0': (Combine(three, CAGrad(), 'x0'), BASE),
    **looking,
    'star of 3, first_order': (Nothing(), Pairs(BASE, three, mode='first_order')),
    'star of 3': (Nothing(), Pairs(BASE, three)),
    'ordered pairs of 3': (Nothing(), Pairs(BASE, three, 'ordered')),
    'unordered pairs of 3': (Nothing(), Pairs(BASE, three, 'unordered')),
    'chain of 3': (Nothing(), Pairs(BASE, three, 'chain', Mean())),
  }  # fmt: skip


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--out', type=Path, default=Path('zmagic_cost.json'))
  parser.add_argument('--only', nargs='*', help='some of the cases, by name')
  args = parser.parse_args()
  x = jax.random.normal(jax.random.key(1), (2, 64, 64, 3))
  variables = jax.jit(NET.init)(jax.random.key(2), x, jnp.zeros(2))
  # A fresh network's last layer is zero, and so is its Jacobian.
  variables = jax.tree.map(
    lambda a: a + 0.02 * jax.random.normal(jax.random.key(a.size), a.shape), variables
  )
  rows, exact = dict[str, dict[str, Any]](), None
  for name, (guidance, solver) in cases().items():
    if args.only and name not in ('unguided', 'exact', *args.only):
      continue

    def step(variables, guidance, x, solver=solver):
      field = Field(Denoiser(variables, NET), guidance)
      land = solver(KEYS, field, x, (), MOVE)
      return land.x, land.score

    made = jax.jit(step).lower(variables, guidance, x).compile()
    _, score = made(variables, guidance, x)
    memory = made.memory_analysis()
    rows[name] = {
      'flop': made.cost_analysis()['flops'],
      'temporary_bytes': None if memory is None else memory.temp_size_in_bytes,
      'score': np.asarray(score),
    }
    F = rows[name]['flop'] / rows['unguided']['flop']
    print(
      f'{name:28s} {F:6.2f} F {(rows[name]["temporary_bytes"] or 0) / 2**20:8.1f} MiB', flush=True
    )
  exact = rows['exact']['score']
  base = rows['unguided']['flop']
  told = []
  for name, row in rows.items():
    first = cases()[name][0] if name in cases() else None
    pair = name == 'sum of 2' or first is ENERGIES[0] and name != 'sum of 1'
    error = np.linalg.norm(row['score'] - exact) / np.linalg.norm(exact) if pair else None
    told.append(
      {'case': name, 'F': row['flop'] / base, 'temporary_bytes': row['temporary_bytes'],
       'error': None if error is None else float(error), 'limit': LIMITS.get(name)}
    )  # fmt: skip
  whole = {'command': ' '.join(sys.orig_argv[1:]), 'stamp': stamp(), 'F_gflop': base / 1e9}
  args.out.write_text(json.dumps(whole | {'cases': told}, indent=1) + '\n')
  over = [row['case'] for row in told if row['limit'] and row['F'] > row['limit']]
  print(f'over their limit: {over}' if over else 'all within their limits')


if __name__ == '__main__':
  main()
