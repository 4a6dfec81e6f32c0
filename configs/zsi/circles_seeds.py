"""Ten classifiers on circles, with and without spectral norm (Deschenaux et al. §5.5, Fig. 7).

  zsi run configs/zsi/circles_seeds.py:tiny --workdir=runs/circles_seeds

One denoiser, 20 classifiers of other seeds, each guiding to both sides; and one of them to one side
alone. `objects/one, between` is what the paper calls accuracy. At :small, on one core of two, the
denoiser took 2 h 50 min beside other work, a classifier 3 min, a set 1; both networks of
`zsi.load('circles32')` are of that run.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.zsi import circles

SEEDS = range(10)


def get_config(preset: str = 'small') -> ConfigDict:
  c = circles.get_config(preset)
  c.sample.name = 'plain_0'
  c.sample.n = c.sample.unguided = base.pick(preset, tiny=100, small=200, gpu=1_000)
  sets = {'plain': ('.78 ± .087', '.0425 ± .0245'), 'spectral': ('.75 ± .133',), 'unguided': None}
  base.reported(c, '§5.5, Fig. 7', base.OBJECTS, sets)
  return c


def sweep(preset: str = 'small') -> dict[str, dict[str, Any]]:
  plain = {f'plain_{k}': {'classifier.seed': k, 'sample.seed': k} for k in SEEDS[1:]}
  own = {'classifier.net.spectral': 'peer', 'classifier.net.lipschitz': 1.0}
  spectral = {f'spectral_{k}': {'classifier.seed': k, 'sample.seed': k, **own} for k in SEEDS}
  sides = {'left': (60.0, 0.0), 'right': (0.0, 60.0)}
  return {**plain, **spectral, **{k: {'sample.weights': w} for k, w in sides.items()}}
