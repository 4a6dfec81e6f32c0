"""Circles with variants, of which the presets name a few."""

from __future__ import annotations

from configs.zsi import circles

VARIANTS = {
  'lambda_0': {'sample.weights': (0.0, 0.0)},
  'lambda_9': {'sample.weights': (9.0, 9.0)},
  'aim': {'sample.aim': 60.0},
  'plain': {'sample.weights': None, 'sample.name': 'alone'},
  'seed_1': {'classifier.seed': 1},
  'dit': {'denoiser.net.kind': 'dit', 'denoiser.net.width': 16, 'denoiser.net.depth': 1},
  'linear': {'process.schedule': 'linear'},
  'vlb': {'denoiser.loss': 'vlb', 'denoiser.variance': 'learned'},
  'cfg': {'denoiser.drop': 0.1, 'sample.weights': None, 'sample.cfg': 0.1},
}


def get_config(preset='tiny'):
  return circles.get_config(preset)


def sweep(preset):
  names = {'tiny': VARIANTS, 'small': ['lambda_0', 'lambda_9', 'aim'], 'gpu': ['aim']}[preset]
  return {name: VARIANTS[name] for name in names}
