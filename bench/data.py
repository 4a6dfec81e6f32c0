"""Images a second: each generator, and the pipeline from array_record, from .npz and on the fly.

  python -m bench.data --seconds 3 --out bench/results/data.json

`drawn` is one process that asks for record after record (circles keep what they drew, so theirs is
the figure of a look-up). A pipeline shuffles, flips, crops and batches by 64; its clock starts with
the first batch, and `start_s` is what that one took. Files come from the page cache.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zsi_jax.data import memory, store
from zsi_jax.data.circles import Circles
from zsi_jax.data.discs import Discs
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.data.portraits import Portraits
from zsi_jax.data.record import Source
from zsi_jax.data.sizes import Sizes
from zsi_jax.io.stamp import stamp

BATCH, WORKERS, SEED = 64, (0, 1, 2), 0


@dataclasses.dataclass(frozen=True)
class Row:
  source: str
  size: int
  way: str  # drawn, array_record, npz, on the fly
  workers: int | None
  images_per_s: float
  start_s: float | None = None
  bytes_per_image: int | None = None


def drawn(source: Source, seconds: float) -> float:
  """Records a second, spread over the source."""
  source[0]
  start, n = time.perf_counter(), 0
  for i in itertools.count(1):
    source[i * 7919 % len(source)]
    n += 1
    if (took := time.perf_counter() - start) > seconds:
      return n / took


def piped(source: Source, workers: int, seconds: float) -> tuple[float, float]:
  """Images a second after the first batch, and the seconds until that."""
  begin = time.perf_counter()
  pipeline = Pipeline(
    source, batch=BATCH, seed=SEED, workers=workers, flip=True, crop=0.8, process=(0, 1)
  )
  with pipeline.batches() as batches:
    next(batches)
    start, n = time.perf_counter(), 0
    while True:
      n += len(next(batches)['image'])
      if (took := time.perf_counter() - start) > seconds:
        return n / took, start - begin


def rows(source: Source, root: Path, seconds: float) -> Iterator[Row]:
  about: dict[str, Any] = {'source': source.name, 'size': source.fields['image'].shape[0]}
  yield Row(**about, way='drawn', workers=None, images_per_s=drawn(source, seconds))
  directory = store.write(source, root)
  npz = memory.write_npz(source, root / f'{source.name}.npz')
  of_store = sum(p.stat().st_size for p in directory.iterdir()) // len(source)
  of_npz = npz.stat().st_size // len(source)
  for way, kept, size in (
    ('array_record', store.open(directory), of_store),
    ('npz', memory.Npz(npz), of_npz),
    ('on the fly', source, None),
  ):
    for workers in WORKERS:
      rate, start = piped(kept, workers, seconds)
      yield Row(**about, way=way, workers=workers, images_per_s=rate, start_s=start,
                bytes_per_image=size)  # fmt: skip


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
  parser.add_argument('--seconds', type=float, default=3.0, help='for each figure')
  parser.add_argument('--records', type=int, default=1200, help='of each data set')
  parser.add_argument('--out', type=Path, help='a JSON file')
  args = parser.parse_args()
  sources = (
    Circles(),
    Discs(n=args.records),
    Sizes(n=args.records),
    *(Portraits(size=size, n=args.records) for size in (32, 64, 128)),
  )
  before, found = os.getloadavg(), []
  with tempfile.TemporaryDirectory() as root:
    for source in sources:
      for row in rows(source, Path(root) / str(source.fields['image'].shape[0]), args.seconds):
        found.append(dataclasses.asdict(row))
        print(
          f'{row.source:16} {row.size:4} px  {row.way:12} '
          f'{"" if row.workers is None else f"{row.workers} workers":10} '
          f'{row.images_per_s:9.0f} images/s',
          flush=True,
        )
  if args.out:
    text = {
      'stamp': stamp(seeds=SEED, batch=BATCH, device=False),
      'cores': os.cpu_count(),
      'python': platform.python_version(),
      'load': {'before': before, 'after': os.getloadavg()},
      'seconds': args.seconds,
      'rows': found,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(text, indent=1) + '\n')


if __name__ == '__main__':
  main()
