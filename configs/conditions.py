"""What the experiments of Z-Magic share: drawn faces, eyes that guide and judge, a grid of ways.

The grid, the tuples and the seeds stand here before anything is drawn. A set is called
<way>_x<strength>: all of its rho times that strength.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from configs import base

STRENGTHS = 0.5, 1.0, 2.0, 4.0
RHO = {'identity': 6.0, 'landmarks': 60.0, 'segmentation': 6.0, 'text': 6.0, 'style': 30.0}
RHO |= {'label': 2.0}  # w, which no strength multiplies
EYES = {'label': 'feeling', 'style': 'segmentation'}  # who sees it, where that is another name
LOOK = {'sample.guide.kind': 'lookahead'}
TWO: Mapping[str, dict[str, Any]] = {  # ways to obey two conditions
  'sum': {},
  'ahead': LOOK,
  'no_hessian': LOOK | {'sample.guide.mode': 'no_hessian'},
  'first_order': LOOK | {'sample.guide.mode': 'first_order'},
  'quiet': LOOK | {'sample.guide.noise': 'zero'},
  'cagrad': {'sample.guide.kind': 'merge'},
}
TOLD = {way: TWO[way] for way in ('sum', 'ahead', 'first_order', 'quiet')}  # and one by CFG
MANY: Mapping[str, dict[str, Any]] = {  # and more than two
  'sum': {},
  'star': {'sample.guide.kind': 'pairs'},
  'star_first_order': {'sample.guide.kind': 'pairs', 'sample.guide.mode': 'first_order'},
  'chain': {'sample.guide.kind': 'pairs', 'sample.guide.pairing': 'chain'},
  'cagrad': {'sample.guide.kind': 'merge'},
  'pcgrad': {'sample.guide.kind': 'merge', 'sample.guide.merge': 'pcgrad'},
  'mgda': {'sample.guide.kind': 'merge', 'sample.guide.merge': 'mgda'},
}
PASSES = {'ahead': 3, 'star': 8}  # times a sum's, so that a longer sum costs as much


def faces(preset: str, *names: str) -> ConfigDict:
  """The sum at strength 1 of these conditions, on faces of 2,000 persons."""
  c = base.get_config(preset)
  c.data.source = 'portraits'
  n = base.pick(preset, tiny=1_500, small=60_000, paper=300_000)
  c.data.options = dict(n=n, size=base.pick(preset, tiny=32, gpu=64))
  c.data.options.people = base.pick(preset, tiny=100, small=2_000, paper=10_000)
  c.data.options.yaw = base.pick(preset, tiny=(-6.0, 6.0), gpu=(-30.0, 30.0))
  c.data.options.pitch = base.pick(preset, tiny=(-3.0, 3.0), gpu=(-12.0, 12.0))
  c.data.options.roll = base.pick(preset, tiny=(-2.0, 2.0), gpu=(-8.0, 8.0))
  c.split, c.support = dict(kind='all', label='feeling'), dict(kind='all')
  c.denoiser.drop = 0.5  # no label, and so none is told: half of what is drawn here is without
  c.eyes.kinds = tuple(dict.fromkeys(EYES.get(name, name) for name in ('identity', *names)))
  c.sample.conditions, c.sample.weights, c.sample.name = names, None, 'sum_x1'
  c.sample.solver = dict(kind='ddnm')
  c.sample.steps = base.pick(preset, tiny=50, gpu=100)
  c.sample.guide = dict(kind='sum', rho=strong(names, 1.0))
  c.sample.n = base.pick(preset, tiny=16, small=120, gpu=500)
  c.sample.unguided = c.sample.n
  c.sample.batch = base.pick(preset, tiny=16, small=40, gpu=125)
  c.sample.per_file = base.pick(preset, tiny=16, small=120, gpu=500)
  c.evaluate.neighbours = 0
  return c


def strong(names: tuple[str, ...], strength: float) -> tuple[float, ...]:
  return tuple(RHO[name] * (1 if name == 'label' else strength) for name in names)


def alone(names: tuple[str, ...], name: str) -> dict[str, Any]:
  """The sum, in which the others weigh nothing."""
  rho = zip(names, strong(names, 1.0), strict=True)
  return {'sample.guide.rho': tuple(r * (other == name) for other, r in rho)}


def grid(
  names: tuple[str, ...], ways: Mapping[str, dict[str, Any]], steps: int, long: str
) -> dict[str, dict[str, Any]]:
  """Each way at each strength, the sum in as many passes as one of them takes, each alone."""
  found = {}
  for way, own in ways.items():
    for x in STRENGTHS:
      found[f'{way}_x{x:g}'] = own | {'sample.guide.rho': strong(names, x)}
  for x in STRENGTHS:
    found[f'long_sum_x{x:g}'] = {
      'sample.guide.rho': strong(names, x),
      'sample.steps': steps * PASSES[long],
    }
  found |= {f'{name}_alone': alone(names, name) for name in names}
  return {name: own for name, own in found.items() if name != 'sum_x1'}


def turned(names: tuple[str, str]) -> dict[str, dict[str, Any]]:
  """Looking ahead from the second to the first."""
  other = {**LOOK, 'sample.conditions': names[::-1]}
  return {
    f'other_order_x{x:g}': other | {'sample.guide.rho': strong(names[::-1], x)} for x in STRENGTHS
  }


def compared(c: ConfigDict, figure: str, ways: Mapping[str, Any], paper: Mapping[str, Any]) -> None:
  """Each way against the sum at equal strength, and the best of them at equal work."""
  names = [way for way in ways if way != 'sum']
  conditions = c.sample.conditions
  c.report.against = tuple((f'{way}_x{x:g}', f'sum_x{x:g}') for way in names for x in STRENGTHS)
  c.report.against += tuple((f'{names[0]}_x{x:g}', f'long_sum_x{x:g}') for x in STRENGTHS)
  c.report.against += tuple((f'other_order_x{x:g}', f'ahead_x{x:g}') for x in STRENGTHS)
  c.report.against += tuple((name, 'label_alone') for name in ('sum_x1', 'ahead_x1'))
  metrics = {'identity/1 - cosine': 'identity', 'landmarks/L2': 'landmarks'}
  metrics |= {'segmentation/L2': 'segmentation', 'text/1 - cosine': 'text'}
  metrics |= {'label/1 - P': 'label', 'style/Gram': 'style'}
  asked = {m: word for m, word in metrics.items() if m.split('/')[0] in conditions}
  base.reported(c, figure, asked, {'sum_x1': None, f'{names[0]}_x1': None} | dict(paper))
