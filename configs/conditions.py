"""What the experiments of Z-Magic share: drawn faces, eyes that guide and judge, a grid of ways.

The grid, the tuples and the seeds stand here before anything is drawn. A set is called
<way>_x<strength>: all of its rho times that strength. one_<way> is of tuples that can be met
together. long_<way> takes as many more steps as the dearest way costs, each as much weaker.
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
QUALITY = 'identity', 'text', 'feeling'  # whose embeddings FD is of: the first that is not asked
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
  seen = tuple(dict.fromkeys(EYES.get(name, name) for name in names))
  c.eyes.kinds = (*seen, next(kind for kind in QUALITY if kind not in seen))
  c.sample.conditions, c.sample.weights, c.sample.name = names, None, 'sum_x1'
  c.sample.solver = dict(kind='ddnm')
  c.sample.steps = base.pick(preset, tiny=50, gpu=100)
  # The last tenth of the chain is not guided: FreeDoM stops at 100 to 200 of 1,000, Z-Magic says
  # of its own that it does.
  c.sample.guide = dict(kind='sum', rho=strong(names, 1.0), stop=0.1 * c.process.T)
  c.sample.n = base.pick(preset, tiny=16, small=120, gpu=500)
  c.sample.unguided = c.sample.n
  c.sample.batch = base.pick(preset, tiny=16, small=40, gpu=125)
  c.sample.per_file = base.pick(preset, tiny=16, small=120, gpu=500)
  c.evaluate.neighbours = 0
  return c


def strong(names: tuple[str, ...], strength: float) -> tuple[float, ...]:
  return tuple(RHO[name] * (1 if name == 'label' else strength) for name in names)


def grid(c: ConfigDict, ways: Mapping[str, dict[str, Any]], times: int) -> dict[str, Any]:
  """Each way at each strength; on tuples that can be met the first two; each condition alone; and
  sums of `times` as many steps."""
  names, found = c.sample.conditions, dict[str, Any]()
  stop = {'sample.guide.stop': c.sample.guide.stop}
  for x in STRENGTHS:
    rho = {'sample.guide.rho': strong(names, x)}
    for k, (way, own) in enumerate(ways.items()):
      found[f'{way}_x{x:g}'] = own | rho | stop
      if k < 2:
        found[f'one_{way}_x{x:g}'] = own | rho | stop | {'sample.tuples': 'one'}
    weak = {'sample.guide.rho': strong(names, x / times)}
    found[f'long_sum_x{x:g}'] = weak | {'sample.steps': times * c.sample.steps}
    if len(names) == 2 and 'label' not in names:  # from the second to the first
      turned = {'sample.conditions': names[::-1], 'sample.guide.rho': strong(names[::-1], x)}
      found[f'other_order_x{x:g}'] = LOOK | turned | stop
  for name in names[:1] if 'label' in names else names:  # w = 0 is not without a label
    rho = zip(names, strong(names, 1.0), strict=True)
    found[f'{name}_alone'] = {'sample.guide.rho': tuple(r * (o == name) for o, r in rho)}
  del found['sum_x1']  # the base
  return found


def compared(
  c: ConfigDict, figure: str, ways: Mapping[str, Any], paper: Mapping[str, str], times: int
) -> None:
  """Each way against the sum at equal strength, and the first at equal work; `paper`: what the
  first one changes of it, of the sum's."""
  first = [*ways][1]
  by = dict.fromkeys([*ways][1:], 'sum')
  by |= {f'one_{first}': 'one_sum', 'long_sum': 'sum', 'other_order': 'ahead'}
  there = {name.rpartition('_x')[0] for name in grid(c, ways, times)}
  rows = [(way, other) for way, other in by.items() if way in there]
  rows.append((first, 'long_sum'))
  c.report.against = tuple((f'{a}_x{x:g}', f'{b}_x{x:g}') for a, b in rows for x in STRENGTHS)
  if 'label_alone' in grid(c, ways, times):
    c.report.against += tuple((name, 'label_alone') for name in ('sum_x1', f'{first}_x1'))
  metrics = {f'{metric}/change from sum': f'{metric.split("/")[0]}, change' for metric in paper}
  base.reported(c, figure, metrics, {f'{first}_x1': tuple(paper.values())})
