"""Values print on one line, never recompile for new numbers, and live in vmap, jit and grad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import BayesNet, Mixture, guided
from zsi_jax import core
from zsi_jax.core import (
  DDIM,
  Aim,
  Ancestral,
  Blend,
  CAGrad,
  Classifier,
  Combine,
  Contrast,
  Denoiser,
  Energy,
  Field,
  From,
  LogProb,
  Lookahead,
  Mix,
  Pairs,
  Process,
  Rms,
  TimeTravel,
  cfg,
  cosine,
  sample,
)

MIXTURE = Mixture(0.5, 0.3)
PROCESS = Process.make(cosine(4000), 30)
KEYS = jax.random.split(jax.random.key(0), 16)
NET = BayesNet(MIXTURE, 4000)
UNIT = {'scale': jnp.ones(())}


def draw(guidance, **more):
  return sample(KEYS, PROCESS, MIXTURE, guidance, shape=(2,), **more)


def test_new_numbers_never_recompile(compiled):
  sizes = dict(shape=(5,))  # of this test alone: others may have compiled theirs
  sample(KEYS, PROCESS, MIXTURE, Classifier(UNIT, [30.0, 30.0], NET), **sizes)
  assert compiled.count('run') == 1
  half = {'scale': jnp.full((), 0.5, jnp.float32)}
  for term in (
    Classifier(UNIT, [3.5, 100.0], NET),
    Classifier(UNIT, (3, 100), NET),
    Classifier(UNIT, np.array([1, 2]), NET),
    Classifier(half, [1.0, 2.0], BayesNet(MIXTURE, 4000)),
  ):
    sample(KEYS, PROCESS, MIXTURE, term, **sizes)
  other = Process.make(core.linear(4000), 30)
  sample(KEYS, other, MIXTURE, Classifier(UNIT, [1.0, 2.0], NET), **sizes)
  assert compiled.count('run') == 1

  for strength, z in ((40.0, 0.2), (60, 0.9)):
    term, given = Classifier(UNIT, Aim(strength), NET), {'aim': jnp.full(16, z)}
    sample(KEYS, PROCESS, MIXTURE, term, given=given, **sizes)
  assert compiled.count('run') == 2
  for w in (1, 2.0, np.float32(3)):
    sample(KEYS, PROCESS, MIXTURE, w * guided(MIXTURE, [1.0, 1.0]), DDIM(eta=w / 10), **sizes)
  assert compiled.count('run') == 3


def test_a_sweep_under_vmap_compiles_once(compiled):
  @jax.jit
  def sweep(weights):
    return jax.vmap(lambda w: draw(Classifier(UNIT, jnp.stack([w, w]), NET)))(weights)

  weights = jnp.array([0.0, 3.5, 10, 30])
  images = sweep(weights)
  sweep(weights + 1)
  assert compiled.count('sweep') == 1 and 'run' not in compiled
  for w, x in zip(weights, images, strict=True):
    np.testing.assert_allclose(x, draw(Classifier(UNIT, [float(w)] * 2, NET)), atol=1e-4)


def test_sampling_lives_inside_a_jit_of_the_users_own():
  @jax.jit
  def cell(keys, weights):
    return sample(keys, PROCESS, MIXTURE, Classifier(UNIT, weights, NET), shape=(2,)) + 0

  bare = draw(Classifier(UNIT, [2.0, 2.0], NET))
  np.testing.assert_allclose(cell(KEYS, jnp.array([2.0, 2.0])), bare, atol=1e-5)


def test_a_chain_is_differentiable_in_its_weights():
  def mean(w):
    return jnp.mean(draw(Classifier(UNIT, jnp.stack([4.0 - w, w]), NET)))

  slope = jax.jacfwd(mean)(2.0)
  np.testing.assert_allclose(slope, (mean(2.05) - mean(1.95)) / 0.1, rtol=0.05)
  assert slope > 0
  np.testing.assert_allclose(jax.grad(mean)(2.0), slope, rtol=1e-3)


def test_export_of_a_sampler_has_no_host_callback():
  def images(data):
    keys = jax.random.wrap_key_data(data)
    return sample(keys, PROCESS, MIXTURE, guided(MIXTURE, [2.0, 2.0]), shape=(2,))

  text = jax.jit(images).lower(jax.random.key_data(KEYS)).as_text()
  assert 'callback' not in text and text.count('stablehlo.while') >= 1


VALUES = [
  PROCESS,
  PROCESS[3],
  PROCESS.reverse(),
  MIXTURE,
  Denoiser(UNIT, NET),
  Mix(MIXTURE, cfg(2.0)),
  Blend(30.0),
  Aim(60.0),
  From('w'),
  Classifier(UNIT, [30.0, 30.0], NET),
  guided(MIXTURE, [1.0, 2.0]) + 0.3 * Energy(lambda x0, given: x0),
  Rms(Contrast(MIXTURE), 0.02),
  Combine((guided(MIXTURE, [1.0, 2.0]),), CAGrad(0.5)),
  DDIM(0.5),
  Ancestral(inject='eps'),
  TimeTravel(DDIM(), 3),
  Lookahead(Ancestral(inject='sample'), LogProb(lambda x, level, given: x)),
  Pairs(DDIM(), (guided(MIXTURE, [1.0, 2.0]),) * 2),
  Field(MIXTURE, core.Nothing()),
  core.Times(),
  core.Importance.make(10),
  core.Score(jnp.ones((2, 3))),
  core.CAGrad(),
  core.PCGrad(),
  core.DenoiserLoss(Denoiser(UNIT, NET), PROCESS),
  core.ClassifierLoss(PROCESS, NET),
  core.During((0, 10), DDIM(), Ancestral()),
  MIXTURE(jnp.ones((2, 2)), PROCESS[3]),
  core.Langevin(DDIM()),
]


@pytest.mark.parametrize('value', VALUES, ids=lambda v: type(v).__name__)
def test_every_type_prints_on_one_readable_line(value):
  line = repr(value)
  assert '\n' not in line and len(line) < 400 and line.startswith(type(value).__name__)
  jax.jit(lambda v: (repr(v), jnp.zeros(()))[1])(value)  # tracers print too


def test_a_repr_shows_the_numbers_that_matter():
  assert repr(DDIM(0.5)) == 'DDIM(eta=0.5)' and repr(Ancestral()) == 'Ancestral()'
  assert 'weights=[30., 30.]' in repr(Classifier({'a': np.zeros((100, 10))}, [30.0, 30.0], NET))
  assert '1,000 numbers' in repr(Classifier({'a': np.zeros((100, 10))}, [30.0, 30.0], NET))
  assert 't = 0 ... 3999' in repr(PROCESS)
