"""How conditions fare along a chain: their energies, and how the parts of the score lie.

A few tuples are drawn again for each way to obey, with the notes that a chain leaves behind; the
sum's gradients are told apart for that, which changes no image.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import conditions, models, sampling, trained
from zsi_jax.core import Guidance, Nothing, Process, Step, sample
from zsi_jax.core.guidance import Notes, Score
from zsi_jax.evaluate import gradients
from zsi_jax.stages import obeyed, paired, tuples, valley
from zsi_jax.stages.sets import Images

WAYS = 4  # at most; those of the first strength
BATCH = 8


class Way(NamedTuple):
  """How a set was drawn, to be drawn again."""

  name: str
  conditions: tuple[str, ...]
  rho: tuple[float, ...]
  keys: Any  # of its images
  process: Any
  denoiser: Any
  guidance: Any
  solver: Any
  bare: Any  # the solver without conditions
  summed: Any  # all conditions at once: the notes of their energies
  shape: tuple[int, ...]
  given: Callable[[np.ndarray], dict[str, np.ndarray]]  # numbers of images -> what they bring


def figures(config: ConfigDict, workdir: Path, found: list[Images]) -> list[Any]:
  """Energies and cosines over t of some of the ways, and the valley that they go through."""
  count, alike = int(config.evaluate.gradients), comparable(found)
  if not count or not alike:
    return []
  model = trained.model(config, workdir)
  ways = [way(config, workdir, model, name, one) for name, one in [*alike.items()][:WAYS]]
  energy, cosine = dict[str, list[Any]](), list[Any]()
  for each, one in zip(ways, alike.values(), strict=False):
    t, notes = along(each, min(count, one.n))
    for condition in each.conditions:
      if condition != conditions.LABEL:
        rows = notes[f'aside/energy/{condition}']
        energy.setdefault(condition, []).append(line(each.name, rows, t))
    if 'ahead/cos' in notes:
      cosine.append(line(f'{each.name}: the first, what is pulled back', notes['ahead/cos'], t))
    elif 'cos' in notes:
      parts = 'the first two' if each.solver is each.bare else 'tasks of the first two'
      cosine.append(line(f'{each.name}: {parts}', notes['cos'][..., 0, 1], t))
  return [
    *(
      figure(f'{condition} along the chain', 'energy of what is expected at x_t', lines)
      for condition, lines in energy.items()
    ),
    *[figure('Cosines of the parts of the score', 'cosine', cosine)][: len(cosine)],
    *valley.figures(ways),
  ]


def comparable(found: list[Images]) -> dict[str, Images]:
  """{way: its set} of the first strength; all of the same conditions, tuples, rho and steps."""
  alike = dict[str, Images]()
  keys = 'conditions', 'tuples', 'steps', 'solver'
  for one in found:
    if one.conditions:
      first = next(iter(alike.values()), one)
      said, other = one.told['sample'], first.told['sample']
      rho = said['guide']['rho'] == other['guide']['rho']
      if rho and all(said[key] == other[key] for key in keys):
        alike.setdefault(paired.strength(one.name)[0], one)
  return alike


class Aside(Guidance):
  """Says nothing, and notes what another would say: aside/name."""

  term: Any

  def __call__(self, s: Step) -> tuple[Score, Notes]:
    _, notes = self.term(s)
    return Nothing()(s)[0], {f'aside/{name}': v for name, v in notes.items()}


def way(config: ConfigDict, workdir: Path, model: models.Model, name: str, one: Images) -> Way:
  """Of a set; a sum's gradients are told apart."""
  own = obeyed.as_drawn(config, one)
  said = one.told['sample']['guide']
  guide = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
  if guide['kind'] == 'sum' and conditions.LABEL not in one.conditions:
    guide |= {'kind': 'merge', 'merge': 'sum'}
  with own.unlocked():
    own.sample.guide = ConfigDict(guide)
    own.sample.steps = one.told['sample']['steps']
    own.sample.solver = ConfigDict(one.told['sample']['solver'])
  bare = sampling.solver(own)
  guidance, solver, _ = tuples.guided(own, workdir, bare)
  summed = own.copy_and_resolve_references()
  with summed.unlocked():
    summed.sample.guide = ConfigDict(
      {'kind': 'sum', 'rho': guide['rho'], 'rule': 'fixed', 'stop': 0.0}
    )
  near = tuples.drawn(own, workdir, one.n)
  refs = tuples.references(own, workdir, tuples.GUIDE)
  chain, null = model.config['denoiser'], getattr(model.denoiser, 'null', None)
  return Way(
    name,
    one.conditions,
    guide['rho'],
    models.keys(one.told['seed'], one.n),
    Process.make(models.betas(chain['schedule'], chain['T']), own.sample.steps),
    sampling.conditioned(own, model.denoiser, whole=True),
    guidance,
    solver,
    bare,
    tuples.guided(summed, workdir, bare)[0],
    tuple(model.shape),
    lambda rows: near.given(rows, refs, null),
  )


def along(of: Way, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """(t [rows], notes [rows, count, ...]) of the first images."""
  watch = 'aside/*', *(['*cos'] if told_apart(of) else [])
  guidance = Aside(of.summed) if of.guidance is None else of.guidance + Aside(of.summed)

  @jax.jit
  def draw(keys: Any, denoiser: Any, guidance: Any, solver: Any, given: Any) -> Any:
    return sample(
      keys, of.process, denoiser, guidance, solver, shape=of.shape, given=given, watch=watch
    )[1]

  parts = []
  for at in range(0, count, BATCH):
    rows = np.minimum(np.arange(at, at + BATCH), count - 1)  # the last is filled up
    notes = draw(of.keys[rows], of.denoiser, guidance, of.solver, of.given(rows))
    parts.append({k: np.asarray(v)[:, : count - at] for k, v in notes.items()})
  whole = {k: np.concatenate([part[k] for part in parts], 1) for k in parts[0]}
  return np.asarray(of.process.levels.t)[::-1], whole


def told_apart(of: Way) -> bool:
  """Whether two parts of the score are known."""
  return of.solver is not of.bare or conditions.LABEL not in of.conditions


def line(label: str, rows: np.ndarray, t: np.ndarray) -> dict[str, Any]:
  found = gradients.curve(rows, t)
  return {'label': label, 'x': found.x, 'y': found.y, 'low': found.low, 'high': found.high}


def figure(title: str, y: str, lines: list[Any]) -> dict[str, Any]:
  note = 'A mean over tuples; the bands hold 80 % of them.'
  return {'kind': 'curve', 'title': title, 'note': note, 'x': 't', 'y': y, 'series': lines,
          'diagonal': False}  # fmt: skip
