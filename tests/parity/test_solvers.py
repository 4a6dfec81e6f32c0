"""Schedules and solvers against diffusers' schedulers, which share no line with ours.

The oracle runs in float64: its tables of alpha_bar are replaced by double ones (`test_tables` holds
the float32 tables it ships beside ours), its steps are left as they are. Single moves are compared
in float32, as we ship; whole chains in float64 too, where only a wrong formula can part them.

How the conventions meet:
- We land on x_0 (alpha = 1), so `set_alpha_to_one=True` and `final_sigmas_type='zero'`.
- DDPM, DPM-Solver++ and Heun take any list of timesteps. DDIM there takes t - T // n for the next
  one, whatever the list: right for 'leading' (with an offset too) and 'trailing', not 'linspace'.
- Our clipped DDIM always reads eps off the clipped x0: `use_clipped_model_output=True`.
- DPM-Solver++ and UniPC there have no clip, but thresholding with `sample_max_value=1` is one.
- DDIMInverse names a move by where it ends and never reads eps off its clipped x0: so the network
  is asked where a move begins, and only the unclipped one can be compared. Its first move leaves
  x_0, where no denoiser says anything; ours begin on row 0.
- Our Heun takes the mean of x0 at both ends over lambda: that is UniC-1 (UniPC's corrector,
  B(h) = e^h - 1), asked again at its own prediction. HeunDiscreteScheduler takes the mean of
  d x / d (sigma / alpha) instead: also of second order, its correction is e^h times ours.
- A score under inject='eps' is the oracle's model output with sigma s taken off, unclipped: there
  x0 is clipped after the guidance, here before.
"""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

torch = pytest.importorskip('torch')
diffusers = pytest.importorskip('diffusers')

import zsi_jax as zsi  # noqa: E402
from tests.oracle import Mixture, guided  # noqa: E402
from zsi_jax.core import (  # noqa: E402  # noqa: E402
  DDIM,
  Ancestral,
  Denoiser,
  DPMSolverPP,
  Field,
  Heun,
  Nothing,
  Process,
  cosine,
  linear,
  scaled_linear,
)
from zsi_jax.core.tree import fold, normal, take  # noqa: E402

T = 1000
BETAS = {'linear': linear(T), 'scaled_linear': scaled_linear(T), 'squaredcos_cap_v2': cosine(T)}
UNEVEN = [0, 1, 7, 60, 61, 300, 550, 998, 999]  # neighbours, long jumps, both ends
MIX = Mixture(mu=0.9, tau=0.3)  # its x0_hat leaves [-1, 1]
PREDICTS = {'eps': 'epsilon', 'x0': 'sample', 'v': 'v_prediction'}
VARIANCE = {'small': 'fixed_small', 'large': 'fixed_large', 'learned': 'learned_range'}
THRESHOLD = dict(thresholding=True, sample_max_value=1.0)


class Says:
  """A network whose output is its variables."""

  def apply(self, variables, x, t, cond=None):
    return variables


def oracle(name, schedule='linear', **config):
  """A scheduler of diffusers over our betas, its table in float64."""
  betas = BETAS[schedule]
  scheduler = getattr(diffusers, name)(num_train_timesteps=T, trained_betas=betas, **config)
  scheduler.alphas_cumprod = torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), 0)
  return scheduler


def placed(scheduler, **when):
  """`set_timesteps`, and the sigma / alpha that it rounds to float32 again in float64."""
  scheduler.set_timesteps(**when)
  ab = scheduler.alphas_cumprod[scheduler.timesteps]
  scheduler.sigmas = torch.cat([((1 - ab) / ab).sqrt(), torch.zeros(1).double()])
  return scheduler


def made(scheduler, schedule='linear', dtype=np.float32):
  return Process.make(BETAS[schedule], np.sort(scheduler.timesteps.numpy()), dtype)


def noise(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def nchw(a):
  return torch.from_numpy(np.asarray(a, np.float64)).movedim(-1, 1)


def near(ours, theirs, tol=1e-5):
  """Of the largest number of each row or example, or of 1: unclipped states reach thousands."""
  ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
  assert ours.shape == theirs.shape and np.isfinite(theirs).all()
  axes = tuple(range(1, theirs.ndim))
  error = np.abs(ours - theirs).max(axes) / np.maximum(np.abs(theirs).max(axes), 1)
  assert error.max() < tol, error


def replay(monkeypatch, z):
  """What diffusers draws is z, in turn."""
  z = iter(z)
  for room in ('scheduling_ddpm', 'scheduling_ddim'):
    draw = f'diffusers.schedulers.{room}.randn_tensor'
    monkeypatch.setattr(draw, lambda *_, **__: next(z))


def every_row(solver, moves, denoiser, x, out, z, monkeypatch):
  """One move from each row at once, noise z replayed: [rows, B, H, W, C], noisiest first."""

  def land(move, x, out, z):
    with monkeypatch.context() as patch:
      patch.setattr('zsi_jax.core.solvers.normal', lambda keys, like: z)
      says = denoiser if out is None else denoiser.replace(variables=out)
      return solver(zsi.keys(0, len(x)), Field(says, Nothing()), x, solver.init(x), move).x

  return jax.jit(jax.vmap(land))(moves, x, out, z)


def same_moves(solver, process, denoiser, scheduler, monkeypatch, **how):
  """From each row of both, the same state, output and noise."""
  channels = 6 if denoiser.variance == 'learned' else 3
  x, out, z = (noise(len(process), 2, 2, 2, c, seed=c) for c in (3, channels, 4))
  z = z[..., :3]
  replay(monkeypatch, map(nchw, z))
  theirs = [
    scheduler.step(nchw(out[k]), int(t), nchw(x[k]), **how).prev_sample.movedim(1, -1)
    for k, t in enumerate(scheduler.timesteps)
  ]
  ours = every_row(solver, process.reverse(), denoiser, x, out, z, monkeypatch)
  near(ours, np.stack(theirs))


@pytest.mark.parametrize('schedule', BETAS)
@pytest.mark.parametrize('name', ['DDPMScheduler', 'DDIMScheduler'])
def test_tables(schedule, name):
  """As they ship: a float32 product of 1000 factors is 1e-5 off, relatively; betas are not."""
  ends = dict(beta_start=0.00085, beta_end=0.012) if schedule == 'scaled_linear' else {}
  theirs = getattr(diffusers, name)(num_train_timesteps=T, beta_schedule=schedule, **ends)
  np.testing.assert_allclose(BETAS[schedule], theirs.betas, rtol=2e-6)
  levels = Process.make(BETAS[schedule]).levels
  np.testing.assert_allclose(levels.alpha**2, theirs.alphas_cumprod, rtol=5e-5)
  np.testing.assert_allclose(levels.sigma**2, 1 - theirs.alphas_cumprod, rtol=1e-3, atol=1e-6)
  x0, eps = noise(T, 4), noise(T, 4, seed=1)
  pair = [torch.from_numpy(a).double() for a in (x0, eps)]
  noised = oracle(name, schedule).add_noise(*pair, torch.arange(T))
  near(levels.noised(x0, eps), noised, 1e-6)


@pytest.mark.parametrize('schedule', BETAS)
@pytest.mark.parametrize('clip', [True, False])
@pytest.mark.parametrize('variance', VARIANCE)
@pytest.mark.parametrize('predicts', PREDICTS)
def test_ancestral(predicts, variance, clip, schedule, monkeypatch):
  kinds = dict(prediction_type=PREDICTS[predicts], variance_type=VARIANCE[variance])
  ddpm = oracle('DDPMScheduler', schedule, clip_sample=clip, **kinds)
  ddpm.set_timesteps(timesteps=UNEVEN[::-1])
  denoiser = Denoiser(None, Says(), predicts=predicts, variance=variance)
  same_moves(Ancestral(clip), made(ddpm, schedule), denoiser, ddpm, monkeypatch)


@pytest.mark.parametrize('spacing, offset', [('leading', 0), ('leading', 1), ('trailing', 0)])
@pytest.mark.parametrize('clip', [True, False])
@pytest.mark.parametrize('eta', [0.0, 0.5, 1.0])
@pytest.mark.parametrize('predicts', PREDICTS)
def test_ddim(predicts, eta, clip, spacing, offset, monkeypatch):
  config = dict(prediction_type=PREDICTS[predicts], timestep_spacing=spacing, steps_offset=offset)
  ddim = oracle('DDIMScheduler', clip_sample=clip, **config)
  ddim.set_timesteps(8)
  denoiser = Denoiser(None, Says(), predicts=predicts, variance='small')
  how = dict(eta=eta, use_clipped_model_output=True)
  same_moves(DDIM(eta, clip), made(ddim), denoiser, ddim, monkeypatch, **how)


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


TOL = {np.float32: 1e-5, np.float64: 1e-9}


def same_chains(solver, scheduler, start, x, weights=None, tol=None):
  """Our sampler as it is, against the last state x of the oracle."""
  process = made(scheduler, dtype=start.dtype)
  guidance = None if weights is None else guided(MIX, list(weights))
  found = zsi.sample(zsi.keys(0, len(start)), process, MIX, guidance, solver, x=start)
  assert found.dtype == start.dtype
  near(found, x.movedim(1, -1), tol or TOL[start.dtype.type])


CHAINS = {
  'ancestral': (lambda clip: Ancestral(clip, 'eps'), 'DDPMScheduler', {}),
  'ddim': (lambda clip: DDIM(0.0, clip), 'DDIMScheduler', dict(use_clipped_model_output=True)),
  'ddim, eta 1': (
    lambda clip: DDIM(1.0, clip), 'DDIMScheduler', dict(use_clipped_model_output=True, eta=1.0)
  ),
}  # fmt: skip
# The last: guided by the weights of two classes.
GUIDED = pytest.mark.parametrize(
  'clip, weights', [(True, None), (False, None), (False, (2.0, 3.0))]
)


@GUIDED
@pytest.mark.parametrize('name', CHAINS)
def test_chain(name, dtype, clip, weights, monkeypatch):
  """The oracle replays the noise that our sampler draws from its keys."""
  solver, scheduler, how = CHAINS[name]
  scheduler = oracle(scheduler, clip_sample=clip)
  scheduler.set_timesteps(25)
  start = noise(64, 1, 1, 1).astype(dtype)
  keys = [fold(fold(zsi.keys(0, 64), i), 'noise') for i in reversed(range(25))]
  replay(monkeypatch, [nchw(normal(k, start)) for k in keys])
  x = nchw(start)
  for t in scheduler.timesteps:
    x = scheduler.step(mixture_eps(scheduler, x, t, weights), int(t), x, **how).prev_sample
  same_chains(solver(clip), scheduler, start, x, weights)


def test_chain_of_inverse_ddim(dtype):
  """Up to row 24, each move with the eps of where it begins."""
  inverse = oracle('DDIMInverseScheduler', clip_sample=False)
  inverse.set_timesteps(25)
  start = noise(64, 1, 1, 1).astype(dtype)
  x = nchw(start)
  for t, to in itertools.pairwise(inverse.timesteps):
    x = inverse.step(mixture_eps(inverse, x, t), int(to), x).prev_sample
  moves = made(inverse, dtype=dtype).forward()
  found = zsi.sample(zsi.keys(0, 64), moves, MIX, None, DDIM(clip=False), x=start)
  near(found, x.movedim(1, -1), TOL[dtype])


WHEN = {'10': dict(num_inference_steps=10), '25': dict(num_inference_steps=25)}
WHEN['uneven'] = dict(timesteps=UNEVEN[::-1])


@GUIDED
@pytest.mark.parametrize('when', WHEN)
def test_chain_of_dpm_solver_pp(when, dtype, clip, weights):
  """Below 15 steps `lower_order_final` is in force, above it `final_sigmas_type` alone.

  The oracle casts each state to float32, which allows 1e-5. In float32 a guided chain magnifies
  our rounding: 3e-5 after 25 steps, 2e-4 over UNEVEN, where long moves after short ones
  extrapolate by hundreds.
  """
  how = dict(algorithm_type='dpmsolver++', solver_order=2, solver_type='midpoint')
  dpm = oracle('DPMSolverMultistepScheduler', **how, **(THRESHOLD if clip else {}))
  placed(dpm, **WHEN[when])
  start = noise(64, 1, 1, 1).astype(dtype)
  x = nchw(start)
  for t in dpm.timesteps:
    x = dpm.step(mixture_eps(dpm, x.double(), t, weights), t, x).prev_sample
  tol = 1e-5 if dtype is np.float64 else 1e-3 if weights else 3e-5
  same_chains(DPMSolverPP(clip), dpm, start, x, weights, tol)


@GUIDED
def test_chain_of_heun_is_unic(dtype, clip, weights):
  how = dict(solver_order=1, solver_type='bh2', final_sigmas_type='zero')
  uni = oracle('UniPCMultistepScheduler', **how, **(THRESHOLD if clip else {}))
  start = noise(64, 1, 1, 1).astype(dtype)
  x = nchw(start)
  for k in range(20):
    placed(uni, num_inference_steps=20).set_begin_index(k)  # forgets the last move
    t = uni.timesteps[k]
    land = uni.step(mixture_eps(uni, x, t, weights), t, x).prev_sample
    if k < 19:
      there = mixture_eps(uni, land, uni.timesteps[k + 1], weights)
      there = uni.convert_model_output(there, sample=land)
      land = uni.multistep_uni_c_bh_update(there, last_sample=x, this_sample=land, order=1)
    x = land
  same_chains(Heun(clip), uni, start, x, weights)


@pytest.mark.parametrize('clip', [True, False])
def test_heun_discrete_corrects_by_more(clip, monkeypatch):
  """Move by move along its own chain, without the Euler move to x_0; x / alpha is its state."""
  heun = oracle('HeunDiscreteScheduler', clip_sample=clip)
  heun.set_timesteps(timesteps=UNEVEN[::-1])
  x, began, landed = nchw(noise(64, 1, 1, 1)), [], []
  for t, to in itertools.pairwise(UNEVEN[::-1]):
    a, b = heun.alphas_cumprod[[t, to]].sqrt()
    e_h = b / a * ((1 - a**2) / (1 - b**2)).sqrt()
    euler = heun.step(mixture_eps(heun, x, t), t, x / a).prev_sample
    end = heun.step(mixture_eps(heun, b * euler, to), to, euler).prev_sample
    began.append(x)
    landed.append(b * (euler + (end - euler) / e_h))
    x = b * end
  began, landed = (torch.stack(v).movedim(2, -1).numpy() for v in (began, landed))
  began, moves = began.astype(np.float32), Process.make(BETAS['linear'], UNEVEN).reverse()
  moves = take(moves, slice(-1))
  near(every_row(Heun(clip), moves, MIX, began, None, began, monkeypatch), landed)
