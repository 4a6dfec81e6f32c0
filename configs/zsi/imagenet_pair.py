"""Hens and jays: between two classes of ImageNet (Deschenaux et al. App. L, Fig. S21).

  zsi run configs/zsi/imagenet_pair.py:paper --workdir=runs/imagenet_pair

Nothing is trained. Below the data root it expects imagenet_pair/, pictures of both to compare with;
and here the published networks of 64 pixels, by `zsi convert 64x64_diffusion.pt
imagenet64.safetensors …` and the classifier likewise. The denoiser is conditional on the class:
half the prediction of each. The paper states no strength.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base

HEN, JAY = 8, 17


def get_config(preset: str = 'paper') -> ConfigDict:
  c = base.get_config(preset)
  c.data.source = 'folder'
  c.data.options = dict(root='imagenet_pair', size=64)
  c.split = dict(kind='all')
  c.support = dict(kind='all')  # of a thousand classes nothing was left out
  c.sample.denoiser = 'imagenet64.safetensors'
  c.sample.classifiers = ('imagenet64_classifier.safetensors',)
  c.sample.classes, c.sample.weights = (HEN, JAY), (30.0, 30.0)
  c.sample.cond = (HEN, JAY)
  c.sample.unguided = 0
  c.sample.n = base.pick(preset, tiny=16, paper=1_000)
  c.report.figure = 'App. L, Fig. S21'
  return c
