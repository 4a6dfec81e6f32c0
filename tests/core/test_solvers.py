"""Solvers: order of convergence, inversion, exact laws of their noise, the table of injections."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import Mixture, guided
from zsi_jax.core import (
  DDIM,
  DDNM,
  Ancestral,
  DPMSolverPP,
  During,
  Field,
  Heun,
  Langevin,
  LogProb,
  Nothing,
  Process,
  ReverseDiffusion,
  TimeTravel,
  cosine,
  linear,
  sample,
)

MIXTURE = Mixture(0.5, 0.3)
GAUSS = Mixture(0.0, 0.6)  # one Gaussian N(0, .36): everything about it is known
KEYS = jax.random.split(jax.random.key(0), 64)
MANY = jax.random.split(jax.random.key(1), 8000)
GUIDE = guided(MIXTURE, [2.0, 3.0])


def interior(steps, solver, guidance=None):
  """From a fixed x at the noisiest level down to an interior one, in `steps` moves."""
  betas = linear(4000)
  rows = np.round(np.linspace(800, 3999, steps + 1)).astype(int)
  process = Process.make(betas, rows)
  moves = jax.tree.map(lambda a: a[:-1], process.reverse())  # stop before the move to x_0
  x = jnp.linspace(-2, 2, 64)[:, None]
  return np.asarray(sample(KEYS, moves, MIXTURE, guidance, solver, x=x))


@pytest.mark.parametrize(
  'solver, order', [(DDIM(clip=False), 1), (DPMSolverPP(clip=False), 2), (Heun(clip=False), 2)]
)
@pytest.mark.parametrize('guidance', [None, GUIDE])
def test_order_of_convergence_to_an_interior_level(solver, order, guidance):
  exact = interior(1600, Heun(clip=False), guidance)
  errors = [np.abs(interior(n, solver, guidance) - exact).mean() for n in (20, 40, 80)]
  rates = np.log2(np.array(errors[:-1]) / errors[1:])
  assert np.all(np.abs(rates[-1] - order) < 0.35), (errors, rates)


@pytest.mark.parametrize('steps, bound', [(50, 0.037), (250, 0.008), (1000, 0.003)])
def test_ddim_inversion_then_decoding_returns_the_image(steps, bound):
  """Up the chain and down again; the error is that of the steps, so it falls with them."""
  process = Process.make(cosine(4000), steps)
  x0 = jnp.linspace(-1, 1, 64)[:, None]
  latent = sample(KEYS, process.forward(), MIXTURE, solver=DDIM(clip=False), x=x0)
  back = sample(KEYS, process, MIXTURE, solver=DDIM(clip=False), x=latent)
  assert np.sqrt(np.mean((back - x0) ** 2)) < bound
  assert abs(np.std(latent) - 1) < 0.35  # it did travel to noise


@pytest.mark.parametrize(
  'solver',
  [
    Ancestral(clip=False),
    DDIM(clip=False),
    DDIM(1.0, clip=False),
    DDNM(clip=False),
    DPMSolverPP(clip=False),
    Heun(clip=False),
    ReverseDiffusion(),
    TimeTravel(Ancestral(clip=False), 2),
    Langevin(Ancestral(clip=False)),
  ],
  ids=repr,
)
def test_every_solver_draws_the_gaussian(solver):
  x = sample(MANY[:200], Process.make(cosine(4000), 250), GAUSS, solver=solver, shape=(40,))
  # DDNM draws more noise anew than the posterior does: its chain is narrower by a few per cent.
  slack = 0.04 if getattr(solver, 'noise', '') == 'level' else 0.02
  assert abs(np.std(x) - 0.6) < slack and abs(np.mean(x)) < 0.025


def one_move(solver, guidance=None, row=40, n=8000, x=0.3, mixture=GAUSS):
  move = jax.tree.map(lambda a: a[row], Process.make(cosine(4000), 100).reverse())
  guidance = Nothing() if guidance is None else guidance
  land = solver(MANY[:n], Field(mixture, guidance), jnp.full((n, 1), x), (), move)
  return np.asarray(land.x)[:, 0], move


PUSH = LogProb(lambda x, level, given: jnp.sum(x, -1))  # a score of one everywhere


def test_gains_are_those_of_the_papers():
  """x' - x'_unguided for a unit score."""
  gains = {}
  for name, solver in {
    'mean': Ancestral(),
    'eps': Ancestral(inject='eps'),
    'sample': Ancestral(inject='sample'),
    'reverse': ReverseDiffusion(),
    'ddim': DDIM(),
    'ddnm': DDNM(),
    'eta': DDIM(1.0),
    '2m': DPMSolverPP(),
  }.items():
    start = solver.init(jnp.full((1, 1), 0.3))
    (plain, move), (pushed, _) = (one_move_from(solver, g, start) for g in (None, PUSH))
    gains[name] = float((pushed - plain)[0])
  beta, level, to = float(move.beta), move.level, move.to
  a, s, b, r = (float(v) for v in (level.alpha, level.sigma, to.alpha, to.sigma))
  expected = {
    'mean': float(np.exp(level.logvar_min)),
    'eps': beta / np.sqrt(1 - beta),
    'sample': 1,
    'reverse': beta,
    'ddnm': 1,
    # eps - sigma s moves x0 by sigma^2 / alpha and the rest of eps by -sigma
    'ddim': s * (b * s / a - r),
    '2m': s * (b * s / a - r),
    'eta': float(beta / np.sqrt(1 - beta)),
  }
  for name, gain in expected.items():
    np.testing.assert_allclose(gains[name], gain, rtol=2e-3, err_msg=name)


def one_move_from(solver, guidance, start):
  move = jax.tree.map(lambda a: a[40], Process.make(cosine(4000), 100).reverse())
  field = Field(GAUSS, Nothing() if guidance is None else guidance)
  return solver(MANY[:1], field, jnp.full((1, 1), 0.3), start, move).x[:, 0], move


@pytest.mark.parametrize(
  'solver, variance',
  [
    (Ancestral(), lambda m: np.exp(m.level.logvar_min)),
    (ReverseDiffusion(), lambda m: m.beta),
    (DDIM(), lambda m: 0),
    (DDNM(0.5), lambda m: (0.5 * m.to.sigma) ** 2),
    (DDIM(0.5), lambda m: 0.25 * (m.to.sigma / m.level.sigma) ** 2 * m.beta),
    (
      DDIM(lambda level: level.alpha * 0 + 0.5),
      lambda m: 0.25 * (m.to.sigma / m.level.sigma) ** 2 * m.beta,
    ),
  ],
  ids=lambda v: repr(v) if not callable(v) or hasattr(v, 'add') else '',
)
def test_noise_has_the_stated_variance(solver, variance):
  x, move = one_move(solver)
  np.testing.assert_allclose(np.var(x), float(variance(move)), rtol=0.06, atol=1e-12)


def test_upward_moves_draw_no_noise():
  move = jax.tree.map(lambda a: a[40], Process.make(cosine(4000), 100).forward())
  for solver in (DDIM(1.0), DDNM(0.5)):
    x = solver(MANY[:2], Field(GAUSS, Nothing()), jnp.full((2, 1), 0.3), (), move).x
    assert x[0] == x[1]


def test_the_last_move_draws_no_noise_and_corrects_nothing():
  noisy = Ancestral(), ReverseDiffusion(), DDIM(1.0), DDNM(0.9), Langevin(Ancestral())
  for solver in (*noisy, Heun()):
    x, _ = one_move(solver, row=99, n=2)
    assert x[0] == x[1], solver


def test_the_posterior_with_eta_one_is_the_ancestral_chain():
  x, _ = one_move(DDIM(1.0, clip=False))
  y, _ = one_move(Ancestral(clip=False))
  np.testing.assert_allclose(x, y, atol=2e-5)


def test_during_is_one_solver_or_the_other():
  process = Process.make(cosine(4000), 60)
  both = During(t=(1000, 3000), then=Ancestral(), otherwise=DDIM())
  x = sample(KEYS, process, MIXTURE, GUIDE, both, shape=(1,))
  moves, t = process.reverse(), np.asarray(process.reverse().level.t)
  y = None
  middle = (t < 3000) & (t >= 1000)
  for solver, rows in ((DDIM(), t >= 3000), (Ancestral(), middle), (DDIM(), t < 1000)):
    part = jax.tree.map(lambda a, rows=rows: a[rows], moves)
    y = sample(KEYS, part, MIXTURE, GUIDE, solver, **({'shape': (1,)} if y is None else {'x': y}))
  np.testing.assert_allclose(x, y, atol=1e-5)


def test_during_a_guidance_is_that_guidance_on_those_rows():
  process = Process.make(cosine(4000), 60)
  part = During((1000, 3000), GUIDE)
  x, notes = sample(KEYS, process, MIXTURE, part, shape=(1,), watch='logp/*')
  t = np.asarray(process.reverse().level.t)
  on = (t >= 1000) & (t < 3000)
  silent = np.all(np.asarray(notes['logp/bayes']) == 0, 1)
  np.testing.assert_array_equal(silent, ~on)
  scheduled = GUIDE * (lambda level: 1.0 * ((level.t >= 1000) & (level.t < 3000)))
  np.testing.assert_allclose(x, sample(KEYS, process, MIXTURE, scheduled, shape=(1,)), atol=1e-5)


def test_langevin_brings_a_wrong_marginal_back():
  """Corrections alone, at one level, pull x towards that level's law."""
  process = Process.make(cosine(4000), 100)
  move = jax.tree.map(lambda a: a[40], process.reverse())
  wrong = 2.0 + jnp.zeros((4000, 1))

  def mean(n):
    corrected = Langevin(DDIM(), n, snr=0.3)
    land = corrected(MANY[:4000], Field(GAUSS, Nothing()), wrong, (), move)
    return abs(float(jnp.mean(land.x)))

  means = [mean(n) for n in (1, 20, 100)]
  assert means[0] > means[1] > means[2] and means[2] < 0.3
