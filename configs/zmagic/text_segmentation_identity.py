"""Three at once: identity, segmentation and text (Z-Magic, Table 1 and Algorithm 2).

  zsi run configs/zmagic/text_segmentation_identity.py:tiny --workdir=runs/three

Paper, on CelebA-HQ: identity .501 (FreeDoM) to .475, -5.2 %, segmentation 1771 to 1677, -5.3 %,
text .774 to .769, -.6 %.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import conditions

TIMES = 8  # a star of three takes as many passes as eight sums
PAPER = {'identity/L2': '-5.2 %', 'segmentation/L2': '-5.3 %', 'text/1 - cosine': '-.6 %'}


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = conditions.faces(preset, 'identity', 'segmentation', 'text')
  c.sample.tuples = 'several'
  conditions.compared(c, 'Table 1', conditions.MANY, PAPER, TIMES)
  return c


def sweep(preset: str = 'tiny') -> dict[str, Any]:
  return conditions.grid(get_config(preset), conditions.MANY, TIMES)
