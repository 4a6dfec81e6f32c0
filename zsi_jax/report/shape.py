"""What a metrics.json has to look like; what does not fit is one line that names the place.

A shape is a type, NUMBER (of which null is one: it was not finite), [shape] for a list of any
length, a tuple of alternatives, or a mapping from keys to shapes, in which 'key?' may be missing
and ... stands for any key. Keys that are not named may be there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from zsi_jax.report.numbers import number


class ReportError(ValueError):
  """What cannot be shown: names the file and the place in it, and what to do."""


NUMBER = 'a number'
INTERVAL = {'low?': NUMBER, 'high?': NUMBER, 'std?': NUMBER, 'floor?': NUMBER}
CELL = (NUMBER, str, {'value': NUMBER, **INTERVAL})
NOTE = (str, None)
LINE = {
  'label': str,
  'x': [NUMBER],
  'y': [NUMBER],
  'low?': ([NUMBER], None),
  'high?': ([NUMBER], None),
}
COUNTS = {'label': str, 'counts': [NUMBER]}
FIGURES: dict[str, dict[str, Any]] = {
  'histogram': {'x': str, 'low': NUMBER, 'high': NUMBER, 'log?': bool, 'series': [COUNTS]},
  'curve': {'x': str, 'y': str, 'series': [LINE], 'diagonal?': bool, 'log_x?': bool,
    'log_y?': bool},
  'heatmap': {
    'x': str, 'y': str, 'values': [[NUMBER]], 'low?': NUMBER, 'high?': NUMBER, 'scale?': str,
    'extent?': ([NUMBER], None), 'paths?': [{'label': str, 'x': [NUMBER], 'y': [NUMBER]}],
  },
  'scatter': {'x': str, 'y': str, 'points': [[NUMBER]], 'diagonal?': bool},
  'bars': {'labels': [str], 'values': [NUMBER], 'errors?': ([NUMBER], None), 'y?': str},
  'images': {'file': str, 'columns?': NUMBER},
}  # fmt: skip
METRICS = {
  'title': str,
  'about?': NOTE,
  'command?': NOTE,
  'config?': NOTE,  # configs/zsi/x.py:small
  'preset?': NOTE,
  'figure?': NOTE,  # of the paper
  'zero_shot': bool,
  'why?': NOTE,  # it is not zero-shot
  'stamp?': {},
  'cost?': {'seconds?': {...: NUMBER}, 'device?': NOTE},
  'protocol': {},
  'sets': {
    ...: {
      'n': NUMBER,
      'label?': NOTE,
      'zero_shot?': (bool, None),  # null: nothing was drawn for it
      'note?': NOTE,
      'values': {...: CELL},
    }
  },
  'paper?': {...: {...: CELL}},
  'headline?': [{'set': str, 'metric': str, 'label?': NOTE}],
  'tables?': [{'title': str, 'note?': NOTE, 'columns': [str], 'rows': [[CELL]]}],
  'figures?': [{'kind': str, 'title': str, 'note?': NOTE}],
  'warnings?': [str],
}


def checked(facts: Any) -> dict[str, Any]:
  """The metrics; a ReportError with the place where they do not fit."""
  fit(facts, METRICS, '')
  for i, table in enumerate(facts.get('tables', [])):
    for j, row in enumerate(table['rows']):
      equal(f'tables[{i}].rows[{j}]', len(row), 'cells', len(table['columns']), 'columns')
  for i, figure in enumerate(facts.get('figures', [])):
    where = f'figures[{i}]'
    if (kind := figure['kind']) not in FIGURES:
      raise ReportError(f'{where}.kind is {kind!r}, none of {", ".join(FIGURES)}')
    fit(figure, FIGURES[kind], where)
    whole(figure, where)
  return dict(facts)


def whole(figure: Mapping[str, Any], where: str) -> None:
  """Lists that belong together are of one length."""
  match figure['kind']:
    case 'histogram':
      for i, row in enumerate(figure['series']):
        if not row['counts'] or any(number(c) and c < 0 for c in row['counts']):
          raise ReportError(f'{where}.series[{i}].counts are no counts of one bin or more')
      if not (number(figure['low']) and number(figure['high'])) or figure['low'] >= figure['high']:
        raise ReportError(f'{where}: low < high are needed, not {figure["low"]}, {figure["high"]}')
    case 'curve':
      for i, row in enumerate(figure['series']):
        for key in ('y', 'low', 'high'):
          if row.get(key) is not None:
            equal(f'{where}.series[{i}]', len(row[key]), key, len(row['x']), 'x')
    case 'heatmap':
      rows = figure['values']
      if not rows or not rows[0]:
        raise ReportError(f'{where}.values is empty')
      for i, row in enumerate(rows):
        equal(f'{where}.values[{i}]', len(row), 'cells', len(rows[0]), 'in the first row')
      if figure.get('scale', 'linear') not in ('linear', 'log'):
        raise ReportError(f'{where}.scale is {figure["scale"]!r}, neither linear nor log')
      if (extent := figure.get('extent')) is not None:
        equal(f'{where}.extent', len(extent), 'numbers', 4, 'of x0, x1, y0, y1')
      for i, row in enumerate(figure.get('paths', ())):
        equal(f'{where}.paths[{i}]', len(row['y']), 'y', len(row['x']), 'x')
    case 'scatter':
      for i, point in enumerate(figure['points']):
        equal(f'{where}.points[{i}]', len(point), 'numbers', 2, 'of x, y')
    case 'bars':
      for key in ('values', 'errors'):
        if figure.get(key) is not None:
          equal(where, len(figure[key]), key, len(figure['labels']), 'labels')


def equal(where: str, a: int, what: str, b: int, others: str) -> None:
  if a != b:
    raise ReportError(f'{where} has {a} {what}, but {b} {others}')


def fit(value: Any, shape: Any, where: str) -> None:
  """A ReportError with the place, unless the value has this shape."""
  if isinstance(shape, dict) and isinstance(value, Mapping):
    for key, inner in shape.items():
      if key is ...:
        for other in value:
          fit(value[other], inner, f'{where}.{other}'.lstrip('.'))
        continue
      name, optional = key.removesuffix('?'), key.endswith('?')
      if name in value:
        fit(value[name], inner, f'{where}.{name}'.lstrip('.'))
      elif not optional:
        raise ReportError(f'{where and where + ": "}there is no {name!r}')
  elif isinstance(shape, list) and isinstance(value, list):
    for i, item in enumerate(value):
      fit(item, shape[0], f'{where}[{i}]')
  elif isinstance(shape, tuple):
    if not any(_fits(value, one, where) for one in shape):
      raise ReportError(f'{where} is {_said(value)}, not {" or ".join(map(_meant, shape))}')
  elif not _leaf(value, shape):
    raise ReportError(f'{where or "it"} is {_said(value)}, not {_meant(shape)}')


def _fits(value: Any, shape: Any, where: str) -> bool:
  try:
    fit(value, shape, where)
  except ReportError:
    return False
  return True


def _leaf(value: Any, shape: Any) -> bool:
  if shape is None:
    return value is None
  if shape is NUMBER:
    return value is None or number(value) or isinstance(value, float) and not math.isfinite(value)
  return isinstance(shape, type) and isinstance(value, shape)


def _meant(shape: Any) -> str:
  match shape:
    case None:
      return 'null'
    case dict():
      named = [repr(key) for key in shape if key is not ...]
      return 'an object' + (f' with {", ".join(named)}' if named else '')
    case list():
      return f'a list of {_meant(shape[0]).removeprefix("a ").removeprefix("an ")}s'
    case type():
      return {str: 'a text', bool: 'true or false'}[shape]
  return str(shape)


def _said(value: Any) -> str:
  match value:
    case dict():
      return 'an object'
    case list():
      return 'a list'
  text = repr(value)
  return text if len(text) <= 40 else text[:37] + '...'
