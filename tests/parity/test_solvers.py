"""Schedules and solvers against diffusers' schedulers, which share no line with ours.

The oracle runs in float64: its tables of alpha_bar are replaced by double ones (a test of its own
holds the float32 tables it ships beside ours), its steps are left as they are. What is compared is
what we ship, float32.

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

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip('torch')
diffusers = pytest.importorskip('diffusers')

import zsi_jax as zsi  # noqa: E402
import zsi_jax.core.solvers as solvers  # noqa: E402
from tests.oracle import Mixture, guided  # noqa: E402
from zsi_jax.core import (  # noqa: E402
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
from zsi_jax.core.tree import fold, normal  # noqa: E402

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


def noise(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def nchw(a):
  return torch.from_numpy(np.asarray(a, np.float64)).movedim(-1, 1)


def near(ours, theirs, tol=1e-5):
  """Of the largest number of each row, or of 1: at the noisy end unclipped states are in hundreds."""
  ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
  assert ours.shape == theirs.shape and np.isfinite(theirs).all()
  axes = tuple(range(1, theirs.ndim))
  scale = np.maximum(np.abs(theirs).max(axes), 1)
  error = np.abs(ours - theirs).max(axes) / scale
  assert error.max() < tol, error


def every_row(solver, process, denoiser, x, out, z, monkeypatch):
  """One move from each row at once, noise z replayed: [rows, B, H, W, C], noisiest first."""

  def land(move, x, out, z):
    with monkeypatch.context() as patch:
      patch.setattr(solvers, 'normal', lambda keys, like: z)
      says = denoiser if out is None else denoiser.replace(variables=out)
      return solver(zsi.keys(0, len(x)), Field(says, Nothing()), x, solver.init(x), move).x

  return jax.jit(jax.vmap(land))(process.reverse(), x, out, z)


def drawn(channels, rows):
  x, z = noise(rows, 2, 2, 2, 3), noise(rows, 2, 2, 2, 3, seed=1)
  return x, noise(rows, 2, 2, 2, channels, seed=2), z


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


@pytest.mark.parametrize('schedule', BETAS)
def test_levels_and_variances(schedule):
  process = Process.make(BETAS[schedule], UNEVEN)
  ddpm = oracle('DDPMScheduler', schedule)
  ddpm.set_timesteps(timesteps=UNEVEN[::-1])
  for kind, ours in [('small', process.levels.logvar_min), ('large', process.levels.logvar_max)]:
    theirs = [np.log(ddpm._get_variance(t, variance_type=VARIANCE[kind])) for t in UNEVEN]
    near(ours[1:], theirs[1:])  # row 0 repeats row 1: no noise follows from it
  x0, eps = noise(len(UNEVEN), 4), noise(len(UNEVEN), 4, seed=1)
  t, pair = torch.tensor(UNEVEN), [torch.from_numpy(a).double() for a in (x0, eps)]
  noised = process.levels.noised(x0, eps)
  near(noised, ddpm.add_noise(*pair, t))
  for predicts, out in [('eps', eps), ('x0', x0), ('v', np.asarray(ddpm.get_velocity(*pair, t)))]:
    denoiser = Denoiser(None, Says(), predicts=predicts, variance='small')
    pred = denoiser.read(jnp.asarray(out, jnp.float32), noised, process.levels)
    level = process.levels  # eps cancels x / alpha at the noisy end, and alpha x0 at the clean one
    near(pred.x0 * level.alpha[:, None], x0 * np.asarray(level.alpha)[:, None])
    near(pred.eps * level.sigma[:, None], eps * np.asarray(level.sigma)[:, None])


@pytest.mark.parametrize('schedule', BETAS)
@pytest.mark.parametrize('clip', [True, False])
@pytest.mark.parametrize('variance', VARIANCE)
@pytest.mark.parametrize('predicts', PREDICTS)
def test_ancestral(predicts, variance, clip, schedule, monkeypatch):
  process = Process.make(BETAS[schedule], UNEVEN)
  x, out, z = drawn(6 if variance == 'learned' else 3, len(UNEVEN))
  denoiser = Denoiser(None, Says(), predicts=predicts, variance=variance)
  ours = every_row(Ancestral(clip=clip), process, denoiser, x, out, z, monkeypatch)
  kinds = dict(prediction_type=PREDICTS[predicts], variance_type=VARIANCE[variance])
  ddpm = oracle('DDPMScheduler', schedule, clip_sample=clip, **kinds)
  ddpm.set_timesteps(timesteps=UNEVEN[::-1])
  theirs = []
  for k, t in enumerate(ddpm.timesteps):
    replay = nchw(z[k])
    monkeypatch.setattr(
      'diffusers.schedulers.scheduling_ddpm.randn_tensor', lambda *_, replay=replay, **__: replay
    )
    theirs.append(ddpm.step(nchw(out[k]), int(t), nchw(x[k])).prev_sample.movedim(1, -1))
  near(ours, np.stack(theirs))


@pytest.mark.parametrize('spacing', [('leading', 0), ('leading', 1), ('trailing', 0)])
@pytest.mark.parametrize('clip', [True, False])
@pytest.mark.parametrize('eta', [0.0, 0.5, 1.0])
@pytest.mark.parametrize('predicts', PREDICTS)
def test_ddim(predicts, eta, clip, spacing, monkeypatch):
  spacing, offset = spacing
  config = dict(prediction_type=PREDICTS[predicts], clip_sample=clip, steps_offset=offset)
  ddim = oracle('DDIMScheduler', timestep_spacing=spacing, **config)
  ddim.set_timesteps(8)
  process = Process.make(BETAS['linear'], ddim.timesteps.numpy()[::-1])
  x, out, z = drawn(3, len(process))
  denoiser = Denoiser(None, Says(), predicts=predicts, variance='small')
  ours = every_row(DDIM(eta, clip), process, denoiser, x, out, z, monkeypatch)
  theirs = [
    ddim.step(
      nchw(out[k]),
      int(t),
      nchw(x[k]),
      eta,
      use_clipped_model_output=True,
      variance_noise=nchw(z[k]),
    ).prev_sample.movedim(1, -1)
    for k, t in enumerate(ddim.timesteps)
  ]
  near(ours, np.stack(theirs))


def mixture_eps(scheduler, x, t, weights=None):
  """tests/oracle.py (1-4) written again in float64, the scores of the classes taken off eps."""
  ab = scheduler.alphas_cumprod[int(t)]
  alpha, sigma, mu, tau = ab.sqrt(), (1 - ab).sqrt(), 0.9, 0.3
  s2 = alpha**2 * tau**2 + sigma**2
  right = torch.sigmoid(2 * alpha * mu * x.double() / s2)
  # The score of sum_c p_c N(m_c, s2), from its two gradients: no x0 in it.
  eps = sigma / s2 * (x - alpha * mu * (2 * right - 1))
  if weights is None:
    return eps
  w0, w1 = weights
  return eps - sigma * (w1 - (w0 + w1) * right) * 2 * alpha * mu / s2


def ours(solver, scheduler, x, weights=None):
  """The shipped sampler over the timesteps of a scheduler."""
  process = Process.make(BETAS['linear'], scheduler.timesteps.numpy()[::-1])
  guidance = None if weights is None else guided(MIX, list(weights))
  return zsi.sample(zsi.keys(0, len(x)), process, MIX, guidance, solver, x=x)


def replayed(x, rows):
  """The noise that our sampler draws on each row, noisiest first: here the oracle replays."""
  keys = zsi.keys(0, len(x))
  return [nchw(normal(fold(fold(keys, i), 'noise'), x)) for i in reversed(range(rows))]


# clip, and the weights of a guidance by two classes
CHAINS = pytest.mark.parametrize(
  'clip, weights', [(True, None), (False, None), (False, (2.0, 3.0))]
)


@CHAINS
def test_chain_of_ancestral(clip, weights, monkeypatch):
  ddpm = oracle('DDPMScheduler', clip_sample=clip)
  ddpm.set_timesteps(25)
  start = noise(64, 1, 1, 1)
  z = iter(replayed(start, 25))
  draw = 'diffusers.schedulers.scheduling_ddpm.randn_tensor'
  monkeypatch.setattr(draw, lambda *_, **__: next(z))
  x = nchw(start)
  for t in ddpm.timesteps:
    x = ddpm.step(mixture_eps(ddpm, x, t, weights), int(t), x).prev_sample
  inject = 'mean' if weights is None else 'eps'
  near(ours(Ancestral(clip, inject), ddpm, start, weights), x.movedim(1, -1))


@CHAINS
@pytest.mark.parametrize('eta', [0.0, 1.0])
def test_chain_of_ddim(eta, clip, weights):
  ddim = oracle('DDIMScheduler', clip_sample=clip)
  ddim.set_timesteps(25)
  start = noise(64, 1, 1, 1)
  x = nchw(start)
  for t, z in zip(ddim.timesteps, replayed(start, 25), strict=True):
    eps = mixture_eps(ddim, x, t, weights)
    how = dict(use_clipped_model_output=True, variance_noise=z)
    x = ddim.step(eps, int(t), x, eta, **how).prev_sample
  near(ours(DDIM(eta, clip), ddim, start, weights), x.movedim(1, -1))


def test_chain_of_inverse_ddim():
  """Up to row 24, each move with the eps of where it begins."""
  inverse = oracle('DDIMInverseScheduler', clip_sample=False)
  inverse.set_timesteps(25)
  start = np.clip(noise(64, 1, 1, 1), -1, 1)
  x, rows = nchw(start), inverse.timesteps
  for t, to in zip(rows[:-1], rows[1:], strict=True):
    x = inverse.step(mixture_eps(inverse, x, t), int(to), x).prev_sample
  moves = Process.make(BETAS['linear'], rows.numpy()).forward()
  found = zsi.sample(zsi.keys(0, 64), moves, MIX, None, DDIM(clip=False), x=start)
  near(found, x.movedim(1, -1))


@CHAINS
@pytest.mark.parametrize('steps', [10, 25, UNEVEN])
def test_chain_of_dpm_solver_pp(steps, clip, weights):
  """10 and 25: below 15 steps `lower_order_final` is in force, above `final_sigmas_type` alone."""
  how = dict(algorithm_type='dpmsolver++', solver_order=2, solver_type='midpoint')
  dpm = oracle('DPMSolverMultistepScheduler', **how, **(THRESHOLD if clip else {}))
  dpm.set_timesteps(
    **({'timesteps': UNEVEN[::-1]} if steps is UNEVEN else {'num_inference_steps': steps})
  )
  start = noise(64, 1, 1, 1)
  x = nchw(start)
  for t in dpm.timesteps:
    x = dpm.step(mixture_eps(dpm, x, t, weights), t, x).prev_sample
  near(ours(DPMSolverPP(clip), dpm, start, weights), x.movedim(1, -1))


@CHAINS
def test_chain_of_heun_is_unic(clip, weights):
  how = dict(solver_order=1, solver_type='bh2', final_sigmas_type='zero')
  uni = oracle('UniPCMultistepScheduler', **how, **(THRESHOLD if clip else {}))
  start = noise(64, 1, 1, 1)
  x = nchw(start)
  for k in range(20):
    uni.set_timesteps(20)  # forgets the last move
    uni.set_begin_index(k)
    t = uni.timesteps[k]
    land = uni.step(mixture_eps(uni, x, t, weights), t, x).prev_sample
    if k < 19:
      eps = mixture_eps(uni, land, uni.timesteps[k + 1], weights)
      there = uni.convert_model_output(eps, sample=land)
      land = uni.multistep_uni_c_bh_update(there, last_sample=x, this_sample=land, order=1)
    x = land
  near(ours(Heun(clip), uni, start, weights), x.movedim(1, -1))


@pytest.mark.parametrize('clip', [True, False])
def test_heun_discrete_corrects_by_more(clip, monkeypatch):
  """Move by move along its own chain; x / alpha is its state."""
  heun = oracle('HeunDiscreteScheduler', clip_sample=clip)
  heun.set_timesteps(timesteps=UNEVEN[::-1])
  process = Process.make(BETAS['linear'], UNEVEN)
  alpha = heun.alphas_cumprod[UNEVEN[::-1]].sqrt()
  half_logsnr = torch.log(alpha) - torch.log1p(-(alpha**2)) / 2
  x, began, landed = nchw(noise(64, 1, 1, 1)), [], []
  for k, t in enumerate(UNEVEN[::-1]):
    began.append(x)
    euler = heun.step(mixture_eps(heun, x, t), t, x / alpha[k]).prev_sample
    if k == len(UNEVEN) - 1:
      landed.append(euler)
      break
    to = UNEVEN[::-1][k + 1]
    there = mixture_eps(heun, alpha[k + 1] * euler, to)
    end = heun.step(there, to, euler).prev_sample
    h = half_logsnr[k + 1] - half_logsnr[k]
    landed.append(alpha[k + 1] * (euler + torch.exp(-h) * (end - euler)))
    x = alpha[k + 1] * end
  began, landed = (torch.stack(a).movedim(2, -1).numpy() for a in (began, landed))
  began = began.astype(np.float32)
  near(every_row(Heun(clip), process, MIX, began, None, began, monkeypatch), landed)
