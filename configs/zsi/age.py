"""Portraits of the young and the old; those between were never seen (Deschenaux et al. §5).

  zsi run configs/zsi/age.py:tiny --workdir=runs/age --stage=prepare

Draws 1,500 | 15,000 | 60,000 | 300,000 faces in 12 s | 2 min | 8 min | 40 min on one core, which
`data.workers=n` divides by n; 2 GB at :paper. age, hair, smile and smile_hair share them.
At :paper 60,000 extremes, the paper has 22,000.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = base.get_config(preset)
  c.data.source = 'portraits'
  n = base.pick(
    preset, tiny=1_500, small=15_000, gpu=60_000, paper=300_000
  )  # a fifth of them is extreme
  c.data.options = dict(n=n, size=base.pick(preset, tiny=32, gpu=64))
  c.data.flip = True  # a mirrored face is as old
  c.data.keep = ('age',)

  c.split = dict(kind='within', attributes=('age',), delta=0.1)
  c.support = dict(kind='extremes', attributes=('age',), delta=c.split.get_ref('delta'))
  return c
