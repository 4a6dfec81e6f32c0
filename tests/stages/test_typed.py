"""Values as annotations have them: what may become what, and what is refused by name."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import pytest

from zsi_jax.build import data, splits
from zsi_jax.build.typed import arguments, fitted, said

REFUSED = [
  (int, True),
  (int, 1.0),
  (int, '1'),
  (int, None),
  (float, True),
  (float, None),
  (bool, 1),
  (str, 5),
  (Sequence[str], 'ab'),
  (Sequence[str], (1,)),
  (Sequence[str] | None, 5),
  (tuple[float, float], (1.0,)),
  (tuple[float, float], ('a', 'b')),
  (tuple[float, float], 3),
  (tuple[str, ...], ('a', 1)),
  (str | Sequence[str], 5),
]


@pytest.mark.parametrize(
  'hint, value, wanted',
  [
    (float, 1, 1.0),
    (tuple[float, float], [1, 2], (1.0, 2.0)),
    (Sequence[str], ['a'], ('a',)),
    (Sequence[str], (), ()),
    (tuple[str, ...], ['a', 'b', 'c'], ('a', 'b', 'c')),
    (str | Sequence[str], 'a', 'a'),
    (str | Sequence[str], ['a'], ('a',)),
    (int | None, None, None),
    (Any, [1], [1]),
  ],
)
def test_what_fits(hint, value, wanted):
  got = fitted(value, hint)
  assert repr(got) == repr(wanted)


@pytest.mark.parametrize('hint, value', REFUSED)
def test_what_does_not_fit(hint, value):
  with pytest.raises(TypeError):
    fitted(value, hint)


def test_annotations_are_said_in_short():
  hints = (int, int | None, Sequence[str], tuple[float, float], str | Sequence[str])
  shown = 'int; int | None; Sequence[str]; tuple[float, float]; str | Sequence[str]'
  assert '; '.join(map(said, hints)) == shown


def test_the_arguments_of_all_that_a_config_makes(tmp_path):
  """Each has a type: no option of a source, a split or a support is taken as it comes."""
  sources = 'circles discs sizes portraits celeba folder npz'.split()
  makers = [data.maker(name, tmp_path) for name in sources]
  kinds = 'all chosen within tails list top_k agree yaw_a yaw_b yaw_c'.split()
  makers += [splits.splitter(kind) for kind in kinds]
  makers += [splits.promiser(kind) for kind in 'extremes turned split_b split_c'.split()]
  for make in makers:
    found = arguments(make)
    assert found and all(hint is not Any for hint, _ in found.values())
  assert arguments(functools.partial(data.npz, tmp_path)).keys() == {'path'}
