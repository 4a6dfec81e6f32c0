"""The convolution is lax's in value and in every derivative, and stays channels-last in a scan."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from tests.nets.made import normal
from zsi_jax.nets.conv import conv, parts

SHAPES = [(8, 8), (7, 9), (1, 2)]


def theirs(x, w, stride=1):
  pads = [((k - 1) // 2,) * 2 for k in w.shape[:2]]
  return lax.conv_general_dilated(
    x, w, (stride, stride), pads, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


def draw(*shapes):
  return [jnp.asarray(normal(*s, seed=i)) for i, s in enumerate(shapes)]


def near(a, b, tol=1e-5):
  for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(left, right, rtol=0, atol=tol * (1e-6 + np.abs(right).max()))


def curved(op, stride):
  """A loss whose gradients depend on both operands, so that second derivatives are not zero."""
  return lambda x, w: jnp.sin(op(x, w, stride)).sum()


@pytest.mark.parametrize('k', [1, 3, 5])
@pytest.mark.parametrize('stride', [1, 2])
def test_equals_lax_with_both_gradients(k, stride):
  for shape in SHAPES:
    x, w = draw((2, *shape, 3), (k, k, 3, 4))
    near(*(jax.jit(op, static_argnums=2)(x, w, stride) for op in (conv, theirs)))
    near(*(jax.jit(jax.grad(curved(op, stride), (0, 1)))(x, w) for op in (conv, theirs)))


@pytest.mark.parametrize('stride', [1, 2])
def test_forward_over_reverse_and_reverse_over_reverse(stride):
  x, w, dx, dw = draw((2, 7, 6, 3), (3, 3, 3, 4), (2, 7, 6, 3), (3, 3, 3, 4))

  def product(op):
    grad = jax.grad(curved(op, stride), (0, 1))
    return jax.jit(lambda *a: jax.jvp(grad, a[:2], a[2:]))(x, w, dx, dw)

  def twice(op):
    def norm(x, w):
      return sum((g**2).sum() for g in jax.grad(curved(op, stride), (0, 1))(x, w))

    return jax.jit(jax.grad(norm, (0, 1)))(x, w)

  near(product(conv), product(theirs), 3e-5)
  near(twice(conv), twice(theirs), 3e-5)


def test_three_maps_are_one_trilinear_form():
  """<conv(x, w), g> = <x, d/dx g> = <w, d/dw g>."""
  x, w, g = draw((2, 9, 7, 3), (3, 3, 3, 4), (2, 5, 4, 4))

  @jax.jit
  def three(x, w, g):
    y, pull = jax.vjp(lambda x, w: conv(x, w, 2), x, w)
    by_x, by_w = pull(g)
    return (y * g).sum(), (by_x * x).sum(), (by_w * w).sum()

  want, *got = three(x, w, g)
  np.testing.assert_allclose(got, [want, want], rtol=1e-4)


def test_a_large_batch_is_summed_in_parts():
  assert parts(4, 128 * 96) > 1 and parts(4, 64 * 64) == 1 and parts(7, 10**6) == 7
  x, w, g = draw((4, 128, 96, 2), (3, 3, 2, 3), (4, 128, 96, 3))
  near(*(jax.jit(jax.grad(lambda w, op=op: (op(x, w) * g).sum()))(w) for op in (conv, theirs)))


@pytest.mark.parametrize('axes', [(0, None), (None, 0), (0, 0)])
def test_vmap_and_vmap_of_vmap(axes):
  many = draw((3, 2, 5, 5, 2), (3, 3, 3, 2, 4))
  x, w = (v if a == 0 else v[0] for v, a in zip(many, axes, strict=True))
  for op in (lambda f: f, lambda f: jax.grad(curved(f, 1), (0, 1))):
    near(*(jax.jit(jax.vmap(op(f), axes))(x, w) for f in (conv, theirs)))
    for outer, a, b in [((0, None), jnp.stack([x, 2 * x]), w), ((None, 0), x, jnp.stack([w, -w]))]:
      near(*(jax.jit(jax.vmap(jax.vmap(op(f), axes), outer))(a, b) for f in (conv, theirs)))


def test_vmap_over_an_inner_axis():
  x, w = draw((2, 6, 3, 6, 2), (3, 3, 2, 4, 3))
  near(*(jax.jit(jax.vmap(op, (2, 4)))(x, w) for op in (conv, theirs)))


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='other backends keep their own form')
def test_on_a_cpu_every_derivative_is_a_channels_last_forward_convolution():
  x, w = draw((2, 2, 8, 8, 32), (3, 3, 32, 32))

  def labels(op):
    def body(w, x):
      return w - jax.grad(curved(op, 1), 1)(x, w) + jax.grad(curved(op, 1))(x, w).mean(), None

    text = jax.jit(lambda w, x: lax.scan(body, w, x)[0]).lower(w, x).compile().as_text()
    return set(re.findall(r'convolution\(.*?dim_labels=([\w>-]+)', text))

  assert labels(conv) == {'b01f_01io->b01f'}
  assert labels(theirs) != {'b01f_01io->b01f'}  # if XLA mends this, conv.py may go


def test_costs_what_lax_costs():
  """Only the branch of the platform is lowered."""
  x, w = draw((2, 8, 8, 4), (3, 3, 4, 6))
  ours, lax_ = (
    jax.jit(jax.grad(lambda x, w, op=op: (op(x, w) * 2.0).sum(), (0, 1))).lower(x, w).compile()
    for op in (conv, theirs)
  )
  assert ours.cost_analysis()['flops'] == pytest.approx(lax_.cost_analysis()['flops'], rel=0.05)


def test_exports_for_several_platforms():
  x, w = draw((2, 8, 8, 4), (3, 3, 4, 6))
  grad = jax.jit(jax.grad(curved(conv, 1), (0, 1)))
  near(export.export(grad, platforms=('cpu', 'cuda', 'tpu'))(x, w).call(x, w), grad(x, w))


def test_wrong_shapes_say_so():
  x, w = draw((1, 4, 4, 3), (3, 3, 2, 4))
  with pytest.raises(ValueError, match='channels 3 != 2'):
    conv(x, w)
  with pytest.raises(ValueError, match='odd'):
    conv(x, w[:2, :2])
