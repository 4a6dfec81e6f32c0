"""Portraits that do not smile and that do; the faint smile was never seen (Deschenaux et al. §5).

  zsi run configs/zsi/smile.py:tiny --workdir=runs/smile

Draws 1,500 | 15,000 | 60,000 | 300,000 faces in 12 s | 2 min | 8 min | 40 min on one core, which
`data.workers=n` divides by n; 2 GB at :paper. smile and age share them.
At :paper 60,000 extremes, as in the paper; `sweep` is its ablation of sizes.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'tiny') -> ConfigDict:
  return base.faces(preset, 'smile')


def sweep() -> list[dict[str, int]]:
  """The ablation of sizes at :paper: each is the most extreme part of the larger ones."""
  return [{'split.size': size} for size in (30_000, 10_000, 5_000)]
