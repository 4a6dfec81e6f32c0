"""CelebA by an index list: smiling or not, confidently (Deschenaux et al. §5, Table 1).

  zsi run configs/zsi/celeba_smile.py:paper --workdir=runs/celeba_smile

Below the data root it expects celeba/ (the official files or Kaggle's, zipped or not) and the lists
celeba_smile_train_size_ablation/{60k,30k,10k,5k}.txt of the published code: a number of the train
split a line. Prepares 162,770 records; `sweep` is the ablation of sizes, whose rows the paper took
from steps 250,000 (60k, 5k), 140,000 (30k) and 230,000 of a second start at batch 32 (10k).
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base

LIST = 'celeba_smile_train_size_ablation/{}.txt'


def get_config(preset: str = 'paper') -> ConfigDict:
  list = base.pick(preset, tiny='5k', small='10k', gpu='60k')
  c = base.celeba(preset, LIST.format(list), 'Smiling')
  sets = {'unguided': ('.64', '3.5'), 'guided': ('.130', '.607')}
  base.reported(c, '§5.1, Fig. 5, Table 1', base.UNIFORM, sets)
  return c


def sweep(preset: str = 'paper') -> dict[str, dict[str, str]]:
  """The ablation of sizes, beside the base: 5k is a part of 10k, of 30k, of 60k."""
  return (
    {n: {'split.list': LIST.format(n)} for n in ('30k', '10k', '5k')} if preset == 'paper' else {}
  )
