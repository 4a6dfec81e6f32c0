"""Views: what they keep and leave out, that they are affine in the image, what they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.guide import views

BOX = jnp.array([[0.1, 0.2, 0.7, 0.9], [-0.2, 0.0, 1.1, 0.8]])
VIEWS = {
  'vgg': views.vgg_view,
  'parsing': lambda x: views.parsing_view(x, 64),
  'identity': lambda x: views.identity_view(x, 28),
  'landmarks': lambda x: views.landmark_view(x, BOX, 32),
  'clip': lambda x: views.clip_view(x, 48),
}


def images(seed, side=40):
  return jax.random.uniform(jax.random.key(seed), (2, side, side, 3), minval=-1)


@pytest.mark.parametrize('name', VIEWS)
def test_a_view_is_affine_in_the_image(name):
  """So its derivative is its own difference, and its second derivative nothing."""
  view, x, v = VIEWS[name], images(0), images(1)

  @jax.jit
  def differences(x, v):
    seen, moved = jax.jvp(view, (x,), (v,))
    _, curved = jax.jvp(jax.grad(lambda x: view(x)[..., 0].sum()), (x,), (v,))
    return moved, view(x + v) - seen, curved

  moved, apart, curved = differences(x, v)
  np.testing.assert_allclose(moved, apart, atol=2e-5)
  assert np.abs(moved).max() > 0.1
  np.testing.assert_array_equal(curved, 0)


def test_the_units_of_imagenet():
  """A pixel at the mean is 0, one standard deviation above it 1; [-1, 1] is [0, 1]."""
  mean = jnp.asarray(2 * views.MEAN - 1) * jnp.ones((1, 8, 8, 3))
  np.testing.assert_allclose(views.vgg_view(mean), 0, atol=1e-6)
  np.testing.assert_allclose(views.vgg_view(mean + 2 * views.STD), 1, atol=1e-6)
  np.testing.assert_allclose(views.parsing_view(mean + 2 * views.STD, 32), 1, atol=1e-5)
  assert views.parsing_view(mean).shape == (1, 512, 512, 3)


def test_the_units_of_clip():
  """Black is -mean / std, white one std^-1 above it."""
  mean, std = np.array([[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]])
  for value, want in ((-1, -mean / std), (1, (1 - mean) / std)):
    seen = views.clip_view(jnp.full((1, 32, 32, 3), value, jnp.float32))
    np.testing.assert_allclose(seen, np.broadcast_to(want, (1, 224, 224, 3)), atol=1e-5)


def test_identity_sees_its_square_and_nothing_beside_it():
  x = images(0, 256)
  assert views.identity_view(x).shape == (2, 112, 112, 3)
  slope = jax.grad(lambda x: views.identity_view(x).sum())(x)
  inside = np.zeros((256, 256), bool)
  inside[35:223, 32:220] = True
  np.testing.assert_array_equal(slope[:, ~inside], 0)
  assert (slope[:, inside] > 0).all()
  np.testing.assert_allclose(views.identity_view(0 * x + 0.3), 0.3, atol=1e-6)


def test_landmarks_see_their_box():
  """The whole box at the image's size is the image; a plane in it is that plane, magnified."""
  x = images(0)
  whole = jnp.tile(jnp.array([0.0, 0, 1, 1]), (2, 1))
  np.testing.assert_allclose(views.landmark_view(x, whole, 40, bgr=False), x / 2 + 0.5, atol=1e-5)
  np.testing.assert_allclose(views.landmark_view(x, whole, 40), x[..., ::-1] / 2 + 0.5, atol=1e-5)
  half = views.landmark_view(x, jnp.tile(jnp.array([0.25, 0.5, 0.75, 1]), (2, 1)), 20, bgr=False)
  np.testing.assert_allclose(half, x[:, 20:40, 10:30] / 2 + 0.5, atol=1e-5)
  share = (np.arange(64) + 0.5) / 64
  plane = jnp.asarray(np.stack(np.broadcast_arrays(share, share[:, None], 0.0), -1))[None]
  found = views.landmark_view(2 * plane - 1, BOX[:1], bgr=False)[0]
  steps = (np.arange(112) + 0.5) / 112
  np.testing.assert_allclose(found[5, :, 0], 0.1 + 0.6 * steps, atol=1e-5)
  np.testing.assert_allclose(found[:, 7, 1], 0.2 + 0.7 * steps, atol=1e-5)


def test_what_lies_outside_the_image_is_black():
  seen = views.landmark_view(jnp.ones((1, 20, 20, 3)), jnp.array([[-0.5, -1, 0.5, 1]]), 32)
  wanted = np.zeros((32, 32, 1))
  wanted[16:, 16:] = 1
  np.testing.assert_array_equal(seen[0], np.broadcast_to(wanted, (32, 32, 3)))


def test_wrong_calls_are_told():
  x = images(0)
  for view, call in (
    ('vgg_view', views.vgg_view),
    ('parsing_view', views.parsing_view),
    ('identity_view', views.identity_view),
    ('clip_view', views.clip_view),
    ('landmark_view', lambda x: views.landmark_view(x, BOX)),
  ):
    with pytest.raises(ValueError, match=rf'{view} takes .*not float32 \[2, 40, 40, 1\]'):
      call(x[..., :1])
    with pytest.raises(ValueError, match=rf'{view} takes float .*uint8'):
      call(jnp.zeros((2, 40, 40, 3), jnp.uint8))
  with pytest.raises(ValueError, match=r'box \[B, 4\] for each of 2 .*not \[1, 4\]'):
    views.landmark_view(x, BOX[:1])
