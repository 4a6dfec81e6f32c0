"""Subsets against brute force, by hand and over random inputs of fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.data import subsets
from zsi_jax.data.errors import DataError
from zsi_jax.data.subsets import Subset

SEEDS = range(8)


def pairs(subset: Subset) -> list[tuple[int, int]]:
  return list(zip(subset.index.tolist(), subset.label.tolist(), strict=True))


def scores(seed: int, n: int = 60, ties: bool = False) -> np.ndarray:
  drawn = np.random.default_rng(seed).random(n)
  return np.round(drawn, 1) if ties else drawn


def test_a_subset_is_of_whole_numbers():
  subset = Subset(np.array([3, 5], np.int32), [0, -1])
  assert subset.index.dtype == np.int64 and subset.label.dtype == np.int32 and len(subset) == 2
  for index, label in [([], []), ([1], [0, 1]), ([[1]], [[0]]), ([-1], [0]), ([1], [-2])]:
    with pytest.raises(DataError):
      Subset(np.array(index), np.array(label))
  with pytest.raises(DataError):
    Subset([0.5], [0])
  with pytest.raises(DataError, match='record 5 of a data set of 5'):
    subset.of(5)
  assert subset.of(6) is subset


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_within_takes_its_ends_in_either_precision(dtype):
  values = np.array([0, 0.2, 0.2001, 0.5, 0.7999, 0.8, 1], dtype)
  assert pairs(subsets.within(values, 0.2)) == [(0, 0), (1, 0), (5, 1), (6, 1)]
  assert pairs(subsets.within(np.array([0, 0.1, 0.9, 1], dtype), 0.1)) == [
    (0, 0), (1, 0), (2, 1), (3, 1)]  # fmt: skip


@pytest.mark.parametrize('seed', SEEDS)
def test_within_is_brute_force(seed):
  values = scores(seed, 200)
  delta = 0.05 + seed / 20
  found = dict(pairs(subsets.within(values, delta)))
  for i, z in enumerate(values):
    assert found.get(i) == (0 if z <= delta else 1 if z >= 1 - delta else None)


@pytest.mark.parametrize('seed', SEEDS)
@pytest.mark.parametrize('ties', [False, True])
def test_top_k_is_brute_force(seed, ties):
  values = scores(seed, ties=ties)
  low, high = 7 + seed, 11
  order = sorted(range(len(values)), key=lambda i: (values[i], i))
  found = subsets.top_k(values, (low, high))
  assert pairs(found) == sorted(
    [(i, 0) for i in order[:low]] + [(i, 1) for i in order[len(order) - high :]]
  )


@pytest.mark.parametrize('seed', SEEDS)
def test_top_k_among_ranks_within_each_label(seed):
  values, draw = scores(seed), np.random.default_rng(seed + 100)
  index = np.sort(draw.choice(60, 40, replace=False))
  among = Subset(index, draw.integers(0, 2, 40))
  found = subsets.top_k(values, (4, 9), among)
  zeros = sorted((i for i, y in pairs(among) if y == 0), key=lambda i: values[i])
  ones = sorted((i for i, y in pairs(among) if y == 1), key=lambda i: -values[i])
  assert dict(pairs(found)) == dict.fromkeys(zeros[:4], 0) | dict.fromkeys(ones[:9], 1)
  loose = subsets.top_k(values, 5, subsets.labelled(index))
  chosen = sorted(index, key=lambda i: values[i])
  assert set(loose.index) == {*chosen[:5], *chosen[-5:]}


def test_the_share_on_each_side_is_exact():
  assert len(subsets.tails(np.arange(100.0), 0.29)) == 58  # .29 * 100 is 28.999…
  found = subsets.tails(np.arange(10.0)[::-1], 0.2)
  assert pairs(found) == [(0, 1), (1, 1), (8, 0), (9, 0)]
  assert len(subsets.tails(np.zeros(10), 0.5)) == 10  # equal scores: no record on both sides


def test_what_cannot_be_chosen_is_refused_with_numbers():
  values = np.array([0.3, 0.5, np.nan, 0.9])
  with pytest.raises(DataError, match='1 of 4 are NaN or infinite; the first is record 2'):
    subsets.top_k(values, 1)
  with pytest.raises(DataError, match='0 of label 0, 1 of label 1'):
    subsets.within(np.array([0.3, 0.5, 0.95]), 0.1)
  with pytest.raises(DataError, match='1 lie outside .* record 1 with 1.2'):
    subsets.within(np.array([0.3, 1.2]))
  with pytest.raises(DataError, match='3 on the low side and 3 on the high side .* of 5'):
    subsets.top_k(np.arange(5.0), 3)
  with pytest.raises(DataError, match='5 on the low side .* of 2 of label 0, 3 of label 1'):
    subsets.top_k(np.arange(5.0), (5, 1), Subset(np.arange(5), [0, 0, 1, 1, 1]))
  for k in (0, -1, (2, 0)):
    with pytest.raises(DataError, match='at least 1'):
      subsets.top_k(np.arange(5.0), k)
  for bad in (np.zeros((2, 2)), np.zeros(0), np.array(['a'])):
    with pytest.raises(DataError, match='one number for each record'):
      subsets.top_k(bad, 1)
  for delta in (0.5, -0.1, np.nan):
    with pytest.raises(DataError, match='delta'):
      subsets.within(np.arange(2.0), delta)
  with pytest.raises(DataError, match='0 on the low side'):
    subsets.tails(np.arange(3.0), 0.2)


def test_corners_number_as_the_published_lists_or_in_binary():
  smile = Subset([0, 1, 2, 3, 8], [1, 1, 0, 0, 1])
  black = Subset([0, 1, 2, 3, 9], [1, 0, 1, 0, 1])
  # smiling and black 0, smiling and not 1, not smiling and black 2, neither 3
  assert pairs(subsets.corners(smile, black, 'peer')) == [(0, 0), (1, 1), (2, 2), (3, 3)]
  assert pairs(subsets.corners(smile, black)) == [(0, 3), (1, 2), (2, 1), (3, 0)]
  with pytest.raises(DataError, match='corners: 1 of label 0, 0 of label 1'):
    subsets.corners(Subset([0, 1], [0, 1]), Subset([0, 1], [0, 1]))
  with pytest.raises(DataError, match='labels 0 and 1'):
    subsets.corners(smile, subsets.labelled([0, 1]))


@pytest.mark.parametrize('seed', SEEDS)
def test_corners_are_the_intersection(seed):
  draw = np.random.default_rng(seed)
  a, b = (Subset(draw.integers(0, 50, 80), draw.integers(0, 2, 80)) for _ in range(2))
  first = [dict(reversed(pairs(s))) for s in (a, b)]  # of repeated records the first label
  wanted = {i: 2 * first[0][i] + first[1][i] for i in first[0].keys() & first[1].keys()}
  found = subsets.corners(a, b)
  assert dict(pairs(found)) == wanted and len(found) == len(wanted)


def test_labels_of_lists_and_of_two_attributes():
  assert pairs(subsets.labelled([4, 1, 1], np.array([7, 8, 9, 7, 6]))) == [(4, 6), (1, 8), (1, 8)]
  assert pairs(subsets.labelled([4, 1])) == [(4, -1), (1, -1)]
  with pytest.raises(DataError, match='record 5 of a data set of 3'):
    subsets.labelled([5], np.zeros(3, int))
  with pytest.raises(DataError, match='whole numbers'):
    subsets.labelled([1], np.array([0.2, 0.7]))
  assert subsets.either([1, 0, 1, 0], [0, 1, 1, 0]).tolist() == [1, 0, -1, -1]
  with pytest.raises(DataError, match='2 numbers for 3 records'):
    subsets.either([1, 0, 1], [0, 1])


@pytest.mark.parametrize('seed', SEEDS)
def test_balance_repeats_evenly(seed):
  draw = np.random.default_rng(seed)
  label = np.repeat([0, 1, -1], [7 + seed, 31, 3])
  subset = Subset(draw.permutation(len(label)), label)
  found = subsets.balance(subset)
  counts = {y: int((found.label == y).sum()) for y in (0, 1, -1)}
  assert counts == {0: 31, 1: 31, -1: 3}
  times = np.array([(found.index == i).sum() for i in subset.index[label == 0]])
  assert {*times} <= {31 // (7 + seed), 31 // (7 + seed) + 1}
  assert dict(pairs(found)) == dict(pairs(subset))
  assert np.array_equal(found.index, subsets.balance(subset).index)


def test_balance_at_the_published_rates():
  subset = Subset(np.arange(22), np.repeat([0, 1], [7, 15]))
  found = subsets.balance(subset, '0:2,1:1')
  assert np.bincount(found.label).tolist() == [14, 15]
  assert np.bincount(found.index).tolist() == [2] * 7 + [1] * 15
  for bad in ('0:2', '0:2,1:0', '0-2', '0:2,1:1,2:1', ''):
    with pytest.raises(DataError, match='rates'):
      subsets.balance(subset, bad)
  with pytest.raises(DataError, match='no record has a label'):
    subsets.balance(subsets.labelled([1]))


@pytest.mark.parametrize('by', ['scores', 'seed', 'ties'])
def test_sizes_nest(by):
  draw = np.random.default_rng(1)
  whole = Subset(np.sort(draw.choice(900, 600, replace=False)), np.repeat([0, 1], [290, 310])[
    draw.permutation(600)])  # fmt: skip
  values = scores(0, 900, ties=by == 'ties')
  how = {'seed': 3} if by == 'seed' else {'scores': values}
  found = subsets.nested(whole, (500, 300, 100, 51), **how)
  assert {n: len(s) for n, s in found.items()} == {n: n for n in (500, 300, 100, 51)}
  sets = [set(pairs(found[n])) for n in (500, 300, 100, 51)]
  assert sets[3] < sets[2] < sets[1] < sets[0] < set(pairs(whole))
  assert np.bincount(found[51].label).tolist() == [25, 26]
  if by == 'scores':
    zeros = whole.index[whole.label == 0]
    assert set(found[100].index[found[100].label == 0]) == set(
      zeros[np.argsort(values[zeros])][:50]
    )
  if by == 'seed':
    other = subsets.nested(whole, (300,), seed=4)[300]
    assert not np.array_equal(other.index, found[300].index)
    assert abs(np.mean(values[other.index]) - 0.5) < 0.1  # no side is preferred


def test_nested_takes_one_criterion():
  whole = Subset(np.arange(4), [0, 0, 1, 1])
  for how in ({}, {'scores': np.arange(4.0), 'seed': 1}):
    with pytest.raises(ValueError, match='scores, or a seed'):
      subsets.nested(whole, (2,), **how)
  with pytest.raises(DataError, match='of 2 of label 0'):
    subsets.nested(whole, (6, 4), seed=1)
  with pytest.raises(DataError, match='needs a label'):
    subsets.nested(subsets.labelled([0, 1]), (2,), seed=1)


YAW = np.array([-60, -50, -40, -31, -30, -29, -12, -5, -1, 0, 3, 12, 29, 30, 33, 44, 55, 66.0])


def test_split_a_drops_the_mildest_or_the_outermost():
  mild = subsets.split_a(YAW)
  assert {int(y) for y in YAW[mild.index[mild.label == 0]]} == {-60, -50, -40, -31}
  assert {int(y) for y in YAW[mild.index[mild.label == 1]]} == {33, 44, 55, 66}
  outer = subsets.split_a(YAW, dropping='outermost')
  assert {int(y) for y in YAW[outer.index]} == {-50, -40, -31, -30, 30, 33, 44, 55}
  from_25 = subsets.split_a(YAW, extreme=25)
  assert {int(y) for y in YAW[from_25.index]} == {-60, -50, -40, -31, -30, 30, 33, 44, 55, 66}
  assert len(subsets.split_a(YAW, dropped=0)) == 10


@pytest.mark.parametrize('seed', SEEDS)
def test_split_b_adds_front_faces_for_the_denoiser_alone(seed):
  yaw = np.random.default_rng(seed).uniform(-90, 90, 3000)
  denoiser, classifier = subsets.split_b(yaw, seed=seed)
  assert pairs(classifier) == pairs(subsets.split_a(yaw))
  front = denoiser.label == -1
  assert [p for p in pairs(denoiser) if p[1] >= 0] == pairs(classifier)
  assert 0.045 < front.mean() <= 0.05
  assert np.abs(yaw[denoiser.index[front]]).max() <= 10
  assert (np.diff(denoiser.index) > 0).all()
  assert pairs(subsets.split_b(yaw, seed=seed)[0]) == pairs(denoiser)
  assert pairs(subsets.split_b(yaw, seed=seed + 1)[0]) != pairs(denoiser)


def test_split_c_is_slightly_right_and_extreme_left():
  found = subsets.split_c(YAW)
  assert {int(y) for y in YAW[found.index[found.label == 0]]} == {-12, -5}
  assert {int(y) for y in YAW[found.index[found.label == 1]]} == {33, 44, 55, 66}


def test_splits_refuse_what_they_cannot_make():
  with pytest.raises(DataError, match='split A: 0 of label 0, 1 of label 1'):
    subsets.split_a(np.array([40.0, 0.0]))
  with pytest.raises(DataError, match='no angle'):
    subsets.split_a(np.array([400.0, -40.0]))
  with pytest.raises(DataError, match='split B: 20 frontal .* 1 have'):
    subsets.split_b(np.concatenate([np.full(200, 40.0), np.full(200, -40.0), [0.0]]), dropped=0.05)
  with pytest.raises(DataError, match='frontal 40'):
    subsets.split_b(YAW, frontal=40)
  for how in ({'dropping': 'most'}, {'dropped': 1.0}, {'extreme': -3}):
    with pytest.raises(DataError, match='split A'):
      subsets.split_a(YAW, **how)
  for slight in ((-5, -15), (-40, -5), (-5, 5)):
    with pytest.raises(DataError, match='split C'):
      subsets.split_c(YAW, slight)
