"""zsi: parses a verb and hands it over; what a verb does is written in its room."""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import sys
from typing import Any

EXAMPLES = """examples:
  zsi doctor                                     what this machine has, and what it lacks
  zsi convert ema.pt unet.safetensors heads=4 size=64 schedule=cosine T=4000
"""
VERBS = {  # verb: (room:function, or None where this version has no stage for it; what it does)
  'run': (None, 'the stages of a configuration (not in this version)'),
  'convert': ('zsi_jax.build:convert', 'PyTorch weights to safetensors that know their network'),
  'export': (None, 'a sampler as one file (not in this version)'),
  'report': (None, 'a page from what runs wrote (not in this version)'),
  'doctor': ('zsi_jax.doctor:doctor', 'devices, versions, data and weights of this machine'),
}


def pair(text: str) -> tuple[str, Any]:
  """`key=value`, the value a Python literal or else a plain word: (1, 2, 3), 1e-4, None, cosine."""
  key, equals, value = text.partition('=')
  if not (equals and value and key.isidentifier()) or key in ('src', 'dst', 'force'):
    raise argparse.ArgumentTypeError(f'{text!r} is not key=value, as in heads=4 schedule=cosine')
  try:
    return key, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    if set(value) & set('()[]{}\'",'):
      raise argparse.ArgumentTypeError(f'the value of {text!r} is no Python literal') from None
    return key, value


def parse(argv: list[str] | None) -> dict[str, Any]:
  form: Any = {'epilog': EXAMPLES, 'formatter_class': argparse.RawDescriptionHelpFormatter}
  parser = argparse.ArgumentParser('zsi', description='Zero-shot interpolation in JAX.', **form)
  parser.add_argument('--debug', action='store_true', help='tracebacks too, as ZSI_DEBUG=1 does')
  verbs = parser.add_subparsers(dest='verb', metavar='VERB', required=True)
  add = {n: verbs.add_parser(n, help=h, description=h, **form) for n, (_, h) in VERBS.items()}
  add['convert'].add_argument('src', metavar='SRC', help='a .pt or .safetensors file')
  add['convert'].add_argument('dst', metavar='DST', help='the .safetensors file to write')
  add['convert'].add_argument('options', metavar='KEY=VALUE', nargs='*', type=pair, default=())
  add['convert'].add_argument('--force', action='store_true', help='write over DST')
  add['doctor'].add_argument('--json', action='store_true', dest='as_json', help='for programs')
  args, rest = parser.parse_known_args(argv)
  if rest and VERBS[args.verb][0]:
    add[args.verb].error(f'not understood here: {" ".join(rest)}')
  return vars(args)


def cli(argv: list[str] | None = None) -> int:
  """Calls the verb's function, which returns an exit status or something to print."""
  args = parse(argv)
  verb, debug = args.pop('verb'), args.pop('debug') or os.environ.get('ZSI_DEBUG') == '1'
  try:
    if (target := VERBS[verb][0]) is None:
      raise ValueError(f'this version of zsi_jax has no stage for {verb!r}')
    room, function = target.split(':')
    args.update(args.pop('options', ()))
    result = getattr(importlib.import_module(room), function)(**args)
    return result if isinstance(result, int) else print(result) or 0
  except (ValueError, OSError) as error:
    if debug:
      raise
    print(f'zsi: error: {error}', file=sys.stderr)
    return 2
