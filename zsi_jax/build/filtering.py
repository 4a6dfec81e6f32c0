"""The filter of `split.kind='judged'`: what judges find extreme, and the files that say so.

Who the judges are is a matter of `ask`; `data/filtering.py` has the formulas.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.build.records import Records
from zsi_jax.data import filtering, lists, subsets
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Source
from zsi_jax.data.subsets import Subset
from zsi_jax.report import filtered

SETS = 'confident', 'agreed', 'kept'  # S, S', S*
TEMPLATE, PAGE, CANDIDATES = 'holdout_template.csv', 'index.html', 200
ASSUMED, ERRORS = 0.85, (10, 15, 20)  # of D.3: accuracy of each judge; wrong records kept

Ask = Callable[[str, Subset], np.ndarray]  # a judge's name, what it learns -> P(1) of all, [N]


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
  """What the judges say of the records."""

  label: np.ndarray  # int32 [N]
  apart: np.ndarray  # bool [N]: nobody was trained on them
  judge: np.ndarray  # [N]
  ensemble: np.ndarray | None = None  # [M, N]
  tau: tuple[float, float] | None = None
  confident: Subset | None = None
  agreed: Subset | None = None
  kept: Subset | None = None

  @property
  def judges(self) -> dict[str, np.ndarray]:
    """The scores of each, by its name."""
    rest = () if self.ensemble is None else self.ensemble
    return {'judge': self.judge} | {str(k): scores for k, scores in enumerate(rest)}

  @functools.cached_property
  def seen(self) -> filtered.Seen:
    none = np.zeros(len(self.label), bool)
    sets = [
      none if s is None else np.isin(np.arange(len(none)), s.index)
      for s in (self.confident, self.agreed, self.kept)
    ]
    first = filtering.own('judge', self.judge[None], self.label)
    every = self.ensemble
    every = None if every is None else filtering.own('ensemble', every, self.label)
    return filtered.Seen(self.label, self.judge, first, self.ensemble, every, self.tau, *sets)


def find(of: Records, options: Mapping[str, Any], seed: int, ask: Ask) -> Found:
  """All of it, by judges that are asked; without thresholds only what the first one says.

  Marks of a hold-out raise the least thresholds to precision 1; who is marked trains nobody.
  """
  label = of.yes_or_no(options['label'])
  least, marks = options['tau'], None
  apart = filtering.apart(label, options['apart'], seed)
  if options['holdout'] is not None:
    marks = of.marked(options['holdout'])
    apart[marks[0]] = True
  index = np.flatnonzero((label >= 0) & ~apart)
  if options['scores'] is None:
    judge = ask('judge', subsets.labelled(index, label))
  else:
    judge = of.scores(options['scores'], options['column'])
  found = Found(label, apart, judge)
  if least is None and marks is None:
    return found
  least = (0.5, 0.5) if least is None else least
  tau1 = raised(of, least[0], judge, marks, 'the first judge')
  confident = filtering.agree(label, judge, judge[None], (tau1, 0.5))
  learnt = Subset(*(a[~apart[confident.index]] for a in (confident.index, confident.label)))
  parts = filtering.parts(learnt, options['judges'], seed)
  ensemble = np.stack([ask(str(k), part) for k, part in enumerate(parts)])
  tau = tau1, raised(of, least[1], ensemble, marks, 'the ensemble')
  agreed = filtering.agree(label, judge, ensemble, tau, options['over'])
  k = options['k']
  kept = agreed if k is None else subsets.top_k(judge, k, agreed)
  return Found(label, apart, judge, ensemble, tau, confident, agreed, kept)


def raised(
  of: Records,
  least: float,
  scores: np.ndarray,
  marks: tuple[np.ndarray, np.ndarray] | None,
  who: str,
) -> float:
  """The least threshold, or the one of precision 1 where that is higher."""
  if marks is None:
    return least
  index, truth = marks
  try:
    found = filtering.threshold(scores[..., index], truth, [named(of, i) for i in index])
  except DataError as error:
    raise DataError(f'{who}: {error}') from None
  return max(least, found)


def named(of: Records, i: int) -> str:
  """As a hold-out names it: by its file, else by its number in the source."""
  return of.files[i] if of.files is not None else str(of.numbers[i])


def files(
  of: Records, found: Found, options: Mapping[str, Any], source: Source
) -> dict[str, bytes]:
  """Lists, scores, the template of a hold-out, the page: by name."""
  seen, key = found.seen, 'index' if of.files is None else 'file'
  pool = np.flatnonzero(found.apart & (found.label >= 0))
  chosen = filtering.candidates(found.judge, found.label, pool, CANDIDATES)
  rows = [f'{key},label,given,score']
  rows += [f'{_cell(named(of, i))},,{found.label[i]},{found.judge[i]:.6g}' for i in chosen]
  made = {TEMPLATE: '\n'.join(rows) + '\n'}
  names = [_cell(named(of, i)) for i in range(len(found.label))]
  for judge, scores in found.judges.items():
    rows = [f'{key},score', *(f'{n},{s!r}' for n, s in zip(names, scores.tolist(), strict=True))]
    made[f'scores/{judge}.csv'] = '\n'.join(rows) + '\n'
  for name in SETS if found.kept is not None else ():
    numbers = of.numbers[getattr(found, name).index].tolist()
    made[f'{name}.txt'] = '\n'.join(map(str, numbers))
  candidates = filtered.Group(
    'To be labelled by hand',
    f'{TEMPLATE} names these in this order; nobody was trained on them.',
    chosen,
  )
  made[PAGE] = filtered.page(
    f'What judges of {options["label"]!r} kept',
    notes(found, options),
    tables(found),
    [*filtered.groups(seen), candidates] if len(chosen) else filtered.groups(seen),
    seen,
    lambda i: named(of, i),
    lambda i: np.asarray(source[i]['image']),
  )
  return {name: text.encode() for name, text in made.items()}


def _cell(name: str) -> str:
  """Quoted where a comma or a quote is in it."""
  return '"' + name.replace('"', '""') + '"' if {',', '"', '\n'} & {*name} else name


def kept(folder: Path, of: Records, label: str) -> Subset:
  """What `files` left there."""
  listed = lists.read_indices(folder / 'kept.txt', of.total)
  return subsets.labelled(np.flatnonzero(np.isin(of.numbers, listed)), of.yes_or_no(label))


def notes(found: Found, options: Mapping[str, Any]) -> list[str]:
  label = (
    f'To label a hold-out: write 1 or 0 into the column label of {TEMPLATE}, or of a sheet of '
    'your own with the names below, and leave it empty where you are in doubt. Its column given is '
    'the label of the data set. Then say split.holdout=…: thresholds rise until no record of it is '
    'taken for the other label.'
  )
  if found.tau is None:
    return ['Only the first judge was asked: thresholds come from a hold-out.', label]
  said = [] if options['tau'] is None else ['the least that were given']
  said += [] if options['holdout'] is None else ['raised to precision 1 on the hold-out']
  tau = f'τ₁ = {found.tau[0]:.6g}, τ₂ = {found.tau[1]:.6g}: {", ".join(said)}.'
  return [tau + ' p(y) is the probability of the label that a record has.', label]


def tables(found: Found) -> list[tuple[str, list[list[Any]]]]:
  """What each step left, and how often judges agree with labels that they were not trained on."""
  s, labelled = found.seen, found.label >= 0
  steps = {'labelled': labelled, 'apart, to try judges on': labelled & found.apart}
  if found.kept is not None:
    steps |= {'S: the judge is confident': s.confident, "S': all agree": s.agreed}
    steps |= {'S*: kept': s.kept}
  rows: list[list[Any]] = [['', 'as the label, of those apart']]
  rows += [[name, share] for name, share in accuracies(found).items()]
  made = [('Records', filtered.counts(found.label, steps)), ('Judges', rows)]
  if found.kept is not None:
    head = ['wrong records kept', 'P ≤ (Chernoff)', 'P']
    said = [[f'{k} or more', bound, tail] for k, bound, tail in errors(found)['at least']]
    title = f'If each of {len(found.judges) - 1} judges were right on {ASSUMED:.0%} (D.3)'
    made.append((title, [head, *said]))
  return made


def accuracies(found: Found) -> dict[str, float | None]:
  """Share of the records apart that each judge has on the side of their label."""
  pool = np.flatnonzero(found.apart & (found.label >= 0))
  right = {n: (s[pool] > 0.5) == (found.label[pool] == 1) for n, s in found.judges.items()}
  return {name: float(r.mean()) if len(pool) else None for name, r in right.items()}


def errors(found: Found) -> dict[str, Any]:
  """D.3: each judge is wrong on 15 %, on its own; how many kept records are all wrong about."""
  assert found.kept is not None
  n, p = len(found.kept), (1 - ASSUMED) ** (len(found.judges) - 1)
  of = [k for k in ERRORS if k <= n]
  rows = [[k, filtering.chernoff(n, p, k), filtering.binomial_tail(n, p, k)] for k in of]
  return {'accuracy': ASSUMED, 'p': p, 'n': n, 'mean': n * p, 'at least': rows}
