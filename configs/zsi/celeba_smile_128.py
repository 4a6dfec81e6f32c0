"""CelebA at 128 px: smiling or not (Deschenaux et al. App. H).

  zsi run configs/zsi/celeba_smile_128.py:paper --workdir=runs/celeba_smile_128

Expects what celeba_smile.py does. 125,070,598 parameters; the paper: 34 h and 13 h of two GPUs.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base
from configs.zsi import celeba_smile


def get_config(preset: str = 'paper') -> ConfigDict:
  c = celeba_smile.get_config(preset)
  c.data.options.size = base.pick(preset, tiny=32, gpu=128)
  mults = base.pick(preset, tiny=(1, 1, 2, 2), gpu=(1, 1, 2, 2, 2), paper=(1, 1, 2, 3, 4))
  c.denoiser.net.mults = c.classifier.net.mults = mults
  c.denoiser.net.width = base.pick(preset, tiny=16, small=32, gpu=48, paper=128)
  # 16 and 8 pixels again
  c.denoiser.net.attend = base.pick(preset, tiny=(4,), gpu=(16,), paper=(8, 16))
  c.classifier.net.attend = base.pick(preset, tiny=(4,), gpu=(8, 16), paper=(4, 8, 16))
  return c
