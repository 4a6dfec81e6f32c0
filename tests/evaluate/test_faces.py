"""Verification, points, masks and retrieval, by cases whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.evaluate import faces
from zsi_jax.evaluate.errors import MetricError

RNG = np.random.default_rng(0)


def around(spread, people=20, each=10, width=16):
  who = np.repeat(np.arange(people), each)
  return RNG.normal(size=(people, width))[who] + spread * RNG.normal(size=(len(who), width)), who


def test_persons_who_are_far_apart_are_verified_and_noise_is_not():
  told = faces.verification(*around(0.01))
  assert told['auc'] == told['tar'] == 1 and told['pairs'] == {'same': 900, 'other': 19000}
  rows, who = around(0.7)
  told = faces.verification(rows, who)
  assert 0.9 < told['auc'] < 1 and 0.3 < told['tar'] < 1
  # by its definition, one pair at a time
  unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
  i, j = np.triu_indices(len(rows), 1)
  cosines, same = (unit[i] * unit[j]).sum(1), who[i] == who[j]
  assert (cosines[~same] > told['threshold']).mean() == pytest.approx(0.01, abs=1e-4)
  assert (cosines[same] > told['threshold']).mean() == pytest.approx(told['tar'])
  pairs = cosines[same][:, None] > cosines[~same][None]
  assert told['auc'] == pytest.approx(pairs.mean(), abs=1e-6)
  assert faces.verification(3 * rows, who)['auc'] == pytest.approx(told['auc'])
  guess = faces.verification(RNG.normal(size=(200, 16)), who)
  assert 0.4 < guess['auc'] < 0.6 and guess['tar'] < 0.05
  assert faces.verification(np.ones((200, 16)), who)['auc'] == 0.5  # all ties


def test_points_by_pixels_and_by_the_distance_of_the_eyes():
  true = RNG.uniform(0, 32, (3, 68, 2))
  true[:, 36], true[:, 45] = [5.0, 10.0], [25.0, 10.0]
  told = faces.located(true + np.array([3.0, 4.0]), true)
  assert told == {'px': pytest.approx(5), 'nme': pytest.approx(0.25)}
  assert faces.located(true[:, :5], true[:, :5]) == {'px': 0}


def test_masks_by_what_both_say():
  true = np.zeros((1, 2, 4), int)
  true[:, :, 2:] = 1
  found = true.copy()
  found[0, 0, 0] = 2
  told = faces.overlap(found, true, 4)
  assert told['iou'] == [pytest.approx(3 / 4), 1, None, None]
  assert told['miou'] == pytest.approx(7 / 8) and told['accuracy'] == pytest.approx(7 / 8)


def test_the_nearest_of_many_and_the_same_words_are_as_right():
  rows = np.eye(8)
  tokens = np.arange(16).reshape(8, 2)
  told = faces.retrieval(rows, rows, tokens, of=4)
  assert told == {'words': 1, 'images': 1, 'of': 4, 'groups': 2}
  swapped = rows[[1, 0, *range(2, 8)]]
  told = faces.retrieval(rows, swapped, tokens, of=8)
  assert told['words'] == told['images'] == 0.75
  tokens[1] = tokens[0]
  assert faces.retrieval(rows, swapped, tokens, of=8)['words'] == 1


def test_how_often_the_likeliest_class_is_true():
  p = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.4, 0.3, 0.3]])
  told = faces.named(np.log(p) + 7, np.array([0, 1, 0, 1]))
  assert told['accuracy'] == 0.5 and told['commonest'] == 0.5
  assert told['log_loss'] == pytest.approx(-np.log([0.5, 0.8, 0.2, 0.3]).mean())


@pytest.mark.parametrize(
  'call, match',
  [
    (lambda: faces.verification(np.ones((3, 2)), np.arange(3)), '0 pairs of one person and 3'),
    (lambda: faces.verification(np.ones((3, 2)), np.zeros(3)), '3 pairs of one person and 0'),
    (lambda: faces.verification(np.full((3, 2), np.nan), np.zeros(3)), 'NaN'),
    (lambda: faces.located(np.ones((3, 5, 2)), np.ones((3, 6, 2))), r'\[3, 5, 2\] against'),
    (lambda: faces.overlap(np.ones((1, 2, 2), int), np.ones((1, 2, 3), int), 2), 'against'),
    (lambda: faces.named(np.ones((2, 3)), np.ones(3, int)), r'\[2, 3\] against classes \[3\]'),
    (lambda: faces.retrieval(np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 1))), '1 rows'),
  ],
)
def test_what_nothing_can_be_said_of(call, match):
  with pytest.raises(MetricError, match=match):
    call()
