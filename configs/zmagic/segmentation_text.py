"""Where everything is, and what words say of it: segmentation and text (Z-Magic, Table 3).

zsi run configs/zmagic/segmentation_text.py:tiny --workdir=runs/segmentation_text
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base, conditions

NAMES = 'segmentation', 'text'


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = conditions.faces(preset, *NAMES)
  c.sample.tuples = 'several'
  paper = {'FreeDoM': ('1569', '.764'), 'Z-Magic': ('1502', '.752')}
  conditions.compared(c, 'Table 3', conditions.TWO, paper)
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  steps = base.pick(preset, tiny=50, gpu=100)
  return conditions.grid(NAMES, conditions.TWO, steps, 'ahead') | conditions.turned(NAMES)
