"""The filter of `split.kind='judged'`, before `prepare` writes its lists: what judges find extreme.

A judge of all records, thresholds, an ensemble on distinct parts of those where it is sure, and
those where all are (Deschenaux et al., §4.3, D.1). Without thresholds and without a hold-out it
ends after the first judge, with the records that a person has to label.

workdir/filter/<judge, 0, 1, …>/           a network while it is trained; goes on after a kill
workdir/filter/<judge, 0, 1, …>.npz        its scores of all records, and what it learnt from
workdir/filter/scores/<judge, 0, 1, …>.csv the same: sheets for `split.kind='agree'`
workdir/filter/holdout_template.csv        records to label by hand, which index.html shows
workdir/filter/index.html                  what was kept, dropped and borderline
workdir/filter/{confident,agreed,kept}.txt index lists: S, S', S*
workdir/filter/filter.json                 last: counts, thresholds, estimate of errors
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from zsi_jax import distributed
from zsi_jax.build import data, judging
from zsi_jax.build import filtering as filters
from zsi_jax.build.judging import Asked
from zsi_jax.build.keys import ConfigError, differences, meaning, reduced
from zsi_jax.build.records import Records
from zsi_jax.data import npz
from zsi_jax.data.record import Source
from zsi_jax.data.subsets import Subset
from zsi_jax.evaluate.judge import Task
from zsi_jax.io.log import logger
from zsi_jax.io.stamp import stamp
from zsi_jax.stages import judge, prepare
from zsi_jax.stages import workdir as work

KIND, FOLDER, TOLD = 'judged', 'filter', 'filter.json'
ROLE = 'judge/filter'  # its hyper-parameters are those of judges
ASIDE = 'copies', 'truth', 'kind', 'attributes', 'draws', 'holdout'  # what it does not ask


def filtering(config: ConfigDict, workdir: Path) -> None:
  """All of it, by all processes; nothing where another split is asked for, or where it is there."""
  if config.split.kind != KIND:
    return
  with work.shared(workdir):
    dataset = distributed.alone(lambda: begun(config, workdir), 'filter')
    if dataset is None:
      return
    stored = prepare.opened(data.root(config) / dataset['path'])
    of, panel = data.records(config, stored), Panel(config, workdir / FOLDER, stored, dataset)
    found = filters.find(of, config.split, config.seed, panel.ask)
    distributed.alone(lambda: ended(config, workdir, of, found, panel), 'filter: written')
  if found.kept is None:
    place = workdir / FOLDER
    raise ConfigError(
      f'{place}: the first judge is trained. Label records of {place / filters.TEMPLATE} by hand, '
      f'looking at {place / filters.PAGE}, and say split.holdout=… for thresholds of precision 1 '
      'on them; or say split.tau="(.95, .9999)"'
    )


class Panel:
  """The judges of a filter: each trained once, and remembered by its scores."""

  def __init__(
    self, config: ConfigDict, folder: Path, stored: Source, dataset: Mapping[str, Any]
  ) -> None:
    self.config, self.folder, self.stored, self.dataset = config, folder, stored, dataset
    self.trained = False

  def ask(self, name: str, subset: Subset) -> np.ndarray:
    """P(1) of all records by the judge of this name, which learns these; float64 [N]."""
    file, of, role = self.folder / f'{name}.npz', self.made_of(subset), f'{FOLDER}/{name}'
    if not distributed.alone(lambda: self.there(file, of), f'what is there of {role}'):
      config, self.trained = self.config, True
      labels = data.records(config, self.stored).yes_or_no(config.split.label)
      asked = Asked(Task('classes', (config.split.label,)), labels.astype(np.int64))
      pipeline = judging.pipeline(config, role, self.stored, asked, subset.index)
      judge.taught(config, self.folder / name, role, asked, pipeline, self.agree)
      distributed.alone(lambda: self.score(file, of, self.folder / name), f'{role}: scored')
    with np.load(file, allow_pickle=False) as arrays:
      return np.asarray(arrays['score'])

  def made_of(self, subset: Subset) -> dict[str, Any]:
    """What the scores of a judge depend on."""
    records = np.stack([subset.index, subset.label.astype(np.int64)])
    sha = hashlib.sha256(records.tobytes()).hexdigest()[:16]
    data = {key: self.dataset[key] for key in ('name', 'digest', 'records', 'numbering')}
    return {'learnt': learnt(self.config), 'records': sha, 'data set': data}

  def there(self, file: Path, of: Mapping[str, Any]) -> bool:
    if not file.exists():
      return False
    try:
      with np.load(file, allow_pickle=False) as arrays:
        before = json.loads(str(arrays['of']))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
      raise ConfigError(f'{file}: cannot be read ({error!r:.200}); remove it first') from None
    if changed := differences(before, of):
      raise ConfigError(
        f'{file}: this judge was made otherwise: {"; ".join(changed)}. Take another --workdir, or '
        f'remove it and the folder {file.stem} beside it'
      )
    return True

  def agree(self, carried: Mapping[str, Any]) -> None:
    """Of a checkpoint that training goes on from."""
    if changed := differences(_learnt(reduced(carried['config'], ROLE)), learnt(self.config)):
      raise ConfigError(
        f'{self.folder}: a judge was begun with another config: {"; ".join(changed)}. Take '
        'another --workdir, or the config that began it'
      )

  def score(self, file: Path, of: Mapping[str, Any], folder: Path) -> None:
    found, every = judging.trained(folder), np.arange(len(self.stored))
    scores = found.read(judge.outputs(found, self.stored, every))[:, 1]
    stream, told = io.BytesIO(), stamp(of, seeds=self.config.seed)
    npz.write(
      stream, {'score': scores, 'of': np.array(json.dumps(of)), 'stamp': np.array(json.dumps(told))}
    )
    work.write(file, stream.getvalue())


def learnt(config: ConfigDict) -> dict[str, Any]:
  """What of a config a judge of a filter depends on."""
  return _learnt(meaning(config, ROLE))


def _learnt(told: Mapping[str, Any]) -> dict[str, Any]:
  own = {key: value for key, value in told['judge'].items() if key not in ASIDE}
  return {'seed': told['seed'], 'data': told['data'], 'judge': own}


def asked(config: ConfigDict) -> dict[str, Any]:
  """What of a config the whole filter depends on."""
  return learnt(config) | {'split': meaning(config, 'prepare')['split']}


def begun(config: ConfigDict, workdir: Path) -> dict[str, Any] | None:
  """The data set, written; None where all of the filter is there already."""
  told = read(workdir)
  if told is not None:
    if changed := differences(told['config'], asked(config)):
      raise ConfigError(
        f'{workdir / FOLDER} was made with another config: {"; ".join(changed)}. Take another '
        f"--workdir, in which split.kind='agree' reads {workdir / FOLDER}/scores; or the config "
        'that made this one'
      )
    work.unchanged(workdir, told['inputs'], prepare.inputs(config, told['inputs']))
    if all(_intact(workdir / FOLDER / name, sha) for name, sha in told['files'].items()):
      logger.info('filter: %s is done (%s)', workdir / FOLDER, summary(told))
      return None
  before = prepare.read(workdir)
  kept = None if before is None else prepare.kept(config, workdir, before)
  return (prepare.written(config, workdir, before) if kept is None else kept)[1]


def ended(
  config: ConfigDict, workdir: Path, of: Records, found: filters.Found, panel: Panel
) -> None:
  """The files, and filter.json where all was decided."""
  folder = workdir / FOLDER
  files = filters.files(of, found, config.split, panel.stored)
  for name, content in files.items():
    work.write(folder / name, content)
  if found.kept is None or found.tau is None:
    return
  sets = {'labelled': found.label >= 0, 'apart': found.apart & (found.label >= 0)}
  sets |= {name: getattr(found.seen, name) for name in filters.SETS}
  counts = {
    name: {str(side): int((mask & (found.label == side)).sum()) for side in (0, 1)}
    for name, mask in sets.items()
  }
  told = {
    'counts': counts,
    'tau': list(found.tau),
    'accuracy apart': filters.accuracies(found),
    'errors': filters.errors(found),
    'dataset': panel.dataset,
    'inputs': of.read,
    'files': {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
    'config': asked(config),
    'stamp': stamp(asked(config), seeds=config.seed, device=panel.trained),
  }
  work.write(folder / TOLD, (json.dumps(told, indent=1) + '\n').encode())
  logger.info('filter: %s has %s; see %s', folder, summary(told), folder / filters.PAGE)


def read(workdir: Path) -> dict[str, Any] | None:
  """filter.json, or None where there is none."""
  path = workdir / FOLDER / TOLD
  if not path.exists():
    return None
  try:
    told: dict[str, Any] = json.loads(path.read_text())
    [told[key] for key in ('counts', 'tau', 'files', 'inputs', 'config')]
    return told
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ConfigError(f'{path}: cannot be read ({error!r:.200}); remove it first') from None


def summary(told: Mapping[str, Any]) -> str:
  """'kept 200 (0:100 1:100) of 1500; S 900, S' 700; tau 0.95, 0.9999'."""
  counts, tau = told['counts'], ', '.join(f'{t:.6g}' for t in told['tau'])
  kept = ' '.join(f'{side}:{n}' for side, n in counts['kept'].items())
  every = {name: sum(sides.values()) for name, sides in counts.items()}
  return (
    f'kept {every["kept"]} ({kept}) of {every["labelled"]}; S {every["confident"]}, '
    f"S' {every['agreed']}; tau {tau}"
  )


def _intact(path: Path, sha256: str) -> bool:
  return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256
