"""prepare: a data set on disk, the records of each role, and a picture of them. Made once.

workdir/splits/<role>.npz  index int64 [n], label int32 [n] (-1 = unlabelled), stamp
workdir/prepare.png        a row of records for each label of the denoiser's
workdir/prepare.json       written last: where it is, there is all of the above
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from zsi_jax.build import data, filtering
from zsi_jax.build.keys import ConfigError, meaning
from zsi_jax.build.records import found, seal
from zsi_jax.build.splits import ROLES
from zsi_jax.data import memory, npz, shards, store
from zsi_jax.data.errors import DataError
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.data.record import Source, digest
from zsi_jax.data.subsets import Subset
from zsi_jax.io.images import grid
from zsi_jax.io.log import logger
from zsi_jax.io.stamp import stamp
from zsi_jax.stages import workdir as work
from zsi_jax.stages.ahead import Ahead

TOLD = 'prepare.json'
PICTURE = 'prepare.png'
COLUMNS, WIDTH = 12, 800  # records of each label in the picture, and about its width in pixels
SHOWN = 20  # skipped records that prepare.json names; the data set's manifest has all
IDENTITY = 'name', 'digest', 'records', 'skipped', 'numbering'  # of a data set
AGAIN = 'run `zsi run CONFIG --workdir={} --stage=prepare` first'


def prepare(config: ConfigDict, workdir: Path) -> None:
  """All of it, or nothing that was there before is changed; a second call only checks."""
  with work.held(workdir):
    told, there = read(workdir), None
    if told is not None:
      work.agree(workdir, told['config'], config)
      work.unchanged(workdir, told['inputs'], inputs(config, told['inputs']))
      there = kept(config, workdir, told)
      if there is not None and config.check:
        verify(there[0])
      whole = all(_intact(workdir, role) for role in told['roles'].values())
      if there is not None and whole and (workdir / PICTURE).is_file():
        how = 'every byte checked' if config.check else 'sizes checked'
        logger.info('prepare: %s is done (%s; %s)', workdir, summary(told), how)
        return
    if there is None:
      there = written(config, workdir, told)
      if config.check:
        verify(there[0])
    stored, dataset = there
    files, made = splits(config, stored, judged=judged(config, workdir, stored))
    picture = drawn(stored, _subset(files['denoiser']))
    told = {'config': meaning(config, 'prepare'), 'dataset': dataset, **made}
    told['stamp'] = _stamp(config)
    for role in ROLES:
      work.write(workdir / told['roles'][role]['file'], files[role])
    work.write(workdir / PICTURE, picture)
    work.write(workdir / TOLD, (json.dumps(told, indent=1) + '\n').encode())
    logger.info('prepare: %s has %s; see %s', workdir, summary(told), workdir / PICTURE)


def pipeline(config: ConfigDict, workdir: Path, role: str, **more: Any) -> Pipeline:
  """Batches of what prepare left for a role; `more` is process, epochs, shuffle or pad."""
  if role not in ROLES:
    raise ValueError(f'a role is one of {", ".join(ROLES)}, not {role!r}')
  told, stored = prepared(config, workdir)
  if not _intact(workdir, told['roles'][role]):
    file = workdir / told['roles'][role]['file']
    raise ConfigError(f'{file}: gone, or not as it was written; {AGAIN.format(workdir)}')
  subset = _subset((workdir / told['roles'][role]['file']).read_bytes())
  about = told['about']
  if role == 'classifier' and (name := config.classifier.label) is not None:
    subset, about = data.relabelled(stored, subset, name), (name,)
  return data.pipeline(config, stored, role, subset, about, **more)


def prepared(config: ConfigDict, workdir: Path) -> tuple[dict[str, Any], Any]:
  """(prepare.json, the data set); a ConfigError unless both are there, and of this config."""
  told = read(workdir)
  if told is None:
    raise ConfigError(f'{workdir}: no {TOLD}; {AGAIN.format(workdir)}')
  work.agree(workdir, told['config'], config)
  there = kept(config, workdir, told)
  if there is None:
    tried = ' nor '.join(str(root / told['dataset']['path']) for root in roots(config, told))
    raise DataError(f'the data set is neither {tried}; {AGAIN.format(workdir)}')
  return told, there[0]


def read(workdir: Path) -> dict[str, Any] | None:
  """prepare.json, or None where there is none."""
  path = workdir / TOLD
  if not path.exists():
    return None
  try:
    told: dict[str, Any] = json.loads(path.read_text())
    [told[key] for key in ('config', 'about', 'inputs', 'stamp')]
    [told['dataset'][key] for key in ('root', 'path', *IDENTITY)]
    [told['roles'][role][key] for role in ROLES for key in ('file', 'sha256', 'records', 'labels')]
    return told
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ConfigError(f'{path}: cannot be read ({error!r:.200}); remove it first') from None


def inputs(config: ConfigDict, before: Mapping[str, Any]) -> dict[str, Any]:
  """The seals of the lists and sheets of before; one that is gone is not needed any more."""
  paths = {name: found(name, data.root(config)) for name in before}
  return {name: before[name] if path is None else seal(path) for name, path in paths.items()}


def kept(
  config: ConfigDict, workdir: Path, told: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]] | None:
  """The data set of before, whose originals may be gone, and what it is; None if it is gone."""
  for root in roots(config, told):
    path = root / told['dataset']['path']
    if path.exists():
      stored = opened(path)
      now = facts(stored, root, path)
      work.unchanged(workdir, _identity(told['dataset']), _identity(now))
      return stored, now
  return None


def roots(config: ConfigDict, told: Mapping[str, Any]) -> list[Path]:
  """The data root of now, and the one that it was prepared in."""
  return list(dict.fromkeys([data.root(config), Path(told['dataset']['root'])]))


def written(
  config: ConfigDict, workdir: Path, told: Mapping[str, Any] | None
) -> tuple[Any, dict[str, Any]]:
  """The data set on disk, and what it is: array_record, or one .npz without what that needs."""
  root, source = data.root(config), data.source(config)
  name, own = source.name, digest(source)
  if told is not None:
    work.unchanged(workdir, {'digest': told['dataset']['digest']}, {'digest': own})
  if not any((root / name / made).exists() for made in (own, f'{own}.npz')):
    splits(config, source, drawn=False)  # what is wrong is said before hours of drawing
  with contextlib.ExitStack() as stack:
    if config.data.workers:
      source = stack.enter_context(Ahead(source, config.data.workers))
    try:
      shards.need()
    except DataError as error:
      logger.info('prepare: %s', error)
      path = root / name / f'{own}.npz'
      _write_npz(source, path, config.data.skip_corrupt)
    else:
      path = store.write(
        source,
        root,
        skip_corrupt=config.data.skip_corrupt,
        progress=sys.stderr.isatty(),
        stamp=_stamp(config),
      )
  stored = opened(path)
  if stored.skipped and not config.data.skip_corrupt:
    raise DataError(
      f'{path}: it was written without {len(stored.skipped)} corrupt records. Allow '
      'data.skip_corrupt, or mend them and remove it.'
    )
  now = facts(stored, root, path)
  if told is not None:
    work.unchanged(workdir, _identity(told['dataset']), _identity(now))
  return stored, now


def _write_npz(source: Source, path: Path, skip_corrupt: bool) -> None:
  """Once; of one that is there, on a disk that may be read only, no lock is needed."""
  if not path.exists():
    with work.held(path.parent, f'.{path.stem}.lock'):
      if not path.exists():  # nor was made by the process that held the lock before
        memory.write_npz(source, path, skip_corrupt=skip_corrupt)


def facts(stored: Any, root: Path, path: Path) -> dict[str, Any]:
  """What prepare.json says of a data set."""
  gone = stored.skipped
  return {
    'name': stored.name,
    'digest': digest(stored),
    'root': str(root),
    'path': str(path.relative_to(root)),
    'records': len(stored),
    'skipped': len(gone),
    'first skipped': [list(row) for row in gone[:SHOWN]],
    'numbering': hashlib.sha256(stored.source_index.tobytes()).hexdigest()[:16],
  }


def _identity(dataset: Mapping[str, Any]) -> dict[str, Any]:
  """What a split of it depends on."""
  return {key: dataset[key] for key in IDENTITY}


def opened(path: Path) -> Any:
  return memory.Npz(path) if path.suffix == '.npz' else store.open(path)


def verify(stored: Any) -> None:
  """Every byte; an .npz has a CRC for each array, checked whenever it is opened."""
  if hasattr(stored, 'verify'):
    stored.verify()


def judged(config: ConfigDict, workdir: Path, stored: Source) -> Subset | None:
  """What `stages/filtering.py` left, where judges decide."""
  if config.split.kind != 'judged':
    return None
  folder = workdir / 'filter'
  if not (folder / 'filter.json').is_file():
    raise ConfigError(f'{folder}: no judge was asked yet; {AGAIN.format(workdir)}')
  return filtering.kept(folder, data.records(config, stored), config.split.label)


def splits(
  config: ConfigDict, stored: Source, drawn: bool = True, judged: Subset | None = None
) -> tuple[dict[str, bytes], dict[str, Any]]:
  """(the file of each role, what prepare.json says of them); the support of each is checked."""
  split, read = data.split(config, stored, drawn, judged)
  files, rows = {}, {}
  for role in ROLES:
    subset = getattr(split, role)
    checked = data.pipeline(config, stored, role, subset, split.about, process=(0, 1)).check()
    stream = io.BytesIO()
    told = np.array(json.dumps(_stamp(config)))
    npz.write(stream, {'index': subset.index, 'label': subset.label, 'stamp': told})
    files[role] = stream.getvalue()
    labels, counts = np.unique(subset.label, return_counts=True)
    rows[role] = {
      'file': f'splits/{role}.npz',
      'sha256': hashlib.sha256(files[role]).hexdigest(),
      'records': len(subset.index),
      'labels': dict(zip(map(str, labels.tolist()), counts.tolist(), strict=True)),
      'support': data.support(config, role).to_json(),
      'checked': checked,
    }
  return files, {'roles': rows, 'about': list(split.about), 'inputs': read}


def drawn(stored: Source, subset: Subset) -> bytes:
  """A PNG: for each label a row of records, spread evenly over its index."""
  rows = []
  for label in np.unique(subset.label):
    index = np.unique(subset.index[subset.label == label])
    chosen = index[np.linspace(0, len(index) - 1, min(COLUMNS, len(index))).astype(int)]
    row = [stored[int(i)]['image'] for i in chosen]
    rows += row + [np.full_like(row[0], 255)] * (COLUMNS - len(row))
  pixels = np.stack(rows).astype(np.float32) / 127.5 - 1
  stream = io.BytesIO()
  _magnified(grid(pixels[..., :3], COLUMNS)).save(stream, 'PNG')
  return stream.getvalue()


def _magnified(picture: Image.Image) -> Image.Image:
  """Small images large enough to look at."""
  times = max(1, round(WIDTH / picture.width))
  return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def summary(told: Mapping[str, Any]) -> str:
  d = told['dataset']
  roles = ', '.join(
    f'{role} {r["records"]} ({" ".join(f"{k}:{n}" for k, n in r["labels"].items())})'
    for role, r in told['roles'].items()
  )
  gone = f', {d["skipped"]} skipped' if d['skipped'] else ''
  return f'{d["records"]} records of {d["name"]}/{d["digest"]}{gone}; {roles}'


def _intact(workdir: Path, role: Mapping[str, Any]) -> bool:
  path = workdir / role['file']
  return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == role['sha256']


def _subset(file: bytes) -> Subset:
  with np.load(io.BytesIO(file), allow_pickle=False) as arrays:
    return Subset(arrays['index'], arrays['label'])


def _stamp(config: ConfigDict) -> dict[str, Any]:
  return stamp(meaning(config, 'prepare'), seeds=config.seed, device=False)
