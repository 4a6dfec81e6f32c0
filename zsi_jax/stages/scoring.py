"""What judges and meters see in images, kept beside: evaluate/scores/<name>.npz.

judge_a, judge_b  float64 [N, A]: P of each attribute, or of each class
truth             float64 [N, A]: by the meter of the data set, else by the regressing network; NaN
                  where an image has no such value
meter/<name>      float64 [N]: what else the meter sees
features          float32 [N, D]: of judge b, before its head
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import meters
from zsi_jax.build.keys import ConfigError
from zsi_jax.data import npz
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import table
from zsi_jax.io.log import logger
from zsi_jax.io.stamp import digest
from zsi_jax.stages import judge as judging
from zsi_jax.stages import prepare
from zsi_jax.stages import workdir as work

Rows = dict[str, np.ndarray]
AGAIN = 'Remove it, and it is made again'
LATENT = {'circles': 'z', 'sizes': 'size'}  # the attribute that the meter of a source measures


@dataclasses.dataclass(frozen=True)
class Bench:
  """All that looks at images: judges by their names, and the meter of the data set."""

  judges: Mapping[str, Any]
  told: Mapping[str, Any]  # judge.json of each
  unfit: Mapping[str, str]  # why a judge may not judge
  meter: meters.Meter | None
  attributes: tuple[str, ...]

  @property
  def digest(self) -> dict[str, Any]:
    """What scores depend on, beside the images."""
    own = {name: judge.digest for name, judge in self.judges.items()}
    return own | {'meter': self.meter and self.meter.name}

  @property
  def truth(self) -> str | None:
    """Who says what is true."""
    if self.meter is not None:
      return self.meter.name
    return 'regressing network' if 'truth' in self.judges else None

  def read(self, images: np.ndarray) -> Rows:
    rows: Rows = {}
    for name, judge in self.judges.items():
      p = judge.scores(images)
      row = name if name == 'truth' else f'judge_{name}'
      rows[row] = np.clip(p, 0, 1) if judge.kind == 'regression' else p
    if 'b' in self.judges:
      rows['features'] = self.judges['b'].features(images)
    if self.meter is not None:
      seen = self.meter.read(images)
      if 'z' in seen:
        rows['truth'] = seen['z'][:, None]
      rows |= {f'meter/{name}': a for name, a in seen.items() if name != 'z'}
    return rows


def bench(config: ConfigDict, workdir: Path) -> Bench:
  """The judges of this workdir, or of evaluate.judges, and the meter."""
  home = workdir if config.evaluate.judges is None else Path(config.evaluate.judges).expanduser()
  judges, told = judging.trusted(config, home)
  unfit = {name: why for name, row in told.items() if (why := judging.may_judge(row))}
  for name, why in unfit.items():
    logger.warning('evaluate: judge %s is not fit to judge: %s', name, why)
  own = LATENT.get(config.data.source)
  meter = meters.meter(config)
  attributes = (own,) if meter is not None and own else tuple(config.judge.attributes)
  return Bench(judges, told, unfit, meter, attributes)


def scores(folder: Path, name: str, what: str, of: Bench, pixels: np.ndarray) -> Rows:
  """Of a set whose bytes have this digest; read again where it was scored by the same judges."""
  path, key = folder / f'{name}.npz', digest([what, of.digest])
  if path.is_file():
    try:
      rows = dict(npz.read(path, AGAIN))
      if str(rows.pop('key')) == key:
        return rows
    except (DataError, KeyError):
      pass
  if not len(pixels):
    raise ConfigError(f'{name}: an empty set of images cannot be evaluated')
  logger.info('evaluate: scores of %d images of %s', len(pixels), name)
  rows = of.read(pixels)
  stream = io.BytesIO()
  npz.write(stream, {**rows, 'key': np.array(key)})
  work.write(path, stream.getvalue())
  return rows


class Records:
  """Records of the data set that a workdir was prepared from."""

  def __init__(self, config: ConfigDict, workdir: Path) -> None:
    told = prepare.read(workdir)
    there = None if told is None else prepare.kept(config, workdir, told)
    if told is None or there is None:
      raise ConfigError(f'{workdir}: its data set is gone; run --stage=prepare first')
    self.stored, self.told, self.workdir, self.seed = there[0], told, workdir, int(config.seed)
    self.table = table(self.stored)

  def trained(self, most: int) -> np.ndarray:
    """Numbers of records that the denoiser was trained on, spread evenly."""
    file = self.workdir / self.told['roles']['denoiser']['file']
    with np.load(file, allow_pickle=False) as arrays:
      index = np.unique(arrays['index'])
    return index[np.linspace(0, len(index) - 1, min(most, len(index))).astype(int)]

  def some(self, most: int) -> np.ndarray:
    """Numbers of records drawn from all of them: 'full'."""
    order = np.random.default_rng([self.seed, 1]).permutation(len(self.stored))
    return np.sort(order[:most])

  def images(self, index: np.ndarray) -> np.ndarray:
    return np.stack([self.stored[int(i)]['image'] for i in index])

  def what(self, index: np.ndarray) -> str:
    """The digest of some records."""
    return digest(
      [self.told['dataset']['digest'], self.told['dataset']['numbering'], index.tolist()]
    )

  def nearest(self, attributes: tuple[str, ...], most: int) -> np.ndarray | None:
    """Numbers of the records whose attributes are nearest 1/2: 'mild'; None if nobody knows."""
    if not all(name in self.table for name in attributes):
      return None
    far = np.max([np.abs(self.table[name].astype(float) - 0.5) for name in attributes], axis=0)
    return np.sort(np.argsort(far, kind='stable')[:most])

  def truth(self, index: np.ndarray, attributes: tuple[str, ...]) -> np.ndarray | None:
    """What is known of them, [N, A]."""
    if not all(name in self.table for name in attributes):
      return None
    return np.stack([self.table[name][index].astype(float) for name in attributes], axis=1)
