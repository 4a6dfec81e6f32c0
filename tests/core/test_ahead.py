"""Looking ahead: Z-Magic's equations literally, the order of conditions, and what each mode is."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.core import (
  DDIM,
  DDNM,
  MGDA,
  Ancestral,
  CAGrad,
  Combine,
  Energy,
  Field,
  Langevin,
  LogProb,
  Lookahead,
  Mean,
  Mix,
  Nothing,
  Pairs,
  PCGrad,
  Prediction,
  Process,
  ReverseDiffusion,
  Sum,
  TimeTravel,
  Tree,
  cfg,
  linear,
  sample,
)

D, B = 6, 4
KEYS = jax.random.split(jax.random.key(3), B)
RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((2, D, D)) / np.sqrt(D)
REF = RNG.standard_normal((4, D))
SAMPLE = Ancestral(inject='sample', clip=False)


class Bent(Tree):
  """A smooth denoiser whose Jacobian is not symmetric."""

  a: object
  b: object

  def __call__(self, x, level, cond=None):
    shift = 0 if cond is None else 0.1 * jnp.asarray(cond, x.dtype)[:, None]
    eps = jnp.tanh(x @ self.a + shift) @ self.b + level.sigma * x
    return Prediction(eps, level.x0(x, eps), level.logvar(-jnp.ones_like(x)))


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


@pytest.fixture
def bent(double):
  return Bent(jnp.asarray(MATRIX[0]), jnp.asarray(MATRIX[1]))


@pytest.fixture
def process(double):
  return Process.make(linear(1000), 20, np.float64)


@pytest.fixture
def x(double):
  return jnp.asarray(RNG.standard_normal((B, D)))


def near(k, scale=1.0, power=2):
  """An energy: to be near a point, smooth and of no one curvature."""

  def energy(x0, given):
    gap = x0 - REF[k]
    return jnp.sum(gap**2 + 0.1 * jnp.sin(3 * gap) ** power, -1)

  return scale * Energy(energy, clip=False, name=f'e{k}')


def at(process, row):
  return jax.tree.map(lambda a: a[row], process.reverse())


def step(solver, field, x, move, keys=KEYS):
  return solver(keys, field, x, (), move).x


def logp(guidance, denoiser, level):
  """log p(c | x_t) of energies, as a function of x_t."""

  def value(x):
    _, _, notes = Field(denoiser, guidance)(KEYS, x, level)
    return -sum(v for k, v in notes.items() if k.startswith('energy'))

  return value


@pytest.mark.parametrize('row', [0, 7, 15])
def test_equation_6_is_the_three_products(bent, process, x, row):
  """g_2|1 = (a + beta J_s)^T v + beta H v with v at x_hat: each product by itself, in float64."""
  move, first, second = at(process, row), near(0, 0.3), near(1, 0.2)
  solver = ReverseDiffusion()

  def s(x):
    return -bent(x, move.level).eps / move.level.sigma

  def g(x):
    return 0.3 * jax.grad(lambda x: logp(near(0), bent, move.level)(x).sum())(x)

  beta, drift = move.beta, 2 - move.alpha_ratio
  plain = step(solver, Field(bent, Nothing()), x, move)
  x_hat = plain + beta * g(x)
  v = 0.2 * jax.grad(lambda y: logp(near(1), bent, move.to)(y).sum())(x_hat)
  J = jax.jacfwd(lambda x: s(x[None])[0])
  H = jax.jacfwd(lambda x: jax.grad(lambda x: 0.3 * logp_one(bent, move.level, x))(x))
  wanted = jnp.stack(
    [drift * vi + beta * J(xi).T @ vi + beta * H(xi) @ vi for xi, vi in zip(x, v, strict=True)]
  )
  ahead = Lookahead(solver, second)(KEYS, Field(bent, first), x, (), move)
  np.testing.assert_allclose(ahead.x, x_hat + beta * wanted, rtol=1e-10)
  np.testing.assert_allclose(ahead.score, g(x) + wanted, rtol=1e-9)


def logp_one(bent, level, x):
  """log p(c_0 | x_t) of one example."""
  pred = bent(x[None], level)
  gap = pred.x0[0] - REF[0]
  return -jnp.sum(gap**2 + 0.1 * jnp.sin(3 * gap) ** 2)


@pytest.mark.parametrize('product', ['jvp', 'linearize', 'inner'])
@pytest.mark.parametrize('solver', [SAMPLE, ReverseDiffusion(), DDIM(0.5, clip=False)])
def test_ways_to_the_same_product(bent, process, x, product, solver):
  move, field = at(process, 9), Field(bent, near(0, 0.1))
  one = Lookahead(solver, near(1, 0.1))
  other = Lookahead(solver, near(1, 0.1), product=product)
  np.testing.assert_allclose(
    step(other, field, x, move), step(one, field, x, move), rtol=0, atol=1e-10
  )


def test_one_mode_after_the_other(bent, process, x):
  """What each leaves out: H, then A too; a difference goes forward, so it needs J = J^T."""
  move, rho = at(process, 12), 0.05
  field, then = Field(bent, near(0, rho)), near(1, rho)
  plain = SAMPLE(KEYS, field, x, (), move)
  v = field.replace(guidance=then)(KEYS, plain.x, move.to)[1]
  bare = field.replace(guidance=Nothing())

  def still(x):
    return SAMPLE(KEYS, bare, x, (), move).x

  def whole(x):
    return SAMPLE(KEYS, field, x, (), move).x

  wanted = {
    'first_order': v,
    'no_hessian': jax.vjp(still, x)[1](v)[0],
    'exact': jax.vjp(whole, x)[1](v)[0],
    'finite_difference': jax.jvp(whole, (x,), (v,))[1],
  }
  found = {m: step(Lookahead(SAMPLE, then, mode=m), field, x, move) - plain.x for m in wanted}
  for mode, g in wanted.items():
    atol = 0.01 * np.abs(g).max() if mode == 'finite_difference' else 1e-12
    np.testing.assert_allclose(found[mode], g, rtol=0, atol=atol, err_msg=mode)
  for a, b in itertools.combinations(wanted, 2):
    assert np.abs(found[a] - found[b]).max() > 1e-4 * np.abs(v).max(), (a, b)


def test_the_mode_on_x0_is_a_gradient_through_a_step_there(bent, process, x):
  """x0' = x0 - k grad E_a(x0), g = grad_x0 [E_a + E_b(x0')]: no denoiser in between."""
  move, field, then = at(process, 10), Field(bent, near(0, 0.02)), near(1, 0.03)
  base = SAMPLE(KEYS, field.replace(guidance=Nothing()), x, (), move)
  k = move.level.alpha * move.to.alpha

  def value(j, scale):
    return lambda x0: -scale * near(j).term.energy(x0, None).sum()

  def ahead(x0):
    return x0 + k * jax.grad(value(0, 0.02))(x0)

  g = jax.grad(value(0, 0.02))(base.pred.x0)
  g = g + jax.grad(lambda x0: value(1, 0.03)(ahead(x0)))(base.pred.x0)
  found = Lookahead(SAMPLE, then, mode='x0')(KEYS, field, x, (), move)
  np.testing.assert_allclose(found.x, base.x + move.level.alpha * g, rtol=0, atol=1e-12)
  with pytest.raises(ValueError, match='energies on x0_hat'):
    Lookahead(SAMPLE, LogProb(lambda x, level, given: x.sum(-1)), mode='x0')(
      KEYS, field, x, (), move
    )
  with pytest.raises(ValueError, match='asks no denoiser'):
    own = field.replace(guidance=Combine((near(0), near(1)), Sum()))
    Lookahead(SAMPLE, then, mode='x0')(KEYS, own, x, (), move)


class Identity(Tree):
  """x0_hat = x and a move that stays: what is left is the look-ahead."""

  def __call__(self, x, level, cond=None):
    return Prediction(jnp.zeros_like(x), x, level.logvar(-jnp.ones_like(x)))


class Stay(Ancestral):
  """x' = x + s."""

  inject: str = 'sample'

  def __call__(self, keys, field, x, carry, move, given=None):
    land = super().__call__(keys, field, x, carry, move, given)
    return land._replace(x=x + land.score, noise=jnp.zeros_like(x))


def total(k, x):
  return near(k).term.energy(x, None).sum()


def test_the_order_matters_to_the_third_power(process, x):
  """Looking ahead adds rho^2 <grad E_a, grad E_b>, which has no order; what has is rho^3."""
  move = at(process, 12)

  def sizes(rho):
    a, b = near(0, rho), near(1, rho)
    ab = step(Lookahead(Stay(), b), Field(Identity(), a), x, move)
    ba = step(Lookahead(Stay(), a), Field(Identity(), b), x, move)
    both = step(Stay(), Field(Identity(), a + b), x, move)

    def inner(x):
      slopes = [jax.grad(partial(total, k))(x) for k in (0, 1)]
      return jnp.vdot(*slopes)

    second = both + rho**2 * jax.grad(inner)(x)
    return [float(jnp.abs(d).max()) for d in (ab - both, ab - ba, ab - second)]

  few, many = sizes(1e-3), sizes(1e-2)
  powers = [np.log10(m / f) for m, f in zip(many, few, strict=True)]
  np.testing.assert_allclose(powers, [2, 3, 3], atol=0.15)


def test_a_real_move_tells_the_order_at_first_order(bent, process, x):
  """The Jacobian of the move and the level where it lands: looking ahead and its order are of the
  first power in rho, the small part of it that the sum has not."""
  move, base = at(process, 12), DDNM(0.5)

  def sizes(rho):
    a, b = near(0, rho), near(1, rho)
    ab = step(Lookahead(base, b), Field(bent, a), x, move)
    ba = step(Lookahead(base, a), Field(bent, b), x, move)
    both = step(base, Field(bent, a + b), x, move)
    return [float(jnp.abs(d).max()) for d in (ab - both, ab - ba)]

  few, many = sizes(1e-4), sizes(1e-3)
  powers = [np.log10(m / f) for m, f in zip(many, few, strict=True)]
  np.testing.assert_allclose(powers, [1, 1], atol=0.15)


class Seen(Tree):
  """A linear term that notes where it was asked."""

  def __call__(self, s):
    score, _ = LogProb(lambda x, level, given: 0.1 * x.sum(-1))(s)
    return score, {'where': s.x[:, 0], 't': jnp.broadcast_to(s.level.t, s.x.shape[:1])}


def test_where_the_next_one_is_asked(bent, process, x):
  """At x_hat of the landed level: with the move's noise, without, with other; further by a gain."""
  move, field = at(process, 9), Field(bent, near(0, 0.05))
  plain = SAMPLE(KEYS, field, x, (), move)

  def asked(**how):
    land = Lookahead(SAMPLE, Seen(), **how)(KEYS, field, x, (), move)
    assert (land.notes['then/t'] == move.to.t).all()
    return land.notes['then/where'], land

  here, land = asked()
  np.testing.assert_allclose(here, plain.x[:, 0], atol=1e-12)
  quiet, still = asked(noise='zero')
  np.testing.assert_allclose(quiet, (plain.x - plain.noise)[:, 0], atol=1e-12)
  np.testing.assert_allclose(still.x - land.x, 0, atol=1e-12)  # a linear term: the noise stays
  other, _ = asked(noise='fresh')
  gap = np.asarray(other - quiet)
  assert (np.abs(gap - np.asarray(plain.noise)[:, 0]) > 1e-6).all()
  assert np.abs(gap).max() < 5 * float(jnp.exp(0.5 * plain.pred.logvar).max())
  far, _ = asked(gain=3.0)
  np.testing.assert_allclose(far, (plain.x + 2 * plain.score)[:, 0], atol=1e-12)
  g, back = (np.asarray(v) for v in (plain.score, land.score - plain.score))
  lengths = np.linalg.norm(g, axis=1) * np.linalg.norm(back, axis=1)
  np.testing.assert_allclose(land.notes['ahead/cos'], (g * back).sum(1) / lengths, atol=1e-12)
  none, _ = asked(gain=0.0)
  np.testing.assert_allclose(none, (plain.x - plain.score)[:, 0], atol=1e-12)


def test_what_is_pulled_back_can_be_bounded(bent, process, x):
  move, field, then = at(process, 15), Field(bent, near(0, 5.0)), near(1, 0.1)
  plain = SAMPLE(KEYS, field, x, (), move)
  v = field.replace(guidance=then)(KEYS, plain.x, move.to)[1]
  free = step(Lookahead(SAMPLE, then), field, x, move) - plain.x
  held = step(Lookahead(SAMPLE, then, most=0.5), field, x, move) - plain.x

  def norm(a):
    return np.linalg.norm(np.asarray(a), axis=-1)

  assert (norm(free) > 0.5 * norm(v)).any()
  assert (norm(held) <= 0.5 * norm(v) * (1 + 1e-9)).all()
  np.testing.assert_allclose(
    np.asarray(held) / norm(held)[:, None], np.asarray(free) / norm(free)[:, None], atol=1e-9
  )


def test_the_first_condition_may_be_a_step_of_guidance_without_a_classifier(bent, process, x):
  """Table 2: the Jacobian goes through the mix of predictions."""
  move, then = at(process, 9), near(1, 0.1)
  mixed = Mix(bent, cfg(3.0)).shared([0, 2])
  field = Field(mixed, Nothing())
  x_hat, pull = jax.vjp(lambda x: SAMPLE(KEYS, field, x, (), move).x, x)
  v = Field(mixed, then)(KEYS, x_hat, move.to)[1]
  wanted = x_hat + pull(v)[0]
  np.testing.assert_allclose(step(Lookahead(SAMPLE, then), field, x, move), wanted, atol=1e-12)
  alone = step(Lookahead(SAMPLE, then), Field(bent, Nothing()), x, move)
  assert np.abs(alone - wanted).max() > 1e-3


def flat(k, scale):
  """A score that is the same everywhere; no two conflict."""
  return LogProb(lambda x, level, given: scale * (x @ jnp.abs(REF[k])), name=f'l{k}')


@pytest.mark.parametrize('pairing', ['star', 'ordered', 'unordered', 'chain'])
@pytest.mark.parametrize('merge', [Mean(), CAGrad(0.0), Sum(), PCGrad()])
@pytest.mark.parametrize('n', [2, 3])
def test_without_conflict_care_and_lookahead_each_pairing_is_the_sum(
  bent, process, x, pairing, merge, n
):
  move, terms = at(process, 9), tuple(flat(k, 0.1 + 0.1 * k) for k in range(n))
  pairs = Pairs(SAMPLE, terms, pairing, merge, mode='first_order')
  total = sum(terms[1:], terms[0])
  field = Field(bent, near(0, 0.1))
  wanted = step(SAMPLE, Field(bent, near(0, 0.1) + total), x, move)
  np.testing.assert_allclose(step(pairs, field, x, move), wanted, atol=1e-6)


@pytest.mark.parametrize('mode', ['exact', 'no_hessian', 'first_order', 'finite_difference'])
def test_a_chain_is_one_lookahead_in_the_other(bent, process, x, mode):
  """p(c | b, a, x): exact without a tensor of three axes."""
  move, (a, b, c) = at(process, 9), (near(k, 0.05) for k in range(3))
  chain = Pairs(SAMPLE, (a, b, c), 'chain', Mean(), mode=mode)
  found = step(chain, Field(bent, Nothing()), x, move)
  if mode in ('exact', 'first_order'):
    nested = Lookahead(Lookahead(SAMPLE, b, mode=mode), c, mode=mode)
    wanted = step(nested, Field(bent, a), x, move)
    if mode == 'first_order':
      np.testing.assert_allclose(found, wanted, atol=1e-12)
    else:
      two_steps = Lookahead(SAMPLE, b)
      x_hat, pull = jax.vjp(lambda x: step(two_steps, Field(bent, a), x, move), x)
      v = Field(bent, c)(KEYS, x_hat, move.to)[1]
      np.testing.assert_allclose(found, x_hat + pull(v)[0], atol=1e-10)
      np.testing.assert_allclose(found, wanted, atol=1e-10)
  two = step(Lookahead(SAMPLE, b, mode=mode), Field(bent, a), x, move)
  pair = step(Pairs(SAMPLE, (a, b), 'chain', Mean(), mode=mode), Field(bent, Nothing()), x, move)
  np.testing.assert_allclose(pair, two, atol=1e-10)


def test_ordered_pairs_are_both_orders_and_unordered_ones_the_first(bent, process, x):
  move, (a, b) = at(process, 9), (near(k, 0.05) for k in range(2))
  ab = Lookahead(SAMPLE, b)(KEYS, Field(bent, a), x, (), move).score
  ba = Lookahead(SAMPLE, a)(KEYS, Field(bent, b), x, (), move).score
  bare = Field(bent, Nothing())

  def score(pairing):
    return Pairs(SAMPLE, (a, b), pairing, Mean())(KEYS, bare, x, (), move).score

  np.testing.assert_allclose(score('ordered'), (ab + ba) / 2, atol=1e-10)
  np.testing.assert_allclose(score('star'), (ab + ba) / 2, atol=1e-10)
  np.testing.assert_allclose(score('unordered'), ab, atol=1e-10)


@pytest.mark.parametrize('mode', ['exact', 'x0'])
@pytest.mark.parametrize('merge', [CAGrad(0.5), PCGrad(), MGDA()])
def test_an_example_depends_on_no_other(bent, process, x, merge, mode):
  move, terms = at(process, 9), tuple(near(k, 0.02) for k in range(3))
  pairs = Pairs(SAMPLE, terms, merge=merge, mode=mode)
  field = Field(bent, Nothing())
  every = step(pairs, field, x, move)
  for i in range(B):
    one = step(pairs, field, x[i : i + 1], move, KEYS[i : i + 1])
    np.testing.assert_allclose(one[0], every[i], rtol=0, atol=1e-9)


def test_merges_of_energies_before_the_pull_back(bent, process, x):
  """In x0: of the mean gradient there, and another direction than in x_t where they conflict."""
  move, terms = at(process, 9), tuple(near(k, 0.05) for k in range(3))

  def merged(c, space):
    return Field(bent, Combine(terms, CAGrad(c), space))(KEYS, x, move.level)

  total = Field(bent, Combine(terms))(KEYS, x, move.level)[1]
  np.testing.assert_allclose(merged(0.0, 'x0')[1], total / 3, atol=1e-8)
  np.testing.assert_allclose(merged(0.0, 'xt')[1], total / 3, atol=1e-8)
  assert np.abs(merged(0.5, 'x0')[1] - merged(0.5, 'xt')[1]).max() > 1e-4
  assert merged(0.5, 'x0')[2]['cos'].shape == (B, 3, 3)
  with pytest.raises(ValueError, match='energies on x0_hat'):
    Field(bent, Combine((*terms, flat(0, 1.0)), CAGrad(), 'x0'))(KEYS, x, move.level)


@pytest.mark.parametrize(
  'solver, mode',
  [
    *((SAMPLE, mode) for mode in ('exact', 'no_hessian', 'first_order', 'finite_difference', 'x0')),
    (DDIM(), 'exact'),
    (ReverseDiffusion(), 'exact'),
  ],
)
def test_whole_chains_end_in_numbers(bent, process, mode, solver):
  """Also on the last move, where no noise is left, and for a condition that is met."""
  met = Energy(lambda x0, given: 0 * jnp.sum(x0, -1), clip=False, name='met')
  ahead = Lookahead(solver, near(1, 0.01) + met, mode=mode)
  x = sample(KEYS, process, bent, near(0, 0.01), ahead, shape=(D,))
  assert np.isfinite(x).all()
  pairs = Pairs(solver, (near(0, 0.01), near(1, 0.01), met), mode=mode)
  assert np.isfinite(sample(KEYS, process, bent, None, pairs, shape=(D,))).all()


@pytest.mark.parametrize(
  'make, words',
  [
    (lambda: Lookahead(SAMPLE, near(0), mode='second'), 'mode is one of'),
    (lambda: Lookahead(SAMPLE, near(0), noise='other'), 'noise is one of'),
    (lambda: Lookahead(SAMPLE, near(0), product='hvp'), 'product is one of'),
    (lambda: Lookahead(SAMPLE, near(0), product='jvp', mode='no_hessian'), "a way of mode='exact'"),
    (lambda: Lookahead(TimeTravel(SAMPLE), near(0), noise='zero'), 'more than one step'),
    (lambda: Lookahead(Langevin(SAMPLE), near(0), mode='x0'), 'more than one step'),
    (lambda: Lookahead(SAMPLE, near(0), gain=-1.0), 'gain is at least 0'),
    (lambda: Lookahead(SAMPLE, near(0), gain=np.nan), 'finite'),
    (lambda: Lookahead(SAMPLE, near(0), most=-1.0), 'most is at least 0'),
    (lambda: Pairs(SAMPLE, (near(0),)), 'two terms'),
    (lambda: Pairs(SAMPLE, (near(0), near(1)), 'all'), 'pairing is one of'),
    (lambda: Pairs(Langevin(SAMPLE), (near(0), near(1))), r'Langevin\(Pairs'),
    (lambda: Pairs(SAMPLE, (near(0), near(1)), 'chain', mode='x0'), 'nests moves'),
    (lambda: Combine((near(0), near(1)), CAGrad(), 'x_t'), 'space is'),
  ],
)
def test_what_is_refused(make, words):
  with pytest.raises(ValueError, match=words):
    make()


def test_what_a_network_forbids_is_said_of_the_mode(bent, process, x):
  move, free = at(process, 9), Lookahead(SAMPLE, near(1, 0.1))

  def outside(v):
    like = jax.ShapeDtypeStruct(v.shape, v.dtype)
    return jax.pure_callback(lambda v: np.asarray(v) * 2, like, v)

  @jax.custom_vjp
  def shown(v):
    return outside(v)

  shown.defvjp(lambda v: (outside(v), v), lambda v, g: (outside(g),))
  once = Field(bent, Energy(lambda x0, given: jnp.sum(0.05 * shown(x0), -1), clip=False))
  calm = Lookahead(SAMPLE, near(1, 0.1), mode='first_order')
  assert np.isfinite(step(calm, once, x, move)).all()
  with pytest.raises(ValueError, match="mode='exact'.* forbids .* mode='first_order'"):
    step(free, once, x, move)
  with pytest.raises(ValueError, match="product='jvp' takes .* forbids .* product='vjp'"):
    step(Lookahead(SAMPLE, near(1, 0.1), product='jvp'), once, x, move)


def test_more_gradients_than_faces_are_refused_where_that_is_asked():
  gram = jnp.broadcast_to(jnp.eye(12), (1, 12, 12))
  with pytest.raises(ValueError, match='of 12 gradients'):
    CAGrad(0.5, exact=True)(gram)
  np.testing.assert_allclose(CAGrad(0.5)(gram).sum(), 1, atol=0.3)
  assert CAGrad(0.5, exact=True)(gram[:, :6, :6]).shape == (1, 6)


def test_a_shortest_vector_is_short():
  """MGDA: min |x g1 + (1 - x) g2| in closed form; nothing where they oppose; no scale counts."""
  rng = np.random.default_rng(1)
  shortest = jax.jit(MGDA())
  for K in (2, 3, 5):
    g = rng.standard_normal((50, K, 8))
    w = np.asarray(shortest(jnp.asarray(np.einsum('nkd,nld->nkl', g, g))))
    np.testing.assert_allclose(w.sum(1), 1, atol=1e-6)
    assert (w > -1e-9).all()
    d = np.einsum('nk,nkd->nd', w, g)
    inner = np.einsum('nkd,nd->nk', g, d)  # KKT: no gradient is steeper along d than |d|^2 asks
    assert (inner >= (d**2).sum(1, keepdims=True) - 1e-6).all()
    scaled = np.asarray(shortest(jnp.asarray(1e-6 * np.einsum('nkd,nld->nkl', g, g))))
    np.testing.assert_allclose(scaled, w, atol=1e-6)
  a, b = rng.standard_normal((2, 8))
  x = np.clip((b - a) @ b / ((a - b) @ (a - b)), 0, 1)
  G = np.stack([a, b]) @ np.stack([a, b]).T
  np.testing.assert_allclose(shortest(jnp.asarray(G[None]))[0], [x, 1 - x], atol=1e-6)
  opposed = np.array([[[1.0, -1.0], [-1.0, 1.0]]])
  np.testing.assert_allclose(shortest(jnp.asarray(opposed))[0], [0.5, 0.5], atol=1e-6)
