"""Between two faces, through the latents of DDIM (Deschenaux et al. App. M, Fig. S22).

  zsi run configs/zsi/smile_slerp.py:tiny --workdir=runs/smile_slerp

A face that does not smile and one that does go up half the chain, are joined along the sphere, and
come down without noise and without guidance.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base
from configs.zsi import smile


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = smile.faces(preset)
  c.sample.name, c.sample.task, c.sample.weights, c.sample.unguided = 'slerp', 'slerp', None, 0
  c.sample.solver = dict(kind='ddim')
  c.sample.n = base.pick(preset, tiny=126, small=900, gpu=4_500)  # 9 points of each pair
  c.sample.steps = base.pick(preset, tiny=100, gpu=500, paper=4_000)
  base.reported(c, 'App. M, Fig. S22', base.UNIFORM, {'slerp': None})
  return c
