"""The algebra: sums commute, zero weighs nothing, the same bits, the closed-form mixture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import BayesNet, Mixture, guided, rest, stable_weights
from zsi_jax.core import (
  DDIM,
  DDNM,
  Aim,
  Ancestral,
  Blend,
  CAGrad,
  Classifier,
  Clip,
  Combine,
  Contrast,
  DPMSolverPP,
  Energy,
  Field,
  From,
  Guidance,
  Heun,
  Langevin,
  LogProb,
  Lookahead,
  Mean,
  Mix,
  Pairs,
  Process,
  ReverseDiffusion,
  Rms,
  Score,
  Sum,
  TimeTravel,
  cfg,
  cosine,
  sample,
  sample_by,
)
from zsi_jax.core.tree import normal

NARROW, BROAD = Mixture(0.7, 0.15), Mixture(0.5, 0.3)
PROCESS = Process.make(cosine(4000), 50)
FINE = Process.make(cosine(4000), 250)
KEYS = jax.random.split(jax.random.key(0), 64)
MANY = jax.random.split(jax.random.key(1), 2000)
A = guided(BROAD, [3.0, 1.0], name='a')
B = Energy(lambda x0, given: jnp.sum((x0 - 0.2) ** 2, -1), name='b')


def always(cond):
  """The denoiser of one `cond`, whatever it is asked for."""
  return lambda x, level, _=None: BROAD(x, level, jnp.full(len(x), cond))


class Noisy(Guidance):
  """A stochastic term: a random push, keyed by its own name."""

  def __call__(self, s):
    return Score(direct=normal(s.key('noisy'), s.x)), {}


def draw(guidance=None, solver=None, keys=KEYS, process=PROCESS, mixture=BROAD, **more):
  return sample(keys, process, mixture, guidance, solver, shape=more.pop('shape', (2,)), **more)


def close(a, b, atol=1e-5):
  np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=atol)


@pytest.mark.parametrize(
  'solver', [None, DDIM(), DDIM(0.5), ReverseDiffusion(), DPMSolverPP(), Heun()]
)
def test_sums_commute_and_distribute(solver):
  noisy = Noisy()
  close(draw(A + B, solver), draw(B + A, solver))
  close(draw(A + B + noisy, solver), draw(noisy + B + A, solver))
  close(draw(0.3 * (A + B), solver), draw(0.3 * A + 0.3 * B, solver))
  close(draw(np.float32(0.3) * A, solver), draw(A * 0.3, solver))
  assert np.abs(draw(A + B, solver) - draw(A, solver)).max() > 1e-3


@pytest.mark.parametrize(
  'solver', [None, DDIM(), TimeTravel(Ancestral(), 2), Langevin(Ancestral())]
)
def test_weight_zero_is_the_unguided_sample(solver):
  # A corrector divides by the score's norm: it carries rounding further than the other solvers do.
  atol = 2e-5 if isinstance(solver, Langevin) else 1e-6
  close(draw(0.0 * (A + B), solver), draw(None, solver), atol)


def test_weight_zero_is_the_same_bits_within_one_program():
  @jax.jit
  def program(w, term):
    return draw(w * term)

  strong = guided(BROAD, [3e3, 1e3], name='a')
  np.testing.assert_array_equal(program(0.0, A), program(0.0, strong))
  assert np.any(program(1.0, A) != program(0.0, A))


def test_contrast_is_the_mix_for_eps_and_x0_before_clipping():
  mix = Mix(BROAD, cfg(2.5)).shared([2, 1])
  x = jax.random.normal(jax.random.key(3), (5, 2))
  for row in (3, 25, 49):
    level = PROCESS[row]
    field = Field(always(2), 2.5 * Contrast(always(1)))
    pred, score, _ = field(KEYS[:5], x, level)
    mixed = mix(x, level)
    # eps_0 - sigma * w (eps_0 - eps_1) / sigma = eps_0 + w (eps_1 - eps_0)
    close(pred.eps - level.sigma * score, mixed.eps, 1e-4)
    shifted = pred.x0 + level.sigma**2 / level.alpha * score
    close(shifted * level.alpha, mixed.x0 * level.alpha, 1e-4)


def test_one_hot_mix_is_the_plain_conditional():
  one_hot = Mix(BROAD, [0.0, 1.0, 0.0]).shared([2, 1, 0])
  right = sample(KEYS, PROCESS, Mix(BROAD, [1.0]).shared([1]), shape=(2,))
  close(sample(KEYS, PROCESS, one_hot, shape=(2,)), right, 1e-6)
  assert np.all(np.asarray(right) > -0.5) and np.mean(right) > 0.3


def test_mixed_variance_extrapolates_and_clipped_does_not():
  class Wide(Mixture):
    def __call__(self, x, level, cond=None):
      pred = super().__call__(x, level, cond)
      return pred._replace(logvar=pred.logvar + jnp.asarray(cond, x.dtype)[:, None])

  x, level = jnp.ones((3, 2)), PROCESS[20]
  base = level.logvar_min
  for variance, slope in {'mixed': 3, 'clipped': 1}.items():
    pred = Mix(Wide(), cfg(3.0), variance=variance).shared([0, 1])(x, level)
    close(pred.logvar - base, slope * np.ones((3, 2)), 1e-4)


LINEAR = LogProb(lambda x, level, given: jnp.sum(0.02 * x, -1), name='linear')


@pytest.mark.parametrize(
  'solver', [Ancestral(inject='sample'), Ancestral(), DDIM(), DDIM(0.5), DDNM(), ReverseDiffusion()]
)
def test_a_lookahead_with_a_frozen_jacobian_is_the_sum(solver):
  """Exactly so where the second score does not depend on where it is asked."""
  ahead = Lookahead(solver, then=LINEAR, mode='first_order')
  close(draw(A, ahead), draw(A + LINEAR, solver), 2e-5)


def test_a_lookahead_is_the_derivative_of_the_composed_move():
  """x' = x_hat - rho grad_x E(x_hat(x)): Z-Magic's Algorithm 1 as one gradient."""
  solver, move = DDIM(inject='sample', clip=False), jax.tree.map(lambda a: a[10], PROCESS.reverse())
  field = Field(BROAD, 0.05 * A)
  x = jax.random.normal(jax.random.key(5), (4, 2))

  def logp(x, level, given):
    return -0.1 * jnp.sum((x - 1) ** 2, -1)

  def go(x):
    return solver(KEYS[:4], field, x, (), move).x

  land = Lookahead(solver, LogProb(logp))(KEYS[:4], field, x, (), move)
  expected = go(x) + jax.grad(lambda x: jnp.sum(logp(go(x), None, None)))(x)
  close(land.x, expected)
  frozen = Lookahead(solver, LogProb(logp), mode='first_order')(KEYS[:4], field, x, (), move)
  assert np.abs(frozen.x - land.x).max() > 1e-3


@pytest.mark.parametrize('pairing', ['star', 'ordered'])
def test_pairs_of_means_without_lookahead_are_the_sum(pairing):
  def linear(k):
    return LogProb(lambda x, level, given: jnp.sum(k * x, -1), name=f'l{k}')

  terms = [linear(k) for k in (0.01, 0.02, -0.005)]
  pairs = Pairs(Ancestral(inject='sample'), tuple(terms), pairing, Mean(), mode='first_order')
  total = terms[0] + terms[1] + terms[2]
  close(draw(A, pairs), draw(A + total, Ancestral(inject='sample')), 5e-5)


def test_merges_of_one_term_are_that_term():
  for merge in (Sum(), Mean(), CAGrad(0.5)):
    close(draw(Combine((A,), merge)), draw(A))
  close(draw(Combine((A, B), Sum())), draw(A + B))
  close(draw(Combine((A, B), CAGrad(0.0))), draw(0.5 * (A + B)))


def test_time_travel_once_is_the_bare_solver():
  np.testing.assert_array_equal(draw(A, TimeTravel(Ancestral(), 1)), draw(A, Ancestral()))
  assert np.abs(draw(A, TimeTravel(Ancestral(), 3)) - draw(A, Ancestral())).max() > 1e-3


def test_rms_and_clip_bound_a_score():
  strong = 1e4 * A
  x, level = jax.random.normal(jax.random.key(2), (6, 2)), PROCESS[20]

  def rms(a):
    return np.sqrt(np.mean(np.square(a), -1))

  pred, score, _ = Field(BROAD, Rms(strong, 0.02))(KEYS[:6], x, level)
  np.testing.assert_allclose(rms(score), 0.02 * rms(pred.eps) / level.sigma, rtol=1e-5)
  _, score, _ = Field(BROAD, Clip(strong, 3.0))(KEYS[:6], x, level)
  np.testing.assert_allclose(rms(score), 3.0, rtol=1e-5)
  _, small, _ = Field(BROAD, Clip(1e-3 * A, 3.0))(KEYS[:6], x, level)
  close(small, Field(BROAD, 1e-3 * A)(KEYS[:6], x, level)[1])


@pytest.mark.parametrize('every', [2, 7, 64])
def test_chunks_are_the_single_scan_bit_for_bit(every):
  for solver in (Ancestral(), DPMSolverPP()):
    args = dict(shape=(2,), watch=('logp/*', 'x0@0,30'))
    x, notes = sample(KEYS, PROCESS, BROAD, A, solver, **args)
    *_, (last, more) = sample_by(every, KEYS, PROCESS, BROAD, A, solver, **args)
    np.testing.assert_array_equal(x, last)
    for name in notes:
      np.testing.assert_array_equal(notes[name], more[name])


def test_each_example_depends_on_its_own_key_alone():
  whole = draw(A + B)
  close(jnp.concatenate([draw(A + B, keys=KEYS[:16]), draw(A + B, keys=KEYS[16:])]), whole, 1e-5)
  close(draw(A + B, keys=KEYS[37:38]), whole[37:38], 1e-5)


def test_watching_costs_no_change_and_shows_the_right_rows():
  x, notes = draw(A + B, watch=('logp/a', 'energy/*', 'x0@0,49'))
  close(x, draw(A + B))
  assert {k: v.shape for k, v in notes.items()} == {
    'logp/a': (50, 64),
    'energy/b': (50, 64),
    'x0': (2, 64, 2),
  }
  close(notes['energy/b'][-1], jnp.sum((jnp.clip(notes['x0'][0], -1, 1) - 0.2) ** 2, -1))
  _, x0 = draw(A, watch='x0@0')
  assert np.mean(notes['energy/b'][-1]) < np.mean(jnp.sum((x0['x0'][0] - 0.2) ** 2, -1))


# ------------------------------------------------------------------------- the closed-form mixture


def share_in_gap(x):
  return float(np.mean(np.abs(x) < 0.3))


def test_multi_guidance_fills_the_gap_that_nobody_saw():
  unguided = draw(None, keys=MANY, process=FINE, mixture=NARROW, shape=(1,))
  multi = draw(guided(NARROW, [1.0, 1.0]), keys=MANY, process=FINE, mixture=NARROW, shape=(1,))
  assert share_in_gap(unguided) < 0.01 and abs(np.mean(np.asarray(unguided) > 0) - 0.5) < 0.04
  assert share_in_gap(multi) > 0.99
  one = draw(guided(NARROW, [0.0, 10.0]), keys=MANY, process=FINE, mixture=NARROW, shape=(1,))
  assert np.all(np.asarray(one) > 0)


@pytest.mark.parametrize('w', [(1.0, 3.0), (2.0, 6.0), (15.0, 25.0), (10.0, 30.0), (20.0, 20.0)])
def test_weights_move_the_equilibrium(w):
  x = draw(guided(BROAD, list(w)), keys=MANY, process=FINE, shape=(1,))
  p = np.mean(jax.nn.sigmoid(2 * BROAD.mu * x / BROAD.tau**2))
  assert abs(p - rest(*w)) < 0.04


@pytest.mark.parametrize('mixture, p', [(BROAD, 0.5), (BROAD, 0.75), (NARROW, 0.75)])
def test_the_stability_bound_is_where_a_step_turns_over(mixture, p):
  """The slope of a real ancestral step at its resting point crosses -1 at the bound, on any row."""
  bounds = stable_weights(mixture, FINE, p)
  for row in (5, int(np.argmin(bounds)), 100):
    move = jax.tree.map(lambda a, row=row: a[::-1][row], FINE.reverse())
    level, W = move.level, float(bounds[row])
    s2 = float(level.alpha**2 * mixture.tau**2 + level.sigma**2)
    x = np.log(p / (1 - p)) * s2 / (2 * float(level.alpha) * mixture.mu)
    field = Field(mixture, guided(mixture, [W * (1 - p), W * p]))

    def go(x, field=field, move=move):
      return Ancestral(clip=False)(KEYS[:1], field, x, (), move).x

    _, slope = jax.jvp(go, (jnp.full((1, 1), x),), (jnp.ones((1, 1)),))
    np.testing.assert_allclose(slope, -1, atol=2e-3)


def test_beyond_the_bound_the_chain_overshoots():
  bound = float(stable_weights(NARROW, FINE, 0.75).min())

  def spread(W):
    w1 = 0.75 * (W - 1) + 0.5
    guide = guided(NARROW, [W - w1, w1])
    return np.std(draw(guide, keys=MANY, process=FINE, mixture=NARROW, shape=(1,)))

  assert spread(0.5 * bound) > spread(bound)  # within it, a stronger pull is a narrower one
  assert spread(10 * bound) > 3 * spread(bound)
  assert bound < 40  # (10, 30) on the narrow modes is far beyond


def test_aim_is_monotone_and_lands_where_it_is_asked():
  z = jnp.linspace(0.05, 0.95, 500)
  guide = guided(BROAD, Aim(strength=40.0))
  x = draw(guide, keys=MANY[:500], process=FINE, shape=(1,), given={'aim': z})
  p = np.asarray(jax.nn.sigmoid(2 * BROAD.mu * x[:, 0] / BROAD.tau**2))
  assert np.corrcoef(z, p)[0, 1] > 0.97
  assert np.all(np.diff(p.reshape(10, 50).mean(1)) > 0)


def test_blend_leans_to_the_class_that_it_ends_with():
  x = draw(guided(BROAD, Blend(20.0)), keys=MANY, process=FINE, shape=(1,))
  start = draw(guided(BROAD, Blend(20.0, 1.0, 0.0)), keys=MANY, process=FINE, shape=(1,))
  assert np.mean(x) > 0.2 > -0.2 > np.mean(start)


def test_the_classifier_of_a_network_is_the_oracles():
  net = Classifier({'scale': jnp.ones(())}, [3.0, 1.0], BayesNet(BROAD, 4000), name='a')
  close(draw(net), draw(A), 1e-4)
  aimed = net.towards(Aim(8.0))
  z = jnp.linspace(0, 1, 64)
  close(draw(aimed, given={'aim': z}), draw(guided(BROAD, Aim(8.0)), given={'aim': z}), 1e-4)
  close(draw(net.towards(3.0, 1.0)), draw(net), 0)


def test_weights_of_each_example_travel_in_given():
  w = jnp.linspace(0, 2, 64)
  each = draw(A * From('w'), given={'w': w})
  for k in (0, 31, 63):
    close(each[k], draw(float(w[k]) * A)[k], 1e-5)


def test_contrast_with_eps_stays_finite_on_a_cosine_chain():
  for process in (FINE, PROCESS, Process.make(cosine(4000))):
    x = draw(3.0 * Contrast(always(0)), Ancestral(inject='eps'), process=process)
    assert np.all(np.isfinite(x)) and np.abs(x).max() < 10
    assert np.mean(x) < -0.2  # it did pull towards the other
