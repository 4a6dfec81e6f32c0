"""How strongly to guide: λ from 0 to 100 (Deschenaux et al. §5.3, Fig. S12 and S13, Table S2).

  zsi run configs/zsi/smile_lambda.py:tiny --workdir=runs/smile_lambda

Networks and data are those of smile.py; all strengths are drawn by one compiled program.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.zsi import smile

S2 = {  # FID, precision and recall, each to mild and to full
  '0': ('12.72', '8.14', '.756', '.788', '.476', '.484'),
  '3.5': ('13.85', '10.17', '.806', '.816', '.414', '.419'),
  '10': ('14.48', '10.72', '.818', '.820', '.414', '.415'),
  '30': ('14.93', '11.34', '.802', '.805', '.435', '.425'),
  '50': ('14.61', '12.06', '.776', '.780', '.437', '.428'),
  '75': ('14.73', '13.11', '.735', '.732', '.433', '.423'),
  '100': ('15.12', '13.58', '.655', '.662', '.471', '.538'),
}
TO = 'mild', 'full'


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = smile.faces(preset)
  c.sample.unguided = 0  # λ = 0 is that
  # FID by Inception where its weights are: `-- evaluate.fid=True`
  metrics = {f'{m}/inception/{to}': m for m in ('fid', 'precision', 'recall') for to in TO}
  base.reported(c, '§5.3, Fig. S13, Table S2', metrics, {f'lambda_{w}': r for w, r in S2.items()})
  c.report.headline = tuple((f'lambda_{w}', 'judge_b/l2', f'λ = {w}: L2') for w in S2)
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  return {f'lambda_{w}': {'sample.weights': (float(w),) * 2} for w in S2 if w != '30'}
