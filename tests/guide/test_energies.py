"""Energies: zero and flat where they are met, steep nowhere, one number for each example."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import Mixture
from zsi_jax.core import (
  DDIM,
  DDNM,
  Energy,
  Field,
  Lookahead,
  Pairs,
  Process,
  cosine,
  linear,
  sample,
)
from zsi_jax.guide import energies, rules
from zsi_jax.guide.energies import Eye, Near, near, reference
from zsi_jax.guide.probe import probe

KEYS = jax.random.split(jax.random.key(0), 3)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.uniform(-1, 1, (3, 4, 4, 3)), jnp.float32)
Y = jnp.asarray(RNG.uniform(-1, 1, (3, 4, 4, 3)), jnp.float32)
PROCESS = Process.make(cosine(1000), 20)
CONTINUOUS = ['norm', 'rms', 'cosine', 'gram']


def whole(x):
  return x


@pytest.mark.parametrize('how', CONTINUOUS)
def test_zero_and_flat_where_it_is_met(how):
  distance = energies.DISTANCES[how]
  np.testing.assert_allclose(distance(X, X), 0, atol=1e-4)
  slope = jax.grad(lambda x: distance(x, X).sum())(X)
  curve = jax.jvp(jax.grad(lambda x: distance(x, X).sum()), (X,), (Y,))[1]
  assert np.isfinite(slope).all() and np.isfinite(curve).all()
  np.testing.assert_allclose(slope, 0, atol=1e-4)


@pytest.mark.parametrize('how', [*CONTINUOUS, 'classes'])
def test_an_example_counts_for_itself(how):
  ref = Y.argmax(-1) if how == 'classes' else Y
  every = energies.DISTANCES[how](X, ref)
  assert every.shape == (3,) and (np.asarray(every) > 0).all()
  for i in range(3):
    one = energies.DISTANCES[how](X[i : i + 1], ref[i : i + 1])
    np.testing.assert_allclose(one[0], every[i], rtol=1e-5)


def test_closed_forms():
  a, b = np.asarray(X, np.float64), np.asarray(Y, np.float64)
  gap = (a - b).reshape(3, -1)
  length = np.linalg.norm(gap, axis=1)
  np.testing.assert_allclose(energies.norm(X, Y), np.sqrt(length**2 + 1e-4) - 0.01, rtol=1e-5)
  np.testing.assert_allclose(energies.rms(X, Y), length / np.sqrt(48), rtol=2e-3)
  flat = [v.reshape(3, -1) for v in (a, b)]
  cos = (
    np.sum(flat[0] * flat[1], 1) / np.linalg.norm(flat[0], axis=1) / np.linalg.norm(flat[1], axis=1)
  )
  np.testing.assert_allclose(energies.cosine(X, Y), 1 - cos, atol=1e-5)
  G = np.einsum('bpc,bpd->bcd', a.reshape(3, 16, 3), a.reshape(3, 16, 3)) / 16
  np.testing.assert_allclose(energies.correlations(X), G, atol=1e-6)
  p = np.exp(a) / np.exp(a).sum(-1, keepdims=True)
  told = np.take_along_axis(-np.log(p), b.argmax(-1)[..., None], -1).reshape(3, -1).mean(1)
  np.testing.assert_allclose(energies.classes(X, Y.argmax(-1)), told, rtol=1e-5)


def test_never_steeper_than_the_distance():
  for scale in (1e-6, 1e-3, 1.0, 1e3):
    r = scale * X
    slope = jax.grad(lambda r: energies.soft(r).sum())(r)
    assert np.linalg.norm(slope.reshape(3, -1), axis=1).max() <= 1 + 1e-5
    assert (energies.soft(r) <= np.linalg.norm(r.reshape(3, -1), axis=1) + 1e-6).all()


def test_style_is_blind_to_places_and_content_is_not():
  shuffled = X[:, ::-1]
  np.testing.assert_allclose(energies.gram(shuffled, X), 0, atol=1e-5)
  assert (np.asarray(energies.rms(shuffled, X)) > 0.1).all()


class Head(nn.Module):
  """A mean colour through a matrix."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(5)(x.mean((1, 2)))


@pytest.fixture(scope='module')
def eye():
  net = Head()
  return Eye(net.init(jax.random.key(1), X), net, lambda x: x / 2)


def test_an_eye_looks_through_its_view_and_new_weights_recompile_nothing(eye):
  wanted = eye.net.apply(eye.variables, X / 2)
  np.testing.assert_allclose(eye(X), wanted, rtol=1e-6)
  traced = []

  @jax.jit
  def see(eye, x):
    traced.append(x)
    return eye(x)

  see(eye, X)
  see(eye.replace(variables=jax.tree.map(lambda a: 2 * a, eye.variables)), X)
  assert len(traced) == 1


@pytest.mark.parametrize(
  'ready', [energies.identity, energies.text, energies.style, energies.content, energies.landmarks]
)
def test_a_condition_and_its_reference(eye, ready):
  term = ready(eye)
  given = reference(term, Y)
  assert list(given) == [term.name] and given[term.name].shape == (3, 5)
  np.testing.assert_allclose(term.energy(Y, given), 0, atol=1e-4)
  assert (np.asarray(term.energy(X, given)) > 0).all()


def test_a_mask_is_the_reference_of_classes():
  term = near(whole, 'mask', 'classes')
  given = reference(term, Y)
  assert given['mask'].shape == (3, 4, 4)
  sharp = 50.0 * jax.nn.one_hot(given['mask'], 3)
  assert np.asarray(term.energy(sharp, given)).max() < 1e-6


def test_what_the_eye_takes_besides(eye):
  def boxed(x, box):
    return x.mean((1, 2)) * box

  term = near(boxed, 'points', beside=('box',))
  box = jnp.full((3, 1), 2.0)
  given = reference(term, Y, box=box) | {'box': box}
  np.testing.assert_allclose(given['points'], 2 * Y.mean((1, 2)), rtol=1e-6)
  assert term.energy(X, given).shape == (3,)


def test_guided_samples_are_nearer_to_what_they_are_guided_to(eye):
  def colour(x):
    return x.mean((1, 2))

  term = near(colour, 'colour')
  given = {'colour': jnp.full((3, 3), 0.3)}
  plain = sample(KEYS, PROCESS, Mixture(0.5, 0.3), shape=(4, 4, 3))
  drawn = sample(
    KEYS, PROCESS, Mixture(0.5, 0.3), 60.0 * term, DDIM(), shape=(4, 4, 3), given=given
  )
  assert (term.energy(drawn, given) < 0.5 * term.energy(plain, given)).all()


def test_conditions_that_are_refused(eye):
  with pytest.raises(ValueError, match='how is one of'):
    Near(eye, 'x', 'euclidean')
  term = energies.identity(eye)
  with pytest.raises(ValueError, match=r"given\['identity'\] has shape \[3, 4\].*\[3, 5\]"):
    term.energy(X, {'identity': jnp.zeros((3, 4))})
  with pytest.raises(ValueError, match="'identity'.* is missing"):
    sample(KEYS, PROCESS, Mixture(), term, shape=(4, 4, 3))
  with pytest.raises(ValueError, match='one number for each example'):
    scalar = Energy(lambda x0, given: jnp.sum(x0**2))
    sample(KEYS, PROCESS, Mixture(), scalar, shape=(4, 4, 3))
  with pytest.raises(ValueError, match='no reference of its own'):
    reference(Energy(lambda x0, given: x0.sum((1, 2, 3))), X)


def test_freedoms_step_for_faces():
  """x' = alpha' x0 + sigma' (.5 z + sqrt(.75) eps) - rho alpha grad |r|; nothing once t <= stop."""
  process = Process.make(linear(1000), np.arange(0, 1000, 10))
  den, solver = Mixture(0.5, 0.3), DDNM(0.5, clip=False)
  term = Energy(lambda x0, given: energies.soft(x0 - 0.2), clip=False, name='r')
  guided = rules.face(term, 'identity')
  x = jax.random.normal(jax.random.key(2), (3, 5))
  for row, on in ((5, True), (88, True), (89, False), (95, False)):
    move = jax.tree.map(lambda a, row=row: a[row], process.reverse())
    assert bool(move.level.t > 100) is on
    plain = solver(KEYS, Field(den, 0.0 * term), x, (), move)
    found = solver(KEYS, Field(den, guided), x, (), move).x
    grad = jax.grad(lambda x, level=move.level: energies.soft(den(x, level).x0 - 0.2).sum())(x)
    wanted = plain.x - on * 100.0 * move.level.alpha * grad
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
  with pytest.raises(ValueError, match='kind is one of'):
    rules.face(term, 'hair')


def test_backward_guidance_goes_down_in_x0_alone():
  """UGD: x0_hat + D with D from m steps, and eps moved to match."""
  den, move = Mixture(0.5, 0.3), jax.tree.map(lambda a: a[10], PROCESS.reverse())
  term = Energy(lambda x0, given: 0.5 * jnp.sum((x0 - 0.2) ** 2, -1), clip=False)
  x = 0.1 * jax.random.normal(jax.random.key(2), (3, 5))
  back = rules.Backward(term, rate=0.1, rounds=4)
  pred, score, _ = Field(den, back)(KEYS, x, move.level)
  moved = (pred.x0 - 0.2) * 0.9**4 + 0.2
  eps = (x - move.level.alpha * moved) / move.level.sigma
  np.testing.assert_allclose(pred.eps - move.level.sigma * score, eps, atol=1e-5)
  with pytest.raises(ValueError, match='goes down an Energy'):
    rules.Backward(term + term, rate=0.1)
  with pytest.raises(ValueError, match='rounds >= 1'):
    rules.Backward(term, rate=0.1, rounds=0)


def test_a_probe_finds_what_would_be_nan_hours_later():
  sharp = Energy(
    lambda x0, given: jnp.sqrt(jnp.sum((x0 - given['x0']) ** 2, (1, 2, 3))), name='hard'
  )
  soft = Energy(lambda x0, given: energies.soft(x0 - given['x0']), name='soft')
  given = {'x0': Y}
  values = probe(2.0 * soft + near(whole, 'image'), X, given | {'image': Y})
  np.testing.assert_allclose(values['soft'], energies.soft(X - Y), rtol=1e-6)
  assert list(values) == ['soft', 'image']
  for way in (soft + 3.0 * sharp, Lookahead(DDIM(), sharp), Pairs(DDIM(), (soft, sharp))):
    with pytest.raises(ValueError, match="'hard': its slope is NaN or infinite at its optimum"):
      probe(way, X, given)
  log = Energy(lambda x0, given: jnp.log((x0 + 1).mean((1, 2, 3))), name='log')
  with pytest.raises(ValueError, match="'log': its value is NaN or infinite at black images"):
    probe(log, X, {})
  with pytest.raises(ValueError, match="'sum': .* one number for each example"):
    probe(Energy(lambda x0, given: x0.sum(), name='sum'), X, {})
  with pytest.raises(ValueError, match='float images'):
    probe(soft, (127 * X).astype(int), given)
