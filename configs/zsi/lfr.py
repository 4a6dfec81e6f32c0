"""Photographs turned left and right; the frontal face was never seen (Miele §7.2 to 7.4).

  zsi run configs/zsi/lfr.py:paper --workdir=runs/lfr_a
  zsi run configs/zsi/lfr.py:paper --workdir=runs/lfr_b -- split.kind=yaw_b support.kind=split_b
  zsi run configs/zsi/lfr.py:paper --workdir=runs/lfr_c -- split.kind=yaw_c support.kind=split_c

Below the data root it expects lfr/, images in folders of any names, and lfr_yaw.csv: `file`,
relative to lfr, and `yaw` in degrees, as a pose estimator gives them, positive to the image's left.
A, B, C as in yaw.py. Without yaws, but with the folders Front, Left and Right (classes 0, 1, 2):

  zsi run configs/zsi/lfr.py:paper --workdir=runs/lfr -- data.options.labels=None \
    data.options.classes=True data.keep='()' split.kind=chosen split.label=class \
    split.values='(2, 1)' support.kind=listed
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'paper') -> ConfigDict:
  c = base.get_config(preset)
  c.data.source = 'folder'
  c.data.options = dict(root='lfr', labels='lfr_yaw.csv', name='lfr')
  c.data.options.size = base.pick(preset, tiny=32, gpu=64)
  c.data.flip = False  # a mirrored pose changes its class
  c.data.keep = ('yaw',)

  c.split = dict(kind='yaw_a', attribute='yaw', extreme=30.0, dropped=0.2, dropping='mildest')
  # Checked on the estimate: of a photograph no truth is known.
  c.support = dict(kind='turned', attribute='yaw', extreme=c.split.get_ref('extreme'))
  base.posed(c, preset)
  c.judge.truth = ()  # an estimate is no truth
  return c
