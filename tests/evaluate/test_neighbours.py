"""Nearest training records, copies among samples, and the diversity of a set."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.evaluate import distances, diversity, neighbours
from zsi_jax.evaluate.errors import MetricError


def pictures(n, seed):
  return np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 3), np.uint8)


def flat(images):
  return images.reshape(len(images), -1).astype(np.float32) / 255


def test_nearest_by_direction_and_by_distance():
  train = np.array([[1.0, 0], [0, 2], [3, 3]])
  x = np.array([[10.0, 0.1], [0.1, 1.9]])
  by_angle = neighbours.nearest(x, train, k=2)
  assert by_angle.index.tolist() == [[0, 2], [1, 2]]
  assert by_angle.cosine[0, 0] == pytest.approx(10 / np.hypot(10, 0.1))
  assert by_angle.distance[0, 0] == pytest.approx(np.hypot(9, 0.1))
  assert by_angle.order.tolist() == [0, 1]
  by_gap = neighbours.nearest(x, train, k=2, how='l2')
  assert by_gap.index.tolist() == [[2, 0], [1, 0]]
  assert by_gap.order.tolist() == [1, 0]  # the second lies nearer to its own


@pytest.mark.parametrize('how', ['cosine', 'l2'])
def test_nearest_is_brute_force_in_blocks(how, monkeypatch):
  rng = np.random.default_rng(0)
  x, y = rng.standard_normal((50, 6)), rng.standard_normal((70, 6))
  monkeypatch.setattr(distances, 'CELLS', 500)
  found = neighbours.nearest(x, y, k=5, how=how)
  gap = np.linalg.norm(x[:, None] - y, axis=2)
  cos = x @ y.T / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(y, axis=1)
  rank = np.argsort(-cos if how == 'cosine' else gap, axis=1)[:, :5]
  assert (found.index == rank).all()
  np.testing.assert_allclose(found.distance, np.take_along_axis(gap, rank, 1), rtol=1e-9)
  np.testing.assert_allclose(found.cosine, np.take_along_axis(cos, rank, 1), rtol=1e-9)
  worst = found.distance[:, 0] if how == 'l2' else -found.cosine[:, 0]
  assert (np.diff(worst[found.order]) >= 0).all()


def test_copies_are_found_and_fresh_samples_are_none():
  train, fresh = pictures(300, 0), pictures(40, 1)
  copies = train[[5, 17, 100]].astype(int) + np.random.default_rng(2).integers(-3, 4, (3, 6, 6, 3))
  samples = np.concatenate([fresh, np.clip(copies, 0, 255).astype(np.uint8)])
  found = neighbours.memorised(samples, train, flat(samples), flat(train))
  assert found.index[-3:].tolist() == [5, 17, 100]
  assert found.share == 3 / 43 and found.chance == 0
  assert set(found.order[:3].tolist()) == {40, 41, 42}
  assert found.ratio[:40].min() > 0.8 and found.ratio[40:].max() < 0.05
  gap = (train[5] / 255 - samples[40] / 255) ** 2
  assert found.distance[40] == pytest.approx(np.sqrt(gap.mean()), rel=1e-5)
  assert found.ratio[40] == pytest.approx(found.distance[40] / found.usual)


def test_a_mirrored_copy_is_one_where_it_is_looked_for():
  train, fresh = pictures(300, 0), pictures(40, 1)
  samples = np.concatenate([fresh, train[[5, 17], :, ::-1], train[[40]]])
  arrays = samples, train, flat(samples), flat(train)
  plain = neighbours.memorised(*arrays)
  assert plain.share == 1 / 43
  both = flat(samples[:, :, ::-1]), flat(train[:, :, ::-1])
  found = neighbours.memorised(*arrays, mirrored=both)
  assert found.share == 3 / 43 and found.index[-3:].tolist() == [5, 17, 40]
  assert (found.distance <= plain.distance).all() and found.usual <= plain.usual
  twin = np.concatenate([train, train[:30, :, ::-1]])  # a tenth of the records is another's mirror
  half = neighbours.memorised(
    fresh, twin, flat(fresh), flat(twin), mirrored=(flat(fresh[:, :, ::-1]), flat(twin[:, :, ::-1]))
  )
  assert half.chance == pytest.approx(60 / 330) and half.share == 0
  with pytest.raises(MetricError, match='of the same mirrored'):
    neighbours.memorised(*arrays, mirrored=(both[0][:3], both[1]))


def test_chance_is_what_the_training_set_scores_itself():
  """A tenth of the records has a twin that is almost equal: so would a fresh sample."""
  train = pictures(200, 0)
  train[:10] = np.clip(train[10:20].astype(int) + 2, 0, 255)
  found = neighbours.memorised(train[50:60], train, flat(train)[50:60], flat(train))
  assert found.share == 1 and found.chance == pytest.approx(0.1)
  some = neighbours.memorised(
    train[50:60], train, flat(train)[50:60], flat(train), queries=100, seed=3
  )
  assert 0 < some.chance < 0.25 and some.usual == pytest.approx(found.usual, rel=0.05)


def test_the_pixels_decide_among_the_candidates():
  """Features that know nothing: the nearest candidate by pixels is still the copy, if it is one."""
  train = pictures(30, 0)
  blind = np.random.default_rng(1).standard_normal((30, 2))
  found = neighbours.memorised(train[:1], train, blind[:1], blind, k=20)
  assert found.index[0] == 0 and found.ratio[0] == 0


def refused(words, call, *args, **kwargs):
  with pytest.raises(MetricError, match=words):
    call(*args, **kwargs)


def test_neighbours_that_are_refused():
  x, train = pictures(5, 0), pictures(9, 1)
  f, g = flat(x), flat(train)
  refused('10 neighbours were asked of 9', neighbours.nearest, f, g, k=10)
  refused('9 neighbours were asked of 8', neighbours.memorised, x, train, f, g, k=9)
  refused('two networks', neighbours.nearest, f[:, :3], g, k=1)
  refused('empty', neighbours.nearest, f[:0], g, k=1)
  refused("'cosine' or 'l2'", neighbours.nearest, f, g, k=1, how='dot')
  refused('row 2 is zero', neighbours.nearest, f, g * (np.arange(9) != 2)[:, None], k=1)
  assert neighbours.nearest(f, g * (np.arange(9) != 2)[:, None], k=1, how='l2').index.shape == (
    5,
    1,
  )
  refused('uint8', neighbours.memorised, x / 255, train, f, g, k=1)
  refused(r'\[6, 6, 3\].*\[6, 5, 3\]', neighbours.memorised, x, train[:, :, :5], f, g, k=1)
  refused('5 samples images and 4', neighbours.memorised, x, train, f[:4], g, k=1)
  same = np.repeat(train[:1], 9, axis=0)
  refused('equal twin', neighbours.memorised, x, same, f, flat(same), k=1)


def test_pairs_are_different_and_cover_the_set():
  found = diversity.pairs(100, 50, seed=1)
  assert sorted(found.ravel().tolist()) == list(range(100))
  found = diversity.pairs(11, 40)
  assert len(found) == 40 == len(set(map(tuple, found.tolist())))
  assert (found[:, 0] < found[:, 1]).all() and found.max() < 11
  assert len(diversity.pairs(5, 2000)) == 10
  assert (found == diversity.pairs(11, 40)).all() and (found != diversity.pairs(11, 40, 1)).any()


def test_diversity_is_the_mean_over_pairs():
  images = np.zeros((60, 4, 4, 3), np.uint8)
  images[:30] = 200  # two clusters: a pair of both with probability 30 / 59

  def apart(x, y):
    return np.abs(x.astype(float) - y).mean(axis=(1, 2, 3)) / 200

  every = diversity.mean_lpips(apart, images, 5000)
  assert (every.pairs, every.mean) == (1770, pytest.approx(30 / 59))
  some = diversity.mean_lpips(apart, images, 400)
  assert some.low < every.mean < some.high and some.high - some.low == pytest.approx(
    2 * 1.96 * 0.5 / 20, rel=0.05
  )
  same = diversity.mean_lpips(apart, images[:5])
  assert same == (0, 0, 0, 10)


def test_diversity_that_is_refused():
  refused('three images', diversity.mean_lpips, None, pictures(2, 0))
  refused('uint8', diversity.mean_lpips, None, pictures(9, 0) / 255)
  refused('empty', diversity.mean_lpips, None, pictures(0, 0))
  refused('NaN', diversity.mean_lpips, lambda x, y: np.full(len(x), np.nan), pictures(4, 0))
  refused('6 pairs.*5 distances', diversity.mean_lpips, lambda x, y: np.ones(5), pictures(4, 0))
