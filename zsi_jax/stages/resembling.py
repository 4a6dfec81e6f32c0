"""How much samples resemble records: quality, diversity, and copies of what was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import features
from zsi_jax.evaluate import diversity, neighbours, quality
from zsi_jax.io.log import logger
from zsi_jax.stages import findings, pictures, scoring
from zsi_jax.stages.sets import Images

FEWEST = 50  # images of which features say anything about a distribution
SUSPECTS = 6  # samples shown beside their neighbours
Rows = Mapping[str, np.ndarray]
Values = dict[str, dict[str, Any]]


def compared(
  config: ConfigDict,
  folder: Path,
  found: list[Images],
  scored: Mapping[str, Rows],
  reference: Rows,
  train: np.ndarray,
  bench: scoring.Bench,
  records: scoring.Records,
) -> tuple[Values, list[Any]]:
  """(metrics of each set, pictures)."""
  told: Values = {one.name: {} for one in found}
  images = list[Any]()
  own = config.evaluate
  seen = dict[str, Callable[[str, np.ndarray | None], np.ndarray]]()
  if 'b' in bench.judges:
    judge = bench.judges['b']
    seen['judge_b'] = lambda name, pixels: (
      scored[name]['features'] if pixels is None else judge.features(pixels)
    )
  if own.fid:
    inception, kept = features.inception(own.inception), dict[str, np.ndarray]()
    by_name = {one.name: one for one in found}

    def looked(name: str, pixels: np.ndarray | None) -> np.ndarray:
      if name not in kept:
        kept[name] = inception.features(by_name[name].read()[0] if pixels is None else pixels)
      return kept[name]

    seen['inception'] = looked
  against = references(config, bench, records) if seen else {}
  for eye, look in seen.items():
    for where, pixels in against.items():
      real = look(f'records/{where}', pixels)
      for one in found:
        fake = look(one.name, None)
        if min(len(fake), len(real)) < FEWEST:
          continue
        told[one.name][f'fid/{eye}/{where}'] = quality.fid(real, fake)
        kid = quality.kid(real, fake, size=min(1000, len(fake), len(real)))
        told[one.name][f'kid/{eye}/{where}'] = kid.mean
        cover = quality.precision_recall(real, fake)
        told[one.name][f'precision/{eye}/{where}'] = cover.precision
        told[one.name][f'recall/{eye}/{where}'] = cover.recall
  if own.lpips is not None:
    lpips = features.lpips(own.lpips)
    for one in found:
      pixels = one.read()[0]
      apart = diversity.mean_lpips(lpips, pixels, own.pairs, seed=config.seed)
      told[one.name]['lpips diversity'] = findings.number(
        apart.mean, low=apart.low, high=apart.high
      )
  if own.neighbours and 'features' in reference:
    pixels = records.images(train)
    for one in found:
      k = min(own.neighbours, len(train) - 1)
      if k < 1:
        continue
      drawn = one.read()[0]
      alike = neighbours.memorised(
        drawn, pixels, scored[one.name]['features'], reference['features'], k=k
      )
      told[one.name]['copies of training records'] = findings.number(alike.share)
      told[one.name]['copies, by chance'] = findings.number(alike.chance)
      images.append(suspects(folder, one, drawn, pixels, alike))
  logger.debug('evaluate: %d sets compared', len(told))
  return told, images


def references(
  config: ConfigDict, bench: scoring.Bench, records: scoring.Records
) -> dict[str, np.ndarray]:
  """'full': of all records; 'mild': those nearest 1/2."""
  own = config.evaluate
  found = {'full': records.images(records.some(own.full))}
  mild = records.nearest(bench.attributes, own.mild)
  if mild is not None:
    found['mild'] = records.images(mild)
  return found


def suspects(
  folder: Path, one: Images, drawn: np.ndarray, train: np.ndarray, alike: neighbours.Memorised
) -> dict[str, Any]:
  """The samples nearest to a training record, each above its record."""
  first = alike.order[: pictures.COLUMNS]
  rows = np.concatenate([drawn[first], train[alike.index[first]]])
  return pictures.saved(
    folder, f'{one.name}-neighbours.png', rows, f'{one.name}: nearest training records',
    'Above: samples whose pixels are nearest to a record, of the nearest by the features of judge '
    f'B; below: that record. Their distance is {alike.ratio[first[0]]:.2f} … '
    f'{alike.ratio[first[-1]]:.2f} of the usual one between records.',
    columns=len(first),
  )  # fmt: skip
