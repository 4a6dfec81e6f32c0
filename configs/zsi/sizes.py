"""Small and large objects; those of middling size were never seen (Deschenaux et al. App. K).

  zsi run configs/zsi/sizes.py:tiny --workdir=runs/sizes

Draws 15,000 at :gpu and :paper in 20 s on one core; 1,500 at :tiny in 2 s.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = base.get_config(preset)
  c.data.source = 'sizes'
  n = base.pick(preset, tiny=1_500, small=6_000, gpu=15_000)
  c.data.options = dict(n=n, size=base.pick(preset, tiny=32, gpu=64))
  c.data.flip = True  # a mirrored object is as large
  c.data.keep = ('size',)

  c.split = dict(kind='tails', attributes=('size',), share=0.2)  # the paper's 20 %
  # By rank, so that the ends of the tails are near .2 and .8, not at them.
  c.support = dict(kind='extremes', attributes=('size',), delta=0.25)
  c.classifier.name = 'size'
  c.judge.copies, c.judge.attributes, c.judge.kind = ('a', 'b'), ('size',), 'regression'
  metrics = {'truth/l2': 'L2 of the truth', 'judge_b/l2': 'L2'}
  base.reported(c, 'App. K, Fig. S20', metrics, {'unguided': None, 'guided': None})
  return c
