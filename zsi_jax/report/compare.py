"""One page for several runs: what they share, side by side; protocols that differ are refused."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

from zsi_jax.io import protocol
from zsi_jax.report import figures, page, tables
from zsi_jax.report.markup import Html, join, tag
from zsi_jax.report.numbers import duration, number
from zsi_jax.report.read import Run, picture
from zsi_jax.report.shape import ReportError


def compare(runs: Sequence[Run]) -> str:
  """The page; a ProtocolError with both protocols where two runs measured in two ways."""
  if len({run.path.resolve() for run in runs}) < max(2, len(runs)):
    raise ReportError(f'two runs or more are compared, each once; given: {named(runs)}')
  taken = {run.name: metrics(run) for run in runs}
  protocol.agree({run.name: run.facts['protocol'] for run in runs}, taken)
  shared = [m for m in taken[runs[0].name] if all(m in names for names in taken.values())]
  if not shared:
    raise ReportError(f'{named(runs)}: no metric was taken of all of them; nothing to compare')
  merged = {key: value for run in runs for key, value in run.facts['protocol'].items()}
  title = f'{len(runs)} runs compared'
  said = 'They were measured in the same way: the protocol below is that of each.'
  return page.document(
    title,
    tag('header', tag('h1', title), tag('p', said)),
    [
      page.section('Runs', [overview(runs)]),
      page.section('Numbers', [numbers(runs, shared), alone(taken, shared)]),
      *(beside(title, found) for title, found in pairs(runs)),
      page.section('Protocol', [tables.facts(merged) if merged else None]),
    ],
  )


def named(runs: Iterable[Run]) -> str:
  return ', '.join(run.name for run in runs)


def metrics(run: Run) -> list[str]:
  """Names of all that was measured of one set or another."""
  rows = (row['values'] for row in run.facts['sets'].values())
  return list(dict.fromkeys(name for row in rows for name in row))


def overview(runs: Sequence[Run]) -> Html:
  rows = []
  for run in runs:
    told, spent = run.facts, run.facts.get('cost', {})
    seconds = [s for s in (spent.get('seconds') or {}).values() if number(s)]
    stamp = told.get('stamp', {})
    rows.append(
      [
        run.name,
        told['title'],
        page.badge(told),
        spent.get('device') or '',
        duration(sum(seconds)) if seconds else '',
        join([stamp.get('zsi_jax'), tag('small', (stamp.get('commit') or '')[:12])], ' '),
      ]
    )
  return tables.table(['run', 'what', 'zero-shot', 'device', 'time', 'version'], rows)


def numbers(runs: Sequence[Run], shared: Sequence[str]) -> Html:
  """A table for each group of shared metrics, sets down and their runs."""
  parts = []
  for group, names in tables.grouped(shared).items():
    rows = []
    for key in dict.fromkeys(key for run in runs for key in run.facts['sets']):
      for run in runs:
        told = run.facts['sets'].get(key, {'values': {}})
        ours, theirs = told['values'], run.facts.get('paper', {}).get(key, {})
        if any(name in ours for name in names):
          cells = [tables.cell(ours[m], theirs.get(m)) if m in ours else '' for m in names]
          rows.append([tables.head(key, told), run.name, *cells])
    columns = ['set', 'run', *(tables.word(name.removeprefix(f'{group}/')) for name in names)]
    parts.append(tables.table(columns, rows, tables.words(group) or None))
  return tag('div', *parts, class_='groups')


def alone(taken: dict[str, list[str]], shared: Sequence[str]) -> Html | None:
  """What only some of them measured, and which."""
  rest = dict.fromkeys(m for names in taken.values() for m in names if m not in shared)
  rows = [
    tag('li', f'{tables.words(m)}: only {", ".join(run for run in taken if m in taken[run])}')
    for m in rest
  ]
  return (
    join([tag('p', 'Not measured of all:'), tag('ul', *rows, class_='notes')]) if rows else None
  )


def pairs(runs: Sequence[Run]) -> list[tuple[str, list[tuple[Run, Any]]]]:
  """Figures of one title and kind that two runs or more have."""
  found: dict[tuple[str, str], dict[str, tuple[Run, Any]]] = {}
  for run in runs:
    for figure in run.facts.get('figures', []):
      found.setdefault((figure['title'], figure['kind']), {}).setdefault(run.name, (run, figure))
  return [(title, list(row.values())) for (title, _), row in found.items() if len(row) > 1]


def beside(title: str, found: Sequence[tuple[Run, Any]]) -> page.Section:
  drawn = [
    figures.figure(figure, functools.partial(picture, run), run.name) for run, figure in found
  ]
  return page.section(title, drawn, 'charts')
