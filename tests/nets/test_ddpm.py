"""The U-Net of DDPM: its published size and names, what it refuses, its derivatives."""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nets.made import drawn, normal
from zsi_jax.io import weights
from zsi_jax.nets import DDPM
from zsi_jax.nets.blocks import Conv
from zsi_jax.nets.ddpm import shrink, sinusoids

# Of 'name shape', a line each, sorted: of the state dict that SDEdit's own class gave.
SDEDIT = 'dd620a5e91b68ae8f03958859bb93002732d4b78f183553c4794b681c1c1524a'
TINY = DDPM(width=24, mults=(1, 2), blocks=1, attend=(2,))
# Each kind of layer; three channels a group, since the norm of a channel alone takes away what the
# embedding of t adds to it.
LEAST = DDPM(width=24, mults=(1, 1), blocks=0, attend=())
X, T = normal(2, 8, 8, 3), np.array([0.0, 999.0], np.float32)


def abstract(net, size, batch=1):
  image = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
  cond = (jnp.zeros(batch, int),) if net.labels else ()
  return jax.eval_shape(net.init, jax.random.key(0), image, jnp.zeros(batch), *cond)


def test_parameters_tensors_and_names_are_the_published_ones():
  net, image = DDPM(), jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
  tree = abstract(net, 256)
  slots = weights.slots(tree)
  assert sum(a.size for a in jax.tree.leaves(tree)) == 113_673_219 and len(slots) == 450
  lines = sorted(f'{name} {slot.shape}' for name, slot in slots.items())
  assert hashlib.sha256('\n'.join(lines).encode()).hexdigest() == SDEDIT
  out = jax.eval_shape(net.apply, tree, image, jnp.zeros(1))
  assert (out.shape, out.dtype) == (image.shape, jnp.float32)


def test_timesteps_are_sines_first_and_the_last_frequency_is_the_ten_thousandth():
  t, half = np.array([0.0, 1.0, 999.0]), 16
  args = t[:, None] * 10000.0 ** (-np.arange(half) / (half - 1))
  want = np.concatenate([np.sin(args), np.cos(args)], 1)
  np.testing.assert_allclose(sinusoids(t, 2 * half), want, atol=2e-4)
  np.testing.assert_allclose(sinusoids(t, 2 * half)[1:, half - 1], t[1:] / 1e4, rtol=3e-3)


def test_halving_pads_at_the_right_and_the_bottom():
  x = normal(1, 6, 4, 8)
  conv = Conv(8, stride=2)
  params = drawn(conv, x)['params']
  got = shrink(x, lambda a: conv.apply({'params': params}, a))
  padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
  want = np.einsum('bijckl,klco->bijo', windows, params['kernel']) + params['bias']
  assert got.shape == (1, 3, 2, 8)
  np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.fixture(scope='module')
def answer():
  """Weights, and the answer to X at T by them."""
  variables, apply = drawn(LEAST, X, T), jax.jit(LEAST.apply)
  return variables, apply, apply(variables, X, T)


def test_bfloat16_stays_near_and_returns_float32(answer):
  variables, _, want = answer
  out = jax.jit(LEAST.clone(dtype=jnp.bfloat16).apply)(variables, X, T)
  assert out.dtype == want.dtype == jnp.float32
  assert 1e-4 < jnp.sqrt(((out - want) ** 2).mean()) / want.std() < 0.03


def test_examples_do_not_meet_and_their_times_matter(answer):
  variables, apply, out = answer
  np.testing.assert_allclose(apply(variables, X[::-1], T[::-1])[::-1], out, atol=1e-5)
  assert np.abs(apply(variables, X, T[::-1]) - out).max() > 0.1 * out.std()


def test_every_derivative_that_guidance_takes():
  """jvp of grad is the difference quotient of grad, and symmetric."""
  x, variables = X[:1], drawn(LEAST, X[:1], T[1:])
  u, v = normal(2, 1, 8, 8, 3, seed=1)

  def energy(x):
    return (LEAST.apply(variables, x, T[1:]) ** 2).sum()

  twice = jax.jit(lambda x, v: jax.jvp(jax.grad(energy), (x,), (v,)))  # grad, and its slope
  h = 1e-2
  want, got = (twice(x + h * v, v)[0] - twice(x - h * v, v)[0]) / (2 * h), twice(x, v)[1]
  assert np.abs(got - want).max() < 0.02 * np.abs(want).max()
  np.testing.assert_allclose((got * u).sum(), (twice(x, u)[1] * v).sum(), rtol=1e-3)


def test_rematerialised_blocks_and_labels():
  text = str(jax.make_jaxpr(TINY.clone(remat='full').apply)(abstract(TINY, 8), X[:1], T[:1]))
  assert text.count('remat') >= 8  # one block down and two up at each level, two in the middle
  net = TINY.clone(labels=3)
  assert abstract(net, 8)['params']['label_emb']['embedding'].shape == (3, 96)


@pytest.mark.parametrize(
  ('net', 'shape', 'cond', 'says'),
  [
    (DDPM(), (1, 240, 256, 3), None, r'240 x 256 5 times.*multiples of 32.*\(1, 224, 224, 3\)'),
    (DDPM(), (2, 256, 256, 3), None, r't \[B\], not \(2, 256, 256, 3\) and \(1,\)'),
    (TINY, (8, 8, 3), None, 'call net.apply'),
    (TINY, (1, 8, 8, 3), jnp.zeros(1, int), 'no label table.*no cond'),
    (TINY.clone(labels=3), (1, 8, 8, 3), None, '3 label rows.*the last, 2'),
    (TINY.clone(width=12), (1, 8, 8, 3), None, 'cannot split 12 channels'),
  ],
)
def test_bad_input_is_refused_when_traced(net, shape, cond, says):
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  with pytest.raises(ValueError, match=says):
    jax.eval_shape(net.init, jax.random.key(0), x, jnp.zeros(1), cond)


def test_weights_for_other_channels_are_refused():
  with pytest.raises(ValueError, match='weights for 3 channels'):
    jax.eval_shape(TINY.apply, abstract(TINY, 8), jnp.zeros((1, 8, 8, 1)), jnp.zeros(1))
