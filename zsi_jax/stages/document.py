"""metrics.json: all that is known of what a run has drawn, as numbers, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from zsi_jax.build import eyes as built
from zsi_jax.build.keys import ConfigError, flat, plain
from zsi_jax.io.stamp import stamp
from zsi_jax.stages import (
  curves,
  examined,
  findings,
  looking,
  obeyed,
  paired,
  scoring,
  sets,
  steps,
  tuples,
)
from zsi_jax.stages.config import load
from zsi_jax.stages.examined import TRAINED
from zsi_jax.stages.eyes import dull
from zsi_jax.stages.sets import Images

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
  own = config.evaluate
  warnings = [f'judge {name} is not fit to judge: {why}' for name, why in bench.unfit.items()]
  if not bench.judges and bench.meter is None and not config.sample.conditions:
    warnings.append('nothing says what is in the images: no judge is trained, and no meter fits')
  error = bench.told.get('truth', {}).get('error', {}).get('rmse')
  if bench.meter is None and error is not None and error > ROUGH:
    warnings.append(
      f'what is called truth is measured by a network with an rms error of {error:.2g}'
    )
  looked = examined.examine(config, workdir, found, bench, records)
  named = {one.name: one for one in found}
  told, scored, labels = looked.values, looked.scored, looked.labels
  pairs = config.report.against
  held = paired.held(pairs, looked.obeyed, named, own.bootstrap)
  for name, more in paired.changes(held).items():
    told[name] |= more
  train, reference = looked.training.base
  line, _ = findings.values(reference, {}, bench.attributes, own.bins, own.bootstrap)
  members = sets.repeated(found)
  groups = findings.grouped(told, members)
  first = {TRAINED: reference, **scored}
  names = {TRAINED: TRAINED, **labels}
  figures = [
    *curves.histograms(first, names, bench.attributes, own.bins),
    *curves.swept([(one.weights, told[one.name]) for one in found]),
    *curves.amounts([(one.label, looked.amounts[one.name], told[one.name]) for one in found]),
    *curves.bars(groups, *BETWEEN),
    *paired.fronts(looked.obeyed, named, own.bootstrap),
    *paired.apart(held),
    *looked.figures,
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
  seers, blind = eyes(config, workdir)
  warnings += blind
  tables = [*seers, *paired.tables(held, own.bootstrap)]
  warnings += paired.unknown(pairs, {**dict.fromkeys(sets.found(workdir)[1]), **named})
  figures += reliability(bench)
  figures += steps.figures(config, workdir, found)
  figures += looking.figures(config, workdir, classifiers(workdir, found), records)
  return {
    **described(config, workdir),
    'zero_shot': all(one.zero_shot is True for one in others),
    'why': why(others),
    'stamp': stamp(plain(config), seeds=config.seed),
    'cost': cost(workdir, found),
    'protocol': protocol(config, found, bench, records)
    | watchers(config, workdir, found)
    | looked.protocol,
    'sets': rows,
    'paper': paper,
    'headline': headline(config, bench),
    'tables': [*judges(bench), *tables],
    'figures': [*figures, *looked.images],
    'warnings': warnings + looked.warnings,
  }


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
     'note': 'Held-out records, by the calibrated P that a judge gives them, before its ranks.',
     'series': lines,
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
    place = one.home / 'classifier'
    if one.weights is not None and place.is_dir():
      places.setdefault(place, one.name)
  order = sorted(places.items(), key=lambda row: not row[1].endswith('_0'))
  return {name: place for place, name in order}


def described(config: ConfigDict, workdir: Path) -> dict[str, Any]:
  """What the experiment is, in the words of its config's file, and the command that made it."""
  own = config.report
  title, _, about = own.about.partition('\n\n')
  return {
    'title': own.title or ' '.join(title.split()).rstrip('.') or workdir.name,
    'about': flowing(about),
    'config': own.config,
    'preset': own.config.rpartition(':')[2] if ':' in own.config else None,
    'figure': own.figure,
    'command': f'zsi run {own.config} --workdir=runs/{workdir.name}{said(config)}',
  }


def flowing(text: str) -> str:
  """Paragraphs of one line each, but for those that are indented."""
  parts = text.strip('\n').split('\n\n')
  return '\n\n'.join(p if p.startswith(' ') else ' '.join(p.split()) for p in parts).strip()


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
    'crop': config.data.crop,
    'copies of training records': f'{config.evaluate.neighbours} neighbours',
  }
  if bench.clip is not None:
    rows['copies of training records by CLIP'] = str(bench.clip.source)
  for name, judge in bench.judges.items():
    rows['truth network' if name == 'truth' else f'judge_{name}'] = judge.digest
    if any(judge.ranks):
      rows[f'P of judge_{name}'] = 'its rank among held-out records'
  return rows


def watchers(config: ConfigDict, workdir: Path, found: list[Images]) -> dict[str, str]:
  """Which eyes have judged conditions, as a part of the protocol."""
  rows = dict[str, str]()
  for one in found:
    if one.conditions:
      judged = tuples.digests(obeyed.as_drawn(config, one), workdir, tuples.JUDGE)
      rows |= {f'eye/{name}': digest for name, digest in judged.items()}
  return rows


def eyes(config: ConfigDict, workdir: Path) -> tuple[list[Any], list[str]]:
  """A table of what eyes are worth on persons whom nobody learned from; warnings of those that are
  next to blind."""
  if not config.sample.conditions:
    return [], []
  lines, blind = [], []
  for path in sorted(built.home(config, workdir).glob('eyes/*/*')):
    if (told := built.read(path)) is None:
      continue
    name = f'{told["kind"]}, {path.name}'
    lines += [[name, k, v] for k, v in told['tested'].items() if isinstance(v, float)]
    blind += [f'eye {name} is next to blind: {why}'] if (why := dull(told)) else []
  note = 'On held-out persons. One copy guides, the other judges.'
  return [
    {'title': 'Eyes', 'note': note, 'columns': ['eye', 'metric', 'value'], 'rows': lines}
  ], blind


def judges(bench: scoring.Bench) -> list[Any]:
  """A table of the judges, and how far each may be trusted."""
  if not bench.told:
    return []
  lines = []
  for name, row in bench.told.items():
    uniform, error = row.get('uniform') or {}, row.get('error') or {}
    plain_p = row.get('without ranks', {}).get('uniform') or {}
    lines.append(
      [
        name,
        row.get('kind'),
        uniform.get('l2'),
        uniform.get('kld'),
        plain_p.get('l2'),
        plain_p.get('kld'),
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
      'note': 'On held-out records. A fit judge scores at most .03 / .03 on a uniform set. One '
      'with ranks gives an image the rank of its P among those of held-out records.',
      'columns': [
        *(
          'judge',
          'kind',
          'L2',
          'KLD',
          'L2 without ranks',
          'KLD without ranks',
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
  folders = list(dict.fromkeys(one.home for one in found))
  own = {'eyes': 'eyes/*/*/eye.json', 'judge': 'judge/*/judge.json'}
  roles = {role: [Path(role, f'{role}.json')] for role in ('denoiser', 'classifier')}
  roles |= {k: [p.relative_to(workdir) for p in workdir.glob(v)] for k, v in own.items()}
  for role, names in roles.items():
    told = [row for f in [workdir, *folders] for name in names if (row := timed(f / name))]
    unique = {json.dumps(row['stamp'], sort_keys=True): row['seconds'] for row in told}
    if unique:
      seconds[role] = sum(unique.values())
  seconds['sample'] = float(sum(one.seconds for one in found))
  makers = [m['device'] for one in found for m in one.told.get('drawn_by', [])]
  return {'seconds': seconds, 'device': ', '.join(dict.fromkeys(map(str, makers)))}


def timed(path: Path) -> dict[str, Any] | None:
  """What a network said when it was finished."""
  try:
    told: dict[str, Any] = json.loads(path.read_text())
    return told if {'stamp', 'seconds'} <= told.keys() else None
  except (OSError, ValueError):
    return None
