"""How few faces are enough, and which of them are copied (Deschenaux et al. §5.2, Table 1, App. H).

  zsi run configs/zsi/smile_amount.py:tiny --workdir=runs/smile_amount

Each smaller set is the most extreme part of the larger one: all, 1/2, 1/6 and 1/12 of the extremes.
`copies of training records` is the share of samples that are nearer to one than records are to each
other.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.zsi import smile


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = smile.faces(preset)
  c.sample.n = c.sample.unguided = base.pick(preset, tiny=256, small=2_000, paper=10_000)
  sets = {'lambda_30': ('.130', '.607'), 'half': ('.184', '.835'), 'sixth': ('.186', '.802')}
  sets |= {'twelfth': ('.279', '1.185')}
  base.reported(c, '§5.2, Table 1', base.UNIFORM | {'copies of training records': 'copies'}, sets)
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  whole = base.pick(preset, tiny=300, small=12_000, gpu=12_000, paper=60_000)
  parts = {'half': 2, 'sixth': 6, 'twelfth': 12}
  return {name: {'split.size': whole // part} for name, part in parts.items()}
