"""One page of what a filter kept, dropped and nearly kept, from which a person labels a hold-out.

Scores are P(1 | x); p(y) is that of a record's own label, of an ensemble the least of them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from zsi_jax.report.markup import Html, join, tag
from zsi_jax.report.numbers import short

SHOWN = 48  # records of a grid
STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 76rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin: 2rem 0 0 }
p { max-width: 46rem; margin: .3rem 0 .8rem }
.wide { overflow-x: auto }
table { border-collapse: collapse } th, td { text-align: right; padding: .15rem .7rem }
th:first-child, td:first-child { text-align: left }
tr { border-bottom: 1px solid #8884 } .grid { display: flex; flex-wrap: wrap; gap: 8px }
figure { margin: 0; width: 96px } figure img { width: 96px; display: block }
figcaption { font-size: 11px; line-height: 1.3; overflow-wrap: anywhere }
"""


class Group(NamedTuple):
  """Records that are shown together, in this order."""

  title: str
  note: str
  records: np.ndarray  # int64


class Seen(NamedTuple):
  """What is known when the page is made; without an ensemble only the first judge was asked."""

  label: np.ndarray  # [N]: 0, 1, −1
  judge: np.ndarray  # [N]
  first: np.ndarray  # [N]: its p(y)
  ensemble: np.ndarray | None  # [M, N]
  every: np.ndarray | None  # [N]: the least p(y) of the ensemble
  tau: tuple[float, float] | None
  confident: np.ndarray  # bool [N]: S
  agreed: np.ndarray  # S'
  kept: np.ndarray  # S*


def evenly(index: np.ndarray, by: np.ndarray, n: int = SHOWN) -> np.ndarray:
  """n of these records, evenly by rank from the least to the most, ends included."""
  index = index[np.argsort(by[index], kind='stable')]
  return index[np.linspace(0, len(index) - 1, min(n, len(index))).round().astype(int)]


def nearest(index: np.ndarray, by: np.ndarray, to: float, n: int = SHOWN) -> np.ndarray:
  """The n of these records that are nearest to a threshold, in the order of their scores."""
  near = index[np.argsort(np.abs(by[index] - to), kind='stable')][:n]
  return near[np.argsort(by[near], kind='stable')]


def groups(seen: Seen) -> list[Group]:
  """Kept, dropped by each step, and on both sides of each threshold; none that is empty."""
  first, every, rows = seen.first, seen.every, []
  for side in (0, 1):
    mine = seen.label == side
    if every is None or seen.tau is None:
      note = 'from where the judge contradicts their label to where it is surest of it'
      rows.append(Group(f'Label {side}', note, evenly(np.flatnonzero(mine), first)))
      continue
    rows += [
      Group(
        f'Kept, label {side}',
        'from the least to the most sure',
        evenly(np.flatnonzero(mine & seen.kept), every),
      ),
      Group(
        f'Dropped, label {side}: the first judge contradicts the label',
        'from the surest contradiction on: labels that are wrong, or pictures that mislead',
        evenly(np.flatnonzero(mine & ~seen.kept & (first < 0.5)), first),
      ),
      Group(
        f'Dropped, label {side}: the first judge is not sure enough',
        f'p(y) from .5 to τ₁ = {seen.tau[0]:.6g}',
        evenly(np.flatnonzero(mine & ~seen.confident & (first >= 0.5)), first),
      ),
      Group(
        f'Dropped, label {side}: not all of the ensemble are sure enough',
        f'the least p(y) up to τ₂ = {seen.tau[1]:.6g}',
        evenly(np.flatnonzero(mine & seen.confident & ~seen.agreed), every),
      ),
      Group(
        f'Dropped, label {side}: others are more extreme',
        'all agree, and the first judge ranks them below the k that are kept',
        evenly(np.flatnonzero(mine & seen.agreed & ~seen.kept), first),
      ),
      Group(
        f'Borderline, label {side}, at τ₁',
        f'nearest to p(y) = {seen.tau[0]:.6g} of the first judge, on both sides',
        nearest(np.flatnonzero(mine), first, seen.tau[0]),
      ),
      Group(
        f'Borderline, label {side}, at τ₂',
        f'confident, and nearest to the least p(y) = {seen.tau[1]:.6g}, on both sides',
        nearest(np.flatnonzero(mine & seen.confident), every, seen.tau[1]),
      ),
    ]
  return [row for row in rows if len(row.records)]


def page(
  title: str,
  notes: Sequence[str],
  tables: Sequence[tuple[str, Sequence[Sequence[Any]]]],
  shown: Sequence[Group],
  seen: Seen,
  named: Callable[[int], str],
  picture: Callable[[int], np.ndarray],
) -> str:
  """Self-contained HTML; `picture(i)` is uint8 [H, W, C], `named(i)` what a hold-out calls it."""
  every = {int(i) for group in shown for i in group.records}
  sources = {i: encoded(picture(i)) for i in sorted(every)}

  def figure(i: int) -> Html:
    said = [tag('b', named(i)), f'label {seen.label[i]}, p(1) {seen.judge[i]:.4g}']
    if seen.ensemble is not None:
      low, high = seen.ensemble[:, i].min(), seen.ensemble[:, i].max()
      said.append(f'{low:.4g} … {high:.4g}')
    caption = tag('figcaption', join(said, '<br>'))
    return tag('figure', tag('img', src=sources[i], alt=named(i)), caption)

  body = [tag('h1', title), *(tag('p', note) for note in notes)]
  for name, (head, *rows) in tables:
    cells = [tag('tr', *(tag('th', cell) for cell in head))]
    cells += [tag('tr', *(tag('td', said(cell)) for cell in row)) for row in rows]
    body += [tag('h2', name), tag('div', tag('table', *cells), class_='wide')]
  for group in shown:
    body += [tag('h2', group.title), tag('p', group.note)]
    body.append(tag('div', *(figure(int(i)) for i in group.records), class_='grid'))
  head = join(
    [
      tag('meta', charset='utf-8'),
      tag('meta', name_='viewport', content='width=device-width, initial-scale=1'),
      tag('link', rel='icon', href='data:,'),
      tag('title', title),
      tag('style', Html(STYLE)),
    ]
  )
  html = tag('html', tag('head', head), tag('body', *body), lang='en')
  return f'<!doctype html>\n{html}\n'


def said(cell: Any) -> str:
  return cell if isinstance(cell, str) else short(cell)


def encoded(image: np.ndarray) -> str:
  """A data URI; small pictures are enlarged by whole pixels, so that they can be judged by eye."""
  times = max(1, round(96 / image.shape[1]))
  stream, pixels = io.BytesIO(), image[..., 0] if image.shape[2] == 1 else image[..., :3]
  size = image.shape[1] * times, image.shape[0] * times
  Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(stream, 'JPEG', quality=88)
  return 'data:image/jpeg;base64,' + base64.b64encode(stream.getvalue()).decode()


def counts(label: np.ndarray, steps: Mapping[str, np.ndarray]) -> list[list[Any]]:
  """A table: how many records of each label every step leaves."""
  rows: list[list[Any]] = [['', 'label 0', 'label 1', 'all']]
  for name, mask in steps.items():
    sides = [int((mask & (label == side)).sum()) for side in (0, 1)]
    rows.append([name, *sides, sum(sides)])
  return rows
