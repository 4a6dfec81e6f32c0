"""What one guided step costs, in forward passes F of the denoiser, as XLA counts it.

The toy: 64 px, width 48, mults (1, 2, 2), one block. The step is the scan's body by itself.
"""

import jax
import jax.numpy as jnp
import pytest

from zsi_jax.core import (
  Ancestral,
  CAGrad,
  Classifier,
  Combine,
  Denoiser,
  Energy,
  Field,
  Guidance,
  Lookahead,
  Nothing,
  Pairs,
  Process,
  cosine,
)
from zsi_jax.nets import Encoder, UNet

NET = UNet(width=48, mults=(1, 2, 2), blocks=1, attend=(), out=6)
HEAD = dict(size=64, width=32, mults=(1, 2), blocks=1, attend=(), head_width=32)
X = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
MOVE = jax.tree.map(lambda a: a[20], Process.make(cosine(4000), 50).reverse())
KEYS = jax.random.split(jax.random.key(0), 2)


def abstract(net, *args):
  return jax.eval_shape(
    net.init, jax.random.key(0), X, jax.ShapeDtypeStruct((2,), jnp.float32), *args
  )


def flops(fn, *args):
  return jax.jit(fn).lower(*args).compile().cost_analysis()['flops']


def step_flops(guidance, solver=None, watch=False):
  """One row of the scan, the guidance an argument, its notes kept only when watched."""

  def step(variables, guidance, x):
    field = Field(Denoiser(variables, NET), guidance)
    land = (solver or Ancestral(inject='sample'))(KEYS, field, x, (), MOVE)
    return (land.x, land.notes) if watch else land.x

  return flops(step, abstract(NET), guidance, X)


@pytest.fixture(scope='module')
def forward():
  return step_flops(Nothing())


def classifier(K):
  net = Encoder(classes=K, **HEAD)
  return Classifier(abstract(net), jax.ShapeDtypeStruct((K,), jnp.float32), net)


def one_forward_and_backward(K):
  net = classifier(K).net

  def both(variables, x, t):
    logits, pull = jax.vjp(lambda x: net.apply(variables, x, t), x)
    return pull(jnp.ones_like(logits))[0]

  return flops(both, abstract(net), X, jax.ShapeDtypeStruct((2,), jnp.float32))


def test_any_number_of_classes_costs_one_forward_and_one_backward(forward):
  extra = {K: step_flops(classifier(K)) - forward for K in (2, 40)}
  for K, cost in extra.items():
    assert cost == pytest.approx(one_forward_and_backward(K), rel=0.08)  # XLA fuses otherwise
  assert extra[40] == pytest.approx(extra[2], rel=1e-3)


def test_classifier_guidance_never_goes_back_through_the_denoiser(forward):
  extra = step_flops(classifier(2)) - forward - one_forward_and_backward(2)
  assert extra < 0.05 * forward  # a backward pass would be one whole


def energies(n):
  def blur(x0, given, k):
    return jnp.sum((x0 - 0.1 * k) ** 2, (1, 2, 3))

  terms = [Energy(jax.tree_util.Partial(blur, k=float(k)), name=f'e{k}') for k in range(n)]
  return sum(terms[1:], terms[0])


@pytest.mark.parametrize('n', [1, 2, 3, 4])
def test_energies_share_one_pull_back(forward, n):
  assert step_flops(energies(n)) <= 2.2 * forward


def test_a_merge_pulls_each_energy_back(forward):
  """A Gram matrix needs each gradient by itself: 1 + 1 + 3 passes, not 3 (1 + 1)."""
  cost = step_flops(Combine(tuple(energies(3).terms), CAGrad(0.5)))
  assert 3.5 * forward < cost < 4.8 * forward


@pytest.mark.parametrize('mode, most', [('x0', 1.1), ('first_order', 4.5), ('exact', 6.8)])
def test_a_lookahead_costs_no_more_than_its_mode_says(forward, mode, most):
  ahead = Lookahead(Ancestral(inject='sample'), then=energies(1), mode=mode)
  assert step_flops(energies(1), ahead) <= most * forward


def test_a_star_of_three_costs_no_more_than_it_says(forward):
  star = Pairs(Ancestral(inject='sample'), tuple(energies(3).terms), 'star', CAGrad(0.5))
  assert step_flops(Nothing(), star) <= 18 * forward


class Talkative(Guidance):
  """A term whose only product is a costly note."""

  inner: Classifier

  def __call__(self, s):
    _, notes = self.inner(s)
    return Nothing()(s)[0], notes


def test_an_unwatched_note_and_an_unused_score_cost_nothing(forward):
  assert step_flops(Talkative(classifier(2))) == pytest.approx(forward, rel=1e-3)
  assert step_flops(Talkative(classifier(2)), watch=True) > 1.02 * forward
