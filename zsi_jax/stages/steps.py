"""How conditions fare along a chain: their energies, and how the parts of the score lie.

A few tuples are drawn again for each way to obey, with the notes that a chain leaves behind; the
sum's gradients are told apart for that, which changes no image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import models, sampling, trained
from zsi_jax.core import Process, sample
from zsi_jax.evaluate import gradients
from zsi_jax.stages import obeyed, tuples
from zsi_jax.stages.sets import Images

WAYS = 4  # at most; those of the first strength
BATCH = 8


def figures(config: ConfigDict, workdir: Path, found: list[Images]) -> list[Any]:
  """Energies and cosines over t, of some of the ways."""
  count, ways = int(config.evaluate.gradients), dict[str, Images]()
  for one in found:
    if one.conditions:
      ways.setdefault(one.name.rpartition('_x')[0] or one.name, one)
  if not count or not ways:
    return []
  model = trained.model(config, workdir)
  energy, cosine = dict[str, list[Any]](), list[Any]()
  for name, one in list(ways.items())[:WAYS]:
    t, notes = rerun(config, workdir, one, model, min(count, one.n))
    for condition in one.conditions:
      rows = next(v for k, v in notes.items() if k.endswith(f'energy/{condition}'))
      energy.setdefault(condition, []).append(line(name, rows, t))
    if 'ahead/cos' in notes:
      cosine.append(line(f'{name}: the first, what is pulled back', notes['ahead/cos'], t))
    else:
      cosine.append(line(f'{name}: the first two', notes['cos'][..., 0, 1], t))
  return [
    *(
      figure(f'{condition} along the chain', 'energy of what is expected', lines)
      for condition, lines in energy.items()
    ),
    figure('Cosines of the parts of the score', 'cosine', cosine),
  ]


def rerun(
  config: ConfigDict, workdir: Path, one: Images, model: models.Model, count: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """(t [rows], notes [rows, count, ...]) of the first images of a set."""
  own = obeyed.as_drawn(config, one)
  said = one.told['sample']['guide']
  guide = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
  if guide['kind'] == 'sum':
    guide |= {'kind': 'merge', 'merge': 'sum'}
  with own.unlocked():
    own.sample.guide = ConfigDict(guide)
    own.sample.steps = one.told['sample']['steps']
    own.sample.solver = ConfigDict(one.told['sample']['solver'])
  guidance, solver, _ = tuples.guided(own, workdir, sampling.solver(own))
  near = tuples.drawn(own, workdir, one.n)
  refs = tuples.references(own, workdir, tuples.GUIDE)
  chain = model.config['denoiser']
  process = Process.make(models.betas(chain['schedule'], chain['T']), own.sample.steps)
  watch = '*energy/*', '*cos'

  @jax.jit
  def draw(keys: Any, guidance: Any, solver: Any, given: Any) -> Any:
    return sample(
      keys, process, model.denoiser, guidance, solver, shape=model.shape, given=given, watch=watch
    )[1]

  keys = models.keys(one.told['seed'], one.n)
  parts = []
  for at in range(0, count, BATCH):
    rows = np.minimum(np.arange(at, at + BATCH), count - 1)  # the last is filled up
    notes = draw(keys[rows], guidance, solver, near.seen(rows, refs))
    parts.append({k: np.asarray(v)[:, : count - at] for k, v in notes.items()})
  whole = {k: np.concatenate([part[k] for part in parts], 1) for k in parts[0]}
  return np.asarray(process.levels.t)[::-1], whole


def line(label: str, rows: np.ndarray, t: np.ndarray) -> dict[str, Any]:
  found = gradients.curve(rows, t)
  return {'label': label, 'x': found.x, 'y': found.y, 'low': found.low, 'high': found.high}


def figure(title: str, y: str, lines: list[Any]) -> dict[str, Any]:
  note = 'A mean over tuples; the bands hold 80 % of them.'
  return {'kind': 'curve', 'title': title, 'note': note, 'x': 't', 'y': y, 'series': lines,
          'diagonal': False}  # fmt: skip
