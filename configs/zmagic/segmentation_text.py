"""Where everything is, and what words say of it: segmentation and text (Z-Magic, Table 3).

  zsi run configs/zmagic/segmentation_text.py:tiny --workdir=runs/segmentation_text

Paper, on CelebA-HQ: segmentation 1569 (FreeDoM) to 1502, -4.3 %, text .764 to .752, -1.6 %.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import conditions

TIMES = 3
PAPER = {'segmentation/L2': '-4.3 %', 'text/1 - cosine': '-1.6 %'}


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = conditions.faces(preset, 'segmentation', 'text')
  c.sample.tuples = 'several'
  conditions.compared(c, 'Table 3', conditions.TWO, PAPER, TIMES)
  return c


def sweep(preset: str = 'tiny') -> dict[str, Any]:
  return conditions.grid(get_config(preset), conditions.TWO, TIMES)
