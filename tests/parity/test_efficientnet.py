"""EfficientNetV2-S computes what torchvision's does, with its weights, in both modes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from zsi_jax.build import judging
from zsi_jax.evaluate import calibrate
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError


@pytest.fixture(scope='module')
def twin():
  from torchvision.models import efficientnet_v2_s

  torch.manual_seed(0)
  net = efficientnet_v2_s(num_classes=2)
  with torch.no_grad():  # no statistics of a fresh network, by which each layer is the identity
    for module in net.modules():
      if isinstance(module, torch.nn.BatchNorm2d):
        module.running_mean.normal_(0, 0.1)
        module.running_var.uniform_(0.5, 1.5)
        module.weight.uniform_(0.8, 1.2)
        module.bias.normal_(0, 0.1)
  return net.eval()


@pytest.fixture(scope='module')
def saved(twin, tmp_path_factory):
  path = tmp_path_factory.mktemp('judge') / 'best.pt'
  torch.save({'state_dict': {f'model.{k}': v for k, v in twin.state_dict().items()}}, path)
  return path


def images(n=3, size=64):
  return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def seen(pixels):
  return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_scores_and_features_are_torchvisions(twin, saved):
  judge, x = judging.published(saved, ('smile',)), images()
  assert sum(a.size for a in jax.tree.leaves(judge.variables['params'])) == sum(
    p.numel() for p in twin.parameters()
  )
  with torch.no_grad():
    features = twin.avgpool(twin.features(seen(x))).flatten(1).numpy()
    logits = twin(seen(x))
  np.testing.assert_allclose(judge.features(x), features, atol=2e-4 * np.abs(features).max())
  np.testing.assert_allclose(judge.logits(x), logits.numpy(), atol=2e-4 * logits.abs().max())
  np.testing.assert_allclose(judge.scores(x), logits.softmax(1).numpy(), atol=1e-4)


def test_the_way_back_is_exact(twin, saved):
  back = weights.empty(judging.published(saved, ('smile',)).variables)
  wanted = {k: v for k, v in twin.state_dict().items() if not k.endswith('num_batches_tracked')}
  assert set(back) == set(wanted)
  for name, array in wanted.items():
    np.testing.assert_array_equal(back[name], array.numpy())


def test_in_training_statistics_move_as_torchs_do(twin, saved):
  judge, x = judging.published(saved, ('smile',)), images(4)
  net = judge.net.clone(dropout=0.0, drop_path=0.0)
  pixels = jnp.asarray(x) / 127.5 - 1
  _, changed = net.apply(judge.variables, pixels, train=True, mutable=['batch_stats'])
  stem = twin.features[0].train()
  before = {k: v.clone() for k, v in stem.state_dict().items()}
  with torch.no_grad():
    stem(seen(x))
  after = {k: v.clone() for k, v in stem.state_dict().items()}
  stem.load_state_dict(before)
  stem.eval()
  ours = changed['batch_stats']['features.0']['1']
  np.testing.assert_allclose(ours['mean'], after['1.running_mean'], atol=1e-5)
  # PyTorch divides by n - 1 here and by n where it normalises; n is 4 * 32 * 32
  np.testing.assert_allclose(ours['var'], after['1.running_var'], rtol=1e-3)


def test_another_file_is_told(tmp_path):
  torch.save({'weight': torch.zeros(2, 2)}, tmp_path / 'x.pt')
  with pytest.raises(WeightsError, match='no EfficientNetV2-S'):
    judging.published(tmp_path / 'x.pt', ('smile',))


def test_the_temperature_is_that_of_torchs_lbfgs():
  """As published: T from 1.5, lr .005, and many steps."""
  rng = np.random.default_rng(0)
  logits, label = rng.normal(0, 3, (400, 2)), rng.integers(0, 2, 400)
  label = np.where(rng.random(400) < 0.7, logits.argmax(1), label)
  T = torch.nn.Parameter(torch.tensor([1.5], dtype=torch.float64))
  tuner = torch.optim.LBFGS([T], lr=0.005, max_iter=5000)
  x, y = torch.from_numpy(logits), torch.from_numpy(label)

  def closure():
    tuner.zero_grad()
    loss = torch.nn.functional.cross_entropy(x / T, y)
    loss.backward()
    return loss

  for _ in range(10):
    tuner.step(closure)
  ours = calibrate.temperature(*calibrate.classes(logits, label))
  assert ours == pytest.approx(T.item(), rel=2e-3)
