"""evaluate: what judges and meters say of all that a run has drawn, as numbers and figures.

workdir/evaluate/scores/*.npz   what was seen in each image
workdir/evaluate/*.png          samples in the order of their attribute, mild ones, neighbours
workdir/evaluate/metrics.json   written last: all numbers, tables and figures of the report
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from zsi_jax import distributed
from zsi_jax.build import clip, features
from zsi_jax.build.keys import ConfigError, plain
from zsi_jax.evaluate.errors import MetricError
from zsi_jax.io.log import logger
from zsi_jax.io.stamp import digest
from zsi_jax.stages import document, findings, obeyed, prepare, scoring, sets, sweep, tuples
from zsi_jax.stages import workdir as work
from zsi_jax.stages.sets import Images

FOLDER, TOLD = 'evaluate', 'metrics.json'


def evaluate(config: ConfigDict, workdir: Path) -> None:
  """Everything anew where anything changed; scores of images that did not are kept."""
  with work.shared(workdir):
    distributed.alone(lambda: evaluated(config, workdir), 'evaluate')


def networks(config: ConfigDict) -> None:
  """Those of others that `evaluate` looks with can be read, before anything is drawn."""
  own = config.evaluate
  if own.fid:
    features.inception(own.inception)
  if own.lpips is not None:
    features.lpips(own.lpips)
  if own.clip is not None:
    clip.clip(own.clip)


def checked(config: ConfigDict) -> None:
  """What `evaluate` needs from outside is there."""
  networks(config)
  own = config.evaluate
  if own.judges is not None:
    home = Path(own.judges).expanduser()
    if not home.is_file() and not list(home.glob('judge/*/judge.json')):
      raise ConfigError(f'evaluate.judges: no judge is finished in {own.judges}')


def evaluated(config: ConfigDict, workdir: Path) -> None:
  checked(config)
  _, source = prepare.prepared(config, workdir)
  found, missing = sets.found(workdir)
  alike(found)
  bench, records = scoring.bench(config, workdir, source.fields), scoring.Records(config, workdir)
  folder = workdir / FOLDER
  depends = depending(config, workdir, found, bench, records)
  told = read(folder)
  if told is not None and told.get('depends') == depends and whole(folder, told):
    if config.check:
      for one in found:
        scoring.seen_again(folder / 'scores', one.name, one.digest, bench, one.read()[0])
    how = '; 8 images of each seen again' if config.check else ''
    logger.info('evaluate: %s is done (%d sets%s)', folder, len(found), how)
    return
  (folder / 'scores').mkdir(parents=True, exist_ok=True)
  start = time.monotonic()
  try:
    told = document.document(config, workdir, found, bench, records)
  except MetricError as error:
    raise ConfigError(f'evaluate: {error}') from None
  told['cost']['seconds']['evaluate'] = round(time.monotonic() - start, 3)
  told['warnings'] += [f'not drawn yet: {", ".join(missing)}'] if missing else []
  told['depends'] = depends
  told['files'] = [path.name for path in sorted(folder.glob('dial-*.json'))]
  text = json.dumps(told, indent=1, allow_nan=False) + '\n'
  work.write(folder / TOLD, text.encode())
  logger.info('evaluate: %s: %s', folder, '; '.join(headlines(told)) or f'{len(found)} sets')


def whole(folder: Path, told: Mapping[str, Any]) -> bool:
  """Whether the pictures and dials that were written are there."""
  names = [figure['file'] for figure in told['figures'] if figure['kind'] == 'images']
  return all((folder / name).is_file() for name in [*names, *told.get('files', ())])


def read(folder: Path) -> dict[str, Any] | None:
  path = folder / TOLD
  if not path.exists():
    return None
  try:
    told: dict[str, Any] = json.loads(path.read_text())
    return told if isinstance(told, dict) else None
  except (OSError, ValueError) as error:
    raise ConfigError(f'{path}: cannot be read ({error!r:.200}); remove it first') from None


def alike(found: list[Images]) -> None:
  """A ConfigError where images of different sizes would be compared."""
  first = found[0]
  for one in found:
    if one.told['shape'] != first.told['shape']:
      raise ConfigError(
        f'evaluate: {first.folder} has images {first.told["shape"]}, {one.folder} has '
        f'{one.told["shape"]}: they cannot be judged side by side'
      )


def depending(
  config: ConfigDict,
  workdir: Path,
  found: list[Images],
  bench: scoring.Bench,
  records: scoring.Records,
) -> dict[str, Any]:
  """What the numbers depend on."""
  told = plain(config)
  drawn = {one.name: [one.digest, one.label, one.zero_shot, one.again] for one in found}
  whole = {
    'sets': drawn,
    'sweep': {key: v for key, v in (sweep.read(workdir) or {}).items() if key != 'stamp'},
    'bench': [bench.digest, dict(bench.unfit)],
    'records': [records.data(), records.split()],
    'eyes': [
      tuples.digests(obeyed.as_drawn(config, one), workdir, tuples.JUDGE)
      for one in found
      if obeyed.measured(config, one)
    ],
    'config': {k: v for k, v in told.items() if k not in ('check', 'mesh', 'log')},
  }
  return {key: digest(json.loads(json.dumps(value))) for key, value in whole.items()}


def headlines(told: Mapping[str, Any]) -> list[str]:
  """What the log says at the end."""
  lines = []
  for row in told['headline']:
    value = told['sets'].get(row['set'], {}).get('values', {}).get(row['metric'])
    if (number := findings.plain(value)) is not None:
      lines.append(f'{row["label"]} {number:.4g}')
  return lines
