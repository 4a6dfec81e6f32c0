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

from zsi_jax.build import data
from zsi_jax.build.keys import ConfigError, meaning
from zsi_jax.build.splits import ROLES
from zsi_jax.data import memory, npz, shards, store
from zsi_jax.data.errors import DataError
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.data.record import Source, digest
from zsi_jax.data.subsets import Subset
from zsi_jax.io.images import grid
from zsi_jax.io.stamp import stamp
from zsi_jax.stages import workdir as work
from zsi_jax.stages.ahead import Ahead

TOLD = 'prepare.json'
PICTURE = 'prepare.png'
COLUMNS, WIDTH = 12, 800  # records of each label in the picture, and about its width in pixels
SHOWN = 20  # skipped records that prepare.json names; the data set's manifest has all
AGAIN = 'run `zsi run CONFIG --workdir={} --stage=prepare` first'


def prepare(config: ConfigDict, workdir: Path) -> None:
  """All of it, or nothing that was there before is changed; a second call only checks."""
  with work.held(workdir):
    told = read(workdir)
    if told is not None:
      work.agree(workdir, told['config'], config)
      whole = all(_intact(workdir, role) for role in told['roles'].values())
      if whole and (workdir / PICTURE).is_file() and kept(config, told) is not None:
        how = 'every byte checked' if config.check else 'sizes checked'
        print(f'prepare: {workdir} is done ({summary(told)}; {how})')
        return
    stored, place = kept(config, told) or written(config)
    files, facts = splits(config, stored)
    picture = drawn(stored, _subset(files['denoiser']))
    told = {
      'config': meaning(config),
      'dataset': place | {'records': len(stored), **_skipped(stored)},
      **facts,
      'stamp': _stamp(config),
    }
    for role in ROLES:
      work.write(workdir / told['roles'][role]['file'], files[role])
    work.write(workdir / PICTURE, picture)
    work.write(workdir / TOLD, (json.dumps(told, indent=1) + '\n').encode())
    print(f'prepare: {workdir} has {summary(told)}; see {workdir / PICTURE}')


def pipeline(config: ConfigDict, workdir: Path, role: str, **more: Any) -> Pipeline:
  """Batches of what prepare left for a role; `more` is process, epochs, shuffle or pad."""
  if role not in ROLES:
    raise ValueError(f'a role is one of {", ".join(ROLES)}, not {role!r}')
  told = read(workdir)
  if told is None:
    raise ConfigError(f'{workdir}: no {TOLD}; {AGAIN.format(workdir)}')
  work.agree(workdir, told['config'], config)
  if not _intact(workdir, told['roles'][role]):
    file = workdir / told['roles'][role]['file']
    raise ConfigError(f'{file}: gone, or not as it was written; {AGAIN.format(workdir)}')
  path = whereabouts(config, told)
  if path is None:
    tried = ' nor '.join(str(p) for p in places(config, told))
    raise DataError(f'the data set is neither {tried}; {AGAIN.format(workdir)}')
  subset = _subset((workdir / told['roles'][role]['file']).read_bytes())
  return data.pipeline(config, opened(path), role, subset, told['about'], **more)


def read(workdir: Path) -> dict[str, Any] | None:
  """prepare.json, or None where there is none."""
  path = workdir / TOLD
  if not path.exists():
    return None
  try:
    told: dict[str, Any] = json.loads(path.read_text())
    [told[key] for key in ('config', 'about', 'stamp')]
    [told['dataset'][key] for key in ('name', 'digest', 'root', 'path', 'records', 'skipped')]
    [told['roles'][role][key] for role in ROLES for key in ('file', 'sha256', 'records', 'labels')]
    return told
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ConfigError(f'{path}: cannot be read ({error!r:.200}); remove it first') from None


def kept(config: ConfigDict, told: Mapping[str, Any] | None) -> tuple[Any, dict[str, str]] | None:
  """The data set of before, whose originals may be gone, and where it is; or None."""
  if told is None or (path := whereabouts(config, told)) is None:
    return None
  stored = opened(path)
  if config.check:
    verify(stored)
  root = str(Path(str(path).removesuffix(told['dataset']['path'])))
  return stored, {**{k: told['dataset'][k] for k in ('name', 'digest', 'path')}, 'root': root}


def written(config: ConfigDict) -> tuple[Any, dict[str, str]]:
  """The data set on disk, and where: array_record, or one .npz where that is not installed."""
  root, source = data.root(config), data.source(config)
  name, own = source.name, digest(source)
  if not any((root / name / made).exists() for made in (own, f'{own}.npz')):
    splits(config, source)  # what is wrong with it is said before hours of drawing
  with contextlib.ExitStack() as stack:
    if config.data.workers:
      source = stack.enter_context(Ahead(source, config.data.workers))
    try:
      shards.need()
    except DataError as error:
      print(f'prepare: {error}')
      path = root / name / f'{own}.npz'
      stack.enter_context(work.held(path.parent, f'.{own}.lock'))
      if not path.exists():
        memory.write_npz(source, path, skip_corrupt=config.data.skip_corrupt)
    else:
      path = store.write(
        source,
        root,
        skip_corrupt=config.data.skip_corrupt,
        progress=sys.stderr.isatty(),
        stamp=_stamp(config),
      )
  stored = opened(path)
  if config.check:
    verify(stored)
  return stored, {
    'name': name,
    'digest': own,
    'root': str(root),
    'path': str(path.relative_to(root)),
  }


def opened(path: Path) -> Any:
  return memory.Npz(path) if path.suffix == '.npz' else store.open(path)


def verify(stored: Any) -> None:
  """Every byte; an .npz has a CRC for each array, checked whenever it is opened."""
  if hasattr(stored, 'verify'):
    stored.verify()


def places(config: ConfigDict, told: Mapping[str, Any]) -> list[Path]:
  """Below the data root of now, and below the one that it was prepared in."""
  roots = dict.fromkeys([data.root(config), Path(told['dataset']['root'])])
  return [root / told['dataset']['path'] for root in roots]


def whereabouts(config: ConfigDict, told: Mapping[str, Any]) -> Path | None:
  """The data set that prepare.json names, if it is still there."""
  return next((p for p in places(config, told) if p.exists()), None)


def splits(config: ConfigDict, stored: Source) -> tuple[dict[str, bytes], dict[str, Any]]:
  """(the file of each role, what prepare.json says of them); the support of each is checked."""
  split = data.split(config, stored)
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
  return files, {'roles': rows, 'about': list(split.about)}


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


def _skipped(stored: Any) -> dict[str, Any]:
  gone = getattr(stored, 'skipped', ())
  return {'skipped': len(gone), 'first skipped': [list(row) for row in gone[:SHOWN]]}


def _stamp(config: ConfigDict) -> dict[str, Any]:
  return stamp(meaning(config), seeds=config.seed, device=False)
