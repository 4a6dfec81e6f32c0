"""What a denoiser is told, and the style of another image (Z-Magic, Table 2, in pixel space).

  zsi run configs/zmagic/label_style.py:tiny --workdir=runs/label_style

The prompt is a feeling, told by CFG; style is how features go together (Gram) of another face, its
palette and light. Paper, with Stable Diffusion: content / style / text 1.93 / 10.21 / .7156
(FreeDoM) to 1.82 / 10.14 / .7152. Content is how far images are from those of the label alone.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import conditions

TIMES = 2  # of a mix of two predictions
PAPER = {'label/1 - P': '-.06 %', 'style/Gram': '-.7 %'}


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = conditions.faces(preset, 'label', 'style')
  c.sample.tuples = 'several'
  conditions.compared(c, 'Table 2', conditions.TOLD, PAPER, TIMES)
  return c


def sweep(preset: str = 'tiny') -> dict[str, Any]:
  return conditions.grid(get_config(preset), conditions.TOLD, TIMES)
