"""What a denoiser is told, and the style of another image (Z-Magic, Table 2, in pixel space).

  zsi run configs/zmagic/label_style.py:tiny --workdir=runs/label_style

The prompt is a feeling, told by CFG; style is how features go together (Gram) of another face, its
palette and light. Paper, with Stable Diffusion: content / style / text 1.93 / 10.21 / .7156
(FreeDoM) to 1.82 / 10.14 / .7152. Content is how far images are from those of the label alone.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base, conditions

NAMES = 'label', 'style'


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = conditions.faces(preset, *NAMES)
  c.sample.tuples = 'several'
  paper = {'FreeDoM': ('.7156', '10.21'), 'Z-Magic': ('.7152', '10.14')}
  conditions.compared(c, 'Table 2', conditions.TOLD, paper)
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  steps = base.pick(preset, tiny=50, gpu=100)
  every = conditions.grid(NAMES, conditions.TOLD, steps, 'ahead')
  del every['style_alone']  # w = 0 is not without a label
  return every
