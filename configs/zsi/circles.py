"""White circles left and right; what lies between was never seen (Deschenaux et al. §5.5).

  zsi run configs/zsi/circles.py:tiny --workdir=runs/circles --stage=prepare

1,200 records at :paper, the published set pixel for pixel, in 1 s on a core; 224 at :tiny.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = base.get_config(preset)
  c.data.source = 'circles'
  c.data.options = dict(size=base.pick(preset, tiny=32, gpu=64), radius=2, epsilon=0.2)
  c.data.flip = False  # a mirrored circle is of the other class
  c.data.keep = ('z',)

  # The whole set is extreme: z = (x + 1/2) / size lies in [0, epsilon] or [1 - epsilon, 1].
  c.split = dict(kind='all', label='label')
  c.support = dict(kind='extremes', attributes=('z',), delta=0.2)
  return c
