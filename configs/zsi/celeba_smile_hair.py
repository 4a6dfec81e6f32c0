"""CelebA by an index list: the corners of smile and hair (Deschenaux et al. §6, App. F).

  zsi run configs/zsi/celeba_smile_hair.py:paper --workdir=runs/celeba_smile_hair

Below the data root it expects celeba/ and the list 2d_smile_hair/train.txt of the published code,
11,752 records. §6 says "Smiling and Young"; App. F and the code have smile and hair, as here.
One classifier of four classes, numbered as published: smile and black, smile and not black, …
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'paper') -> ConfigDict:
  return base.celeba(preset, '2d_smile_hair/train.txt', 'Smiling', 'Black_Hair')
