"""More steps at the same noise (Deschenaux et al. §8.2 proposes it, and does not try).

zsi run configs/zsi/smile_langevin.py:tiny --workdir=runs/smile_langevin
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.zsi import smile


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = smile.faces(preset)
  base.reported(
    c, '§8.2', base.UNIFORM, {'lambda_30': None, 'langevin_1': None, 'langevin_4': None}
  )
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  return {f'langevin_{n}': {'sample.solver.kind': 'langevin', 'sample.solver.n': n} for n in (1, 4)}
