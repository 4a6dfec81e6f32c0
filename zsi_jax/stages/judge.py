"""judge: each copy trained, calibrated and tested on records that it never saw.

workdir/judge/<copy>/checkpoints/, metrics.jsonl, tb/   while it is trained
workdir/judge/<copy>/judge.json                         written last: how far it may be trusted
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import judging, meters
from zsi_jax.build.judging import Asked, Parts
from zsi_jax.build.keys import TRUTH, ConfigError
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.data.record import Source, stacked
from zsi_jax.evaluate import calibrate, histogram
from zsi_jax.evaluate.errors import MetricError
from zsi_jax.evaluate.judge import Judge, fits, may_judge
from zsi_jax.io.log import logger
from zsi_jax.stages import prepare, tested
from zsi_jax.stages import workdir as work

__all__ = ['foresee', 'judge', 'may_judge', 'taught', 'trusted']
ROUGH = 1.5  # floors: z that is rougher is not uniform
RANKED = 400  # records whose ranks are taken, at least
CHUNK = 2048  # records in memory
CLOSE = 1e-3  # of --check: another device rounds otherwise


class Plan(NamedTuple):
  """What a judge is made of."""

  source: Source
  asked: Asked
  parts: Parts
  pipeline: Pipeline


def judge(config: ConfigDict, workdir: Path) -> None:
  """Every judge that the config asks for; one that is finished is only named."""
  for role in judging.roles(config):
    with work.shared(workdir):
      told = tested.finish(config, workdir, lesson(config, workdir, role))
      if role != TRUTH and told is not None and (why := may_judge(told)):
        logger.warning('%s may not judge: %s', role, why)


def lesson(config: ConfigDict, workdir: Path, role: str) -> tested.Lesson:
  """A ConfigError where it cannot be."""
  folder, plan = workdir / role, planned(config, workdir, role)

  def test() -> dict[str, Any]:
    found = judging.trained(folder)
    said = worth(found, plan, config.judge.ranked)
    found = judging.scaled(found, said['temperatures'], said['knots'])
    return {**said, 'digest': found.digest}

  return tested.Lesson(
    role,
    lambda: job(config, role, plan.asked, plan.pipeline),
    plan.pipeline,
    plan.asked.task.attributes,
    test,
    lambda told: checked(folder, plan, told),
    summary,
  )


def planned(config: ConfigDict, workdir: Path, role: str) -> Plan:
  """What a judge learns and is tested by; a ConfigError where it cannot be."""
  _, source = prepare.prepared(config, workdir)
  asked = judging.asked(config, role, source)
  parts = judging.parts(config, role, asked)
  return Plan(source, asked, parts, judging.pipeline(config, role, source, asked, parts.learn))


def foresee(config: ConfigDict, workdir: Path) -> None:
  """What `judge` would refuse; nothing is allocated."""
  for role in judging.roles(config):
    tested.foresee(config, workdir, role, partial(lesson, config, workdir, role))


def job(config: ConfigDict, role: str, asked: Asked, pipeline: Pipeline) -> Any:
  task = judging.standardised(asked, pipeline.stream.index)
  shape = pipeline.source.fields['image'].shape
  return judging.job(config, role, shape, task, asked.outputs)


def taught(
  config: ConfigDict,
  folder: Path,
  role: str,
  asked: Asked,
  pipeline: Pipeline,
  agree: Any = lambda carried: None,
) -> dict[str, Any]:
  """A judge trained in a folder, from its last checkpoint on; the facts of it, by all processes."""
  todo = job(config, role, asked, pipeline)
  return tested.taught(config, folder, 'judge', todo, pipeline, asked.task.attributes, agree)


def worth(found: Judge, plan: Plan, ranked: bool) -> dict[str, Any]:
  """Temperatures by the records that tune them, and what the judge is worth on those that test."""
  of, parts = plan.asked, plan.parts
  logits = [outputs(found, plan.source, index) for index in (parts.tune, parts.test)]
  truth = [of.truth[index] for index in (parts.tune, parts.test)]
  kind, names = of.task.kind, list(of.task.attributes)
  each, temperatures = dict[str, dict[str, Any]](), list[float]()
  if kind == 'classes':
    name = '+'.join(names)
    each[name] = tempered((logits[0], truth[0]), (logits[1], truth[1]), yes=False)
    right = (logits[1].argmax(1) == truth[1]).mean()
    each[name]['accuracy'] = float(right)
    temperatures = [each[name]['temperature']]
  for k, name in enumerate(names if kind != 'classes' else ()):
    tune, test = ((row[:, k], z[:, k]) for row, z in zip(logits, truth, strict=True))
    each[name] = {} if kind == 'regression' else tempered(tune, test, yes=True)
    temperatures += [each[name]['temperature']] if each[name] else []
  knots = list[Any]()
  for k in range(len(names) if kind == 'binary' and ranked else 0):
    flat = len(truth[0]) >= RANKED and uniform(truth[0][:, k], truth[0][:, k]) is not None
    knots.append(calibrate.ranks(logits[0][:, k] / temperatures[k]) if flat else ())
  plain = judging.scaled(found, temperatures).read(logits[1])
  scored = judging.scaled(found, temperatures, knots).read(logits[1])
  for k, name in enumerate(names if kind != 'classes' else ()):
    each[name]['error'] = error(scored[:, k], truth[1][:, k])
    ends = span(plan.source.fields[name])
    if kind == 'regression' and ends is not None:
      each[name]['uniform'] = uniform(*(within(a[:, k], ends) for a in (scored, truth[1])))
    if kind == 'binary':
      each[name]['uniform'] = uniform(scored[:, k], truth[1][:, k])
      each[name]['ranks'] = bool(knots and knots[k])
      each[name]['without ranks'] = {
        'uniform': uniform(plain[:, k], truth[1][:, k]),
        'error': error(plain[:, k], truth[1][:, k]),
      }
  worst = max(each, key=lambda name: badness(each[name]))
  counts = {name: len(part) for name, part in parts._asdict().items()}
  return {
    'kind': kind,
    'attributes': names,
    'size': found.size,
    'channels': found.channels,
    'temperatures': temperatures,
    'knots': knots,
    'worst': worst,
    **each[worst],  # of several attributes that one: what is said of a judge holds for all
    'each': each,
    'records': {**counts, 'digest': parts.digest},
  }


def outputs(found: Judge, source: Source, index: np.ndarray) -> np.ndarray:
  """Logits of records, read some at a time."""
  cut = [index[at : at + CHUNK] for at in range(0, len(index), CHUNK)]
  return np.concatenate([found.logits(images(source, part)) for part in cut])


def images(source: Source, index: np.ndarray) -> np.ndarray:
  return stacked(source, index, ('image',))['image']


def tempered(tune: tuple[Any, Any], test: tuple[Any, Any], yes: bool) -> dict[str, Any]:
  """What a temperature does; where none is best it is 1, and the note says why."""
  note = None
  try:
    found = calibrate.calibrated(tune, test, yes)
  except calibrate.NoTemperature as why:
    found, note = calibrate.at(1.0, test, yes), str(why)
  pairs = {'nll': found.nll, 'ece': found.ece}
  return {
    'temperature': found.temperature,
    **{key: {'before': pair[0], 'after': pair[1]} for key, pair in pairs.items()},
    'reliability': [row._asdict() for row in found.reliability],
    'note': note,
  }


def error(said: np.ndarray, true: np.ndarray) -> dict[str, Any]:
  gap = said - true
  varied = said.std() > 0 and true.std() > 0
  return {
    'rmse': float(np.sqrt((gap**2).mean())),
    'mae': float(np.abs(gap).mean()),
    'pearson': float(np.corrcoef(said, true)[0, 1]) if varied else None,
  }


def span(field: Any) -> tuple[float, float] | None:
  """The range that an attribute lies in."""
  if field is None or field.low is None or field.high is None:
    return None
  return float(field.low), float(field.high)


def within(a: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
  """As shares of a range."""
  return np.clip((a - ends[0]) / (ends[1] - ends[0]), 0, 1)


def uniform(p: np.ndarray, z: np.ndarray) -> dict[str, Any] | None:
  """The score of a judge on records whose truth is uniform; None where it is not."""
  try:
    truth, found = (histogram.score(a, bootstrap=200) for a in (z, p))
  except MetricError:  # too few
    return None
  if truth.l2 > ROUGH * truth.floor_l2:
    return None
  return {**found._asdict(), 'truth': {'l2': truth.l2, 'kld': truth.kld}}


def badness(row: Mapping[str, Any]) -> float:
  """Which attribute a judge is worst at."""
  if row.get('uniform'):
    return float(row['uniform']['l2'])
  return float(row['ece']['after']) if 'ece' in row else float(row['error']['rmse'])


def checked(folder: Path, plan: Plan, told: Mapping[str, Any]) -> None:
  """Tested again, a finished judge is worth what judge.json says."""
  judging.judge(folder)  # of these weights
  if plan.parts.digest != told['records']['digest']:
    raise ConfigError(f'{folder}: it was tested on other records than the seed and the data give')
  again = worth(judging.trained(folder), plan, bool(told['knots']))
  for name, row in told['each'].items():
    for group, key in (('error', 'rmse'), ('nll', 'after'), ('uniform', 'l2')):
      if row.get(group) and abs(row[group][key] - again['each'][name][group][key]) > CLOSE:
        raise ConfigError(
          f'{folder}: tested again its {group} {key} of {name} is '
          f'{again["each"][name][group][key]:.6g}, not {row[group][key]:.6g} as {judging.TOLD} says'
        )


def summary(told: Mapping[str, Any]) -> str:
  """'2000 steps in 120 s, smile: temperature 1.02, L2 .021, KLD .018, rms error .02'."""
  said = [f'{told["steps"]} steps in {told["seconds"]:.0f} s, {told["worst"]}:']
  if 'temperature' in told:
    said.append(f'temperature {told["temperature"]:.3f}, ECE {told["ece"]["after"]:.4f},')
  if told.get('uniform'):
    row = told['uniform']
    said.append(f'L2 {row["l2"]:.4f} and KLD {row["kld"]:.4f} of {row["n"]} uniform,')
  if 'error' in told:
    said.append(f'rms error {told["error"]["rmse"]:.4f}')
  if 'accuracy' in told:
    said.append(f'accuracy {told["accuracy"]:.4f}')
  return ' '.join(said).rstrip(',')


def trusted(config: ConfigDict, home: Path) -> tuple[dict[str, Judge], dict[str, dict[str, Any]]]:
  """The judges of a workdir, and judge.json of each; those of this config where it is its own.

  Of a file with the weights of an EfficientNetV2-S that one, as b.
  """
  if home.is_file():
    size = config.data.options.get('size') or 64
    return {'b': judging.published(home, config.judge.attributes, size)}, {'b': {'kind': 'classes'}}
  own = judging.roles(config)
  there = sorted(p.parent.name for p in home.glob(f'judge/*/{judging.TOLD}'))
  if missing := [role for role in own if role.removeprefix('judge/') not in there]:
    raise ConfigError(f'{home}: {missing[0]} is not trained; run --stage=judge first')
  judges, told = dict[str, Judge](), dict[str, dict[str, Any]]()
  size, latent = config.data.options.get('size'), meters.LATENT.get(config.data.source)
  asked = tuple(config.judge.attributes) or ((latent,) if latent else ())
  for name in there:
    found = judges[name] = judging.judge(home / 'judge' / name)
    told[name] = judging.read(home / 'judge' / name) or {}
    about, kind = (
      (tuple(config.judge.truth) or asked, 'regression')
      if name == 'truth'
      else (asked, config.judge.kind)
    )
    if why := fits(found, kind, about, size or found.size):
      raise ConfigError(f'{home}: judge {name}: {why}')
  return judges, told
