"""How much samples resemble records: quality, diversity, and copies of what was trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import eyes, features
from zsi_jax.evaluate import diversity, neighbours, quality
from zsi_jax.evaluate.distances import squared
from zsi_jax.evaluate.errors import MetricError
from zsi_jax.evaluate.shares import wilson
from zsi_jax.stages import findings, pictures, scoring, tuples
from zsi_jax.stages.eyes import seen as looked
from zsi_jax.stages.sets import Images

FEWEST = 50  # images of which features say anything about a distribution
SUBSET = 1000  # of KID, at most
NEIGHBOURS = {'features': ('judge B', 'mirrored'), 'clip': ('CLIP', 'clip_mirrored')}
Rows = Mapping[str, np.ndarray]
Values = dict[str, dict[str, Any]]
Eye = Callable[[np.ndarray], np.ndarray]  # uint8 [N, H, W, C] -> features [N, D]


class Resemblance:
  """The metrics of one set after the other; what cannot be measured is a warning."""

  def __init__(
    self, config: ConfigDict, workdir: Path, bench: scoring.Bench, records: scoring.Records
  ) -> None:
    self.own, self.folder = config.evaluate, workdir / 'evaluate'
    self.seed = int(config.seed)
    self.warnings = list[str]()
    self.protocol = dict[str, Any]()
    self.eyes = dict[str, Eye]()
    if 'b' in bench.judges:
      self.eyes['judge_b'] = bench.judges['b'].features
    if self.own.fid:
      inception = features.inception(self.own.inception)
      self.eyes['inception'] = inception.features
      self.protocol['features/inception'] = str(inception.source)
    if (kind := tuples.aside(config)) is not None:
      who = tuples.folder(config, workdir, kind, tuples.JUDGE)
      if eyes.read(who) is not None:
        self.eyes[f'eye_{kind}'] = partial(looked, eyes.eye(who))
        self.protocol[f'features/eye_{kind}'] = str(eyes.facts(who)['digest'])
    self.lpips = None
    if self.own.lpips is not None:
      self.lpips = features.lpips(self.own.lpips)
      self.protocol['lpips diversity'] = f'{self.lpips.source}, {self.own.pairs} pairs'
    self.against = self.references(bench, records) if self.eyes else {}

  def references(
    self, bench: scoring.Bench, records: scoring.Records
  ) -> dict[tuple[str, str], tuple[np.ndarray, quality.Moments]]:
    """(eye, 'full' or 'mild') -> features of all records, or of those nearest 1/2."""
    found = {'full': records.some(self.own.full)}
    if (mild := records.nearest(bench, self.own.mild)) is not None:
      found['mild'] = mild
    rows = {}
    for where, index in found.items():
      self.protocol[f'records/{where}'] = records.what(index)
      if len(index) < FEWEST:
        self.warnings.append(f'{len(index)} records are too few to compare {where} with')
        continue
      pixels = records.images(index)
      for name, eye in self.eyes.items():
        with self.noted(f'{name} of {where} records'):
          real = eye(pixels)
          rows[name, where] = real, quality.Moments.of(real)
    return rows

  @contextlib.contextmanager
  def noted(self, what: str) -> Iterator[None]:
    """What a metric refuses is said, and the others go on."""
    try:
      yield
    except MetricError as error:
      self.warnings.append(f'{what}: {error}')

  def of(self, one: Images, pixels: np.ndarray, seen: Rows) -> dict[str, Any]:
    """The metrics of a set."""
    told: dict[str, Any] = {}
    for name, eye in self.eyes.items():
      places = [where for other, where in self.against if other == name]
      if places and len(pixels) < FEWEST:
        self.warnings.append(f'{one.name}: {len(pixels)} images are too few for FID, KID, recall')
      if not places or len(pixels) < FEWEST:
        continue
      fake = seen['features'] if name == 'judge_b' else eye(pixels)
      with self.noted(f'{one.name}: {name}'):
        moments = quality.Moments.of(fake)
        for where in places:
          real, known = self.against[name, where]
          size = min(SUBSET, len(fake), len(real))
          told[f'fid/{name}/{where}'] = quality.fid(known, moments)
          told[f'kid/{name}/{where}'] = quality.kid(real, fake, size=size).mean
          cover = quality.precision_recall(real, fake)
          told[f'precision/{name}/{where}'] = cover.precision
          told[f'recall/{name}/{where}'] = cover.recall
    if self.lpips is not None:
      with self.noted(f'{one.name}: LPIPS'):
        apart = diversity.mean_lpips(self.lpips, pixels, self.own.pairs, seed=self.seed)
        told['lpips diversity'] = findings.number(apart.mean, low=apart.low, high=apart.high)
    return told

  def copies(
    self, one: Images, pixels: np.ndarray, seen: Rows, train: np.ndarray, known: Rows
  ) -> tuple[dict[str, Any], list[Any]]:
    """Samples that are nearer to a record of their own training set than records to each other."""
    k, told, shown = min(self.own.neighbours, len(train) - 1), dict[str, Any](), list[Any]()
    if k < self.own.neighbours:
      self.warnings.append(f'{one.name}: {len(train)} records have {k} neighbours at most')
    for row, (by, turned) in NEIGHBOURS.items() if k > 0 else ():
      if row not in seen:
        continue
      mirrored = (seen[turned], known[turned]) if turned in seen else None
      with self.noted(f'{one.name}: copies by {by}'):
        alike = neighbours.memorised(pixels, train, seen[row], known[row], mirrored=mirrored, k=k)
        more = '' if row == 'features' else f' by {by}'
        told[f'copies of training records{more}'] = findings.number(alike.share)
        told[f'copies, by chance{more}'] = findings.number(alike.chance)
        shown.append(suspects(self.folder, one, pixels, train, alike, row, by))
    return told, shown


def kept(drawn: np.ndarray, origins: np.ndarray) -> dict[str, Any]:
  """How much of the records that images were made from is still in them."""
  gap = (drawn.astype(np.float32) - origins) / 255
  apart = np.sqrt((gap**2).mean(axis=(1, 2, 3)))
  x, y = (a.reshape(len(a), -1).astype(np.float32) / 255 for a in (drawn, origins))
  first = np.concatenate([block.min(axis=1) for _, block in squared(x, y)])
  own = int((apart**2 * x.shape[1] <= first * (1 + 1e-3) + 1e-6).sum())
  return {
    'given records/rms distance': findings.number(float(apart.mean())),
    'given records/own is the nearest': findings.shared(wilson(own, len(drawn))),
  }


def suspects(
  folder: Path,
  one: Images,
  drawn: np.ndarray,
  train: np.ndarray,
  alike: neighbours.Memorised,
  row: str,
  by: str,
) -> dict[str, Any]:
  """The samples nearest to a training record, each above its record."""
  first = alike.order[: pictures.COLUMNS]
  rows = np.concatenate([drawn[first], train[alike.index[first]]])
  return pictures.saved(
    folder, f'{one.name}-neighbours{"" if row == "features" else f"-{row}"}.png', rows,
    f'{one.name}: nearest training records by {by}',
    f'Above: samples whose pixels are nearest to a record, of the nearest by the features of {by}; '
    'below: that record. Their distance is {alike.ratio[first[0]]:.2f} … '
    f'{alike.ratio[first[-1]]:.2f} of the usual one between records.',
    columns=len(first),
  )  # fmt: skip
