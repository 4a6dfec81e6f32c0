"""Whose face, and how it is turned: identity and landmarks (Z-Magic, Table 4).

  zsi run configs/zmagic/identity_landmarks.py:tiny --workdir=runs/identity_landmarks

Paper, on CelebA-HQ: identity .740 (FreeDoM) to .549, -25.8 %, landmarks .195 to .194. The two are
of different persons, which conflict; one_<way> are of one.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import conditions

TIMES = 3  # a look-ahead takes as many passes as three sums
PAPER = {'identity/L2': '-25.8 %', 'landmarks/L2': '-.5 %'}


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = conditions.faces(preset, 'identity', 'landmarks')
  c.sample.tuples = 'several'
  conditions.compared(c, 'Table 4', conditions.TWO, PAPER, TIMES)
  return c


def sweep(preset: str = 'tiny') -> dict[str, Any]:
  return conditions.grid(get_config(preset), conditions.TWO, TIMES)
