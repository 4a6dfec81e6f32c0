"""Declared supports: what passes, what is refused and how it is said, JSON and back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from zsi_jax.data import subsets, support
from zsi_jax.data.errors import DataError
from zsi_jax.data.support import Support


def values(seed: int = 0, n: int = 500) -> dict[str, np.ndarray]:
  draw = np.random.default_rng(seed)
  return {name: draw.random(n).astype(np.float32) for name in ('smile', 'hair')}


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('delta', [0.1, 0.2, 0.25])
def test_what_within_picks_lies_in_the_declared_extremes(seed, delta):
  truth = values(seed)
  picked = subsets.within(truth['smile'], delta)
  declared = support.extremes('smile', delta=delta)
  found = declared.check(truth, picked.index, picked.label)
  assert f'{len(picked)} of {len(picked)} records in smile [0, {delta:g}]' in found
  others = np.setdiff1d(np.arange(500), picked.index)
  with pytest.raises(DataError, match=f'{len(others)} of 500 records lie outside smile'):
    declared.check(truth)


def test_the_first_record_outside_is_named_with_its_value():
  truth = {'smile': np.array([0.05, 0.95, 0.42, 0.5])}
  with pytest.raises(DataError) as error:
    support.extremes('smile').check(truth, np.array([1, 0, 3, 2]))
  message = str(error.value)
  assert "support 'extremes': 2 of 4 records lie outside smile [0, 0.1] or [0.9, 1]" in message
  assert 'the first is record 3 with smile = 0.5' in message


def test_corners_of_two_attributes():
  truth = values()
  declared = support.extremes('smile', 'hair', delta=0.2)
  both = subsets.corners(*(subsets.within(truth[name], 0.2) for name in ('smile', 'hair')))
  declared.check(truth, both.index)
  with pytest.raises(DataError, match=r'outside hair .* and smile .* with hair = .*, smile = '):
    declared.check(truth, subsets.within(truth['smile'], 0.2).index)
  assert declared.attributes == ('hair', 'smile')
  one = Support('bald grin', {'smile': ((0.9, 1),), 'hair': ((0, 0.1),)})
  wanted = np.flatnonzero((truth['smile'] >= np.float32(0.9)) & (truth['hair'] <= np.float32(0.1)))
  one.check(truth, wanted)


@pytest.mark.parametrize('seed', range(4))
def test_split_b_allows_a_few_frontal_and_unlabelled(seed):
  yaw = np.random.default_rng(seed).uniform(-90, 90, 4000)
  denoiser, classifier = subsets.split_b(yaw, seed=seed)
  declared = support.split_b()
  assert '[-10, 10]' in declared.check({'yaw': yaw}, denoiser.index, denoiser.label)
  declared.check({'yaw': yaw}, classifier.index, classifier.label)
  Support('A', {'yaw': declared.inside['yaw']}).check({'yaw': yaw}, classifier.index)
  with pytest.raises(DataError, match='records lie in the band yaw .* with a label'):
    declared.check({'yaw': yaw}, denoiser.index, np.zeros(len(denoiser), int))
  front = np.flatnonzero(np.abs(yaw) <= 10)
  with pytest.raises(DataError, match='more than 5.00%'):
    declared.check({'yaw': yaw}, np.concatenate([denoiser.index, front]))
  with pytest.raises(DataError, match='outside the band'):
    declared.check({'yaw': yaw})


def test_nothing_to_check_says_so():
  truth = {'smile': np.array([0.5])}
  assert 'nothing was checked' in support.listed().check({})
  assert 'every record is allowed' in support.everything().check(truth)
  assert support.listed().attributes == support.everything().attributes == ()
  assert support.listed() != support.everything()


@pytest.mark.parametrize(
  'truth, index, what',
  [
    ({'age': np.zeros(3)}, None, "needs the truth of 'smile'; the records have age"),
    ({'smile': np.array([0, np.nan])}, None, '1 of 2 .* record 1 with smile = nan'),
    ({'smile': np.zeros(3)}, [0, 3], 'record 3 of a data set of 3'),
    ({'smile': np.zeros(3)}, [-1], 'record -1 of a data set of 3'),
    ({'smile': np.zeros(3)}, [], 'non-empty'),
    ({'smile': np.zeros(3)}, [True, False, True], 'record numbers'),
    ({'smile': np.zeros((3, 2))}, None, 'one number for each record'),
    ({'smile': np.array(['a'])}, None, 'one number for each record'),
  ],
)
def test_what_cannot_be_checked_is_refused(truth, index, what):
  with pytest.raises(DataError, match=what):
    support.extremes('smile').check(truth, index)


def test_lengths_must_agree():
  declared = support.extremes('smile', 'hair')
  with pytest.raises(DataError, match='2 values of smile, 3 of hair'):
    declared.check({'smile': np.zeros(2), 'hair': np.zeros(3)})
  with pytest.raises(DataError, match='1 labels for 3 records'):
    declared.check({'smile': np.zeros(3), 'hair': np.zeros(3)}, label=[0])


@pytest.mark.parametrize(
  'declared',
  [
    support.extremes('smile', 'hair', delta=0.1),
    support.everything(),
    support.listed(),
    support.split_b(),
    Support('corner', {'b': [[0, 1]], 'a': ((0.1, 0.3), (1 / 3, 0.7))}),
  ],
)
def test_json_and_back(declared):
  text = json.dumps(declared.to_json(), allow_nan=False)
  assert Support.from_json(json.loads(text)) == declared


@pytest.mark.parametrize(
  'how, what',
  [
    ({'name': ''}, 'needs a name'),
    ({'inside': {'a': ()}}, 'a lies in'),
    ({'inside': {'a': ((1, 0),)}}, 'a lies in'),
    ({'inside': {'a': (0, 1)}}, 'a lies in'),
    ({'inside': {'a': ((0, float('nan')),)}}, 'a lies in'),
    ({'inside': {'a': ((0, float('inf')),)}}, 'a lies in'),
    ({'inside': ['a']}, 'maps attributes'),
    ({'apart': 0.1}, 'go together'),
    ({'band': {'a': ((0, 1),)}}, 'go together'),
    ({'apart': 1.5, 'band': {'a': ((0, 1),)}}, 'not in'),
    ({'inside': {'a': ((0, 1),)}, 'checked': False}, 'to be checked'),
  ],
)
def test_a_wrong_declaration_is_refused(how, what):
  with pytest.raises(DataError, match=what):
    Support(**{'name': 'x', **how})
  with pytest.raises(DataError):
    Support.from_json({'name': 'x', **how})


def test_what_is_no_support_is_refused():
  for bad in ({}, {'name': 'x', 'more': 1}, None):
    with pytest.raises(DataError, match='has the entries'):
      Support.from_json(bad)
  with pytest.raises(DataError, match='delta'):
    support.extremes('smile', delta=0.5)
