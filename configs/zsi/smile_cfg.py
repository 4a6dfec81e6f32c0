"""Between two classes without a classifier (Deschenaux et al. App. J, Fig. S19b).

  zsi run configs/zsi/smile_cfg.py:tiny --workdir=runs/smile_cfg

The denoiser is told the class, and in one of ten examples nothing: -w of that prediction and
(1 + w)/2 of those of both classes. The text prints (1 - w), whose sum is not 1.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.zsi import smile


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = smile.faces(preset)
  c.denoiser.drop = 0.1
  c.sample.name, c.sample.weights, c.sample.cfg = 'w_0.1', None, 0.1
  c.sample.cfg_variance = 'mixed'  # as published: the logits of the variance mix, too
  base.reported(
    c, 'App. J, Fig. S19b', base.UNIFORM, {'w_0.1': None, 'w_0': None, 'w_1': None, 'w_3': None}
  )
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  return {f'w_{w:g}': {'sample.cfg': w} for w in (0.0, 1.0, 3.0)}
