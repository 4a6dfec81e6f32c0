"""CelebA by an index list: blond or black hair (Deschenaux et al. §5).

  zsi run configs/zsi/celeba_hair.py:paper --workdir=runs/celeba_hair

Below the data root it expects celeba/ and the list blond_black_hair_extreme_ensemble/train.txt of
the published code: 15,000 blond (label 0) and 15,000 black (1).
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'paper') -> ConfigDict:
  c = base.celeba(preset, 'blond_black_hair_extreme_ensemble/train.txt', 'Black_Hair')
  base.reported(c, '§5.4, Fig. 6b', base.UNIFORM, {'guided': ('.135', '.464')})
  return c
