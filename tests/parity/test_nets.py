"""Networks against their PyTorch twins: names, shapes, outputs, gradients, spectral norm."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.parity import twins
from zsi_jax.io import weights
from zsi_jax.nets import DiT, Encoder, Spectral, UNet, collect

SAME = dict(head_width=64, updown=True)
BIG = dict(width=256, mults=(1, 1, 2, 2, 4, 4), blocks=2, attend=(8, 16, 32))
IMAGENET = {
  'unet 64': dict(
    width=192, mults=(1, 2, 3, 4), blocks=3, attend=(2, 4, 8), new_order=True, labels=1000, **SAME
  ),
  'unet 256': dict(**BIG, labels=1000, **SAME),
  'encoder 64': dict(
    size=64, width=128, mults=(1, 2, 3, 4), blocks=4, attend=(2, 4, 8), classes=1000, **SAME
  ),
  'encoder 256': dict(size=256, classes=1000, **{**BIG, 'width': 128}, **SAME),
  'peer 64': dict(width=128, mults=(1, 2, 3, 4), blocks=3, attend=(4, 8)),
  'peer 128': dict(width=128, mults=(1, 1, 2, 3, 4), blocks=3, attend=(8, 16)),
}
UNETS = {
  'strided, legacy, scale-shift': dict(width=32, mults=(1, 2), blocks=1, attend=(2,), heads=2),
  'additive, new order': dict(
    width=32, mults=(1, 2), blocks=2, attend=(1,), head_width=16, new_order=True, scale_shift=False
  ),
  'updown, labels': dict(
    width=32, mults=(2, 1, 1), blocks=1, attend=(4,), heads=1, updown=True, labels=3
  ),
}
ENCODERS = {
  'published': dict(
    size=16, width=32, mults=(1, 2), blocks=1, attend=(2,), head_width=32, updown=True
  ),
  'strided, heads': dict(
    size=8, width=32, mults=(1, 2), blocks=2, attend=(1, 2), heads=4, head_width=None, updown=False
  ),
}


def shapes(net, size):
  x, t = jnp.zeros((1, size, size, 3)), jnp.zeros(1)
  cond = (jnp.zeros(1, int),) if getattr(net, 'labels', None) else ()
  return jax.eval_shape(net.init, jax.random.key(0), x, t, *cond)


def noisy(twin):
  """Every weight random: zeros would hide what stands before them."""
  torch.manual_seed(1)
  with torch.no_grad():
    for p in twin.parameters():
      if p.requires_grad:
        p.add_(0.05 * torch.randn(p.shape))
  return twin


def arrays(twin):
  return {k: v.detach().numpy() for k, v in twin.state_dict().items()}


def inputs(size, labels, batch=3):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((batch, size, size, 3)).astype(np.float32)
  t = np.array([0, 17, 3999], np.float32)[:batch]
  return (x, t, np.array([0, 2, 1])[:batch]) if labels else (x, t)


def theirs(args):
  x, *rest = (torch.from_numpy(a) for a in args)
  return x.permute(0, 3, 1, 2).clone().requires_grad_(), *rest


def nhwc(a):
  a = a.detach().numpy()
  return a.transpose(0, 2, 3, 1) if a.ndim == 4 else a


def near(ours, want, tol=1e-5):
  want = np.asarray(want)
  np.testing.assert_allclose(ours, want, rtol=0, atol=tol * max(want.std(), 1e-6) * 3)


def compare(net, twin, size, tol=1e-5):
  """Output, gradient in x, gradient in every weight."""
  args = inputs(size, getattr(net, 'labels', None))
  tree = shapes(net, size) | ({'constants': net.constants()} if isinstance(net, DiT) else {})
  variables = weights.fill(tree, arrays(twin))
  moved = theirs(args)
  out = twin(*moved)
  torch.manual_seed(2)
  g = torch.randn(out.shape)
  (out * g).sum().backward()

  def loss(variables, x):
    y = net.apply(variables, x, *args[1:])
    return (y * nhwc(g)).sum(), y

  (_, y), (by_weight, by_x) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(
    variables, args[0]
  )
  near(y, nhwc(out), tol)
  near(by_x, nhwc(moved[0].grad), 10 * tol)
  got = weights.empty(by_weight)
  want = {k: p.grad.numpy() for k, p in twin.named_parameters() if p.grad is not None}
  assert set(got) == set(want)
  scale = max(np.abs(v).max() for v in want.values())
  for key in want:
    atol = 1e-4 * np.abs(want[key]).max() + 1e-6 * scale
    np.testing.assert_allclose(got[key], want[key], rtol=0, atol=atol, err_msg=key)


@pytest.mark.parametrize('name', IMAGENET)
def test_published_names_and_shapes(name):
  fields = IMAGENET[name]
  with torch.device('meta'):
    twin = twins.Adm(**fields)
  net = (Encoder if 'classes' in fields else UNet)(**fields)
  size = int(name.split()[1])
  ours = {key: slot.shape for key, slot in weights.slots(shapes(net, size)).items()}
  assert ours == {key: tuple(v.shape) for key, v in twin.state_dict().items()}


@pytest.mark.parametrize('name', UNETS)
def test_unet(name):
  compare(UNet(**UNETS[name]), noisy(twins.Adm(**UNETS[name])), 16)


@pytest.mark.parametrize('name', ENCODERS)
def test_encoder(name):
  fields = dict(**ENCODERS[name], classes=5)
  compare(Encoder(**fields), noisy(twins.Adm(**fields)), fields['size'])


@pytest.mark.parametrize('labels', [None, 3])
def test_dit(labels):
  fields = dict(size=8, patch=2, width=32, depth=2, heads=4, labels=labels, out=6)
  compare(DiT(**fields), noisy(twins.Dit(**fields)), 8)


NORMED = dict(size=8, width=32, mults=(1, 1), blocks=1, attend=(), head_width=32, updown=True)


def train_and_compare(net, twin, tol=2e-5):
  """Two training forwards, their u and v, a gradient, then evaluation."""
  args = inputs(net.size, None)
  variables = weights.fill(shapes(net, net.size), arrays(twin))
  g = np.random.default_rng(3).standard_normal((3, net.classes)).astype(np.float32)

  @jax.jit
  def step(variables):
    def loss(params):
      rest = {k: v for k, v in variables.items() if k != 'params'}
      out, new = net.apply({'params': params, **rest}, *args, train=True, mutable=['spectral'])
      return (out * g).sum(), (out, new)

    grads, (out, new) = jax.grad(loss, has_aux=True)(variables['params'])
    return out, {**variables, **new}, grads

  twin.train()
  for _ in range(2):
    out, variables, grads = step(variables)
    twin.zero_grad()
    want = twin(*theirs(args))
    (want * torch.from_numpy(g)).sum().backward()
    near(out, want.detach(), tol)
  got, had = weights.empty(variables), arrays(twin)
  assert set(got) == set(had)
  for key in had:
    np.testing.assert_allclose(got[key], had[key], atol=1e-5, err_msg=key)
  ours = weights.empty({'params': grads, 'spectral': variables['spectral']})
  for key, p in twin.named_parameters():
    scale = np.abs(p.grad.numpy()).max()
    np.testing.assert_allclose(
      ours[key], p.grad.numpy(), rtol=0, atol=1e-3 * scale + 1e-4, err_msg=key
    )
  twin.eval()
  near(jax.jit(net.apply)(variables, *args), twin(*theirs(args)).detach(), tol)


def test_spectral_norm_of_the_peer():
  twin = noisy(twins.Adm(**NORMED, classes=5))
  with torch.no_grad():  # the quirk: a convolution that starts at zero is never normalised
    twin.middle_block[0].out_layers[3].weight.zero_()
  twin = twins.peer_norm(twin, 0.5)
  with torch.no_grad():
    twin.middle_block[0].out_layers[3].parametrizations.weight.original.normal_()
  net = Encoder(**NORMED, classes=5, spectral=Spectral.peer(lipschitz=0.5))
  train_and_compare(net, twin)
  layer = twin.middle_block[0].out_layers[3]
  assert not layer.parametrizations.weight[0]._u.any()
  assert torch.equal(layer.weight, layer.parametrizations.weight.original)


def test_spectral_norm_of_the_paper_is_pytorchs_own_on_convolutions():
  twin = noisy(twins.Adm(**NORMED, classes=5))
  for layer in [m for m in twin.modules() if isinstance(m, torch.nn.Conv2d)]:
    torch.nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=1)
  train_and_compare(Encoder(**NORMED, classes=5, spectral=Spectral()), twin)


def test_spectral_norm_only_at_sampling():
  twin = noisy(twins.Adm(**NORMED, classes=5))
  net = Encoder(**NORMED, classes=5)
  params = weights.fill(shapes(net, 8), arrays(twin))['params']
  how = Spectral.peer(lipschitz=1.0)
  pairs = collect(how, params, jax.random.key(0), steps=200)
  twin = twins.peer_norm(twin, 1.0)
  twin.train()
  with torch.no_grad():
    for _ in range(100):  # 200 iterations
      twin(*theirs(inputs(8, None)))
  twin.eval()
  out = net.clone(spectral=how).apply({'params': params, 'spectral': pairs}, *inputs(8, None))
  near(out, twin(*theirs(inputs(8, None))).detach(), 1e-3)
