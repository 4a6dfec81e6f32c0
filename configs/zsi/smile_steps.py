"""How few steps are enough: other solvers in 10, 25 and 50, against ancestral ones in 250.

zsi run configs/zsi/smile_steps.py:tiny --workdir=runs/smile_steps
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.zsi import smile

SOLVERS = {'ancestral': 'ancestral', 'ddim': 'ddim', 'dpm': 'dpm++', 'heun': 'heun'}
STEPS = 10, 25, 50


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = smile.faces(preset)
  c.sample.name, c.sample.steps = 'ancestral_in_250', 250
  base.reported(
    c,
    '',
    base.UNIFORM,
    {'ancestral_in_250': None, 'ancestral_in_50': None, 'dpm_in_25': None, 'ddim_in_25': None},
  )
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  return {
    f'{name}_in_{n}': {'sample.solver.kind': kind, 'sample.steps': n}
    for name, kind in SOLVERS.items()
    for n in STEPS
  }
