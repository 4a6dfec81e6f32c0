"""Portraits turned left and right; the frontal face was never seen (Miele §7.2 to 7.4).

  zsi run configs/zsi/yaw.py:tiny --workdir=runs/yaw_a
  zsi run configs/zsi/yaw.py:tiny --workdir=runs/yaw_b -- split.kind=yaw_b support.kind=split_b
  zsi run configs/zsi/yaw.py:tiny --workdir=runs/yaw_c -- split.kind=yaw_c support.kind=split_c

A: extreme right (0) and left (1). B: and 5 % frontal ones without a label, for the denoiser alone.
C: slightly right and extreme left. At :paper 45,000 records of A, as in the report.
Draws 1,500 | 15,000 | 60,000 | 85,000 faces in 12 s | 2 min | 8 min | 12 min on one core;
`data.workers=n` divides by n.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = base.get_config(preset)
  c.data.source = 'portraits'
  n = base.pick(preset, tiny=1_500, small=15_000, gpu=60_000, paper=85_000)
  c.data.options = dict(n=n, size=base.pick(preset, tiny=32, gpu=64), yaw=(-90.0, 90.0))
  c.data.flip = False  # a mirrored pose changes its class: the report's "mirror" finding
  c.data.keep = ('yaw',)

  # Degrees. The mildest fifth of each side is dropped: the report's text also says the outermost.
  c.split = dict(kind='yaw_a', attribute='yaw', extreme=30.0, dropped=0.2, dropping='mildest')
  c.support = dict(kind='turned', attribute='yaw', extreme=c.split.get_ref('extreme'))
  base.posed(c, preset)
  base.reported(c, '§7.2 to 7.4', base.UNIFORM, {'guided': None, 'unguided': None})
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, str]]:
  """Beside split A, the base, B and C."""
  b = {'split.kind': 'yaw_b', 'support.kind': 'split_b'}
  c = {'split.kind': 'yaw_c', 'support.kind': 'split_c'}
  return {'split_b': b, 'split_c': c}
