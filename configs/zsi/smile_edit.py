"""A smile for given faces (Deschenaux et al. App. N, Fig. S23).

  zsi run configs/zsi/smile_edit.py:tiny --workdir=runs/smile_edit

Faces that do not smile go up half the chain and come down guided to the other class alone, with
noise that fades: eta_t = t / 2000 of 4000.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.zsi import smile


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = smile.faces(preset)
  c.sample.name, c.sample.task, c.sample.unguided = 'edited', 'edit', 0
  c.sample.labels, c.sample.weights = (0,), (0.0, 30.0)
  c.sample.solver = dict(kind='ddim', eta=1.0)
  c.sample.n = base.pick(preset, tiny=128, small=1_000, gpu=4_000)
  c.sample.steps = base.pick(preset, tiny=100, gpu=500, paper=4_000)
  base.reported(
    c, 'App. N, Fig. S23', base.UNIFORM, {'edited': None, 'noised': None, 'unguided_edit': None}
  )
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  return {'noised': {'sample.upward': 'noise'}, 'unguided_edit': {'sample.weights': (0.0, 0.0)}}
