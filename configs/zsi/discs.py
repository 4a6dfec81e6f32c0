"""Coloured discs, rose and left or orange and right (Miele §7.5): is one disc between?

  zsi run configs/zsi/discs.py:tiny --workdir=runs/discs

The 15,000 of the report at :gpu and :paper in 8 s on one core; 1,500 at :tiny in 1 s.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = base.get_config(preset)
  c.data.source = 'discs'
  n = base.pick(preset, tiny=1_500, small=6_000, gpu=15_000)
  c.data.options = dict(n=n, size=base.pick(preset, tiny=32, gpu=64))
  c.data.flip = False  # a mirrored disc is of the other class
  c.data.keep = ('z', 'hue')

  c.split = dict(kind='all', label='label')
  c.support = dict(kind='extremes', attributes=('z',), delta=0.25)  # x: mean .2, jitter .05
  c.classifier.name = 'side'
  return c
