"""metrics.json: all that is known of what a run has drawn, as numbers, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build.keys import ConfigError, flat, plain
from zsi_jax.evaluate import aimed
from zsi_jax.io.stamp import stamp
from zsi_jax.stages import findings, looking, pictures, resembling, scoring, sets
from zsi_jax.stages import workdir as work
from zsi_jax.stages.config import load
from zsi_jax.stages.sets import Images

TRAINED = 'training records'  # as a set beside the others
ROUGH = 0.05  # rms error of a network whose word is not the truth
BETWEEN = (
  'objects/one, between',
  'Exactly one object, in the unseen middle',
  'share of the images',
)


def document(
  config: ConfigDict,
  workdir: Path,
  found: list[Images],
  bench: scoring.Bench,
  records: scoring.Records,
) -> dict[str, Any]:
  """metrics.json."""
  own, folder = config.evaluate, workdir / 'evaluate'
  told, scored, labels = dict[str, Any](), dict[str, Any](), dict[str, str]()
  warnings = [f'judge {name} is not fit to judge: {why}' for name, why in bench.unfit.items()]
  if not bench.judges and bench.meter is None:
    warnings.append('nothing says what is in the images: no judge is trained, and no meter fits')
  error = bench.told.get('truth', {}).get('error', {}).get('rmse')
  if bench.meter is None and error is not None and error > ROUGH:
    warnings.append(
      f'what is called truth is measured by a network with an rms error of {error:.2g}'
    )
  figures, images = list[Any](), list[Any]()
  near = resembling.Resemblance(config, folder, bench, records)
  training = Training(config, workdir, bench)
  for one in found:
    pixels, extra = one.read()
    seen = scoring.scores(folder / 'scores', one.name, one.digest, bench, pixels)
    scored[one.name] = seen
    labels[one.name] = one.name if one.name == one.label else f'{one.name}, {one.label}'
    values, said = findings.values(seen, extra, bench.attributes, own.bins, own.bootstrap)
    warnings += [f'{one.name}: {line}' for line in said]
    images += pictures.ordered(folder, one, labels[one.name], pixels, seen)
    dial(folder, one, seen, extra, bench)
    figures += findings.asked(one.name, one.label, seen, extra, bench.attributes)
    figures += findings.pairs(one.name, seen, bench.attributes)
    copied, shown = near.copies(one, pixels, seen, *training.of(one))
    told[one.name] = values | near.of(one, pixels, seen) | copied
    images += shown
  train, reference = training.base
  line, _ = findings.values(reference, {}, bench.attributes, own.bins, own.bootstrap)
  warnings += near.warnings
  swept = [(one.name, one.weights, told[one.name]) for one in found]
  members = sets.repeated(found)
  groups = findings.grouped(told, members)
  first = {TRAINED: reference, **scored}
  names = {TRAINED: TRAINED, **labels}
  figures = [
    *findings.histograms(first, names, bench.attributes, own.bins),
    *findings.swept(swept),
    *findings.bars(groups, *BETWEEN),
    *figures,
  ]
  rows = {one.name: entry(one, labels[one.name], told[one.name]) for one in found}
  rows[TRAINED] = {
    'n': len(train), 'label': TRAINED, 'zero_shot': None, 'note': None, 'values': line,
  }  # fmt: skip
  for name, row in groups.items():
    rows[name] = {
      'n': sum(one.n for one in found if one.name in members[name]),
      'label': f'{name}: mean ± standard deviation of {len(members[name])}',
      'zero_shot': None, 'note': None, 'values': row,
    }  # fmt: skip
  others = [one for one in found if not one.dialled] or found
  paper = dict[str, dict[str, str]]()
  for name, metric, text in config.report.paper:
    paper.setdefault(name, {})[metric] = text
  figures += reliability(bench)
  figures += looking.figures(config, workdir, classifiers(workdir, found), records)
  return {
    **described(config, workdir),
    'zero_shot': all(one.zero_shot is True for one in others),
    'why': why(others),
    'stamp': stamp(plain(config), seeds=config.seed),
    'cost': cost(workdir, found),
    'protocol': protocol(config, found, bench, records) | near.protocol,
    'sets': rows,
    'paper': paper,
    'headline': headline(config, bench),
    'tables': judges(bench),
    'figures': [*figures, *images],
    'warnings': warnings,
  }


class Training:
  """What each set's denoiser was trained on, and what is seen in it; each split once."""

  def __init__(self, config: ConfigDict, workdir: Path, bench: scoring.Bench) -> None:
    self.config, self.workdir, self.bench = config, workdir, bench
    self.known = dict[str, tuple[np.ndarray, Mapping[str, np.ndarray]]]()
    self.base = self.at(workdir, TRAINED)

  def of(self, one: Images) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    home = one.folder.parents[1]
    return self.at(home, TRAINED if home == self.workdir else f'{TRAINED} of {home.name}')

  def at(self, home: Path, name: str) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    """(images, scores)."""
    records = scoring.Records(self.config, home)
    index = records.trained()
    if (what := records.what(index)) not in self.known:
      pixels, folder = records.images(index), self.workdir / 'evaluate' / 'scores'
      self.known[what] = pixels, scoring.scores(folder, name, what, self.bench, pixels)
    return self.known[what]


def headline(config: ConfigDict, bench: scoring.Bench) -> list[dict[str, str]]:
  """The numbers that stand for the run; those of a judge that is not fit say so."""
  unfit = tuple(f'judge_{name}/' for name in bench.unfit)
  return [
    {
      'set': name,
      'metric': metric,
      'label': f'{label} (judge not fit)' if metric.startswith(unfit or ('-',)) else label,
    }
    for name, metric, label in config.report.headline
  ]


def reliability(bench: scoring.Bench) -> list[Any]:
  """How often what a judge gives a probability is so, on held-out records."""
  lines = []
  for name, row in bench.told.items():
    rows = [bin for bin in row.get('reliability') or () if bin['records']]
    if rows:
      mean, share = ([float(bin[key]) for bin in rows] for key in ('p', 'share'))
      lines.append({'label': f'judge {name}', 'x': mean, 'y': share, 'low': None, 'high': None})
  if not lines:
    return []
  return [
    {'kind': 'curve', 'title': 'Reliability of the judges', 'x': 'P', 'y': 'share that is so',
     'note': 'Held-out records, by the P that a judge gives them.', 'series': lines,
     'diagonal': True}
  ]  # fmt: skip


def why(found: list[Images]) -> str | None:
  """Why a page is not about zero-shot samples."""
  seen = [one.name for one in found if one.zero_shot is False]
  if seen:
    return f'of {", ".join(seen)}: a network behind them has seen more than the extremes'
  unknown = [one.name for one in found if one.zero_shot is None]
  if unknown:
    return (
      f'for all that is known of {", ".join(unknown)}: their networks come from elsewhere, or were '
      'trained on listed records, of which no truth is known'
    )
  return None


def classifiers(workdir: Path, found: list[Images]) -> dict[str, Path]:
  """Where those lie that were trained for each set; the first of each kind before the others."""
  places = dict[Path, str]()
  for one in found:
    place = one.folder.parents[1] / 'classifier'
    if one.weights is not None and place.is_dir():
      places.setdefault(place, one.name)
  order = sorted(places.items(), key=lambda row: not row[1].endswith('_0'))
  return {name: place for place, name in order}


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


def described(config: ConfigDict, workdir: Path) -> dict[str, Any]:
  """What the experiment is, in the words of its config's file, and the command that made it."""
  own = config.report
  title, _, about = own.about.partition('\n\n')
  return {
    'title': own.title or ' '.join(title.split()).rstrip('.') or workdir.name,
    'about': about.strip(),
    'config': own.config,
    'preset': own.config.rpartition(':')[2] if ':' in own.config else None,
    'figure': own.figure,
    'command': f'zsi run {own.config} --workdir=runs/{workdir.name}{said(config)}',
  }


def said(config: ConfigDict) -> str:
  """' -- key=value …' of what the command line changed."""
  try:
    before = flat(plain(load(config.report.config)))
  except ConfigError:  # the file is elsewhere
    return ''
  now = flat(plain(config))
  rows = {k: v for k, v in now.items() if before.get(k) != v and k not in ('check', 'data.root')}
  words = [f'{k}="{tuple(v) if isinstance(v, list) else v}"' for k, v in rows.items()]
  return f' -- {" ".join(words)}' if words else ''


def entry(one: Images, label: str, values: Mapping[str, Any]) -> dict[str, Any]:
  note = None
  if one.dialled:
    note = 'its dial was calibrated on judge A'
  return {
    'n': one.n, 'label': label, 'zero_shot': one.zero_shot, 'note': note, 'values': dict(values),
  }  # fmt: skip


def protocol(
  config: ConfigDict, found: list[Images], bench: scoring.Bench, records: scoring.Records
) -> dict[str, Any]:
  """How it was measured: numbers of another protocol are not compared with these."""
  shape = found[0].told['shape']
  rows: dict[str, Any] = {
    'size': shape[0],
    'channels': shape[-1],
    'data': records.data(),
    'split': records.split(),
    'bins': config.evaluate.bins,
    'binning': 'fixed on [0, 1]',
    'truth': bench.truth,
  }
  for name, judge in bench.judges.items():
    rows['truth network' if name == 'truth' else f'judge_{name}'] = judge.digest
  return rows


def judges(bench: scoring.Bench) -> list[Any]:
  """A table of the judges, and how far each may be trusted."""
  if not bench.told:
    return []
  lines = []
  for name, row in bench.told.items():
    uniform, error = row.get('uniform') or {}, row.get('error') or {}
    lines.append(
      [
        name,
        row.get('kind'),
        uniform.get('l2'),
        uniform.get('kld'),
        uniform.get('n'),
        row.get('ece', {}).get('before'),
        row.get('ece', {}).get('after'),
        row.get('temperature'),
        error.get('rmse'),
        'not fit' if name in bench.unfit else 'fit' if uniform else 'not tested on uniform records',
      ]
    )
  return [
    {
      'title': 'Judges',
      'note': 'On held-out records. A fit judge scores at most .03 / .03 on a uniform set.',
      'columns': [
        *(
          'judge',
          'kind',
          'L2',
          'KLD',
          'records',
          'ECE before',
          'ECE',
          'temperature',
          'rms error',
          'verdict',
        ),
      ],
      'rows': lines,
    }
  ]


def cost(workdir: Path, found: list[Images]) -> dict[str, Any]:
  """Seconds of each stage, by what it left."""
  seconds = dict[str, float]()
  folders = list(dict.fromkeys(one.folder.parents[1] for one in found))
  own = [path.parent.relative_to(workdir) for path in workdir.glob('judge/*/judge.json')]
  roles = {'denoiser': [Path('denoiser')], 'classifier': [Path('classifier')], 'judge': own}
  for role, names in roles.items():
    told = [row for f in [workdir, *folders] for name in names if (row := timed(f / name))]
    unique = {json.dumps(row['stamp'], sort_keys=True): row['seconds'] for row in told}
    if unique:
      seconds[role] = sum(unique.values())
  drawn = [one.told.get('rate', {}).get('seconds', 0.0) for one in found]
  seconds['sample'] = float(np.sum(drawn))
  makers = [m['device'] for one in found for m in one.told.get('drawn_by', [])]
  return {'seconds': seconds, 'device': ', '.join(dict.fromkeys(map(str, makers)))}


def timed(folder: Path) -> dict[str, Any] | None:
  """What a network said when it was finished."""
  path = folder / f'{"judge" if folder.parent.name == "judge" else folder.name}.json'
  try:
    told: dict[str, Any] = json.loads(path.read_text())
    return told if {'stamp', 'seconds'} <= told.keys() else None
  except (OSError, ValueError):
    return None
