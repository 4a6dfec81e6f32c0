"""How strongly to guide: λ from 0 to 100 (Deschenaux et al. §5.3, Fig. S12 and S13, Table S2).

  zsi run configs/zsi/smile_lambda.py:tiny --workdir=runs/smile_lambda

Networks and data are those of smile.py; all strengths are drawn by one compiled program.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs.zsi import smile

STRENGTHS = 0.0, 3.5, 10.0, 50.0, 75.0, 100.0  # and 30, the base


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = smile.get_config(preset)
  c.sample.unguided = 0  # λ = 0 is that
  # FID by Inception where its weights are: `-- evaluate.fid=True`
  paper = {'0': ('12.72', '8.14'), '30': ('14.93', '11.34'), '75': ('14.73', '13.11')}
  c.report.paper += tuple(
    (f'lambda_{w}', f'fid/inception/{to}', text)
    for w, texts in paper.items()
    for to, text in zip(('mild', 'full'), texts, strict=True)
  )
  c.report.figure = '§5.3, Fig. S13, Table S2'
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  return {f'lambda_{w:g}': {'sample.weights': (w, w)} for w in STRENGTHS}
