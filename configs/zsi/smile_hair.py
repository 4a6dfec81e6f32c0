"""Two attributes at once: the four corners of smile and hair colour (Deschenaux et al. §5).

  zsi run configs/zsi/smile_hair.py:tiny --workdir=runs/smile_hair --stage=prepare

Draws 1,500 | 15,000 | 60,000 | 300,000 faces in 12 s | 2 min | 8 min | 40 min on one core, which
`data.workers=n` divides by n; 2 GB at :paper. age, hair, smile and smile_hair share them.
At :paper 12,000 records in the corners, the paper has 11,752.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = base.get_config(preset)
  c.data.source = 'portraits'
  n = base.pick(preset, tiny=1_500, small=15_000, gpu=60_000, paper=300_000)
  c.data.options = dict(n=n, size=base.pick(preset, tiny=32, gpu=64))
  c.data.flip = True  # a mirrored face is as blond and smiles as much
  c.data.keep = ('smile', 'hair')

  c.split = dict(
    kind='within', attributes=('smile', 'hair'), delta=base.pick(preset, tiny=0.2, paper=0.1)
  )
  c.support = dict(kind='extremes', attributes=('smile', 'hair'), delta=c.split.get_ref('delta'))
  return c
