"""Figures as inline SVG, by their kind; colours are classes, so that they follow the scheme."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zsi_jax.report import axes, colours
from zsi_jax.report.axes import BOTTOM, LEFT, TOP, WIDTH, Box, Scale, ends, finite, spot
from zsi_jax.report.markup import Html, join, tag
from zsi_jax.report.numbers import number, short
from zsi_jax.report.read import Picture

COLOURS = 8
POINTS = 5_000  # of a scatter, at most
SHOWN = 640  # pixels that a small picture is enlarged to, about
Figure = Mapping[str, Any]


def figure(told: Figure, picture: Callable[[str], Picture], caption: str | None = None) -> Html:
  """A <figure> with its title, or what stands for it, what was drawn, and its note."""
  notes = [told.get('note')]
  if told['kind'] == 'images':
    drawn = images(told, picture(told['file']))
  else:
    drawn = KINDS[told['kind']](told)
  if told['kind'] == 'scatter' and (n := len(told['points'])) > POINTS:
    notes.append(f'{len(thinned(told["points"])):,} of {n:,} points are drawn.')
  inside = [tag('p', note, class_='note') for note in notes if note]
  return tag(
    'figure', tag('figcaption', caption or told['title']), drawn, *inside, class_=told['kind']
  )


def images(told: Figure, found: Picture) -> Html:
  """Pixels stay square: enlarged by a whole number."""
  times = max(1, SHOWN // found.width)
  return tag(
    'img', src=found.uri, alt=told['title'], width=times * found.width, height=times * found.height
  )


def legend(labels: Sequence[str]) -> Html:
  """Which colour is which; nothing for one series without a name."""
  if len(labels) < 2 and not any(labels):
    return Html()
  rows = [
    tag('li', tag('span', class_=f'swatch {colour(i)}'), name) for i, name in enumerate(labels)
  ]
  return tag('ul', *rows, class_='legend')


def colour(i: int) -> str:
  """The class of series i; after all colours they come again, dashed."""
  return f's{i % COLOURS}' + ' again' * (i >= COLOURS)


def histogram(told: Figure) -> Html:
  """Shares of the images in equal bins; the dashed line is the uniform share 1 / bins."""
  box, rows = Box(), []
  for row in told['series']:
    counts = [float(c) if number(c) else 0.0 for c in row['counts']]
    rows.append([c / (sum(counts) or 1) for c in counts])
  log, positive = bool(told.get('log')), [s for row in rows for s in row if s > 0]
  top = 1.06 * max(positive, default=1.0)
  bottom = min(positive, default=0.1) / 2 if log else 0.0
  x = Scale(told['low'], told['high'], box.left, box.right)
  y = Scale(bottom, top, box.bottom, box.top, log)
  parts = [axes.frame(box, x, y, (told['x'], 'share of the images'))]
  for i, row in enumerate(rows):
    edges = [x.low + (x.high - x.low) * k / len(row) for k in range(len(row) + 1)]
    steps = [(x(edges[0]), box.bottom)]
    for k, share in enumerate(row):
      height = y(share) if share > 0 else box.bottom
      steps += [(x(edges[k]), height), (x(edges[k + 1]), height)]
    steps.append((x(edges[-1]), box.bottom))
    shade = 'area' if len(rows) > 1 else 'area alone'
    parts += [axes.path(steps, f'{shade} {colour(i)}')]
    parts += [axes.path(steps, f'line thin {colour(i)}')]
  for bins in sorted({len(row) for row in rows}):
    level = y(1 / bins)
    parts.append(axes.line(box.left, level, box.right, level, 'reference'))
  drawn = axes.figure(told['title'], *parts)
  return join([drawn, legend([row['label'] for row in told['series']])])


def curve(told: Figure) -> Html:
  """Lines with bands from low to high; a gap where there is no number."""
  box, rows = Box(), told['series']
  log, log_y = bool(told.get('log_x')), bool(told.get('log_y'))
  along = [v for row in rows for v in row['x'] if not log or number(v) and v > 0]
  up = [v for row in rows for key in ('y', 'low', 'high') for v in row.get(key) or ()]
  x_ends, y_ends = ends(along, log=log), ends(up, log=log_y)
  if told.get('diagonal'):
    x_ends = y_ends = min(x_ends[0], y_ends[0]), max(x_ends[1], y_ends[1])
  x = Scale(*x_ends, box.left, box.right, log)
  y = Scale(*y_ends, box.bottom, box.top, log_y)
  parts = [axes.frame(box, x, y, (told['x'], told['y']))]
  if told.get('diagonal'):
    low, high = x_ends
    parts.append(axes.line(x(low), y(low), x(high), y(high), 'reference'))

  def placed(row: Figure, key: str) -> list[tuple[float, float] | None]:
    pairs = zip(row['x'], row[key], strict=True)
    return [
      (x(a), y(b))
      if number(a) and number(b) and (a > 0 or not log) and (b > 0 or not log_y)
      else None
      for a, b in pairs
    ]

  for i, row in enumerate(rows):
    if row.get('low') is not None and row.get('high') is not None:
      lows, highs = placed(row, 'low'), placed(row, 'high')
      both = [(a, b) for a, b in zip(lows, highs, strict=True) if a and b]
      band = [a for a, _ in both] + [b for _, b in reversed(both)]
      parts.append(axes.path(band, f'band {colour(i)}'))
  for i, row in enumerate(rows):
    points = placed(row, 'y')
    parts.append(axes.path(points, f'line {colour(i)}'))
    if len(points) <= 40:
      parts.append(dots([p for p in points if p], f'dots {colour(i)}'))
  drawn = axes.figure(told['title'], *parts)
  return join([drawn, legend([row['label'] for row in rows])])


def scatter(told: Figure) -> Html:
  box, points = Box(), thinned(told['points'])
  pairs = [(a, b) for a, b in points if number(a) and number(b)]
  x_ends, y_ends = ends(a for a, _ in pairs), ends(b for _, b in pairs)
  if told.get('diagonal'):
    x_ends = y_ends = min(x_ends[0], y_ends[0]), max(x_ends[1], y_ends[1])
  x, y = Scale(*x_ends, box.left, box.right), Scale(*y_ends, box.bottom, box.top)
  parts = [axes.frame(box, x, y, (told['x'], told['y']))]
  if told.get('diagonal'):
    low, high = x_ends
    parts.append(axes.line(x(low), y(low), x(high), y(high), 'reference'))
  many = 'many ' if len(pairs) > 500 else ''
  parts.append(dots([(x(a), y(b)) for a, b in pairs], f'dots {many}s0'))
  return axes.figure(told['title'], *parts)


def thinned(points: Sequence[Any]) -> Sequence[Any]:
  return points[:: -(-len(points) // POINTS)] if len(points) > POINTS else points


def dots(points: Sequence[tuple[float, float]], class_: str) -> Html:
  """A round pen that touches down at each point."""
  said = ''.join(f'M{spot(x)} {spot(y)}h0' for x, y in points)
  return tag('path', d=said, class_=class_) if said else Html()


def heatmap(told: Figure) -> Html:
  """One cell a number, row 0 at the top; cells without one show the ground; paths lie over them.

  extent is (left, right, bottom, top).
  """
  rows = told['values']
  log = told.get('scale') == 'log'
  inside = [v for row in rows for v in finite(row) if v > 0 or not log]
  low, high = ends(inside, log=log)
  low = told['low'] if number(told.get('low')) else min(inside, default=low)
  high = told['high'] if number(told.get('high')) else max(inside, default=high)
  if log and low <= 0:
    low = min(inside, default=high / 10)
  if not low < high:
    high = low * 10 if log else low + 1
  x0, x1, y0, y1 = told.get('extent') or (0, len(rows[0]), len(rows), 0)
  room = WIDTH - LEFT - 86  # the bar is at the right
  ratio = min(max(len(rows) / len(rows[0]), 0.35), 1.0)
  box = Box(LEFT, TOP, LEFT + room, TOP + room * ratio)
  x, y = Scale(x0, x1, box.left, box.right), Scale(y1, y0, box.top, box.bottom)
  parts = [
    tag(
      'image', href=colours.png(colours.shares(rows, low, high, log)), x=spot(box.left),
      y=spot(box.top), width=spot(room), height=spot(room * ratio), preserveAspectRatio='none',
      class_='cells',
    ),
    _ticked(box, x, y),
    axes.named(box, told['x'], told['y']),
    _bar(box, low, high, log),
  ]  # fmt: skip
  rows = told.get('paths') or []
  for i, row in enumerate(rows):
    points = [(x(a), y(b)) for a, b in zip(row['x'], row['y'], strict=True)]
    parts += [axes.path(points, 'line halo'), axes.path(points, f'line {colour(i)}')]
    parts += [dots(points[-1:], f'dots {colour(i)}')]
  drawn = axes.figure(told['title'], *parts, height=box.bottom + BOTTOM)
  return join([drawn, legend([row['label'] for row in rows])])


def _ticked(box: Box, x: Scale, y: Scale) -> Html:
  """Ticks outside, so that no line covers a cell."""
  parts = []
  for value in axes.ticks(min(x.low, x.high), max(x.low, x.high)):
    parts.append(axes.line(x(value), box.bottom, x(value), box.bottom + 4, 'axis'))
    parts.append(axes.words(x(value), box.bottom + 16, axes.label(value), 'tick middle'))
  for value in axes.ticks(min(y.low, y.high), max(y.low, y.high)):
    parts.append(axes.line(box.left - 4, y(value), box.left, y(value), 'axis'))
    parts.append(axes.words(box.left - 7, y(value) + 4, axes.label(value), 'tick end'))
  return join(parts)


def _bar(box: Box, low: float, high: float, log: bool) -> Html:
  """What the colours mean."""
  left, steps = box.right + 16, 64
  column = [[(k + 0.5) / steps] for k in reversed(range(steps))]
  y = Scale(low, high, box.bottom, box.top, log)
  parts = [
    tag(
      'image', href=colours.png(colours.shares(column, 0, 1, False)), x=spot(left),
      y=spot(box.top), width=12, height=spot(box.bottom - box.top), preserveAspectRatio='none',
      class_='cells',
    )
  ]  # fmt: skip
  for value in axes.ticks(low, high, log, about=4):
    parts.append(axes.words(left + 17, y(value) + 4, axes.label(value), 'tick'))
  return join(parts)


def bars(told: Figure) -> Html:
  """Lying, so that labels have room; whiskers are ± errors."""
  labels, step = told['labels'], 24.0
  errors = told.get('errors') or [None] * len(labels)
  rows = list(zip(labels, told['values'], errors, strict=True))
  around = [v + s * e for _, v, e in rows if number(v) and number(e) for s in (-1, 1)]
  low, high = ends([*told['values'], *around], zero=True)
  longest = min(22, max(map(len, labels), default=1))
  left = 16 + longest * axes.LETTER
  box = Box(left, TOP, WIDTH - 60, TOP + step * max(1, len(labels)))
  x = Scale(low, high, box.left, box.right)
  parts = [
    axes.line(x(value), box.top, x(value), box.bottom, 'grid') for value in axes.ticks(low, high)
  ]
  for k, (name, value, error) in enumerate(rows):
    middle = box.top + step * (k + 0.5)
    parts.append(axes.words(left - 8, middle + 4, axes.cut(name, left - 8), 'tick end'))
    if not number(value):
      parts.append(axes.words(x(0) + 6, middle + 4, short(value), 'tick'))
      continue
    start, stop = sorted((x(0), x(value)))
    size = dict(x=spot(start), y=spot(middle - 8), width=spot(stop - start), height=16, rx=2)
    parts.append(tag('rect', **size, class_='bar s0'))
    reach = [value - error, value + error] if number(error) else [value]
    if number(error) and error:
      parts.append(axes.line(x(reach[0]), middle, x(reach[1]), middle, 'whisker'))
    after = max(x(v) for v in (*reach, 0))
    parts.append(axes.words(after + 6, middle + 4, short(value), 'tick'))
  for value in axes.ticks(low, high):
    parts.append(axes.words(x(value), box.bottom + 15, axes.label(value), 'tick middle'))
  parts.append(axes.line(x(0), box.top, x(0), box.bottom, 'axis'))
  parts.append(axes.named(box, told.get('y', ''), ''))
  return axes.figure(told['title'], *parts, height=box.bottom + BOTTOM)


KINDS: dict[str, Callable[[Figure], Html]] = {
  'histogram': histogram,
  'curve': curve,
  'heatmap': heatmap,
  'scatter': scatter,
  'bars': bars,
}
