"""Schedules and solvers against diffusers' schedulers, which share no line with ours.

The oracle runs in float64: its table of alpha_bar is replaced by a double one (`test_tables` holds
the float32 table it ships beside ours), its steps are as they are. Single moves are compared in
float32, as we ship; whole chains in float64 too, where only a wrong formula can part them.

How the conventions meet:
- We land on x_0, alpha = 1, as `set_alpha_to_one=True` and `final_sigmas_type='zero'` do.
- DDIM there goes from t to t - T // n whatever its list of timesteps: right for 'leading' (with an
  offset too) and 'trailing', not for 'linspace'. Ours, clipped, is `use_clipped_model_output`.
- DPM-Solver++ and UniPC there have no clip, but thresholding with `sample_max_value=1` is one.
- DDIMInverse names a move by where it ends; its network is asked where it begins, as ours is. It
  never reads eps off a clipped x0: the unclipped is compared. Its first move, off x_0, we lack.
- Our Heun takes the mean of x0 at both ends over lambda: that is UniPC's corrector 'bh2' of order
  1, asked where it predicted. HeunDiscreteScheduler takes the mean of d x / d sigma, both divided
  by alpha: of second order too, its correction is e^h times ours.
- A score under inject='eps' is the oracle's model output less sigma s, unclipped: there x0 is
  clipped after the guidance, here before.
"""

from __future__ import annotations

import itertools

import diffusers
import jax
import numpy as np
import pytest
import torch

import zsi_jax as zsi
from tests.oracle import Mixture, guided
from zsi_jax import core
from zsi_jax.core.tree import fold, normal, take

T = 1000
BETAS = {'linear': core.linear(T), 'scaled_linear': core.scaled_linear(T)}
BETAS['squaredcos_cap_v2'] = core.cosine(T)
UNEVEN = [999, 998, 550, 300, 61, 60, 7, 1, 0]  # neighbours, long jumps, both ends
MIX = Mixture(mu=0.9, tau=0.3)  # its x0_hat leaves [-1, 1]
CLIPPED = dict(use_clipped_model_output=True)
PREDICTS = {'eps': 'epsilon', 'x0': 'sample', 'v': 'v_prediction'}
VARIANCE = {'small': 'fixed_small', 'large': 'fixed_large', 'learned': 'learned_range'}
CONFIG = {
  'DPMSolverMultistep': dict(algorithm_type='dpmsolver++', solver_order=2, solver_type='midpoint'),
  'UniPCMultistep': dict(solver_order=1, solver_type='bh2'),
}


class Says:
  """A network whose output is its variables."""

  def apply(self, variables, x, t, cond=None):
    return variables


def oracle(name, steps, clip=False, schedule='linear', **config):
  """A scheduler of diffusers over our betas, its tables in float64."""
  threshold = dict(thresholding=clip, sample_max_value=1.0)
  config |= CONFIG[name] | threshold if name in CONFIG else dict(clip_sample=clip)
  scheduler = getattr(diffusers, f'{name}Scheduler')(T, trained_betas=BETAS[schedule], **config)
  ab = scheduler.alphas_cumprod = torch.cumprod(1 - torch.from_numpy(BETAS[schedule]), 0)
  scheduler.set_timesteps(**{'timesteps' if np.ndim(steps) else 'num_inference_steps': steps})
  if name in CONFIG:  # their sigma / alpha is float32
    ab = ab[scheduler.timesteps]
    scheduler.sigmas = torch.cat([((1 - ab) / ab).sqrt(), torch.zeros(1).double()])
  return scheduler


def made(scheduler, schedule='linear', dtype=np.float32):
  return core.Process.make(BETAS[schedule], np.unique(scheduler.timesteps).astype(int), dtype)


def noise(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def nchw(a):
  return torch.from_numpy(np.asarray(a, np.float64)).movedim(-1, 1)


def near(ours, theirs, tol=1e-5):
  """Of the largest number of each row or example, or of 1: unclipped states reach thousands."""
  ours, theirs = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (ours, theirs))
  assert ours.shape == theirs.shape
  error = np.abs(ours - theirs).max(1) / np.maximum(np.abs(theirs).max(1), 1)
  assert error.max() < tol, error  # NaN fails too


def replay(monkeypatch, z):
  """What diffusers draws is z, in turn."""
  z = iter(z)
  for name in ('ddpm', 'ddim'):
    draw = f'diffusers.schedulers.scheduling_{name}.randn_tensor'
    monkeypatch.setattr(draw, lambda *_, **__: next(z))


def same_moves(solver, scheduler, schedule, predicts, variance, monkeypatch, **how):
  """From each row of both, the same state, output and noise: [rows, B, H, W, C]."""
  denoiser = core.Denoiser(None, Says(), predicts=predicts, variance=variance)
  moves = made(scheduler, schedule).reverse()
  channels = enumerate((3, 6 if variance == 'learned' else 3, 3))
  x, out, z = (noise(len(moves.i), 2, 2, 2, c, seed=k) for k, c in channels)

  def land(move, x, out, z):
    with monkeypatch.context() as patch:
      patch.setattr('zsi_jax.core.solvers.normal', lambda keys, like: z)
      field = core.Field(denoiser.replace(variables=out), core.Nothing())
      return solver(zsi.keys(0, len(x)), field, x, solver.init(x), move).x

  ours = jax.jit(jax.vmap(land))(moves, x, out, z)
  replay(monkeypatch, map(nchw, z))
  rows = zip(scheduler.timesteps, map(nchw, x), map(nchw, out), strict=True)
  theirs = [scheduler.step(out, int(t), x, **how).prev_sample for t, x, out in rows]
  near(ours, torch.stack(theirs).movedim(2, -1))


@pytest.mark.parametrize('schedule', BETAS)
@pytest.mark.parametrize('name', ['DDPM', 'DDIM'])
def test_tables(schedule, name):
  """As they ship: a float32 product of 1000 factors is 1e-5 off, relatively; betas are not."""
  ends = dict(beta_start=0.00085, beta_end=0.012) if schedule == 'scaled_linear' else {}
  theirs = getattr(diffusers, f'{name}Scheduler')(T, beta_schedule=schedule, **ends)
  np.testing.assert_allclose(BETAS[schedule], theirs.betas, rtol=2e-6)
  levels = core.Process.make(BETAS[schedule]).levels
  np.testing.assert_allclose(levels.alpha**2, theirs.alphas_cumprod, rtol=5e-5)
  np.testing.assert_allclose(levels.sigma**2, 1 - theirs.alphas_cumprod, rtol=1e-3, atol=1e-6)
  x0, eps = torch.randn(2, T, 4, generator=torch.manual_seed(0), dtype=torch.float64)
  noised = oracle(name, T, schedule=schedule).add_noise(x0, eps, torch.arange(T))
  near(levels.noised(x0.float().numpy(), eps.float().numpy()), noised, 1e-6)


@pytest.mark.parametrize('schedule', ['linear', 'squaredcos_cap_v2'])
@pytest.mark.parametrize('clip', [True, False])
@pytest.mark.parametrize('variance', VARIANCE)
@pytest.mark.parametrize('predicts', PREDICTS)
def test_ancestral(predicts, variance, clip, schedule, monkeypatch):
  kinds = dict(prediction_type=PREDICTS[predicts], variance_type=VARIANCE[variance])
  ddpm = oracle('DDPM', UNEVEN, clip, schedule, **kinds)
  same_moves(core.Ancestral(clip), ddpm, schedule, predicts, variance, monkeypatch)


@pytest.mark.parametrize('clip', [True, False])
@pytest.mark.parametrize('eta', [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
  'predicts, spacing, offset', [('eps', 'leading', 0), ('x0', 'leading', 1), ('v', 'trailing', 0)]
)
def test_ddim(predicts, eta, clip, spacing, offset, monkeypatch):
  kinds = dict(prediction_type=PREDICTS[predicts], timestep_spacing=spacing, steps_offset=offset)
  ddim = oracle('DDIM', 8, clip, **kinds)
  how = dict(eta=eta, **CLIPPED)
  same_moves(core.DDIM(eta, clip), ddim, 'linear', predicts, 'small', monkeypatch, **how)


def mixture_eps(scheduler, x, t, weights=None):
  """tests/oracle.py (1-4) written again in float64, by scores: no x0 in it."""
  ab = scheduler.alphas_cumprod[int(t)]
  alpha, sigma, mu = ab.sqrt(), (1 - ab).sqrt(), MIX.mu
  s2 = alpha**2 * MIX.tau**2 + sigma**2
  right = torch.sigmoid(2 * alpha * mu * x / s2)
  score = (alpha * mu * (2 * right - 1) - x) / s2
  if weights is not None:
    score += (weights[1] - sum(weights) * right) * 2 * alpha * mu / s2
  return -sigma * score


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
  with jax.enable_x64(request.param is np.float64):
    yield request.param


def same_chains(solver, moves, start, x, weights=None, tol=None):
  guidance = None if weights is None else guided(MIX, list(weights))
  found = zsi.sample(zsi.keys(0, len(start)), moves, MIX, guidance, solver, x=start)
  near(found, x.movedim(1, -1), tol or (1e-5 if start.dtype == np.float32 else 1e-9))


CHAINS = {
  'ancestral': (core.Ancestral(inject='eps'), 'DDPM', 25, {}),
  'ddim': (core.DDIM(), 'DDIM', 25, CLIPPED),
  'ddim, eta 1': (core.DDIM(1.0), 'DDIM', 25, dict(eta=1.0, **CLIPPED)),
}
for name, steps in {'10': 10, '25': 25, 'uneven': UNEVEN}.items():
  CHAINS[f'dpm, {name}'] = (core.DPMSolverPP(), 'DPMSolverMultistep', steps, {})
GUIDED = pytest.mark.parametrize('clip, weights', [(True, None), (False, None), (False, (2, 3))])


@GUIDED
@pytest.mark.parametrize('name', CHAINS)
def test_chain(name, dtype, clip, weights, monkeypatch):
  """The oracle replays the noise that our sampler draws from its keys.

  DPM-Solver++ there casts each state to float32, which allows 1e-5 even in float64. In float32 a
  guided 2M magnifies our rounding, to 5e-4 over UNEVEN: long moves extrapolate from short ones.
  """
  solver, kind, steps, how = CHAINS[name]
  scheduler = oracle(kind, steps, clip)
  start = noise(64, 1, 1, 1).astype(dtype)
  x, rows = nchw(start), range(len(scheduler.timesteps))[::-1]
  drawn = (normal(fold(fold(zsi.keys(0, 64), i), 'noise'), start) for i in rows)
  replay(monkeypatch, map(nchw, drawn))
  for t in scheduler.timesteps:
    eps = mixture_eps(scheduler, x.double(), t, weights)
    x = scheduler.step(eps, int(t), x, **how).prev_sample
  tol = None if 'dpm' not in name else 1e-5 if dtype is np.float64 else 1e-3 if weights else 3e-5
  same_chains(solver.replace(clip=clip), made(scheduler, dtype=dtype), start, x, weights, tol)


def test_chain_of_inverse_ddim(dtype):
  inverse, start = oracle('DDIMInverse', 25), noise(64, 1, 1, 1).astype(dtype)
  x = nchw(start)
  for t, to in itertools.pairwise(inverse.timesteps):
    x = inverse.step(mixture_eps(inverse, x, t), int(to), x).prev_sample
  same_chains(core.DDIM(clip=False), made(inverse, dtype=dtype).forward(), start, x)


@GUIDED
def test_chain_of_heun_is_unic(dtype, clip, weights):
  start = noise(64, 1, 1, 1).astype(dtype)
  x = nchw(start)
  for k in range(20):
    uni = oracle('UniPCMultistep', 20, clip)  # anew: it remembers the last move
    uni.set_begin_index(k)
    t, last = uni.timesteps[k], x
    x = uni.step(mixture_eps(uni, x, t, weights), t, x).prev_sample
    if k < 19:
      eps = mixture_eps(uni, x, uni.timesteps[k + 1], weights)
      there = uni.convert_model_output(eps, sample=x)
      x = uni.multistep_uni_c_bh_update(there, last_sample=last, this_sample=x, order=1)
  same_chains(core.Heun(clip), made(uni, dtype=dtype), start, x, weights)


@pytest.mark.parametrize('clip', [True, False])
def test_heun_discrete_corrects_by_more(clip):
  """Move by move along its own chain, without the Euler move to x_0; x / alpha is its state."""
  heun = oracle('HeunDiscrete', UNEVEN, clip)
  args = zsi.keys(0, 64), core.Field(MIX, core.Nothing())
  solve = jax.jit(lambda x, move: core.Heun(clip)(*args, x, (), move).x)
  x, moves = nchw(noise(64, 1, 1, 1)), made(heun).reverse()
  for k, (t, to) in enumerate(itertools.pairwise(UNEVEN)):
    a, b = heun.alphas_cumprod[[t, to]].sqrt()
    e_h = b / a * ((1 - a**2) / (1 - b**2)).sqrt()
    euler = heun.step(mixture_eps(heun, x, t), t, x / a).prev_sample
    end = heun.step(mixture_eps(heun, b * euler, to), to, euler).prev_sample
    found = solve(x.movedim(1, -1).float().numpy(), take(moves, k))
    near(found, (b * (euler + (end - euler) / e_h)).movedim(1, -1))
    x = b * end
