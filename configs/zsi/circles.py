"""White circles left and right; what lies between was never seen (Deschenaux et al. §5.5).

  zsi run configs/zsi/circles.py:tiny --workdir=runs/circles

1,200 records at :paper, the published set pixel for pixel; 224 at :tiny, which is `make demo`.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = base.get_config(preset)
  c.data.source = 'circles'
  c.data.options = dict(size=base.pick(preset, tiny=32, gpu=64), radius=2, epsilon=0.2)
  # A mirrored circle is of the other class. The published denoiser was trained with flips.
  c.data.flip = False
  c.data.keep = ('z',)

  # The whole set is extreme: z = (x + 1/2) / size lies in [0, epsilon] or [1 - epsilon, 1].
  c.split = dict(kind='all', label='label')
  c.support = dict(kind='extremes', attributes=('z',), delta=0.2)

  c.denoiser.steps = base.pick(preset, tiny=1_800, small=5_000, gpu=30_000)
  c.denoiser.net.mults = base.pick(preset, tiny=(1, 1, 2, 2), paper=(1, 2, 3, 4))
  c.denoiser.save_every = base.pick(preset, tiny=500, small=1_000, paper=5_000)
  c.classifier.name = 'side'
  c.classifier.steps = base.pick(preset, tiny=600, gpu=3_000)
  c.classifier.net.width = base.pick(preset, tiny=16, gpu=64)
  c.classifier.net.attend = base.pick(preset, tiny=(4,), gpu=(8,))
  c.sample.n = c.sample.unguided = base.pick(preset, tiny=256, small=1_000)
  c.evaluate.bins = c.data.options.size  # a circle is found to a pixel
  base.reported(c, '§5.5, Fig. 7', base.OBJECTS, {'guided': ('.78', '.0425'), 'unguided': None})
  c.sample.steps = base.pick(preset, tiny=50, gpu=64)
  return c
