"""Photographs of your own with a score for each: the k lowest and the k highest.

  zsi run configs/zsi/folder.py:small --workdir=runs/folder -- \
    data.options.root=faces split.scores=faces.csv split.k=500

The sheet has a column `file`, relative to the folder, and a column `score` in [0, 1]. Both are
looked for as they are, then below the data root. CelebA-HQ is such a folder, with the scores of a
judge, or with its own labels as columns of a sheet, of which one is ranked:

  zsi run configs/zsi/folder.py:paper --workdir=runs/hq -- data.options.root=CelebA-HQ-img \
    data.options.labels=hq.csv split.scores=None split.attribute=smile
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'small') -> ConfigDict:
  c = base.get_config(preset)
  c.data.source = 'folder'
  c.data.options = dict(root='faces', size=base.pick(preset, tiny=32, gpu=64))
  c.data.flip = False  # True where a mirrored picture has the same score

  c.split = dict(kind='top_k', k=base.pick(preset, tiny=50, small=500), scores='faces.csv')
  c.support = dict(kind='listed')  # a judge's score, not the truth
  c.classifier.name = 'score'
  return c
