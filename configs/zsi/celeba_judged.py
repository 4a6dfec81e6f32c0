"""CelebA without a list: judges find who smiles for sure (Deschenaux et al. §4.3, D.1 - D.3).

  zsi run configs/zsi/celeba_judged.py:paper --workdir=runs/judged --stage=prepare

trains a judge of all 162,770 records, proposes 200 to label by hand in filter/holdout_template.csv,
which filter/index.html shows, and ends. When they are labelled, a copy of that sheet goes on:

  zsi run configs/zsi/celeba_judged.py:paper --workdir=runs/judged -- split.holdout=hand.csv

Thresholds of precision 1 on them, five judges on distinct parts of where the first is sure, and the
30,000 most extreme of each label. The published thresholds are split.tau="(.95, .9999)". Of age:
data.options.attributes="('Young',)" split.label=Young split.scores=farl.csv, P(young) of each file.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'paper') -> ConfigDict:
  c = base.celeba(preset, '', 'Smiling')
  k = base.pick(preset, tiny=2_500, small=5_000, gpu=30_000)
  c.split = dict(kind='judged', label='Smiling', k=k)
  return c
