"""Pictures of samples, chosen by what was seen in them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.io.images import grid
from zsi_jax.stages import findings
from zsi_jax.stages import workdir as work
from zsi_jax.stages.sets import Images
from zsi_jax.stages.tuples import Tuples

COLUMNS = 16
SHOWN = 64
MILD = 32  # images nearest 1/2
Rows = Mapping[str, np.ndarray]
Records = Callable[[np.ndarray], np.ndarray]  # numbers -> uint8 [N, H, W, C]


def ordered(folder: Path, one: Images, label: str, pixels: np.ndarray, rows: Rows) -> list[Any]:
  """Samples evenly spread over their order, from 0 to 1; and those nearest 1/2."""
  found = next(iter(findings.judged(rows, ())), None)
  if found is None or not np.isfinite(found[1]).any():
    return [saved(folder, f'{one.name}.png', pixels[:SHOWN], f'{label}: the first', None)]
  source, p = found
  known = np.flatnonzero(np.isfinite(p))
  order = known[np.argsort(p[known], kind='stable')]
  spread = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).astype(int)]
  middle = known[np.argsort(np.abs(p[known] - 0.5), kind='stable')][:MILD]
  middle = middle[np.argsort(p[middle], kind='stable')]
  by, span = findings.said(source), f'{p[middle].min():.2f} … {p[middle].max():.2f}'
  return [
    saved(
      folder, f'{one.name}.png', pixels[spread], f'{label}: in the order of {by}',
      f'{len(spread)} of {len(pixels)} images, evenly spread over their order.',
    ),
    saved(
      folder, f'{one.name}-mild.png', pixels[middle], f'{label}: nearest the middle',
      f'{len(middle)} images with {by} in {span}.',
    ),
  ]  # fmt: skip


def ways(
  folder: Path, one: Images, label: str, pixels: np.ndarray, given: Rows, records: Records
) -> dict[str, Any]:
  """A row for each of the first pairs: a record, what lies between, the other record."""
  own = given['fraction']
  points = int(np.flatnonzero(own == 1)[0]) + 1 if (own == 1).any() else len(own)
  shown = min(len(own) // points, SHOWN // points + 1)
  rows = [pixels[:0]]
  for at in range(0, shown * points, points):
    first, last = records(given['source'][at])
    rows.append(np.concatenate([first[None], pixels[at : at + points], last[None]]))
  return saved(
    folder, f'{one.name}-ways.png', np.concatenate(rows), f'{label}: {shown} of its pairs',
    f'At the ends of a row the records, between them {points} points of the way: the first and the '
    'last are the records as the chain gives them back.',
    columns=points + 2,
  )  # fmt: skip


def edits(
  folder: Path, one: Images, label: str, pixels: np.ndarray, origins: np.ndarray
) -> dict[str, Any]:
  """The first images, each below the record that it was made from."""
  shown = min(len(pixels), SHOWN // 2)
  shown -= shown % COLUMNS if shown > COLUMNS else 0  # whole rows
  rows = [pixels[:0]]
  for at in range(0, shown, COLUMNS):
    part = slice(at, min(at + COLUMNS, shown))
    rows += [origins[part], pixels[part]]
  return saved(
    folder, f'{one.name}-edits.png', np.concatenate(rows), f'{label}: before and after',
    'Above the given records, below what they became.', columns=min(COLUMNS, shown),
  )  # fmt: skip


def met(folder: Path, one: Images, label: str, pixels: np.ndarray, near: Tuples) -> dict[str, Any]:
  """The first images, each below the records of its conditions."""
  shown = min(len(pixels), COLUMNS)
  rows = [near.images(np.arange(shown), name) for name in near.names]
  return saved(
    folder, f'{one.name}-conditions.png', np.concatenate([*rows, pixels[:shown]]),
    f'{label}: {", ".join(near.names)}, and what was drawn',
    'A row for each condition: the record that the image below is to be near to.', columns=shown,
  )  # fmt: skip


def saved(
  folder: Path, name: str, pixels: np.ndarray, title: str, note: str | None, columns: int = COLUMNS
) -> dict[str, Any]:
  """A figure of images."""
  shown = pixels[..., :3] if pixels.shape[-1] > 2 else pixels[..., :1]
  stream = io.BytesIO()
  # Half a step up, so that truncation gives the same bytes back.
  grid((shown + np.float32(0.5)) / np.float32(127.5) - 1, columns).save(stream, 'PNG')
  work.write(folder / name, stream.getvalue())
  return {'kind': 'images', 'title': title, 'note': note, 'file': name, 'columns': columns}
