"""Faces of 128 pixels (Deschenaux et al. App. C).

  zsi run configs/zsi/smile_128.py:gpu --workdir=runs/smile_128

128 pixels at :paper, twice those of smile.py at the smaller presets.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base
from configs.zsi import smile


def get_config(preset: str = 'paper') -> ConfigDict:
  c = smile.faces(preset)
  c.data.options.size = base.pick(preset, tiny=64, gpu=128)
  mults = base.pick(preset, tiny=(1, 1, 2, 2), gpu=(1, 1, 2, 2, 2), paper=(1, 1, 2, 3, 4))
  c.denoiser.net.mults = mults
  c.denoiser.net.width = base.pick(preset, tiny=16, gpu=48, paper=128)
  c.denoiser.net.attend = base.pick(preset, tiny=(8,), gpu=(16,), paper=(8, 16))
  c.classifier.net.mults = base.pick(preset, tiny=(1, 2, 2), gpu=mults)
  c.classifier.net.attend = base.pick(preset, tiny=(4,), gpu=(8, 16), paper=(4, 8, 16))
  base.reported(c, 'App. C', base.UNIFORM, {'unguided': None, 'lambda_30': None})
  return c
