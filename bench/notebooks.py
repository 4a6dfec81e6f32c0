"""Every notebook, run from its first cell to its last in a process of its own, as Jupyter would.

  python -m bench.notebooks            # each must run, in time, and show as many pictures as before
  python -m bench.notebooks --write    # and is written with what it showed: how they are committed

Pictures are what a last expression draws of itself as PNG, and the figures that are open when a
cell ends. No Jupyter is needed.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'notebooks'
LIMIT = 240  # seconds of CPU: two minutes of two cores, however busy those are
LARGEST = 100_000  # bytes of a picture


def lines(text: str) -> list[str]:
  return text.splitlines(keepends=True)


def shown(png: bytes, name: str) -> dict[str, Any]:
  """The data of an output; a ValueError for a picture that is too large to commit."""
  if len(png) > LARGEST:
    raise ValueError(f'{name}: a picture of {len(png):,} bytes; {LARGEST:,} are allowed')
  return {'image/png': base64.b64encode(png).decode() + '\n'}


def evaluated(source: str, scope: dict[str, Any], name: str) -> Any:
  """The value of the last expression, None where the cell ends in a statement or a semicolon."""
  tree, last = ast.parse(source, name), None
  if tree.body and isinstance(tree.body[-1], ast.Expr):
    last = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]
  exec(compile(tree, name, 'exec'), scope)
  value = None if last is None else eval(compile(last, name, 'eval'), scope)
  return None if source.rstrip().endswith(';') else value


def figures(name: str) -> list[dict[str, Any]]:
  """The open figures of pyplot, which are closed; it is not imported for that."""
  plt: Any = sys.modules.get('matplotlib.pyplot')
  found: list[dict[str, Any]] = []
  for number in plt.get_fignums() if plt else ():
    stream = io.BytesIO()
    plt.figure(number).savefig(stream, format='png', dpi=72, metadata={'Software': None})
    found.append({'output_type': 'display_data', 'data': shown(stream.getvalue(), name)})
    plt.close(number)
  return found


def cell(source: str, scope: dict[str, Any], count: int, name: str) -> list[dict[str, Any]]:
  """What a code cell shows, as the file keeps it."""
  said = io.StringIO()
  with contextlib.redirect_stdout(said):
    value = evaluated(source, scope, f'{name}, cell {count}')
  outputs: list[dict[str, Any]] = []
  if said.getvalue():
    outputs.append({'output_type': 'stream', 'name': 'stdout', 'text': lines(said.getvalue())})
  if value is not None:
    data: dict[str, Any] = {'text/plain': lines(repr(value))}
    if hasattr(value, '_repr_png_'):
      stream = io.BytesIO()
      value.save(stream, 'PNG', optimize=True)
      data = shown(stream.getvalue(), name) | {'text/plain': [f'<{type(value).__name__}>']}
    outputs.append({'output_type': 'execute_result', 'data': data, 'execution_count': count})
  outputs += figures(name)
  return [{'metadata': {}, **o} if o['output_type'] != 'stream' else o for o in outputs]


def executed(notebook: dict[str, Any], name: str) -> dict[str, Any]:
  """The notebook with the outputs of now."""
  scope: dict[str, Any] = {'__name__': '__main__'}
  made, count = [], 0
  for old in notebook['cells']:
    new = dict(old)
    if old['cell_type'] == 'code':
      count += 1
      new['outputs'] = cell(''.join(old['source']), scope, count, name)
      new['execution_count'] = count
    made.append(new)
  return {**notebook, 'cells': made}


def pictures(notebook: dict[str, Any]) -> list[int]:
  """How many each cell shows."""
  rows = [c.get('outputs', []) for c in notebook['cells']]
  return [sum('image/png' in o.get('data', {}) for o in outputs) for outputs in rows]


def one(path: Path, write: bool) -> None:
  """This notebook, in this process."""
  import matplotlib

  matplotlib.use('Agg')
  os.chdir(path.parent)
  before = json.loads(path.read_text())
  after = executed(before, path.name)
  if not any(pictures(after)):
    raise ValueError(f'{path.name}: it shows no picture')
  if write:
    path.write_text(json.dumps(after, indent=1, ensure_ascii=False) + '\n')
  elif pictures(before) != pictures(after):
    raise ValueError(
      f'{path.name}: its cells show {pictures(after)} pictures, {pictures(before)} before'
    )


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('names', nargs='*', help='without .ipynb; none: all')
  parser.add_argument('--write', action='store_true', help='keep the outputs of now')
  parser.add_argument('--here', action='store_true', help='in this process: what others start')
  asked = parser.parse_args()
  paths = [FOLDER / f'{n}.ipynb' for n in asked.names] or sorted(FOLDER.glob('*.ipynb'))
  if asked.here:
    one(paths[0], asked.write)
    return 0
  late = False
  for path in paths:
    start, before = time.monotonic(), os.times()
    more = ['--write'] if asked.write else []
    command = [sys.executable, '-m', 'bench.notebooks', '--here', path.stem, *more]
    status = subprocess.run(command, cwd=ROOT).returncode
    spent = sum(os.times()[2:4]) - sum(before[2:4])  # of children
    took = f'{time.monotonic() - start:.0f} s, {spent:.0f} s of CPU'
    print(f'{path.name}: {took}:', 'ok' if status == 0 else f'failed ({status})', flush=True)
    if status:
      return 1
    late |= spent > LIMIT
  if late:
    print(f'a notebook takes more than {LIMIT} s of CPU')
  return int(late)


if __name__ == '__main__':
  sys.exit(main())
