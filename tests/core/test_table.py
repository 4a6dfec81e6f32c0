"""The expressions of the table 'needed -> expression', each in a chain of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import BayesNet, Mixture
from zsi_jax.core import (
  Aim,
  Ancestral,
  Blend,
  CAGrad,
  Classifier,
  Clip,
  Contrast,
  Denoiser,
  During,
  Energy,
  LogProb,
  Lookahead,
  Mix,
  Pairs,
  Process,
  Regressor,
  Rms,
  TimeTravel,
  cfg,
  cosine,
  sample,
)

MIXTURE = Mixture(0.5, 0.3)
PROCESS = Process.make(cosine(4000), 20)
B, SHAPE = 8, (4,)
KEYS = jax.random.split(jax.random.key(0), B)
net = BayesNet(MIXTURE, 4000)
v = {'scale': jnp.ones(())}
ref = jnp.full((B, *SHAPE), 0.3)
GIVEN = {'aim': jnp.linspace(0, 1, B), 'ref': ref}
FOUR = jnp.tile(jnp.array([0, 1, 2, 1]), (B, 1))


class Conditional:
  """The mixture as a conditional network: cond 0 and 1 are its modes, 2 is the null row."""

  def apply(self, variables, x, t, cond=None):
    ab = jnp.asarray(np.cumprod(1 - cosine(4000)), x.dtype)[t.astype(int)]
    one = jnp.zeros_like(t)
    level = PROCESS[0].replace(
      alpha=jnp.sqrt(ab), sigma=jnp.sqrt(1 - ab), logvar_min=one, logvar_max=one
    )
    return MIXTURE(x, level, cond).eps


den = Denoiser({}, Conditional(), null=2, variance='small')
smile, age = (Classifier(v, [2.0, 1.0], net, name=n) for n in ('smile', 'age'))


def fn(x, level, given):
  return -jnp.sum((x - 0.5) ** 2, -1)


def identity_to(x0, given):
  return jnp.sum((x0 - given['ref']) ** 2, -1)


a, b, c = (Energy(identity_to, name=n) for n in 'abc')
s, solver = Ancestral(inject='sample'), Ancestral(inject='sample')
w, K = 0.1, 3

one_third = (1 + w) / K
ahead = Lookahead(Ancestral(inject='sample'), then=0.01 * b)
abc = (0.01 * a, 0.01 * b, 0.01 * c)

ROWS = {
  'classifier guidance': lambda: dict(guidance=Classifier(v, [0.0, 30.0], net)),
  'multi-guidance': lambda: dict(guidance=Classifier(v, [30.0, 30.0], net)),
  'aim': lambda: dict(guidance=Classifier(v, Aim(strength=60.0), net)),
  'several classifiers': lambda: dict(guidance=smile + 0.5 * age),
  'a difference': lambda: dict(guidance=smile - 0.5 * age),
  'a bound': lambda: dict(guidance=Clip(Classifier(v, [0.0, 30.0], net), 3.0)),
  'regressor': lambda: dict(guidance=Regressor(v, 0.5, 1.0, net)),
  'log-likelihood at xt': lambda: dict(guidance=LogProb(fn, at='xt')),
  'log-likelihood at mean': lambda: dict(guidance=LogProb(fn, at='mean')),
  'log-likelihood at x0': lambda: dict(guidance=LogProb(fn, at='x0')),
  'blend': lambda: dict(guidance=Classifier(v, Blend(30.0), net)),
  'CFG': lambda: dict(denoiser=Mix(den, cfg(w)).shared([2, 1])),
  "the peer's CFG": lambda: dict(
    denoiser=Mix(den, [-w, one_third, one_third, one_third], variance='mixed'),
    given={'conds': FOUR},
  ),
  "the peer's CFG, shared": lambda: dict(
    denoiser=Mix(den, [-w, (1 + w) / 2, (1 + w) / 2]).shared([2, 0, 1])
  ),
  'multi-CFG': lambda: dict(denoiser=Mix(den, [-1.5, -1.5, 2.0, 2.0]), given={'conds': FOUR}),
  'contrast': lambda: dict(guidance=w * Contrast(den, 1), solver=Ancestral(inject='eps')),
  'energy': lambda: dict(guidance=Energy(identity_to)),
  'energies': lambda: dict(guidance=a + b + c, solver=s),
  "FreeDoM's text step": lambda: dict(
    guidance=Rms(Energy(identity_to), 0.02), solver=Ancestral(inject='eps')
  ),
  'Z-Magic, two conditions': lambda: dict(guidance=0.01 * a, solver=ahead),
  'Z-Magic, n conditions': lambda: dict(
    solver=Pairs(solver, abc, pairing='star', merge=CAGrad(0.5))
  ),
  'three ordered pairs': lambda: dict(solver=Pairs(solver, abc, pairing='ordered')),
  'in a range': lambda: dict(guidance=During(t=(200, 1000), then=a)),
  'a sum in a range': lambda: dict(guidance=During((200, 1000), a + b)),
  'time travel in a range': lambda: dict(
    guidance=a, solver=During(t=(500, 800), then=TimeTravel(s, 10), otherwise=s)
  ),
}


@pytest.mark.parametrize('name', ROWS)
def test_row(name):
  row = {'denoiser': den, 'given': GIVEN} | ROWS[name]()
  denoiser = row.pop('denoiser')
  x = np.asarray(sample(KEYS, PROCESS, denoiser, shape=SHAPE, **row))
  plain = np.asarray(sample(KEYS, PROCESS, den, shape=SHAPE))
  assert x.shape == (B, *SHAPE) and np.all(np.isfinite(x))
  assert np.abs(x - plain).max() > 1e-3  # it did something
  assert np.abs(x).max() < 20
