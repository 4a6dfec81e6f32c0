"""zsi: parses a verb and hands it over; what a verb does is written in its room."""

from __future__ import annotations

import argparse
import os
import pkgutil
from typing import Any

from zsi_jax.build.words import pair
from zsi_jax.stages import STAGES
from zsi_jax.stages.ending import STATUSES, ended

EXAMPLES = """examples:
  zsi doctor                                     what this machine has, and what it lacks
  zsi run configs/zsi/circles.py:tiny --workdir=runs/circles            what is not done yet
  zsi run configs/zsi/circles.py:tiny --workdir=runs/circles --check    looks closely, too
  zsi run configs/zsi/circles.py:tiny --workdir=runs/circles --stage=sample -- \\
      sample.name=left sample.weights="(60., 15.)"                      other images, beside
  zsi run configs/zsi/smile.py:small --workdir=runs/smile -- data.root=data split.delta=.1
  zsi report runs/smile runs/smile_dit --out=runs/both       what both measured, side by side
  zsi convert ema.pt unet.safetensors heads=4 size=64 schedule=cosine T=4000
  zsi export runs/smile smile.safetensors steps=50 weights="(30., 30.)"
"""
VERBS = {  # room:function, what it does
  'run': ('zsi_jax.stages.run:run', 'the stages of a config, changed by -- KEY=VALUE ...'),
  'convert': ('zsi_jax.build.models:convert', 'PyTorch weights to safetensors, with KEY=VALUE ...'),
  'export': ('zsi_jax.build.export:export', 'a sampler as one file, with KEY=VALUE ...'),
  'report': ('zsi_jax.stages.report:pages', 'the page of a run, or one that compares several'),
  'doctor': ('zsi_jax.doctor:doctor', 'devices, versions, data and weights of this machine'),
}
TAKE_PAIRS = 'run', 'convert', 'export'


def parse(argv: list[str] | None) -> tuple[dict[str, Any], list[str]]:
  form: Any = dict(epilog=EXAMPLES + STATUSES, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser = argparse.ArgumentParser('zsi', description='Zero-shot interpolation in JAX.', **form)
  parser.add_argument('--debug', action='store_true', help='tracebacks too, as ZSI_DEBUG=1 does')
  verbs = parser.add_subparsers(dest='verb', metavar='VERB', required=True)
  add = {n: verbs.add_parser(n, help=h, description=h, **form) for n, (_, h) in VERBS.items()}
  add['run'].add_argument('config', metavar='CONFIG', help='FILE.py:tiny, :small, :gpu or :paper')
  add['run'].add_argument('--workdir', required=True, help='what a run writes and goes on from')
  add['run'].add_argument('--stage', choices=('all', *STAGES), default='all')
  add['run'].add_argument('--check', action='store_true', help='read all bytes that are there')
  takes = {'convert': 'a .pt, .safetensors or WORKDIR/ROLE', 'export': 'what zsi.load takes'}
  for verb, what in takes.items():
    add[verb].add_argument('src', metavar='SRC', help=what)
    add[verb].add_argument('dst', metavar='DST', help='the .safetensors file to write')
    add[verb].add_argument('--force', action='store_true', help='write over DST')
  add['report'].add_argument('runs', nargs='+', metavar='RUN', help='workdirs that were evaluated')
  add['report'].add_argument('--out', help='the folder; else RUN/report, or of several ./report')
  add['doctor'].add_argument('--json', action='store_true', dest='as_json', help='for programs')
  args, rest = parser.parse_known_args(argv)
  if rest and args.verb not in TAKE_PAIRS:
    add[args.verb].error(f'not understood here: {" ".join(rest)}')
  return vars(args), [text for text in rest if text != '--']


def cli(argv: list[str] | None = None) -> int:
  """Calls the verb's function, which returns an exit status or something to print."""
  args, rest = parse(argv)
  verb, debug = args.pop('verb'), args.pop('debug') or os.environ.get('ZSI_DEBUG') == '1'
  try:
    options = dict(map(pair, rest))
    if said := args.keys() & options:
      raise ValueError(f'{said.pop()!r} is said twice')
    result = pkgutil.resolve_name(VERBS[verb][0])(**args, **options)
    return result if isinstance(result, int) else print(result) or 0
  except (Exception, KeyboardInterrupt) as error:
    return ended(error, debug)
