"""What twins learn: each loss against its definition, and images that are rough by chance."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.guide import twins
from zsi_jax.guide.twins import TwinLoss

KEYS = jax.random.split(jax.random.key(0), 4)
RNG = np.random.default_rng(0)


def image(side=8):
  return jnp.asarray(RNG.uniform(-1, 1, (4, side, side, 3)).astype(np.float32))


class Given(nn.Module):
  """Says what its parameters say, whatever it is shown."""

  shapes: tuple

  @nn.compact
  def __call__(self, x, tokens=None, train=False):
    out = [self.param(str(i), nn.initializers.normal(1), s) for i, s in enumerate(self.shapes)]
    return out[0] if len(out) == 1 else tuple(out)


def told(kind, out, batch, **more):
  """(loss, metrics) of an output."""
  parts = out if isinstance(out, tuple) else (out,)
  variables = {'params': {str(i): jnp.asarray(v) for i, v in enumerate(parts)}}
  net = Given(tuple(jnp.shape(v) for v in parts))
  loss, (rows, changed) = TwinLoss(net, kind, **more)(variables, batch, KEYS)
  assert not changed and rows['loss'].shape == (4,)
  np.testing.assert_allclose(rows['loss'].mean(), loss, rtol=1e-6)
  return float(loss), rows


def cosines(a, m):
  """Of a + m, the sine rounded by tan m."""
  return np.cos(a) * np.cos(m) - np.sin(m) * np.sqrt(np.sin(a) ** 2 + np.tan(m) ** 2)


def test_identity_turns_the_true_person_away_by_the_margin():
  angles, m = RNG.uniform(0.3, 2.5, (4, 3)), twins.MARGIN
  label = np.array([0, 2, 1, 1])
  own = np.eye(3)[label]
  np.testing.assert_allclose(cosines(angles, m * own), np.cos(angles + m * own), atol=0.02)
  logits = twins.SCALE * cosines(angles, m * own)
  wanted = np.log(np.exp(logits).sum(1)) - logits[np.arange(4), label]
  loss, rows = told('identity', np.cos(angles), {'image': image(), 'label': jnp.asarray(label)})
  np.testing.assert_allclose(rows['loss'], wanted, rtol=1e-4)
  np.testing.assert_array_equal(rows['accuracy'], angles.argmin(1) == label)


def test_the_true_person_is_never_pushed_away_nor_pulled_beyond_measure():
  """A plain cos(angle + m) does the one beyond pi - m and the other at no angle."""

  def loss(c):
    return twins.identity(c, {'label': jnp.zeros(len(c), int)})[0].sum()

  true = jnp.linspace(-1, 1, 41)
  slope = jax.grad(loss)(jnp.stack([true, 0 * true, 0 * true], 1))[:, 0]
  assert (slope < 1e-5).all() and (slope[1:] < 0).all() and slope.min() > -2 * twins.SCALE


def test_landmarks_count_in_hundredths_of_the_side():
  true = RNG.uniform(0, 8, (4, 5, 2)).astype(np.float32)
  right = (true + 0.5) / 8
  batch = {'image': image(), 'landmarks': jnp.asarray(true)}
  loss, rows = told('landmarks', right, batch)
  assert loss < 1e-6 and rows['off'].max() < 1e-6
  loss, rows = told('landmarks', right + np.array([0.03, 0.04], np.float32), batch)
  np.testing.assert_allclose(loss, np.sqrt(26) - 1, rtol=1e-4)
  np.testing.assert_allclose(rows['off'], 0.05, rtol=1e-4)


def test_segmentation_is_the_cross_entropy_of_pixels():
  logits = RNG.normal(size=(4, 8, 8, 3)).astype(np.float32)
  mask = RNG.integers(0, 3, (4, 8, 8, 1)).astype(np.uint8)
  p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  wanted = -np.log(np.take_along_axis(p, mask.astype(int), -1)).mean((1, 2, 3))
  _, rows = told('segmentation', logits, {'image': image(), 'mask': jnp.asarray(mask)})
  np.testing.assert_allclose(rows['loss'], wanted, rtol=1e-5)
  np.testing.assert_allclose(rows['accuracy'], (logits.argmax(-1) == mask[..., 0]).mean((1, 2)))


def test_a_feeling_is_the_cross_entropy_of_its_class():
  logits, true = RNG.normal(size=(4, 7)).astype(np.float32), np.array([0, 6, 3, 3])
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  _, rows = told('feeling', logits, {'image': image(), 'feeling': jnp.asarray(true)})
  np.testing.assert_allclose(rows['loss'], -np.log(p[np.arange(4), true]), rtol=1e-5)
  np.testing.assert_array_equal(rows['accuracy'], logits.argmax(1) == true)


def test_text_is_told_from_other_words_both_ways_and_not_from_the_same():
  a, b = (np.linalg.qr(RNG.normal(size=(4, 4)))[0].astype(np.float32) for _ in range(2))
  tokens = np.arange(8).reshape(4, 2)
  batch = {'image': image(), 'tokens': jnp.asarray(tokens)}
  logits = 7 * a @ b.T
  both = [np.log(np.exp(logits).sum(k)) - np.diag(logits) for k in (1, 0)]
  _, rows = told('text', (a, b, np.float32(7)), batch)
  np.testing.assert_allclose(rows['loss'], (both[0] + both[1]) / 2, rtol=1e-4)
  tokens[1] = tokens[0]  # nobody could tell these apart
  b[1] = b[0]
  same, _ = told('text', (a, b, np.float32(7)), {**batch, 'tokens': jnp.asarray(tokens)})
  keep = np.array([[1, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]], bool)
  logits = np.where(keep, 7 * a @ b.T, -np.inf)
  both = [np.log(np.exp(logits).sum(k)) - np.diag(logits) for k in (1, 0)]
  np.testing.assert_allclose(same, np.mean(both), rtol=1e-4)


def test_what_is_rough_keeps_its_mean_and_is_rough_by_its_own_key():
  x = image()
  blurred = twins.blurred(x, jnp.array([0.0, 0.5, 1.0, 4.0]))
  np.testing.assert_allclose(blurred[0], x[0], atol=1e-6)
  flat = jnp.full_like(x, 0.3)
  np.testing.assert_allclose(twins.blurred(flat, jnp.full(4, 2.0)), flat, atol=1e-6)
  spread = blurred.std((1, 2)).mean(-1)
  assert (jnp.diff(spread) < 0).all()
  one = twins.rough(KEYS, x, 1.0, 0.1)
  alone = twins.rough(KEYS[2:3], x[2:3], 1.0, 0.1)
  np.testing.assert_allclose(one[2:3], alone, atol=1e-6)
  np.testing.assert_array_equal(twins.rough(KEYS, x, 0.0, 0.0), x)
  noise = twins.rough(jax.random.split(jax.random.key(1), 4), x, 0.0, 0.1) - x
  assert 0 < jnp.abs(noise).max() < 0.6


def test_a_test_is_of_images_as_they_are():
  class Mean(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
      return self.param('k', nn.initializers.ones, ()) * x.reshape(4, -1, 2)

  x = image()
  batch = {'image': x, 'landmarks': jnp.zeros((4, 96, 2))}
  loss, variables = TwinLoss(Mean(), 'landmarks', 1.0, 0.1), {'params': {'k': jnp.ones(())}}
  plain = TwinLoss(Mean(), 'landmarks')(variables, batch, KEYS)[0]
  assert loss(variables, batch, KEYS, train=False)[0] == plain != loss(variables, batch, KEYS)[0]


def test_what_there_is_no_loss_of():
  with pytest.raises(ValueError, match=r"kind is one of .*, not 'words'"):
    TwinLoss(None, 'words')
  with pytest.raises(ValueError, match='0 is the least'):
    TwinLoss(None, 'text', noise=-0.1)
