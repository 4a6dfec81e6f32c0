"""Inception, FID, KID, precision and recall against torch-fidelity, and LPIPS against lpips.

The networks are random: what is compared is the arithmetic, and no weights are needed for it.
"""

from __future__ import annotations

import copy
import dataclasses

import jax
import jax.numpy as jnp
import lpips
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch_fidelity import metric_fid, metric_kid, metric_prc
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from zsi_jax.build import features
from zsi_jax.evaluate import quality
from zsi_jax.io import weights
from zsi_jax.nets.inception import Inception, prepared

N = 12  # images of a set


def images(seed, n=N, size=64):
  """Smooth colours: noise alone would look the same to a random network."""
  rng = np.random.default_rng(seed)
  coarse = rng.uniform(0, 255, (n, 5, 7, 3)).astype(np.float32)
  x = torch.from_numpy(coarse).permute(0, 3, 1, 2)
  x = F.interpolate(x, (size, size), mode='bilinear', align_corners=True)
  return x.permute(0, 2, 3, 1).numpy().round().astype(np.uint8)


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  """A random state dict with the published keys, as torch.save writes it."""
  tree = jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, 8, 8, 3), jnp.uint8))
  rng = np.random.default_rng(0)
  state = {}
  for key, slot in weights.slots(tree).items():
    noise = rng.standard_normal(slot.shape)
    if key.endswith(('conv.weight', 'fc.weight')):
      noise *= np.sqrt(2 / np.prod(slot.shape[1:]))
    elif key.endswith(('bn.weight', 'running_var')):
      noise = np.exp(0.2 * noise)
    else:
      noise *= 0.1
    state[key] = torch.from_numpy(noise.astype(np.float32))
    if key.endswith('running_var'):
      state[key.replace('running_var', 'num_batches_tracked')] = torch.tensor(7)
  assert len(state) == 566
  place = tmp_path_factory.mktemp('inception') / features.NAMES[0]
  torch.save(state, place)
  return place


@pytest.fixture(scope='module')
def both(path):
  """Features of two sets, by them and by us."""
  twin = FeatureExtractorInceptionV3('twin', ['2048'], feature_extractor_weights_path=str(path))
  ours = dataclasses.replace(features.inception(path, allow_unverified=True), batch=N)
  sets = images(1), images(2)
  theirs = [twin(torch.from_numpy(x).permute(0, 3, 1, 2))[0] for x in sets]
  return theirs, [ours.features(x) for x in sets]


def test_features(both):
  for theirs, ours in zip(*both, strict=True):
    theirs = theirs.numpy()
    assert ours.shape == (N, 2048) and ours.dtype == np.float32
    assert theirs.std(axis=0).mean() > 1e-2  # they tell the images apart
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * theirs.std())


def test_fid(both):
  theirs, ours = both
  stats = [metric_fid.fid_features_to_statistics(x) for x in theirs]
  want = metric_fid.fid_statistics_to_metric(*stats, verbose=False)
  assert quality.fid(*ours) == pytest.approx(want['frechet_inception_distance'], rel=1e-3)


def test_fid_of_many(both):
  """Covariances of full rank."""
  rng = np.random.default_rng(3)
  x, y = rng.standard_normal((2, 300, 40)).astype(np.float32)
  y = y @ rng.standard_normal((40, 40)).astype(np.float32) + 1
  stats = [metric_fid.fid_features_to_statistics(torch.from_numpy(v)) for v in (x, y)]
  want = metric_fid.fid_statistics_to_metric(*stats, verbose=False)
  assert quality.fid(x, y) == pytest.approx(want['frechet_inception_distance'], rel=1e-6)


def test_kid(both):
  theirs, ours = both
  want = metric_kid.kid_features_to_metric(
    *theirs, kid_subsets=20, kid_subset_size=8, verbose=False
  )
  found = quality.kid(*ours, subsets=20, size=8)
  assert found.mean == pytest.approx(want['kernel_inception_distance_mean'], rel=1e-3)
  assert found.std == pytest.approx(want['kernel_inception_distance_std'], rel=1e-3)


@pytest.mark.parametrize('k', [1, 3])
def test_precision_and_recall(both, k):
  theirs, ours = both
  fake, real = theirs
  want = metric_prc.calculate_precision_recall_full(fake, real, neighborhood=k)
  assert tuple(quality.precision_recall(ours[1], ours[0], k=k)) == pytest.approx(want)


def test_precision_and_recall_of_many():
  """Sets that overlap in part: neither number is 0 or 1, and the two differ."""
  rng = np.random.default_rng(4)
  real = rng.standard_normal((400, 8)).astype(np.float32)
  fake = 0.7 * rng.standard_normal((300, 8)).astype(np.float32) + 0.3
  want = metric_prc.calculate_precision_recall_full(torch.from_numpy(fake), torch.from_numpy(real))
  assert 0.05 < want[1] < want[0] - 0.05 < 0.95
  assert tuple(quality.precision_recall(real, fake)) == pytest.approx(want)


@pytest.mark.parametrize('size', [32, 64, 299, 400])
def test_the_resize_of_pytorch_fid(size):
  x = images(5, 2, size)
  twin = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
  want = 2 * F.interpolate(twin, (299, 299), mode='bilinear', align_corners=False) - 1
  ours = prepared(jnp.asarray(x), 'pytorch-fid')
  np.testing.assert_allclose(ours, want.permute(0, 2, 3, 1), rtol=0, atol=2e-5)


@pytest.mark.parametrize('size', [32, 64, 299, 400])
def test_the_resize_of_tf1(size):
  from torch_fidelity.interpolate_compat_tensorflow import (
    interpolate_bilinear_2d_like_tensorflow1x as resized,
  )

  x = images(6, 2, size)
  twin = torch.from_numpy(x).permute(0, 3, 1, 2).float()
  want = (resized(twin, (299, 299), align_corners=False) - 128) / 128
  ours = prepared(jnp.asarray(x), 'tf1')
  np.testing.assert_allclose(ours, want.permute(0, 2, 3, 1), rtol=0, atol=1e-6)
  assert np.abs(prepared(jnp.asarray(x), 'pytorch-fid') - ours).max() > 0.003


@pytest.fixture(scope='module', params=['alex', 'vgg'])
def twin(request):
  torch.manual_seed(0)
  net = lpips.LPIPS(net=request.param, pnet_rand=True, verbose=False)
  with torch.no_grad():
    for name, p in net.net.named_parameters():
      if name.endswith('bias'):
        p.copy_(0.1 * torch.randn(p.shape))
  return request.param, net


def near_lpips(ours, net):
  x, y = images(7, 2), images(8, 2)
  a, b = (torch.from_numpy(v).permute(0, 3, 1, 2).float() / 127.5 - 1 for v in (x, y))
  with torch.no_grad():
    want = net(a, b).flatten().numpy()
  assert want.min() > 1e-3
  ours = dataclasses.replace(ours, batch=len(x))
  np.testing.assert_allclose(ours(x, y), want, rtol=1e-4)
  np.testing.assert_allclose(ours(x, x), 0, atol=1e-7)


def test_lpips_from_one_file(twin, tmp_path):
  kind, net = twin
  torch.save(net.state_dict(), tmp_path / 'all.pth')
  ours = features.lpips(tmp_path / 'all.pth')
  assert ours.name == f'lpips-{kind}' and not ours.source.verified
  near_lpips(ours, net)


def test_lpips_from_a_trunk_and_its_heads(twin, tmp_path):
  """The files that people have: torchvision's trunk with its classifier, and the heads alone."""
  _, net = twin
  trunk = {'classifier.6.weight': torch.zeros(10, 4)}
  for key, value in net.net.state_dict().items():
    trunk['features.' + key.split('.', 1)[1]] = value
  heads = {k: v for k, v in net.state_dict().items() if k.startswith('lin') and 'lins' not in k}
  torch.save(trunk, tmp_path / 'trunk.pth')
  torch.save(heads, tmp_path / 'heads.pth')
  ours = features.lpips(f'{tmp_path}/trunk.pth:{tmp_path}/heads.pth')
  torch.save(net.state_dict(), tmp_path / 'all.pth')
  assert ours.source.digest == features.lpips(tmp_path / 'all.pth').source.digest
  near_lpips(ours, net)


def test_other_heads_are_another_distance(twin, tmp_path):
  _, net = twin
  other = copy.deepcopy(net)
  with torch.no_grad():
    other.lin2.model[1].weight.mul_(2)
  torch.save(other.state_dict(), tmp_path / 'other.pth')
  ours = features.lpips(tmp_path / 'other.pth')
  near_lpips(ours, other)
  with pytest.raises(AssertionError):
    near_lpips(ours, net)
