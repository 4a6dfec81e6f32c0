"""Portraits of the young and the old; those between were never seen (Deschenaux et al. §5).

  zsi run configs/zsi/age.py:tiny --workdir=runs/age

Draws 1,500 | 60,000 | 60,000 | 300,000 faces in 12 s | 6 min | 8 min | 40 min on one core, which
`data.workers=n` divides by n; 2 GB at :paper. smile and age share them.
At :paper 60,000 extremes, the paper has 22,000.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = base.faces(preset, 'age')
  c.sample.name = 'lambda_30'
  sets = {'unguided': None, 'lambda_30': ('.146', '.656'), 'aim': None}
  base.reported(c, '§5.4, Fig. 6a', base.UNIFORM, sets)
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  return {'aim': {'sample.aim': 60.0}}
