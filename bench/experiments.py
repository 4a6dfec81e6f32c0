"""README's table of experiments, from docs/results/*/metrics.json: no number is typed by hand.

python -m bench.experiments            writes the lines between the two marks
python -m bench.experiments --check    1, and the first line that differs, where they are not those

docs/experiments.md has all of them, by their configs, also those that have not run yet.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zsi_jax import whole
from zsi_jax.report import read, tables
from zsi_jax.report.numbers import DASH, duration, number, printed
from zsi_jax.report.shape import ReportError
from zsi_jax.stages.config import load

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path('docs') / 'results'
BEGIN, END = '<!-- experiments: make results -->', '<!-- end of experiments -->'
COLUMNS = 'experiment', 'figure', 'ours', "the paper's", 'preset', 'device', 'cost'
NONE = 'Nothing has been measured yet.'
EVERY = Path('docs') / 'experiments.md'
HEAD = """# Every experiment

Each is a config of `zsi run`, at `:tiny`, `:small`, `:gpu` and `:paper`, and leaves a page.
Those that have been run here are linked; README's table has their numbers. `make results` writes
this list.
"""
WHOLE = 'paper'  # the preset of the published size


def table(root: Path) -> str:
  """A row for each folder of results, in the order of their names."""
  rows = [row(path.parent, root) for path in sorted((root / RESULTS).glob('*/metrics.json'))]
  if not rows:
    return NONE
  lines = [COLUMNS, ['---'] * len(COLUMNS), *rows]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def every(root: Path) -> str:
  """docs/experiments.md: a row for each config, in the order of their names."""
  rows = []
  for path in sorted((root / 'configs').glob('*/*.py')):
    told = load(f'{path}:paper').report
    about, name = told.about.split('\n')[0], path.relative_to(root).as_posix()
    page = RESULTS / path.stem / 'index.html'
    done = f'[page]({page.relative_to("docs").as_posix()})' if (root / page).is_file() else ''
    rows.append([f'[{name}](../{name})', plain(about), plain(told.figure), done])
  columns = 'config', 'what it shows', 'figure', 'run here'
  lines = [columns, ['---'] * len(columns), *rows]
  return HEAD + '\n' + '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'


def row(folder: Path, root: Path) -> list[str]:
  told = read.run(folder).facts
  config, _, preset = (told.get('config') or '').partition(':')
  name = f'[{plain(told["title"])}]({(folder / "index.html").relative_to(root).as_posix()})'
  name += '' if told['zero_shot'] else ', not zero-shot'
  name += f' ([config]({config}))' if config else ''
  preset = told.get('preset') or preset
  size = f'`:{preset}`' if preset == WHOLE else f'`:{preset}`, reduced' if preset else ''
  cost = told.get('cost') or {}
  spent = [s for s in (cost.get('seconds') or {}).values() if number(s)]
  ours, theirs = zip(*heads(told), strict=True) if told.get('headline') else ((), ())
  return [
    name,
    plain(told.get('figure') or ''),
    '; '.join(ours),
    '; '.join(theirs) if any(t != DASH for t in theirs) else '',
    size,
    plain(cost.get('device') or ''),
    duration(sum(spent)) if spent else '',
  ]


def heads(told: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
  """Each headline number by its label, with its interval; and the paper's."""
  for head in told['headline']:
    key, metric = head['set'], head['metric']
    row = told['sets'].get(key, {'values': {}})
    value = row['values'].get(metric)
    said, spread = tables.said(value), tables.around(value)
    said += f' {spread}' if spread and DASH not in spread else ''
    label = head.get('label') or f'{row.get("label") or key}, {tables.words(metric)}'
    paper = told.get('paper', {}).get(key, {}).get(metric)
    yield f'{plain(label)} **{plain(said)}**', plain(tables.said(paper, printed))


def plain(text: str) -> str:
  """Markdown shows these words, and no mark of it is in them."""
  words = ' '.join(text.split())
  return ''.join(f'\\{c}' if c in '\\|[]*_`<>' else c for c in words)


def filled(text: str, rows: str) -> str:
  """The README with these rows between its marks."""
  head, begun, rest = text.partition(BEGIN)
  _, ended, tail = rest.partition(END)
  if not begun or not ended:
    raise ReportError(f'README.md: needs the line {BEGIN} and, below it, {END}')
  return f'{head}{BEGIN}\n{rows}\n{END}{tail}'


def main(root: Path, check: bool) -> int:
  readme = root / 'README.md'
  try:
    old = readme.read_text(encoding='utf-8')
    pages = [(readme, old, filled(old, table(root)))]
    if (root / 'configs').is_dir():
      listed = root / EVERY
      pages.append((listed, listed.read_text('utf-8') if listed.is_file() else '', every(root)))
  except (ReportError, OSError) as error:
    print(f'experiments: {error}', file=sys.stderr)
    return 2
  for path, was, wanted in pages:
    if check and wanted != was:
      print(f'{path.relative_to(root)}:{differ(was, wanted)}\n`make results` writes it')
      return 1
    if wanted != was:
      whole.write(path, wanted.encode())
  return 0


def differ(old: str, new: str) -> str:
  """The first line that does."""
  pairs = itertools.zip_longest(old.splitlines(), new.splitlines())
  n, (was, wanted) = next((i, p) for i, p in enumerate(pairs, 1) if p[0] != p[1])
  return f'{n} says\n  {was}\nand docs/results\n  {wanted}'


if __name__ == '__main__':
  form = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
  parser.add_argument('--check', action='store_true', help='change nothing')
  sys.exit(main(ROOT, parser.parse_args().check))
