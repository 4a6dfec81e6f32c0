"""Green lips, from a denoiser that saw none: an extrapolation (Deschenaux et al., App. E).

  zsi run configs/zsi/lips.py:tiny --workdir=runs/lips

The classifier sees each portrait plain and with its lips painted by its landmarks, (0, 255, 0) at
alpha .5 as published; the denoiser sees plain ones only, which is checked on the records. CelebA:

  zsi run configs/zsi/lips.py:paper --workdir=runs/lips -- data.options.of=celeba \
    data.options.landmarks=lips.csv

where lips.csv has file, x48, y48 … x67, y67: the usual 68 points, in pixels of the aligned images.
The paper shows some samples and no figure; `zsi_jax.evaluate.lips` counts green lips. At :tiny, 12
minutes on 2 busy CPU cores: 23 % of 64 samples have some at 30, 25 % at 150, 3 % without guidance.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = base.get_config(preset)
  c.data.source = 'lips'
  c.data.options = dict(size=base.pick(preset, tiny=32, gpu=64))
  c.data.options.faces = base.pick(preset, tiny=800, small=15_000, gpu=60_000)
  c.data.flip = True  # a mirrored mouth is as green
  c.split = dict(kind='extrapolated', label='painted', seen=0)
  c.support = dict(kind='one_label', attribute='painted', seen=0)
  c.classifier.name = 'lips'
  # Lips of 6 x 2 pixels show at low noise only.
  c.classifier.times = base.pick(preset, tiny=(0.0, 0.5, 2.0), paper=(0.0, 1.0, 1.0))
  c.classifier.steps = base.pick(preset, tiny=1_500, small=4_000, gpu=5_000, paper=150_000)
  c.classifier.lr = base.pick(preset, tiny=2e-3, small=1e-3, paper=3e-4)
  c.sample.weights = (0.0, 30.0)
  base.reported(c, 'App. E, Fig. S14a', {'green lips': 'green'}, {'unguided': None, 'guided': None})
  return c
