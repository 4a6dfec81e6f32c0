"""VGG19 and VGG16 of files compute what torchvision's do at every ReLU, and pull as they pull."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.parity.face_twins import shaken
from zsi_jax.build import guides
from zsi_jax.guide import views
from zsi_jax.io import weights
from zsi_jax.nets.vgg import VGG16, VGG19


@pytest.fixture(scope='module', params=['vgg19', 'vgg16'])
def pair(request, tmp_path_factory):
  from torchvision import models

  twin = shaken(getattr(models, request.param)(num_classes=2).features)
  state = {f'features.{k}': v for k, v in twin.state_dict().items()}
  path = tmp_path_factory.mktemp('vgg') / f'{request.param}.pth'
  torch.save(state | {'classifier.6.bias': torch.zeros(2)}, path)
  return twin, guides.vgg(path), state


def images():
  return np.random.default_rng(0).uniform(-1, 1, (2, 37, 50, 3)).astype(np.float32)


def relus(twin, x):
  """By the names of the paper: the block, and the place in it."""
  found, block, place = {}, 1, 0
  for layer in twin:
    x = layer(x)
    if isinstance(layer, torch.nn.ReLU):
      place += 1
      found[f'relu{block}_{place}'] = x.clone()  # the next one may write into it
    elif isinstance(layer, torch.nn.MaxPool2d):
      block, place = block + 1, 0
  return found


def test_activations_and_the_gradient(pair):
  from torchvision.transforms.functional import normalize

  twin, ours, _ = pair
  for layer in twin:
    layer.inplace = False
  x = images()
  pixels = torch.from_numpy(x).permute(0, 3, 1, 2).requires_grad_()
  theirs = relus(twin, normalize(pixels / 2 + 0.5, views.MEAN.tolist(), views.STD.tolist()))
  assert len(theirs) == sum(VGG19 if 'relu5_4' in theirs else VGG16) and len(theirs) >= 13
  net = ours.net.clone(taps=tuple(theirs))
  found, pull = jax.vjp(
    jax.jit(lambda x: net.apply(ours.variables, views.vgg_view(x))), jnp.asarray(x)
  )
  for name, want in theirs.items():
    want = want.detach().permute(0, 2, 3, 1).numpy()
    assert want.std() > 1e-3
    np.testing.assert_allclose(found[name], want, rtol=0, atol=1e-4 * want.std())
  sum(h.sum() for h in theirs.values()).backward()
  want = pixels.grad.permute(0, 2, 3, 1).numpy()
  pulled = pull({name: jnp.ones_like(h) for name, h in found.items()})[0]
  np.testing.assert_allclose(pulled, want, rtol=0, atol=1e-3 * want.std())


def test_the_way_back_is_exact(pair):
  _, ours, state = pair
  found = weights.empty(ours.variables)
  assert set(found) == set(state)
  for name, array in state.items():
    np.testing.assert_array_equal(found[name], array.numpy())
