"""One set after the other: what is seen in it as numbers, figures and pictures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from zsi_jax.evaluate import aimed
from zsi_jax.io.stamp import stamp
from zsi_jax.stages import curves, findings, obeyed, pictures, resembling, scoring, tuples
from zsi_jax.stages import workdir as work
from zsi_jax.stages.sets import Images

TRAINED = 'training records'  # as a set beside the others


@dataclasses.dataclass
class Examined:
  """By the names of the sets, and in their order."""

  training: Training
  values: dict[str, findings.Values] = dataclasses.field(default_factory=dict)
  scored: dict[str, scoring.Rows] = dataclasses.field(default_factory=dict)
  labels: dict[str, str] = dataclasses.field(default_factory=dict)
  obeyed: dict[str, obeyed.Rows] = dataclasses.field(default_factory=dict)
  amounts: dict[str, int] = dataclasses.field(default_factory=dict)  # of training records
  figures: list[Any] = dataclasses.field(default_factory=list)
  images: list[Any] = dataclasses.field(default_factory=list)  # figures, too
  warnings: list[str] = dataclasses.field(default_factory=list)
  protocol: dict[str, Any] = dataclasses.field(default_factory=dict)


def examine(
  config: ConfigDict,
  workdir: Path,
  found: list[Images],
  bench: scoring.Bench,
  records: scoring.Records,
) -> Examined:
  own, folder = config.evaluate, workdir / 'evaluate'
  likeness = resembling.Resemblance(config, workdir, bench, records)
  told = Examined(Training(config, workdir, bench), protocol=likeness.protocol)
  for one in found:
    pixels, given = one.read()
    seen = scoring.scores(folder / 'scores', one.name, one.digest, bench, pixels)
    seen = bench.heard(seen)
    label = one.name if one.name == one.label else f'{one.name}, {one.label}'
    values, said = findings.values(seen, given, bench.attributes, own.bins, own.bootstrap)
    told.warnings += [f'{one.name}: {line}' for line in said]
    told.images += pictures.ordered(folder, one, label, pixels, seen)
    dial(folder, one, seen, given, bench)
    told.figures += curves.asked(one.name, one.label, seen, given, bench.attributes)
    told.figures += curves.pairs(one.name, seen, bench.attributes)
    if obeyed.measured(config, one):
      rows = obeyed.seen(config, workdir, one, pixels)
      values |= obeyed.values(rows, own.bootstrap)
      told.obeyed[one.name] = rows
      near = tuples.drawn(obeyed.as_drawn(config, one), workdir, len(pixels))
      told.images.append(pictures.met(folder, one, label, pixels, near))
    elif 'source' in given:
      images = scoring.Records(config, one.home).images
      if 'fraction' in given:
        told.figures += curves.along(one.name, seen, given['fraction'], bench.attributes)
        told.images.append(pictures.ways(folder, one, label, pixels, given, images))
      else:
        origins = images(given['source'])
        values |= resembling.kept(pixels, origins)
        told.images.append(pictures.edits(folder, one, label, pixels, origins))
    train, known = told.training.of(one)
    copied, shown = likeness.copies(one, pixels, seen, train, known)
    told.images += shown
    rate = {'images a second': one.n / one.seconds} if one.seconds else {}
    told.values[one.name] = values | likeness.of(one, pixels, seen) | copied | rate
    told.scored[one.name], told.labels[one.name] = seen, label
    told.amounts[one.name] = len(train)
  told.warnings += likeness.warnings
  return told


class Training:
  """What each set's denoiser was trained on, and what is seen in it; each split once."""

  def __init__(self, config: ConfigDict, workdir: Path, bench: scoring.Bench) -> None:
    self.config, self.workdir, self.bench = config, workdir, bench
    self.known = dict[str, tuple[np.ndarray, Mapping[str, np.ndarray]]]()
    self.base = self.at(workdir, TRAINED)

  def of(self, one: Images) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    own = one.home == self.workdir
    return self.at(one.home, TRAINED if own else f'{TRAINED} of {one.home.name}')

  def at(self, home: Path, name: str) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    """(images, scores)."""
    records = scoring.Records(self.config, home)
    index = records.trained()
    if (what := records.what(index)) not in self.known:
      pixels, folder = records.images(index), self.workdir / 'evaluate' / 'scores'
      seen = scoring.scores(folder, name, what, self.bench, pixels)
      self.known[what] = pixels, self.bench.heard(seen)
    return self.known[what]


def dial(
  folder: Path,
  one: Images,
  rows: Mapping[str, Any],
  given: Mapping[str, Any],
  bench: scoring.Bench,
) -> None:
  """Of an aimed set what judge A, if it is fit, saw for what was asked: for sample.dial."""
  if 'aim' not in given or 'asked' in given or 'judge_a' not in rows or 'a' in bench.unfit:
    return
  if rows['judge_a'].shape[1] == 1:
    found = aimed.dial(given['aim'], rows['judge_a'][:, 0])
    told = {'asked': found.asked.tolist(), 'got': found.got.tolist(), 'set': one.digest}
    told |= {'stamp': stamp(told)}
    work.write(folder / f'dial-{one.name}.json', (json.dumps(told, indent=1) + '\n').encode())
