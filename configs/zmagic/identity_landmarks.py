"""Whose face, and how it is turned: identity and landmarks (Z-Magic, Table 4).

  zsi run configs/zmagic/identity_landmarks.py:tiny --workdir=runs/identity_landmarks

Paper, on CelebA-HQ: identity .740 (FreeDoM) to .549, landmarks .195 to .194. `several`: identity
and landmarks of different persons, which conflict.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base, conditions

NAMES = 'identity', 'landmarks'


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = conditions.faces(preset, *NAMES)
  c.sample.tuples = 'several'
  paper = {'FreeDoM': ('.740', '.195'), 'Z-Magic': ('.549', '.194')}
  conditions.compared(c, 'Table 4', conditions.TWO, paper)
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  steps = base.pick(preset, tiny=50, gpu=100)
  every = conditions.grid(NAMES, conditions.TWO, steps, 'ahead') | conditions.turned(NAMES)
  one = {'sample.tuples': 'one'}  # conditions that can be met together
  return every | {
    'one_sum': one,
    'one_ahead': one | conditions.LOOK | {'sample.guide.rho': conditions.strong(NAMES, 1.0)},
  }  # fmt: skip
