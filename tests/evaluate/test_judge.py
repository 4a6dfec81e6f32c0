"""The loss of judges, what they say, and the gate."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.evaluate.errors import MetricError
from zsi_jax.evaluate.judge import Judge, JudgeLoss, Task, drawn, fits, may_judge, moved

KEYS = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(6))


class Mean(nn.Module):
  """Outputs are a kernel times the mean of each channel."""

  out: int = 2

  @nn.compact
  def __call__(self, x, train=False):
    h = x.mean((1, 2))
    return nn.Dense(self.out, use_bias=False)(h), h


def applied(task, batch, out=2, **how):
  net = Mean(out)
  variables = net.init(jax.random.key(1), batch['image'])
  loss = JudgeLoss(net, task, **how)
  return loss(variables, batch, KEYS), net.apply(variables, batch['image'])[0]


def batch(**more):
  image = jax.random.normal(jax.random.key(2), (6, 4, 4, 3))
  return {'image': image, 'a': jnp.linspace(0, 1, 6), 'b': jnp.linspace(0.5, 0, 6), **more}


def test_binary_is_the_cross_entropy_of_each_attribute_with_z():
  (loss, (told, changed)), out = applied(Task('binary', ('a', 'b')), of := batch())
  z, p = np.stack([of['a'], of['b']], 1), 1 / (1 + np.exp(-np.asarray(out)))
  wanted = -(z * np.log(p) + (1 - z) * np.log(1 - p)).mean(1)
  np.testing.assert_allclose(told['loss'], wanted, rtol=1e-5)
  np.testing.assert_allclose(told['square'], ((p - z) ** 2).mean(1), rtol=1e-5)
  assert float(loss) == pytest.approx(wanted.mean(), rel=1e-5) and changed == {}


def test_classes_and_regression():
  label = jnp.array([0, 1, 1, 0, 1, 0])
  (loss, (told, _)), out = applied(Task('classes', ('a',)), batch(label=label))
  p = np.asarray(jax.nn.softmax(out))
  assert float(loss) == pytest.approx(-np.log(p[np.arange(6), label]).mean(), rel=1e-5)
  np.testing.assert_array_equal(told['accuracy'], p.argmax(1) == np.asarray(label))
  task = Task('regression', ('a',), mean=(0.5,), scale=(2.0,))
  (loss, _), out = applied(task, of := batch(), out=1)
  wanted = ((np.asarray(out)[:, 0] - (np.asarray(of['a']) - 0.5) / 2) ** 2).mean()
  assert float(loss) == pytest.approx(wanted, rel=1e-5)


def test_labels_are_drawn_anew_for_each_example_and_are_z_on_average():
  z = jnp.broadcast_to(jnp.array([0.0, 0.2, 1.0]), (400, 3))
  keys = jax.random.split(jax.random.key(0), 400)
  y = np.asarray(drawn(keys, z, 1))
  assert set(np.unique(y)) == {0, 1} and not y[:, 0].any() and y[:, 2].all()
  assert abs(y[:, 1].mean() - 0.2) < 4 * (0.16 / 400) ** 0.5
  assert (y != np.asarray(drawn(jax.random.split(jax.random.key(1), 400), z, 1))).any()
  many = np.asarray(drawn(keys, z, 50))[:, 1]
  assert many.std() == pytest.approx((0.16 / 50) ** 0.5, rel=0.2)
  assert drawn(keys, z, None) is z


def test_a_moved_image_is_a_window_of_it():
  x = jnp.arange(6 * 5 * 5 * 1.0).reshape(6, 5, 5, 1)
  wide = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)), mode='edge')
  out = np.asarray(moved(KEYS, x, 1))
  places = []
  for image, at in zip(out, wide, strict=True):
    cut = [(i, j) for i in range(3) for j in range(3) if (at[i : i + 5, j : j + 5] == image).all()]
    places += cut[:1]
  assert len(places) == 6 and len(set(places)) > 1


def made(task, out, **more):
  net = Mean(out)
  variables = net.init(jax.random.key(1), jnp.zeros((1, 4, 4, 3)))
  return Judge(net, variables, task, 4, 3, **more)


IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)


def test_scores_are_the_network_of_images_in_minus_one_to_one():
  judge = made(Task('binary', ('a', 'b')), 2, temperature=(2.0, 0.5), batch=3)
  x = IMAGES.astype(np.float64) / 127.5 - 1
  kernel = np.asarray(judge.variables['params']['Dense_0']['kernel'], np.float64)
  logits = x.mean((1, 2)) @ kernel / [2.0, 0.5]
  assert judge.scores(IMAGES).dtype == np.float64
  np.testing.assert_allclose(judge.scores(IMAGES), 1 / (1 + np.exp(-logits)), atol=1e-5)
  np.testing.assert_allclose(judge.features(IMAGES), x.mean((1, 2)), atol=1e-5)
  of_one = np.concatenate([judge.scores(IMAGES[i : i + 1]) for i in range(7)])
  np.testing.assert_array_equal(of_one, judge.scores(IMAGES))  # whatever it was scored beside


def test_of_classes_they_sum_to_one_and_a_regression_has_units():
  p = made(Task('classes', ('a',)), 3, temperature=(2.0,)).scores(IMAGES)
  np.testing.assert_allclose(p.sum(1), 1)
  task = Task('regression', ('yaw',), mean=(10.0,), scale=(5.0,))
  judge = made(task, 1)
  np.testing.assert_allclose(judge.scores(IMAGES), judge.logits(IMAGES) * 5 + 10)


def test_the_digest_is_of_weights_temperature_and_task():
  one = made(Task('binary', ('a',)), 1, temperature=(1.0,))
  same = made(Task('binary', ('a',)), 1, temperature=(1.0,), batch=5)
  changed = jax.tree.map(lambda a: a.at[0].add(1e-3), one.variables)
  others = [
    dataclasses.replace(one, temperature=(1.1,)),
    dataclasses.replace(one, variables=changed),
    dataclasses.replace(one, task=Task('binary', ('b',))),
  ]
  digests = {judge.digest for judge in (one, same, *others)}
  assert same.digest == one.digest and len(digests) == 4


@pytest.mark.parametrize(
  'images, said',
  [
    (np.full((2, 4, 4, 3), np.nan), 'are uint8'),
    (IMAGES[:0], 'an empty set'),
    (np.zeros((2, 8, 8, 3), np.uint8), r'a judge of a for images \[4, 4, 3\] .* \[8, 8, 3\]'),
    (np.zeros((2, 4, 4, 1), np.uint8), r'was given images \[4, 4, 1\]'),
  ],
)
def test_images_that_cannot_be_judged(images, said):
  with pytest.raises(MetricError, match=said):
    made(Task('binary', ('a',)), 1).scores(images)


def test_a_judge_for_something_else_is_told_with_both():
  judge = made(Task('binary', ('a',)), 1)
  assert fits(judge, 'binary', ('a',), 4) is None
  why = fits(judge, 'regression', ('b',), 8)
  assert 'kind regression, it was trained for binary' in why
  assert "attributes ('b',), it was trained for ('a',)" in why
  assert 'size 8, it was trained for 4' in why


def row(l2, kld):
  return {'uniform': {'l2': l2, 'kld': kld, 'n': 5000, 'floor_l2': 0.014, 'floor_kld': 0.01}}


def test_the_gate():
  assert may_judge({'each': {'a': row(0.03, 0.03), 'b': row(0.02, 0.01)}}) is None
  assert may_judge({'each': {'a': {'uniform': None}}}) is None  # photographs
  why = may_judge({'each': {'a': row(0.02, 0.01), 'b': row(0.02, 0.0301)}})
  assert why.startswith('b: KLD 0.0301 on 5000') and 'L2' not in why
  assert 'L2 nan' in may_judge({'each': {'a': row(float('nan'), 0.01)}})


def test_ranks_alone_make_no_judge():
  """They are uniform whatever a judge sees: it must be near the truth, too."""
  uniform = {'l2': 0.01, 'kld': 0.003, 'n': 5000, 'floor_l2': 0.01, 'floor_kld': 0.0025}
  by = {'uniform': uniform, 'ranks': True}
  assert may_judge({'each': {'a': by | {'error': {'rmse': 0.05}}}}) is None
  assert 'rms error is 0.051' in may_judge({'each': {'a': by | {'error': {'rmse': 0.051}}}})
  assert 'rms error' in may_judge({'each': {'a': by | {'error': {'rmse': float('nan')}}}})


def test_a_kind_that_is_none():
  with pytest.raises(ValueError, match='binary, classes, regression'):
    Task('quadratic', ('a',))
