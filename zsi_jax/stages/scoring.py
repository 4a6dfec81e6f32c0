"""What judges and meters see in images, kept beside: evaluate/scores/<name>.npz.

judge_a, judge_b  float64 [N, A]: P of each attribute, or of each class
… without ranks   the same before a judge's ranks, where it has some
truth             float64 [N, A]: by the meter of the data set, else by the regressing network; NaN
                  where an image has no such value
meter/<name>      float64 [N]: what else the meter sees
features          float32 [N, D]: of judge b, before its head
mirrored          the same, of the images from left to right, where training saw them so
clip, …_mirrored  the same by CLIP, where evaluate.clip names its weights
stamp, key        who wrote it; the digest of the images and of who looked
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import meters
from zsi_jax.build.keys import ConfigError
from zsi_jax.data import npz
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import entries, table
from zsi_jax.io.log import logger
from zsi_jax.io.stamp import digest, stamp
from zsi_jax.stages import findings, prepare
from zsi_jax.stages import judge as judging
from zsi_jax.stages import workdir as work

Rows = dict[str, np.ndarray]
AGAIN = 'Remove it, and it is made again'
CHUNK = 4096  # records in memory
AGAIN_OF, NEAR = 8, 1e-3  # `--check`: so many images, and how near their scores have to be
FORMAT = 2  # of what is kept: another, and all is seen again


@dataclasses.dataclass(frozen=True)
class Bench:
  """All that looks at images: judges by their names, and the meter of the data set."""

  judges: Mapping[str, Any]
  told: Mapping[str, Any]  # judge.json of each
  unfit: Mapping[str, str]  # why a judge may not judge
  meter: meters.Meter | None
  attributes: tuple[str, ...]  # what columns of scores are about
  ranges: tuple[tuple[float, float] | None, ...] = ()  # of those that a network measures
  flip: bool = False  # training saw images from left to right, too
  clip: Any = None  # looks for copies, too
  silent: bool = True  # a judge that may not judge says nothing

  @property
  def digest(self) -> dict[str, Any]:
    """What scores depend on, beside the images."""
    own = {name: judge.digest for name, judge in self.judges.items()}
    own |= {} if self.clip is None else {'clip': str(self.clip.source)}
    return own | {'meter': self.meter and self.meter.name, 'flip': self.flip, 'format': FORMAT}

  @property
  def truth(self) -> str | None:
    """Who says what is true."""
    if self.meter is not None:
      return self.meter.name
    return 'regressing network' if 'truth' in self.judges else None

  def read(self, images: np.ndarray) -> Rows:
    rows: Rows = {}
    for name, judge in self.judges.items():
      row, logits = name if name == 'truth' else f'judge_{name}', judge.logits(images)
      rows[row] = self.columns(judge, judge.read(logits))
      if any(judge.ranks):
        rows[f'{row} {findings.RAW}'] = self.columns(judge, judge.read(logits, ranked=False))
    if 'b' in self.judges:
      rows['features'] = self.judges['b'].features(images)
      if self.flip:
        rows['mirrored'] = self.judges['b'].features(images[:, :, ::-1])
    if self.clip is not None:
      rows['clip'] = self.clip.features(images)
      if self.flip:
        rows['clip_mirrored'] = self.clip.features(images[:, :, ::-1])
    if self.meter is not None:
      seen = self.meter.read(images)
      if 'z' in seen:
        rows['truth'] = seen['z'][:, None]
      rows |= {f'meter/{name}': a for name, a in seen.items() if name != 'z'}
    return rows

  def heard(self, rows: Rows) -> Rows:
    """Without what judges say that may not judge; where their features lie stays."""
    deaf = tuple(f'judge_{name}' for name in self.unfit) if self.silent else ()
    return {name: a for name, a in rows.items() if not name.startswith(deaf or ('-',))}

  def columns(self, judge: Any, p: np.ndarray) -> np.ndarray:
    """Of two classes P(1); what is measured as a share of its range, NaN where it has none."""
    if judge.kind == 'classes':
      return p[:, 1:] if p.shape[1] == 2 else p
    if judge.kind != 'regression':
      return p
    ends = [found or (np.nan, np.nan) for found in self.ranges]
    low, high = np.array(ends, np.float64).reshape(-1, 2).T
    return np.clip((p - low) / (high - low), 0, 1)


def bench(config: ConfigDict, workdir: Path, fields: Mapping[str, Any]) -> Bench:
  """The judges of this workdir, or of evaluate.judges, and the meter."""
  home = workdir if config.evaluate.judges is None else Path(config.evaluate.judges).expanduser()
  judges, told = judging.trusted(config, home)
  unfit = {
    name: why for name, row in told.items() if name != 'truth' and (why := judging.may_judge(row))
  }
  silent = not config.evaluate.unfit
  for name, why in unfit.items():
    what = 'what it says is left out; evaluate.unfit=True keeps it' if silent else 'kept, and named'
    logger.warning('evaluate: judge %s is not fit to judge: %s (%s)', name, why, what)
  own, meter = meters.LATENT.get(config.data.source), meters.meter(config)
  attributes = (own,) if meter is not None and own else tuple(config.judge.attributes)
  if any(judge.kind == 'classes' for judge in judges.values()) and len(attributes) > 1:
    attributes = ()  # columns are classes
  ranges = tuple(judging.span(fields.get(name)) for name in config.judge.attributes)
  clip = None
  if config.evaluate.clip is not None:
    from zsi_jax.build.clip import clip as from_file

    clip = from_file(config.evaluate.clip)
  flip = bool(config.data.flip)
  return Bench(judges, told, unfit, meter, attributes, ranges, flip, clip, silent)


def scores(folder: Path, name: str, what: str, of: Bench, pixels: np.ndarray) -> Rows:
  """Of a set whose bytes have this digest; read again where it was scored by the same judges."""
  path, key = folder / f'{name}.npz', digest([what, of.digest])
  if path.is_file():
    try:
      rows = dict(npz.read(path, AGAIN))
      if str(rows.pop('key')) == key and rows.pop('stamp') is not None:
        return rows
    except (DataError, KeyError):
      pass
  if not len(pixels):
    raise ConfigError(f'{name}: an empty set of images cannot be evaluated')
  logger.info('evaluate: scores of %d images of %s', len(pixels), name)
  rows = of.read(pixels)
  stream = io.BytesIO()
  told = json.dumps(stamp(of.digest))
  npz.write(stream, {**rows, 'key': np.array(key), 'stamp': np.array(told)})
  work.write(path, stream.getvalue())
  return rows


def seen_again(folder: Path, name: str, what: str, of: Bench, pixels: np.ndarray) -> None:
  """A ConfigError unless some images still have the scores that are kept."""
  kept = scores(folder, name, what, of, pixels)
  some = np.unique(np.linspace(0, len(pixels) - 1, AGAIN_OF).astype(int))
  for row, now in of.read(pixels[some]).items():
    there = kept.get(row, np.zeros(0))[some] if len(kept.get(row, ())) == len(pixels) else None
    if there is None or not np.allclose(there, now, rtol=NEAR, atol=NEAR, equal_nan=True):
      raise ConfigError(f'{folder / name}.npz: {row} is not what is seen in the images. {AGAIN}')


class Records:
  """Records of the data set that a workdir was prepared from."""

  def __init__(self, config: ConfigDict, workdir: Path) -> None:
    told = prepare.read(workdir)
    there = None if told is None else prepare.kept(config, workdir, told)
    if told is None or there is None:
      raise ConfigError(f'{workdir}: its data set is gone; run --stage=prepare first')
    self.told, self.stored = told, there[0]
    self.workdir, self.seed = workdir, int(config.seed)
    self.table = table(self.stored)

  def trained(self) -> np.ndarray:
    """Numbers of the records that the denoiser was trained on."""
    return np.unique(self._subset('denoiser')['index'])

  def split(self) -> str:
    """The digest of which records, with which labels, the networks were given."""
    parts = [self._subset(role) for role in sorted(self.told['roles'])]
    return digest([[part[name].tolist() for name in ('index', 'label')] for part in parts])

  def _subset(self, role: str) -> dict[str, np.ndarray]:
    path = self.workdir / self.told['roles'][role]['file']
    return npz.read(path, 'Run --stage=prepare')

  def some(self, most: int) -> np.ndarray:
    """Numbers of records drawn from all of them: 'full'."""
    order = np.random.default_rng([self.seed, 1]).permutation(len(self.stored))
    return np.sort(order[:most])

  def images(self, index: np.ndarray) -> np.ndarray:
    return np.stack([entries(self.stored, int(i), ('image',))['image'] for i in index])

  def what(self, index: np.ndarray) -> str:
    """The digest of some records."""
    return digest([self.data(), index.tolist()])

  def data(self) -> str:
    own = self.told['dataset']
    return f'{own["name"]}/{own["digest"]}/{own["numbering"]}'

  def nearest(self, of: Bench, most: int) -> np.ndarray | None:
    """Numbers of the records nearest 1/2: 'mild'. By the truth, else by judge a; None without."""
    names = of.attributes
    columns = [self.table[name].astype(float) for name in names if name in self.table]
    if names and len(columns) == len(names) and all(len(np.unique(c)) > 2 for c in columns):
      far = np.max([np.abs(c - 0.5) for c in columns], axis=0)
    elif 'a' in of.judges and of.judges['a'].kind != 'regression':
      every = np.arange(len(self.stored))
      parts = [every[at : at + CHUNK] for at in range(0, len(every), CHUNK)]
      judge = of.judges['a']
      p = np.concatenate([of.columns(judge, judge.scores(self.images(part))) for part in parts])
      far = np.abs(p - 0.5).max(axis=1)
    else:
      return None
    return np.sort(np.argsort(far, kind='stable')[:most])
