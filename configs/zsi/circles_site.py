"""The gradient at x_t, as the published code asks, against at the mean, as the text says.

zsi run configs/zsi/circles_site.py:tiny --workdir=runs/circles_site
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.zsi import circles


def get_config(preset: str = 'small') -> ConfigDict:
  c = circles.get_config(preset)
  c.sample.name = 'at_xt'
  sets = {'at_xt': None, 'at_mean': None, 'at_x0': None, 'unguided': None}
  base.reported(c, '§2.2', base.OBJECTS, sets)
  return c


def sweep(preset: str = 'small') -> dict[str, dict[str, Any]]:
  return {'at_mean': {'sample.at': 'mean'}, 'at_x0': {'sample.at': 'x0'}}
