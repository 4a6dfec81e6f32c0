"""`sample.conditions` and `sample.guide` of a config: what they become, and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import Mixture
from zsi_jax.build import conditions, sampling
from zsi_jax.build.keys import ConfigError
from zsi_jax.core import (
  MGDA,
  CAGrad,
  Combine,
  During,
  Field,
  Lookahead,
  Nothing,
  Pairs,
  PCGrad,
  Process,
  Rms,
  cosine,
)
from zsi_jax.stages.config import load

BASE = 'configs/zmagic/identity_landmarks.py:tiny'
TOLD = 'configs/zmagic/label_style.py:tiny'
KEYS = jax.random.split(jax.random.key(0), 2)
MOVE = jax.tree.map(lambda a: a[12], Process.make(cosine(1000), 20).reverse())
X = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))


def colour(x):
  return x.mean((1, 2))


def corners(x):
  return x[:, ::7, ::7]


EYES = {'identity': colour, 'landmarks': corners}
GIVEN = {'identity': jnp.full((2, 3), 0.3), 'landmarks': jnp.full((2, 2, 2, 3), -0.2)}


def test_who_guides_does_not_judge():
  with pytest.raises(ConfigError, match='one guides, and another judges'):
    conditions.checked(load(BASE, {'eyes.copies': ('guide',)}), None)


def made(**said):
  if said.get('guide__kind') != 'none':
    said = {'guide__rho': (1.0, 1.0), 'guide__stop': 0.0, **said}
  config = load(BASE, {f'sample.{k.replace("__", ".")}': v for k, v in said.items()})
  conditions.checked(config, sampling.solver(config))
  return conditions.made(config, EYES, sampling.solver(config))


def land(guidance, solver):
  return solver(KEYS, Field(Mixture(0.5, 0.3), guidance or Nothing()), X, (), MOVE, GIVEN)


def test_a_sum_fades_with_the_noise():
  guidance, solver = made(guide__rho=(2.0, 3.0))
  found = land(guidance, solver)

  def energy(name, x):
    from zsi_jax.guide import energies

    x0 = jnp.clip(Mixture(0.5, 0.3)(x, MOVE.level).x0, -1, 1)
    how = energies.cosine if name == 'identity' else energies.norm
    return how(EYES[name](x0), GIVEN[name]).sum()

  wanted = -MOVE.level.alpha * jax.grad(
    lambda x: 2 * energy('identity', x) + 3 * energy('landmarks', x)
  )(X)
  np.testing.assert_allclose(found.score, wanted, rtol=1e-3, atol=1e-5)
  fixed = land(*made(guide__rho=(2.0, 3.0), guide__rule='fixed')).score
  np.testing.assert_allclose(found.score, MOVE.level.alpha * fixed, rtol=1e-4, atol=1e-6)
  shares, _ = made(guide__rho=(0.1, 0.2), guide__rule='share')
  assert all(isinstance(term, Rms) for term in shares.terms)


@pytest.mark.parametrize(
  'kind, options, guidance, solver',
  [
    ('lookahead', {'mode': 'first_order', 'noise': 'zero', 'gain': 2.0}, None, Lookahead),
    ('pairs', {'pairing': 'chain', 'merge': 'mean'}, type(None), Pairs),
    ('merge', {'merge': 'pcgrad'}, Combine, None),
  ],
)
def test_kinds(kind, options, guidance, solver):
  said = {f'guide__{k}': v for k, v in options.items()}
  found = made(guide__kind=kind, guide__rho=(2.0, 3.0), **said)
  assert guidance is None or isinstance(found[0].term if kind == 'merge' else found[0], guidance)
  assert solver is None or isinstance(found[1], solver)
  assert np.isfinite(land(*found).x).all()
  for name, value in options.items():
    if kind != 'merge' and name != 'merge':
      assert getattr(found[1], name) == value


def test_merges_by_their_names_and_their_strength():
  """Mean-like ones are as strong as the sum where nothing conflicts."""
  kinds = {'cagrad': CAGrad, 'pcgrad': PCGrad, 'mgda': MGDA}
  total = land(*made(guide__rho=(2.0, 3.0))).score
  for name, kind in kinds.items():
    merge, _ = conditions.merge_of(name, 0.0)
    assert isinstance(merge, kind)
  calm = land(*made(guide__kind='merge', guide__rho=(2.0, 3.0), guide__c=0.0)).score
  np.testing.assert_allclose(calm, total, rtol=1e-3, atol=1e-5)
  plain = made(guide__kind='merge', guide__merge='mean', guide__rho=(2.0, 3.0), guide__space='x0')
  np.testing.assert_allclose(land(*plain).score, total, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('kind', ['sum', 'lookahead'])
def test_no_guidance_in_the_last_steps(kind):
  guidance, solver = made(guide__kind=kind, guide__rho=(2.0, 3.0), guide__stop=1e5)
  assert isinstance(guidance, During)
  bare = land(Nothing(), sampling.solver(load(BASE)))
  np.testing.assert_allclose(land(guidance, solver).x, bare.x, atol=1e-6)
  on = made(guide__kind=kind, guide__rho=(2.0, 3.0), guide__stop=1.0)
  free = made(guide__kind=kind, guide__rho=(2.0, 3.0))
  np.testing.assert_allclose(land(*on).x, land(*free).x, atol=1e-5)


@pytest.mark.parametrize(
  'said, words',
  [
    ({'conditions': ('identity', 'hair'), 'guide__rho': (1.0, 1.0)}, "there is no 'hair'"),
    ({'conditions': ()}, 'conditions need a way'),
    ({'guide__kind': 'none'}, 'conditions need a way'),
    ({'guide__rho': (1.0,)}, 'a strength from 0 on for each'),
    ({'guide__rho': (1.0, -1.0)}, 'a strength from 0 on for each'),
    ({'conditions': ('identity', 'identity')}, 'each once'),
    ({'conditions': ('identity',), 'guide__rho': (1.0,), 'guide__kind': 'lookahead'}, 'or more'),
    ({'guide__rule': 'beta'}, "there is no 'beta'"),
    ({'weights': (1.0, 1.0)}, 'classifiers at once'),
    ({'task': 'edit'}, 'start from noise'),
    ({'guide__kind': 'lookahead', 'guide__mode': 'third'}, 'mode is one of'),
    ({'guide__kind': 'lookahead', 'guide__noise': 'loud'}, 'noise is one of'),
    ({'guide__kind': 'lookahead', 'guide__gain': -1.0}, 'gain'),
    ({'guide__kind': 'pairs', 'guide__pairing': 'ring'}, 'pairing is one of'),
    ({'guide__kind': 'pairs', 'guide__pairing': 'chain', 'guide__mode': 'x0'}, 'nests moves'),
    ({'guide__kind': 'merge', 'guide__space': 'pixels'}, 'space'),
    ({'guide__kind': 'lookahead', 'solver__kind': 'dpm++'}, 'has a memory'),
    ({'guide__kind': 'lookahead', 'guide__mode': 'x0', 'guide__rule': 'share'}, 'scores in x_t'),
    ({'guide__kind': 'merge', 'guide__rho': (1.0, 1.0), 'guide__merge': 'max'}, "no 'max'"),
    ({'guide__kind': 'star', 'guide__rho': (1.0, 1.0)}, "there is no 'star'"),
    ({'conditions': ('identity', 'style'), 'guide__rho': (1.0, 1.0)}, 'nobody sees segmentation'),
  ],
)
def test_refused(said, words):
  with pytest.raises(ConfigError, match=words):
    made(**said)


def led(**said):
  said = {'guide__stop': 0.0, **said}
  config = load(TOLD, {f'sample.{k.replace("__", ".")}': v for k, v in said.items()})
  conditions.checked(config, sampling.solver(config))
  return config, conditions.made(config, {'style': corners}, sampling.solver(config))


def test_a_label_leads_through_the_denoiser():
  config, (guidance, solver) = led(guide__kind='lookahead', guide__rho=(2.0, 3.0))
  assert guidance is None and isinstance(solver, Lookahead)
  assert sampling.asked(config, 7) == [-2.0, 3.0]
  config, (guidance, solver) = led(guide__rho=(2.0, 3.0))
  assert guidance.term.name == 'style' and not isinstance(solver, Lookahead)
  assert sampling.asked(load(BASE), None) is None
  with pytest.raises(ConfigError, match='cannot be: train it with denoiser.drop'):
    sampling.asked(config, None)


@pytest.mark.parametrize(
  'said, words',
  [
    ({'guide__kind': 'merge'}, 'leads a sum or a lookahead'),
    ({'conditions': ('style', 'label')}, 'leads a sum or a lookahead'),
    ({'conditions': ('label',), 'guide__rho': (2.0,)}, 'leads a sum or a lookahead'),
    ({'cond': (1,)}, 'sample.cond = '),
    ({'cfg': 2.0}, 'sample.cfg = 2.0 and the condition'),
  ],
)
def test_a_label_is_refused(said, words):
  with pytest.raises(ConfigError, match=words):
    led(**{'guide__rho': (2.0, 3.0), **said})


def test_what_the_core_refuses_is_said_of_the_key():
  config = load(BASE, {'sample.guide.kind': 'lookahead', 'sample.guide.rho': (1.0, 1.0),
                       'sample.guide.mode': 'third'})  # fmt: skip
  with pytest.raises(ConfigError, match='sample.guide: mode is one of'):
    conditions.made(config, EYES, sampling.solver(config))
