"""What the networks do: class gradients over t, and what classifiers say of places never seen."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import models, sampling, trained
from zsi_jax.build.keys import ConfigError
from zsi_jax.data.circles import Circles
from zsi_jax.evaluate import classifier_map, gradients
from zsi_jax.evaluate.errors import MetricError
from zsi_jax.io.log import logger
from zsi_jax.stages import findings, scoring

ROWS = 20  # of the chain, at which gradients are looked at
MOST = 8  # classes whose gradients are shown
MAPS = 4  # classifiers that are looked at
DRAWS = 4  # noises of each place


def figures(
  config: ConfigDict, workdir: Path, mapped: Mapping[str, Path], records: scoring.Records
) -> list[Any]:
  """Of the base's networks; `mapped` are classifiers by their names, of which the first are."""
  own = config.evaluate
  made = list[Any]()
  try:
    model = trained.model(config, workdir)
  except ConfigError as error:
    logger.warning('evaluate: no gradients are shown: %s', error)
    return made
  if own.gradients and sampling.guided(config) and model.denoiser is not None:
    others = (models.load(path).classifier for path in mapped.values())
    every = {name: each for found in (*others, model.classifier) for name, each in found.items()}
    made += gradient(config, model, model.classifier | every, records)
  if config.data.source == 'circles' and sampling.guided(config):
    for name, path in list(mapped.items())[:MAPS]:
      made += placed(config, name, next(iter(models.load(path).classifier.values())), model)
  return made


def gradient(
  config: ConfigDict, model: Any, every: Mapping[str, Any], records: scoring.Records
) -> list[Any]:
  """Norms and cosines of the class gradients of classifiers, on noised training records."""
  few = {name: each for name, each in every.items() if each.net.classes <= MOST}
  for name in every.keys() - few.keys():
    logger.info('evaluate: %s has too many classes to show their gradients', name)
  own = dict(list(few.items())[:MAPS])
  if not own:
    return []
  trained_on = records.trained()
  index = trained_on[np.linspace(0, len(trained_on) - 1, config.evaluate.gradients).astype(int)]
  images = records.images(index).astype(np.float32) / np.float32(127.5) - 1
  rows = np.unique(np.linspace(0, len(model.process) - 1, ROWS).astype(int)).tolist()
  keys = models.keys(config.seed, len(images))
  try:
    found = gradients.class_gradients(
      keys, model.process, model.denoiser, list(own.values()), images, rows
    )
  except MetricError as error:
    logger.warning('evaluate: no gradients of %s are shown: %s', ', '.join(own), error)
    return []
  score = line('|∇ log p(x_t)|, the model', gradients.curve(found.score, found.t))
  made, at, last = list[Any](), 0, dict[str, int]()
  for name, classifier in own.items():
    k = range(at, at + classifier.net.classes)
    lines = [
      line(f'|∇ log p({i - at} | x_t)|', gradients.curve(found.norms[..., i], found.t)) for i in k
    ]
    made.append(curves(f'Gradients of {name} over t', 'norm', [*lines, score]))
    if len(k) > 2:
      pairs = {f'{i - at}, {j - at}': (i, j) for i, j in itertools.combinations(k, 2)}
      made.append(cosines(f'Cosines of the class gradients of {name}', pairs, found))
    at, last[name] = k.stop, k.stop - 1
  if len(last) > 1:
    pairs = {f'{a}, {b}': (last[a], last[b]) for a, b in itertools.combinations(last, 2)}
    made.append(cosines('Cosines between classifiers, of the last class of each', pairs, found))
  return made


def cosines(title: str, pairs: Mapping[str, tuple[int, int]], found: Any) -> dict[str, Any]:
  lines = [
    line(label, gradients.curve(found.cos[..., i, j], found.t)) for label, (i, j) in pairs.items()
  ]
  return curves(title, 'cosine', lines)


def line(label: str, of: gradients.Curve) -> dict[str, Any]:
  return {'label': label, 'x': of.x, 'y': of.y, 'low': of.low, 'high': of.high}


def curves(title: str, y: str, lines: list[Any]) -> dict[str, Any]:
  note = 'On noised training records; the bands hold 80 % of them.'
  return {
    'kind': 'curve', 'title': title, 'note': note, 'x': 't', 'y': y, 'series': lines,
    'diagonal': False, 'log_y': y == 'norm',
  }  # fmt: skip


def placed(config: ConfigDict, name: str, classifier: Any, model: Any) -> list[Any]:
  """P of the last class for a circle at each place, at one noise level."""
  options = config.data.options
  every = Circles(size=options.size, radius=options.radius, where='uniform')
  images = np.stack([every[i]['image'] for i in range(len(every))])
  places = np.array([[every.attributes(i)[axis] for axis in ('x', 'y')] for i in range(len(every))])
  images = images.astype(np.float32) / np.float32(127.5) - 1
  row = min(int(config.evaluate.level * len(model.process)), len(model.process) - 1)
  keys = models.keys(config.seed, len(images))
  p = classifier_map.probabilities(keys, model.process, classifier, images, row, DRAWS)
  made = classifier_map.grid(places, p[:, -1], float(model.process[row].t))
  left, right, top, bottom = made.extent
  return [
    {
      'kind': 'heatmap',
      'title': f'P(right) of a circle at each place, by {name}',
      'note': f'At t = {made.t:g} of {config.process.T}, a mean over {DRAWS} noises. The dark and '
      'the light end are the sides it was trained on.',
      'x': 'x, px',
      'y': 'y, px',
      'values': [[findings.number(v)['value'] for v in line] for line in made.values.tolist()],
      'low': 0.0,
      'high': 1.0,
      'scale': 'linear',
      'extent': [left, right, bottom, top],
    }
  ]
