"""Contact sheets of the drawn portraits: `python -m bench.portraits --out docs`.

Three pictures: people as the data set has them; a row for each attribute, swept alone; a turning
head with its landmarks and its mask drawn over it. Prints how many portraits a second are drawn.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from zsi_jax.data.portraits import EMOTIONS, Person, Portraits, draw

SEED, COLUMNS, LABEL = 5, 9, 92
SWEPT = {
  **dict.fromkeys(('smile', 'age', 'hair'), (0.0, 1.0)),
  'yaw': (-90.0, 90.0),
  'pitch': (-25.0, 25.0),
  'roll': (-20.0, 20.0),
  **dict.fromkeys(('glasses', 'mouth_open', 'brow', 'light', 'background'), (0.0, 1.0)),
}
CLASS_COLOURS = np.array(
  [
    (0, 0, 0), (230, 180, 140), (120, 60, 20), (160, 90, 30), (60, 120, 230), (60, 190, 230),
    (30, 30, 30), (230, 110, 90), (200, 60, 90), (250, 210, 60), (250, 140, 170), (110, 10, 30),
    (200, 40, 60), (230, 80, 110), (190, 140, 110), (250, 230, 120), (90, 160, 90), (110, 80, 160),
    (60, 90, 160),
  ],
  np.uint8,
)  # fmt: skip


def plain(seed: int) -> Person:
  """A person of the data set, looking ahead with nothing on their mind."""
  p = Portraits(seed=SEED, n=10_000).person(seed)
  rest = {f.name: f.default for f in dataclasses.fields(Person)}
  keep = {name: getattr(p, name) for name in ('identity', 'cloth', 'background', 'hair')}
  return Person(**(rest | keep | {'age': 0.25}))


def titled(rows: list[tuple[str, np.ndarray]]) -> Image.Image:
  """Rows of pixels with a name before each."""
  height, width = sum(r.shape[0] for _, r in rows), rows[0][1].shape[1]
  sheet = Image.new('RGB', (LABEL + width, height), 'white')
  pen, top = ImageDraw.Draw(sheet), 0
  for name, row in rows:
    sheet.paste(Image.fromarray(row), (LABEL, top))
    pen.text((6, top + row.shape[0] // 2 - 6), name, fill='black')
    top += row.shape[0]
  return sheet


def attributes(size: int) -> Image.Image:
  rows = []
  for k, (name, (low, high)) in enumerate(SWEPT.items()):
    values = np.linspace(low, high, COLUMNS)
    people = [dataclasses.replace(plain(3 * k + 1), **{name: float(v)}) for v in values]
    rows.append((name, np.concatenate([draw(p, size)['image'] for p in people], 1)))
  feelings = [
    # The points are those of a resting face: what shows is what no landmark tells.
    dataclasses.replace(plain(40), emotion=tuple(np.eye(8)[k % 8]), intensity=float(k > 0))
    for k in range(COLUMNS - 1)
  ]
  people = [plain(40), *feelings]
  rows.append(('emotion, cues', np.concatenate([draw(p, size)['image'] for p in people], 1)))
  emotions = Portraits(size=size, n=4000, seed=SEED, yaw=(0, 0), pitch=(0, 0), roll=(0, 0))
  felt = [emotions.person(i) for i in range(2000)]
  best = [max(felt, key=lambda p, k=k: p.emotion[k] * p.intensity) for k in range(len(EMOTIONS))]
  best.append(max(felt, key=lambda p: p.arousal))
  rows.append(('emotion, faces', np.concatenate([draw(p, size)['image'] for p in best], 1)))
  return titled(rows)


def turning(size: int, zoom: int = 2) -> Image.Image:
  rows = []
  for who in (2, 9):
    pictures, points, masks = [], [], []
    for yaw in np.linspace(-90, 90, COLUMNS):
      record = draw(dataclasses.replace(plain(who), yaw=float(yaw), smile=0.7), size)
      image = cv2.resize(record['image'], None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
      dotted = image.copy()
      for (x, y), seen in zip(record['landmarks'], record['visible'], strict=True):
        at = round(zoom * (float(x) + 0.5)), round(zoom * (float(y) + 0.5))
        cv2.circle(dotted, at, 1, (60, 255, 60) if seen else (255, 90, 60), -1, cv2.LINE_AA)
      colours = CLASS_COLOURS[record['mask'][..., 0]]
      over = cv2.resize(colours, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
      pictures.append(image)
      points.append(dotted)
      masks.append(cv2.addWeighted(image, 0.35, over, 0.65, 0))
    rows += [('yaw', pictures), ('landmarks', points), ('mask', masks)]
  return titled([(name, np.concatenate(row, 1)) for name, row in rows])


def people(size: int, rows: int = 6, columns: int = 14) -> tuple[Image.Image, float]:
  source = Portraits(size=size, n=rows * columns, seed=SEED, yaw=(-90, 90))
  start = time.process_time()
  images = [source[i]['image'] for i in range(len(source))]
  rate = len(source) / (time.process_time() - start)
  grid = np.array(images).reshape(rows, columns, size, size, 3).swapaxes(1, 2)
  return Image.fromarray(grid.reshape(rows * size, columns * size, 3)), rate


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--out', type=Path, default=Path('docs'))
  parser.add_argument('--size', type=int, default=64, choices=(32, 64, 128))
  args = parser.parse_args()
  args.out.mkdir(parents=True, exist_ok=True)
  draw(Person(), args.size)  # the surface is made once
  picture, rate = people(args.size)
  picture.save(args.out / 'portraits.png', optimize=True)
  attributes(args.size).save(args.out / 'portraits_attributes.png', optimize=True)
  turning(args.size).save(args.out / 'portraits_turning.png', optimize=True)
  print(f'{rate:.0f} portraits a second on one core at {args.size} px')


if __name__ == '__main__':
  main()
