"""Three at once: identity, segmentation and text (Z-Magic, Table 1 and Algorithm 2).

zsi run configs/zmagic/text_segmentation_identity.py:tiny --workdir=runs/three
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base, conditions

NAMES = 'identity', 'segmentation', 'text'


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = conditions.faces(preset, *NAMES)
  c.sample.tuples = 'several'
  paper = {'FreeDoM': ('.501', '1771', '.774'), 'Z-Magic': ('.475', '1677', '.769')}
  conditions.compared(c, 'Table 1', conditions.MANY, paper)
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  steps = base.pick(preset, tiny=50, gpu=100)
  return conditions.grid(NAMES, conditions.MANY, steps, 'star')
