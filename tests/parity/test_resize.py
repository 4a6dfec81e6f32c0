"""Resizes against torch.nn.functional."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zsi_jax.guide.resize import adaptive_pool, matrix, resize
from zsi_jax.guide.views import clip_view

SIZES = [((9, 16), (20, 33)), ((32, 32), (224, 224)), ((64, 50), (17, 24)), ((41, 7), (13, 40)),
         ((5, 5), (1, 1)), ((1, 3), (4, 7)),
         ((256, 256), (224, 224)), ((12, 9), (12, 18))]  # fmt: skip
WAYS = [('bilinear', {}), ('bilinear', {'antialias': True}), ('bilinear', {'corners': True}),
        ('bicubic', {}), ('bicubic', {'antialias': True}), ('bicubic', {'corners': True}),
        ('nearest', {}), ('area', {})]  # fmt: skip


def images(sides):
  return np.random.default_rng(0).uniform(-1, 1, (2, *sides, 3)).astype(np.float32)


def theirs(x, call):
  y = call(torch.from_numpy(x).double().permute(0, 3, 1, 2))
  return y.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize('method, how', WAYS)
@pytest.mark.parametrize('old, new', SIZES)
def test_interpolate(method, how, old, new):
  more = {'antialias': how.get('antialias', False)}
  if method in ('bilinear', 'bicubic'):
    more['align_corners'] = how.get('corners', False)
  x = images(old)
  want = theirs(x, lambda t: F.interpolate(t, new, mode=method, **more))
  found = resize(jnp.asarray(x), new, method, **how)
  np.testing.assert_allclose(found, want, rtol=0, atol=5e-6)


@pytest.mark.parametrize('old, new', [*SIZES, ((188, 188), (112, 112))])
def test_adaptive_pool(old, new):
  x = images(old)
  want = theirs(x, lambda t: F.adaptive_avg_pool2d(t, new))
  np.testing.assert_allclose(adaptive_pool(jnp.asarray(x), new), want, rtol=0, atol=5e-6)


def test_nearest_in_float32():
  """Both place the pixels in float32; exact places would be a pixel off at some sizes."""
  exact = 0
  for n in range(1, 40):
    line = torch.arange(n, dtype=torch.float32).view(1, 1, n)
    for m in range(1, 130):
      want = F.interpolate(line, m, mode='nearest').flatten().int().numpy()
      np.testing.assert_array_equal(matrix(n, m, 'nearest').argmax(1), want)
      exact += np.array_equal(np.arange(m) * n // m, want)
  assert 0 < exact < 39 * 129


def test_the_view_of_clip():
  x = images((256, 256))
  mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
  std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)

  def twin(t):
    t = F.interpolate(t, (224, 224), mode='bicubic')
    return ((t + 1) / 2 - mean) / std

  np.testing.assert_allclose(clip_view(jnp.asarray(x)), theirs(x, twin), rtol=0, atol=2e-5)
