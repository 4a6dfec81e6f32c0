"""One page for one run: a file that needs no server, no script and no network."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

from zsi_jax.report import figures, tables
from zsi_jax.report.markup import Html, join, tag
from zsi_jax.report.numbers import duration, number
from zsi_jax.report.read import Run, picture

# Nothing from elsewhere is loaded even if a title could smuggle it in.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(run: Run) -> str:
  """The page of this run; the same metrics and pictures give the same bytes."""
  told = run.facts
  drawn = [figures.figure(f, functools.partial(picture, run)) for f in told.get('figures', [])]
  paired = list(zip(told.get('figures', []), drawn, strict=True))
  pictures = [html for figure, html in paired if figure['kind'] == 'images']
  charts = [html for figure, html in paired if figure['kind'] != 'images']
  tabled = [
    tables.table(
      t['columns'], [list(map(tables.cell, r)) for r in t['rows']], t['title'], t.get('note')
    )
    for t in told.get('tables', [])
  ]
  return document(
    told['title'],
    headline(told),
    [
      section('Numbers', [tables.metrics(told) if told['sets'] else None, *tabled]),
      section('Figures', charts, 'charts'),
      section('Images', pictures, 'pictures'),
      section('Cost', [cost(told.get('cost', {}))]),
      section('Protocol', [tables.facts(told['protocol']) if told['protocol'] else None]),
      section('Stamp', [tables.facts(told['stamp']) if told.get('stamp') else None]),
      section(
        'To make it again',
        [tag('pre', command, tabindex='0') if (command := told.get('command')) else None],
      ),
    ],
  )


class Section(NamedTuple):
  title: str
  inside: Html


def section(title: str, inside: list[Any], class_: str | None = None) -> Section:
  """Its parts; one with nothing in it is left out of the page."""
  html = join(part for part in inside if part)
  return Section(title, tag('div', html, class_=class_) if class_ and html else html)


def document(title: str, header: Html, sections: list[Section]) -> str:
  """A whole file; its sections can be jumped to."""
  style = resources.files('zsi_jax.report').joinpath('page.css').read_text(encoding='utf-8')
  head = tag(
    'head',
    tag('meta', charset='utf-8'),
    tag('meta', name='viewport', content='width=device-width, initial-scale=1'),
    tag('meta', http_equiv='Content-Security-Policy', content=POLICY),
    tag('meta', name='color-scheme', content='light dark'),
    tag('link', rel='icon', href='data:,'),
    tag('title', title),
    tag('style', Html(style)),
  )
  shown = [(f's{i}', part) for i, part in enumerate(sections) if part.inside]
  jumps = tag('nav', *(tag('a', part.title, href=f'#{key}') for key, part in shown))
  parts = [tag('section', tag('h2', p.title, id=key), p.inside) for key, p in shown]
  body = tag('body', tag('main', header, jumps if len(shown) > 1 else None, *parts))
  return f'<!doctype html>\n{tag("html", head, body, lang="en")}\n'


def headline(told: Mapping[str, Any]) -> Html:
  """What it is, whether it is zero-shot and else why not, its first numbers, warnings."""
  paragraphs = [p for p in (told.get('about') or '').split('\n\n') if p.strip()]
  parts = [tag('h1', told['title']), badge(told)]
  parts += [tag('p', paragraph, class_='about') for paragraph in paragraphs]
  if told.get('headline'):
    parts.append(tag('div', *(tile(told, head) for head in told['headline']), class_='tiles'))
  parts += [
    tag('p', tag('strong', 'Warning: '), w, class_='warning') for w in told.get('warnings', [])
  ]
  return tag('header', *parts)


def badge(told: Mapping[str, Any]) -> Html:
  if told['zero_shot']:
    return tag('p', tag('span', 'zero-shot', class_='badge yes'))
  sets = told['sets'].items()
  seen = [row.get('label') or name for name, row in sets if row.get('zero_shot') is False]
  why = told.get('why') or (f'of these sets: {", ".join(seen)}' if seen else None)
  return tag('p', tag('span', 'not zero-shot', class_='badge no'), f' {why}' if why else None)


def tile(told: Mapping[str, Any], head: Mapping[str, str]) -> Html:
  """A number that stands for the run."""
  row = told['sets'].get(head['set'], {'values': {}})
  paper = told.get('paper', {}).get(head['set'], {}).get(head['metric'])
  label = head.get('label') or f'{row.get("label") or head["set"]}, {tables.words(head["metric"])}'
  return tag(
    'div', tag('p', label), tables.cell(row['values'].get(head['metric']), paper), class_='tile'
  )


def cost(told: Mapping[str, Any]) -> Html:
  """Seconds by stage, their sum, and where they were spent."""
  seconds = told.get('seconds') or {}
  rows = [[stage, duration(spent)] for stage, spent in seconds.items()]
  if len(rows) > 1:
    rows.append(['all', duration(sum(s for s in seconds.values() if number(s)))])
  on = tag('p', f'On {told["device"]}.') if told.get('device') else None
  return join([on, tables.table(['stage', 'time'], rows) if rows else None])
