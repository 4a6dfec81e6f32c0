"""Cosine and linear, learned and fixed variance, and the bound alone (Deschenaux et al. App. J).

  zsi run configs/zsi/smile_chain.py:tiny --workdir=runs/smile_chain

`bound` trains on L_vlb, which the paper could not make work.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.zsi import smile


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = smile.faces(preset)
  c.sample.name = 'cosine'
  c.denoiser.predicts, c.denoiser.loss, c.denoiser.variance = 'eps', 'hybrid', 'learned'
  c.denoiser.times = (0.0, 1.0, 1.0)
  base.reported(
    c, 'App. J', base.UNIFORM, {'cosine': None, 'linear': None, 'fixed': None, 'bound': None}
  )
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  return {
    'linear': {'process.schedule': 'linear'},
    'fixed': {'denoiser.loss': 'simple', 'denoiser.variance': 'small'},
    'bound': {'denoiser.loss': 'vlb'},
  }
