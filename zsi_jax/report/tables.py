"""Tables: a number with its interval and floor, and the paper's number beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from zsi_jax.report.markup import Html, join, tag
from zsi_jax.report.numbers import number, printed, short

WORDS = {  # of metrics and of what measures them; another name is shown as it is
  'l2': 'L2 to uniform',
  'kld': 'KLD to uniform, nats',
  'judge_a': 'judge A',
  'judge_b': 'judge B',
  'fid': 'FID',
  'kid': 'KID',
  'lpips': 'LPIPS',
  'ece': 'ECE',
  'nll': 'NLL',
}
Cells = Mapping[str, Any]


def word(name: str) -> str:
  """'l2, binned as the peer' is 'L2 to uniform, binned as the peer'."""
  return re.sub(r'\w+', lambda found: WORDS.get(found[0], found[0].replace('_', ' ')), name)


def words(metric: str) -> str:
  """'judge_b/l2' is 'judge B: L2 to uniform'."""
  return ': '.join(map(word, metric.split('/')))


def cell(value: Any, paper: Any = None) -> Html:
  """Ours, its interval and floor, and the paper's."""
  parts = [tag('span', said(value), class_='ours')]
  if isinstance(value, Mapping):
    if spread := around(value):
      parts.append(tag('small', spread))
    if number(floor := value.get('floor')):
      parts.append(tag('small', f'floor {short(floor)}'))
  if paper is not None:
    parts.append(tag('small', f'paper {said(paper, printed)}', class_='paper'))
  return join(parts, ' ')


def around(value: Any) -> str:
  """'[low, high]', or '± deviation', or nothing."""
  if not isinstance(value, Mapping):
    return ''
  low, high, std = (value.get(key) for key in ('low', 'high', 'std'))
  if number(std):
    return f'± {short(std)}'
  return f'[{short(low)}, {short(high)}]' if number(low) or number(high) else ''


def said(value: Any, how: Callable[[Any], str] = short) -> str:
  """The number itself, a text as it is, None and NaN as a dash."""
  if isinstance(value, Mapping):
    value = value['value']
  return value if isinstance(value, str) else how(value)


def table(
  columns: Sequence[Any], rows: Iterable[Sequence[Any]], caption: Any = None, note: Any = None
) -> Html:
  """The first cell of a row is its head; a wide table scrolls by itself."""
  head = tag('tr', *(tag('th', name, scope='col') for name in columns))
  body = [
    tag('tr', *(tag('th', c, scope='row') if i == 0 else tag('td', c) for i, c in enumerate(row)))
    for row in rows
  ]
  inside = [tag('caption', caption)] if caption else []
  inside += [tag('thead', head), tag('tbody', *body)]
  # tabindex: what scrolls has to be reached by the keyboard, too.
  whole = tag('div', tag('table', *inside), class_='wide', tabindex='0')
  return join([whole, tag('p', note, class_='note') if note else None])


def facts(told: Mapping[str, Any]) -> Html:
  """Two columns of what is said; None is left out."""
  rows = [(tag('th', key, scope='row'), tag('td', value(v))) for key, v in told.items()]
  body = [tag('tr', *row) for row, v in zip(rows, told.values(), strict=True) if v is not None]
  return tag('div', tag('table', tag('tbody', *body)), class_='wide facts', tabindex='0')


def value(told: Any) -> Html:
  """Of a protocol or a stamp, exactly: these are compared, not read."""
  match told:
    case None:
      return tag('span', 'none', class_='none')
    case bool():
      return tag('span', 'yes' if told else 'no')
    case dict():
      return join((join([f'{key}: ', value(inner)]) for key, inner in told.items()), '; ')
    case list() | tuple():
      return join(map(value, told), ', ')
  return tag('span', told)


def grouped(names: Iterable[str]) -> dict[str, list[str]]:
  """Metrics by who measures them, all but the last part of a name, in the order of the names."""
  found: dict[str, list[str]] = {}
  for name in dict.fromkeys(names):
    found.setdefault(name.rpartition('/')[0], []).append(name)
  return found


def metrics(told: Mapping[str, Any]) -> Html:
  """A table for each group: sets down, metrics across."""
  sets, paper = told['sets'], told.get('paper', {})
  measured = [row['values'] for row in sets.values()]
  parts = []
  for group, names in grouped(n for row in (*measured, *paper.values()) for n in row).items():
    rows = []
    for name in dict.fromkeys([*sets, *paper]):
      ours, theirs = sets.get(name, {}).get('values', {}), paper.get(name, {})
      if any(metric in ours or metric in theirs for metric in names):
        cells = [
          cell(ours.get(m), theirs.get(m)) if m in ours or m in theirs else '' for m in names
        ]
        rows.append([head(name, sets.get(name)), *cells])
    columns = ['set', *(word(m.removeprefix(f'{group}/')) for m in names)]
    parts.append(table(columns, rows, words(group) or None))
  notes = [
    tag('li', tag('strong', row.get('label') or name), f': {row["note"]}')
    for name, row in sets.items()
    if row.get('note')
  ]
  groups = tag('div', *parts, class_='groups')
  return join([groups, tag('ul', *notes, class_='notes') if notes else None])


def head(name: str, told: Cells | None) -> Html:
  """What a set is called, how many images it has, and whether they are zero-shot."""
  if told is None:
    return join([name, tag('small', 'not drawn here')], ' ')
  parts: list[Any] = [told.get('label') or name, tag('small', f'n = {short(told["n"])}')]
  if told.get('zero_shot') is False:
    parts.append(tag('small', 'not zero-shot', class_='badge no'))
  return join(parts, ' ')
