"""Portraits of the young and the old; those between were never seen (Deschenaux et al. §5).

  zsi run configs/zsi/age.py:tiny --workdir=runs/age

Draws 1,500 | 15,000 | 60,000 | 300,000 faces in 12 s | 2 min | 8 min | 40 min on one core, which
`data.workers=n` divides by n; 2 GB at :paper. smile and age share them.
At :paper 60,000 extremes, the paper has 22,000.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'tiny') -> ConfigDict:
  return base.faces(preset, 'age')
