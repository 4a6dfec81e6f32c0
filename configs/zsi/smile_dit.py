"""A transformer instead of a U-Net (Deschenaux et al. App. J, Fig. S19a).

  zsi run configs/zsi/smile_dit.py:tiny --workdir=runs/smile_dit

The paper names no variant; the demo of its code is DiT-B/4.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base
from configs.zsi import smile


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = smile.faces(preset)
  sizes = base.pick(
    preset, tiny=(64, 4, 4), small=(128, 6, 4), gpu=(256, 6, 8), paper=(768, 12, 12)
  )
  width, depth, heads = sizes
  c.denoiser.net = dict(kind='dit', patch=4, width=width, depth=depth, heads=heads)
  base.reported(c, 'App. J, Fig. S19a', base.UNIFORM, {'unguided': None, 'lambda_30': None})
  return c
