"""How far each way to obey two conditions is from the exact one, where that is known.

  JAX_PLATFORMS=cpu python -m bench.gaussian_truth --out bench/results/gaussian_truth.json

x_0 ~ N(0, S) in 40 dimensions, two linear readings of 8 numbers each, that look at the same
directions by `overlap`. `step`: the guidance part of one move against grad log p(c_1, c_2 | x_t),
in three phases of chains of 25, 100 and 1000 rows. `chain`: KL of what whole chains draw from the
exact posterior, in nats for each dimension. A method is a consistent estimator where its error
goes to zero with the length of the rows: none but the joint one is, and the table says so.
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
  MGDA,
  CAGrad,
  Combine,
  Energy,
  Field,
  LogProb,
  Lookahead,
  Mean,
  Nothing,
  Pairs,
  PCGrad,
  Process,
  ReverseDiffusion,
  linear,
  sample,
)
from zsi_jax.core.tree import take
from zsi_jax.evaluate.gaussian import Gaussian, Reading, alike, divergence, together
from zsi_jax.io.stamp import stamp

SIZE, ROWS, TAU = 40, 8, 0.3
PHASES = {'early': 0.85, 'middle': 0.5, 'late': 0.15}  # of the chain still to go
STEPS = 25, 100, 1000
BASE = ReverseDiffusion()
CONSISTENT = 0.02  # relative error that 1000 rows may leave


def methods(a: Reading, b: Reading) -> dict[str, tuple[Any, Any]]:
  """name: (guidance, solver)."""
  one, two = (LogProb(r, name=n) for r, n in ((a, 'a'), (b, 'b')))
  near = [Energy(r.energy, clip=False, name=n) for r, n in ((a, 'a'), (b, 'b'))]
  both = (one, two)
  return {
    'joint, exact': (LogProb(together([a, b])), BASE),
    'sum': (one + two, BASE),
    'sum of energies (FreeDoM)': (near[0] + near[1], BASE),
    'first alone': (one, BASE),
    'CAGrad .5, x_t': (2.0 * Combine(both, CAGrad(0.5)), BASE),
    'PCGrad': (Combine(both, PCGrad()), BASE),
    'MGDA': (2.0 * Combine(both, MGDA()), BASE),
    'look ahead, exact': (one, Lookahead(BASE, two)),
    'look ahead, other order': (two, Lookahead(BASE, one)),
    'look ahead, no noise': (one, Lookahead(BASE, two, noise='zero')),
    'look ahead, fresh noise': (one, Lookahead(BASE, two, noise='fresh')),
    'look ahead, gain 3, no noise': (one, Lookahead(BASE, two, noise='zero', gain=3.0)),
    'look ahead, gain 10, no noise': (one, Lookahead(BASE, two, noise='zero', gain=10.0)),
    'look ahead, no Hessian': (one, Lookahead(BASE, two, mode='no_hessian')),
    'look ahead, first order': (one, Lookahead(BASE, two, mode='first_order')),
    'look ahead, difference': (one, Lookahead(BASE, two, mode='finite_difference')),
    'look ahead of energies': (near[0], Lookahead(BASE, near[1])),
    'look ahead in x0': (near[0], Lookahead(BASE, near[1], mode='x0')),
    'pairs, star, mean': (None, Pairs(BASE, both, merge=Mean())),
    'pairs, star, CAGrad .5': (None, Pairs(BASE, both)),
  }


def world(overlap: float, seed: int = 0) -> tuple[Gaussian, Reading, Reading]:
  own = Gaussian.drawn(SIZE, seed)
  first, second = alike(SIZE, ROWS, overlap, seed + 1)
  return (
    own,
    Reading(own, jnp.asarray(first), TAU, ('a',)),
    Reading(own, jnp.asarray(second), TAU, ('b',)),
  )


def steps(overlap: float, n: int) -> list[dict[str, Any]]:
  """Relative errors of one move, at x_t that belong to x_0 and its readings."""
  own, a, b = world(overlap)
  exact = LogProb(together([a, b]))
  keys = jax.random.split(jax.random.key(1), n)
  x0 = own.draw(jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys))
  given = {'a': a.read(jax.vmap(lambda k: jax.random.fold_in(k, 2))(keys), x0)}
  given['b'] = b.read(jax.vmap(lambda k: jax.random.fold_in(k, 3))(keys), x0)

  @jax.jit
  def score(guidance: Any, solver: Any, x: Any, move: Any) -> Any:
    return solver(keys, Field(own, guidance or Nothing()), x, (), move, given).score

  @jax.jit
  def noised(move: Any) -> Any:
    z = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, 4), (SIZE,)))(keys)
    return move.level.noised(x0, z)

  found = []
  for name, (guidance, solver) in methods(a, b).items():
    for count in STEPS:
      moves = Process.make(linear(1000), count).reverse()
      for phase, left in PHASES.items():
        move = take(moves, round((1 - left) * (count - 1)))
        x = noised(move)
        g, true = (
          np.asarray(score(*what, x, move)) for what in ((guidance, solver), (exact, BASE))
        )
        error = np.linalg.norm(g - true) / np.linalg.norm(true)
        cosine = np.sum(g * true, 1) / np.linalg.norm(g, axis=1) / np.linalg.norm(true, axis=1)
        found.append(
          {'method': name, 'overlap': overlap, 'rows': count, 'phase': phase,
           'error': float(error), 'cosine': float(cosine.mean())}
        )  # fmt: skip
  return found


def chains(overlap: float, n: int, tuples: int, count: int = 100) -> list[dict[str, Any]]:
  """Whole chains for a few pairs of readings, against the posterior."""
  own, a, b = world(overlap)
  whole = together([a, b])
  process = Process.make(linear(1000), count)
  keys = jax.random.split(jax.random.key(2), tuples)
  x0 = own.draw(keys)
  c = {'a': a.read(jax.random.split(jax.random.key(3), tuples), x0)}
  c['b'] = b.read(jax.random.split(jax.random.key(4), tuples), x0)
  mean, cov = whole.posterior(jnp.concatenate([c['a'], c['b']], 1))

  @jax.jit
  def draw(keys: Any, guidance: Any, solver: Any, given: Any) -> Any:
    return sample(keys, process, own, guidance, solver, shape=(SIZE,), given=given)

  found = []
  for name, (guidance, solver) in methods(a, b).items():
    each = []
    for k in range(tuples):
      given = {name: jnp.broadcast_to(v[k], (n, ROWS)) for name, v in c.items()}
      drawn = np.asarray(draw(jax.random.split(jax.random.key(10 + k), n), guidance, solver, given))
      each.append(divergence(mean[k], cov, drawn) if np.isfinite(drawn).all() else np.inf)
    told = float(np.mean(each))
    found.append(
      {'method': name, 'overlap': overlap, 'rows': count, 'kl': told if np.isfinite(told) else None}
    )
  return found


def consistent(rows: list[dict[str, Any]]) -> dict[str, bool]:
  """Whether the error of every phase and overlap is gone with 1000 rows."""
  left: dict[str, float] = {}
  for row in rows:
    if row['rows'] == max(STEPS):
      left[row['method']] = max(left.get(row['method'], 0.0), row['error'])
  return {name: worst <= CONSISTENT for name, worst in left.items()}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--out', type=Path, default=Path('gaussian_truth.json'))
  parser.add_argument('--n', type=int, default=200, help='examples of a step')
  parser.add_argument('--chains', type=int, default=1000, help='chains for each pair of readings')
  parser.add_argument('--tuples', type=int, default=4, help='pairs of readings')
  args = parser.parse_args()
  overlaps = 0.0, 0.9
  one = [row for o in overlaps for row in steps(o, args.n)]
  whole = [row for o in overlaps for row in chains(o, args.chains, args.tuples)]
  told = {
    'stamp': stamp(vars(args) | {'out': None}, seeds=0),
    'command': ' '.join(['python -m bench.gaussian_truth', *sys.argv[1:]]),
    'world': {'dimensions': SIZE, 'numbers of a reading': ROWS, 'tau': TAU},
    'consistent': consistent(one),
    'step': one,
    'chain': whole,
  }
  args.out.write_text(json.dumps(told, indent=1) + '\n')
  for name, well in told['consistent'].items():
    mine = [r for r in one if r['method'] == name and r['overlap'] == 0.9]
    errors = ' '.join(f'{r["error"]:.3f}' for r in mine)
    kl = ' '.join(
      f'{r["kl"]:.3f}' if r['kl'] is not None else '-' for r in whole if r['method'] == name
    )
    print(f'{name:30s} {"consistent" if well else "":10s} {errors} | KL {kl}')


if __name__ == '__main__':
  main()
