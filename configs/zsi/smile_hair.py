"""Two attributes at once: the four corners of smile and hair colour (Deschenaux et al. §5).

  zsi run configs/zsi/smile_hair.py:tiny --workdir=runs/smile_hair

Draws 1,500 | 60,000 | 60,000 | 300,000 faces in 12 s | 6 min | 8 min | 40 min on one core, which
`data.workers=n` divides by n; 2 GB at :paper. hair and smile_hair share them.
At :paper 12,000 records in the corners, the paper has 11,752.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = 'tiny') -> ConfigDict:
  c = base.faces(preset, 'smile', 'hair', delta=base.pick(preset, tiny=0.2, paper=0.1))
  c.data.options.age = (0.0, 0.5)  # grey hair, too, lies between black and blond
  c.sample.name = 'four_classes'
  metrics = {f'judge_b/{name}/l2': f'L2 of {name}' for name in ('smile', 'hair')}
  base.reported(c, '§6, Fig. 9', metrics, {'four_classes': None, 'two_classifiers': None})
  return c


def sweep(preset: str = 'tiny') -> dict[str, dict[str, Any]]:
  """A classifier of each attribute, which guide by themselves and then together."""
  one = {
    name: {'classifier.label': name, 'classifier.name': name, 'sample.weights': (30.0, 30.0)}
    for name in ('smile', 'hair')
  }
  both = tuple(f'variants/{name}' for name in one)
  return {
    **one,
    'two_classifiers': {'sample.classifiers': both, 'sample.weights': ((30.0, 30.0),) * 2},
  }
