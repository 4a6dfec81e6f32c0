"""Many conditions: each looks ahead to what the others say, and one merge weighs the answers.

(1) tasks g_ij = g_i + g_j|i,  g_j|i = J_i^T s_j(x_hat_i)       Z-Magic, Alg. 2
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from zsi_jax.core.ahead import Ahead, Lead, pulled
from zsi_jax.core.compose import Around
from zsi_jax.core.guidance import (
  Combine,
  Field,
  Guidance,
  Notes,
  check_merge,
  gather,
  merged,
  summands,
)
from zsi_jax.core.merge import CAGrad
from zsi_jax.core.process import Move
from zsi_jax.core.solvers import Landing
from zsi_jax.core.tree import Array, static

PAIRINGS = 'star', 'ordered', 'unordered', 'chain'


class Pairs(Ahead):
  """Each term leads once, the others follow from where it lands; one merge (1).

  'star': tasks g_i + sum_j g_j|i, as mean-like as the sum; 'ordered' and 'unordered': every
  g_i + g_j|i, or those with i < j, times n / 2; 'chain': g_1, g_2|1, g_3|21, ..., times n. With
  Mean() and no look-ahead each is the sum; of a merge that is a `total` the mean counts. The notes
  of lead i are i/name and i/then/name.
  """

  terms: tuple[Guidance, ...]
  pairing: str = static('star')
  merge: Any = dataclasses.field(default_factory=CAGrad)

  def __post_init__(self) -> None:
    super().__post_init__()
    check_merge(self.merge)
    if self.pairing not in PAIRINGS:
      raise ValueError(f'pairing is one of {PAIRINGS}, not {self.pairing!r}')
    if isinstance(self.terms, tuple) and len(self.terms) < 2:
      raise ValueError('Pairs needs two terms or more: Pairs(solver, (a, b))')
    if isinstance(self.solver, Around):  # the score of such a one is of several places
      name = type(self.solver).__name__
      raise ValueError(f'Pairs compares scores at one x: {name}(Pairs(solver, terms), …)')
    if self.pairing == 'chain' and (self.mode == 'x0' or self.product != 'vjp'):
      raise ValueError("pairing='chain' nests moves: take another mode than 'x0', product='vjp'")

  def __call__(
    self, keys: Array, field: Field, x: Array, carry: Any, move: Move, given: Any = None
  ) -> Landing:
    base = self.lead(keys, field, x, move, given)
    make = self.links if self.pairing == 'chain' else self.tasks
    tasks, notes = make(keys, field, base, x, move, given)
    g, extra = merged(self.merge, jnp.stack(tasks))
    n, parts = len(self.terms), len(tasks) if getattr(self.merge, 'total', False) else 1
    g = g * {'star': 1, 'chain': n}.get(self.pairing, n / 2) / parts
    total = base.score + g
    score = total if self.mode == 'x0' else g
    land = self.put(base.land, score, total, move, gather(base.notes, notes, extra))
    return land._replace(carry=carry)

  def tasks(
    self, keys: Array, field: Field, base: Lead, x: Array, move: Move, given: Any
  ) -> tuple[list[Array], Notes]:
    """(1)"""
    found, notes = list[Array](), Notes()
    for i, first in enumerate(self.terms):
      after = self.terms[i + 1 :]
      rest = after if self.pairing == 'unordered' else self.terms[:i] + after
      if not rest:
        continue
      asked = (Combine(rest),) if self.pairing == 'star' else rest
      own = field.replace(guidance=Combine((*summands(field.guidance), first)))
      lead = self.lead(keys, own, x, move, given)
      back, more = self.ask(asked, keys, field, lead, move, given)
      found += [lead.score - base.score + g for g in back]
      notes |= {f'{i}/{k}': v for k, v in (lead.notes | more).items()}
    return found, notes

  def links(
    self, keys: Array, field: Field, base: Lead, x: Array, move: Move, given: Any
  ) -> tuple[list[Array], Notes]:
    """g_1, g_2|1, g_3|21, ...: each pulled back through all moves before it."""

    lead_by = field.replace(guidance=Combine((*summands(field.guidance), self.terms[0])))

    def go(k: int, x: Array, still: bool = False) -> tuple[Array, Any]:
      if k == 0:
        x_hat, land = self.first(keys, lead_by, x, move, given, still)
        told = {f'0/{n}': v for n, v in land.notes.items()}
        return x_hat, (land, [land.score - base.score], told)
      x_hat, pull, (land, parts, told) = pulled(partial(go, k - 1), x, self.mode)
      lead = Lead(x_hat, self.bounded(pull), land.score, {}, land)
      (back,), more = self.ask((self.terms[k],), keys, field, lead, move, given)
      back = jax.lax.stop_gradient(back) if still else back
      told = told | {f'{k}/{n}': v for n, v in more.items()}
      x_hat = self.add(x_hat, self.gain * back, move, land.pred)
      return x_hat, (land, [*parts, back], told)

    _, (_, parts, notes) = go(len(self.terms) - 1, x)
    return parts, notes
