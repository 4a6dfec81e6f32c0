"""Networks of faces and what they see, against PyTorch on random weights and statistics."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.parity import face_twins as twins
from zsi_jax.build import guides
from zsi_jax.guide import views
from zsi_jax.io import weights
from zsi_jax.nets.arcface import DEPTHS, IRESNET, ArcFace
from zsi_jax.nets.bisenet import BiSeNet
from zsi_jax.nets.mobileface import MobileFaceNet

FEW = dict(depths=(2, 2, 3, 1), width=16, side=2, out=24)
READ = {
  'bisenet': guides.segmenter,
  'ir_se': guides.identity,
  'iresnet': guides.identity,
  'mobile': guides.landmarker,
}


def images(*shape, seed=0):
  return np.random.default_rng(seed).uniform(-1, 1, (*shape, 3)).astype(np.float32)


def seen(x):
  return torch.from_numpy(x).permute(0, 3, 1, 2)


def back(y):
  return y.detach().permute(0, 2, 3, 1).numpy() if y.ndim == 4 else y.detach().numpy()


def near(ours, theirs, share=1e-4):
  assert ours.shape == theirs.shape
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=share * theirs.std())


@pytest.fixture(scope='module', params=list(READ))
def pair(request, tmp_path_factory):
  """A twin in float64, ours from its file, and images for them."""
  name = request.param
  path = tmp_path_factory.mktemp(name) / 'net.pth.tar'
  if name == 'bisenet':
    twin, x = twins.BiSeNet(19), images(2, 64, 96)
  elif name == 'ir_se':
    twin, x = twins.IrSe(shrink=4, **FEW), images(2, 32, 32)
  elif name == 'iresnet':
    twin, x = twins.IResNet(**FEW), images(2, 32, 32)
  else:
    twin, x = twins.MobileFace(), images(2, 112, 112)
  twin = twins.shaken(twin)
  torch.save({'epoch': 3, 'state_dict': torch.nn.DataParallel(twin).state_dict()}, path)
  return twin.double(), READ[name](path), x


def test_what_it_says_and_the_gradient_are_the_twins(pair):
  """The first output, and where it is pulled to by a random direction."""
  twin, ours, x = pair
  inputs = seen(x).double().requires_grad_()
  theirs = twin(inputs)
  theirs = theirs[0] if isinstance(theirs, list) else theirs
  found, pull = jax.vjp(jax.jit(lambda x: ours.net.apply(ours.variables, x)), jnp.asarray(x))
  want = back(theirs)
  assert want.std() > 1e-3 and np.abs(want[0] - want[1]).max() > 0.1 * want.std()
  near(found.reshape(want.shape), want)
  toward = np.random.default_rng(1).standard_normal(want.shape).astype(np.float32)
  turned = torch.from_numpy(toward).double()
  theirs.backward(turned.permute(0, 3, 1, 2) if want.ndim == 4 else turned)
  near(pull(toward.reshape(found.shape))[0], back(inputs.grad), 1e-3)


def test_the_way_back_is_exact(pair):
  twin, ours, _ = pair
  found = weights.empty(ours.variables)
  wanted = {k: v for k, v in twin.state_dict().items() if not k.endswith('num_batches_tracked')}
  assert set(found) == set(wanted)
  for name, array in wanted.items():
    np.testing.assert_array_equal(found[name], array.numpy())


def test_the_other_heads_of_bisenet(tmp_path):
  twin, x = twins.shaken(twins.BiSeNet(5)), images(1, 32, 64)
  torch.save(twin.state_dict(), tmp_path / 'net.pth')
  ours = guides.segmenter(tmp_path / 'net.pth')
  for found, want in zip(
    jax.jit(lambda v: ours.net.apply(v, x, every=True))(ours.variables), twin(seen(x)), strict=True
  ):
    near(found, back(want))


@pytest.mark.parametrize(
  'ours, side, twin',
  [
    (BiSeNet(), 64, lambda: twins.BiSeNet(19)),
    (ArcFace(), 112, lambda: twins.IrSe(DEPTHS['ir_se50'])),
    (ArcFace(IRESNET, DEPTHS['iresnet100']), 112, lambda: twins.IResNet(DEPTHS['iresnet100'])),
    (MobileFaceNet(), 112, lambda: twins.MobileFace()),
  ],
)
def test_the_published_sizes_have_the_twins_arrays(ours, side, twin):
  with torch.device('meta'):
    state = twin().state_dict()
  wanted = {k: v.shape for k, v in state.items() if not k.endswith('num_batches_tracked')}
  tree = jax.eval_shape(ours.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
  assert {k: slot.shape for k, slot in weights.slots(tree).items()} == wanted


@pytest.mark.parametrize('side', [64, 256])
def test_the_view_of_parsing(side):
  x = images(2, side, side)
  mean, std = (torch.from_numpy(v)[:, None, None] for v in (views.MEAN, views.STD))
  want = F.interpolate(seen(x), (512, 512), mode='bicubic')
  near(views.parsing_view(x), back((want - (2 * mean - 1)) / (2 * std)))


@pytest.mark.parametrize('side', [64, 256, 300])
def test_the_view_of_identity(side):
  x = images(2, side, side)
  want = F.adaptive_avg_pool2d(seen(x), (256, 256))[:, :, 35:223, 32:220]
  near(views.identity_view(x), back(F.adaptive_avg_pool2d(want, (112, 112))))


def test_the_view_of_landmarks():
  """grid_sample in a box; what lies outside the image is black."""
  x = images(3, 40, 50)
  box = np.array([[0.0, 0.0, 1.0, 1.0], [0.21, 0.1, 0.83, 0.9], [-0.3, 0.4, 0.5, 1.2]], np.float32)
  share = (np.arange(112) + 0.5) / 112
  u, v = (b[:, :1] + share * (b[:, 1:] - b[:, :1]) for b in (box[:, [0, 2]], box[:, [1, 3]]))
  grid = np.stack(np.broadcast_arrays(u[:, None, :], v[:, :, None]), -1).astype(np.float32)
  want = F.grid_sample(
    seen(x) / 2 + 0.5, torch.from_numpy(2 * grid - 1), 'bilinear', 'border', align_corners=False
  )
  inside = ((grid > 0) & (grid < 1)).all(-1, keepdims=True)
  assert 0.2 < inside[2].mean() < 0.5
  near(views.landmark_view(x, box, bgr=False), back(want) * inside)
  near(views.landmark_view(x, box), (back(want) * inside)[..., ::-1])
