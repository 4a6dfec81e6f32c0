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


def test_jax_may_put_anything_into_a_value():
  term = Classifier(UNIT, [30.0, 30.0], NET)
  axes = jax.tree.map(lambda _: 0, term)
  assert axes.weights == 0 and axes.net is NET
  stack = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), term)
  out = jax.vmap(lambda t: t.weights.sum(), in_axes=(axes,))(stack)
  np.testing.assert_array_equal(out, [60, 120])
  shapes = jax.tree.map(lambda a: a.shape, PROCESS)
  assert shapes.levels.t == (30,) and isinstance(shapes.levels.t, tuple)
  host = jax.tree.map(lambda a: np.asarray(a, np.float64), PROCESS.levels)
  assert isinstance(host.alpha, np.ndarray) and host.alpha.dtype == np.float64
  bad = jax.tree.map(lambda a: a * jnp.nan, term)
  assert np.all(np.isnan(bad.weights))
  with pytest.raises(ValueError, match='finite'):
    term.replace(weights=[np.nan, 1.0])
  paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(term)]
  assert '.weights' in paths and ".variables['scale']" in paths


def test_given_is_a_pytree_inside_a_term():
  def each(x0, given):
    return jax.vmap(lambda a, g: jnp.sum((a - g['ref']) ** 2))(x0, given)

  def whole(x0, given):
    return jnp.sum((x0 - given['ref']) ** 2, -1)

  given = {'ref': jnp.full((16, 2), 0.3)}
  a, b = (draw(Energy(f), given=given) for f in (each, jax.checkpoint(whole)))
  np.testing.assert_allclose(a, b, atol=1e-6)


def test_plain_functions_are_denoisers_and_guidances():
  def push(s):
    return core.Score(jnp.ones_like(s.x)), {}

  x = sample(KEYS, PROCESS, lambda x, level, cond=None: MIXTURE(x, level), push, shape=(2,))
  assert np.mean(x - draw(None)) > 0


def test_slopes_exist_where_a_score_or_a_noise_is_zero():
  """A chain is differentiated by `Lookahead` and by whoever tunes a dial."""
  term, b = guided(MIXTURE, [3.0, 1.0]), Energy(lambda x0, given: jnp.sum(x0**2, -1))
  ahead = Lookahead(Ancestral(inject='sample'), then=0.01 * b)
  off = (lambda level: (level.t < 2000) * 1.0) * term
  for guidance in (core.Clip(off, 1.0), Rms(off, 0.1), Combine((0.0 * term, 0.0 * b), CAGrad())):
    x = sample(KEYS, PROCESS, MIXTURE, guidance, ahead, shape=(2,))
    assert np.all(np.isfinite(x)), guidance
  close = dict(shape=(2,))
  plain = sample(KEYS, PROCESS, MIXTURE, None, Ancestral(inject='sample'), **close)
  zero = sample(KEYS, PROCESS, MIXTURE, 0.0 * b, ahead.replace(then=0.0 * b), **close)
  np.testing.assert_allclose(zero, plain, atol=1e-5)
  for eta in (0.0, 0.3, 1.0):
    for solver in (lambda e: DDIM(e), lambda e: core.DDNM(e)):
      slope = jax.jacfwd(lambda e, s=solver: jnp.sum(draw(None, solver=s(e)) ** 2))(eta)
      assert np.isfinite(slope)


def test_notes_of_merges_and_leads_keep_apart():
  a, b, c = (Energy(lambda x0, given: jnp.sum(x0**2, -1), name=n) for n in 'abc')
  two, three = Combine((a, b), CAGrad()), Combine((a, b, c), CAGrad())
  _, notes = draw(two + three, watch=('cos*', 'energy/a'))
  assert notes['cos'].shape[2:] == (2, 2) and notes['cos/2'].shape[2:] == (3, 3)
  pairs = Pairs(Ancestral(inject='sample'), (0.01 * a, 0.01 * b, 0.01 * c))
  _, notes = draw(None, solver=pairs, watch=('*energy/*', 'cos'))
  assert {'0/energy/a', '0/then/energy/b', '1/then/energy/a'} <= set(notes)
  np.testing.assert_allclose(notes['1/then/energy/c'], notes['1/then/energy/a'], rtol=1e-6)


def test_terms_sum_like_numbers():
  terms = [guided(MIXTURE, [float(k), 1.0], name=f'n{k}') for k in range(3)]
  np.testing.assert_allclose(draw(sum(terms)), draw(terms[0] + terms[1] + terms[2]), atol=1e-6)
  with pytest.raises(TypeError):
    terms[0] * terms[1]


def test_the_noise_of_a_term_is_not_that_of_the_solver():
  class Echo(core.Guidance):
    def __call__(self, s):
      return core.Score(core.tree.normal(s.key('noise'), s.x)), {}

  many = jax.random.split(jax.random.key(0), 2000)
  move = core.tree.take(PROCESS.reverse(), 10)
  moved = Ancestral(inject='sample')(many, Field(MIXTURE, Echo()), jnp.zeros((2000, 1)), (), move)
  still = Ancestral(inject='sample')(
    many, Field(MIXTURE, core.Nothing()), jnp.zeros((2000, 1)), (), move
  )
  noise = np.asarray(still.x)[:, 0]
  assert abs(np.corrcoef(noise, np.asarray(moved.x - still.x)[:, 0])[0, 1]) < 0.1
