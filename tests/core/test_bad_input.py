"""Wrong calls are refused before anything compiles, and the message shows the right one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zsi_jax as zsi
from tests.oracle import BayesNet, Mixture, guided
from zsi_jax import core
from zsi_jax.core import (
  DDIM,
  Aim,
  Ancestral,
  Blend,
  Classifier,
  Combine,
  Denoiser,
  DPMSolverPP,
  During,
  Energy,
  From,
  Heun,
  LogProb,
  Lookahead,
  Mix,
  Pairs,
  Process,
  Regressor,
  ReverseDiffusion,
  TimeTravel,
  cfg,
  cosine,
  sample,
  sample_by,
)

MIXTURE = Mixture(0.5, 0.3)
PROCESS = Process.make(cosine(100), 10)
KEYS = jax.random.split(jax.random.key(0), 4)
NET = BayesNet(MIXTURE, 100)
VARIABLES = {'scale': jnp.ones(())}


class OneLogit:
  def apply(self, variables, x, t):
    return x[:, :1]


GUIDE = guided(MIXTURE, [1.0, 1.0])


def classifier(weights):
  return Classifier(VARIABLES, weights, NET)


def draw(guidance=None, solver=None, keys=KEYS, process=PROCESS, denoiser=MIXTURE, **more):
  more = more if 'x' in more else {'shape': (2,)} | more
  return sample(keys, process, denoiser, guidance, solver, **more)


CASES = {
  'weights too long': (
    lambda: draw(classifier([1.0, 1.0, 1.0])),
    r'2 classes and needs 2 weights.*towards\(30., 30.\)',
  ),
  'weights too short': (lambda: draw(classifier([1.0])), '2 classes'),
  'weights a scalar': (lambda: draw(classifier(30.0)), '2 classes'),
  'weights NaN': (
    lambda: classifier([np.nan, 1.0]),
    r'Classifier.weights must be finite.*\[30., 30.\]',
  ),
  'weights inf': (lambda: classifier(jnp.array([jnp.inf, 1.0])), 'finite'),
  'scale NaN': (lambda: classifier([1.0, 1.0]) * float('nan'), 'Scale.weight must be finite'),
  'blend NaN': (lambda: Blend(float('nan')), 'Blend.w must be finite'),
  'aim inf': (lambda: Aim(float('inf')), 'Aim.strength'),
  'eta NaN': (lambda: DDIM(np.nan), 'DDIM.eta'),
  'given of another batch': (
    lambda: draw(classifier(Aim(1.0)), given={'aim': jnp.ones(3)}),
    r'there are 4 keys.*\[4, \.\.\.\]',
  ),
  'given a scalar': (lambda: draw(classifier(Aim(1.0)), given={'aim': 0.5}), 'batch in front'),
  'given missing': (
    lambda: draw(classifier(Aim(1.0))),
    r"given\['aim'\] is missing; given has nothing.*given=\{'aim': array\}",
  ),
  'given misspelt': (
    lambda: draw(classifier(Aim(1.0)), given={'aims': jnp.ones(4)}),
    r"given has \['aims'\]",
  ),
  'given missing in an energy': (
    lambda: draw(Energy(lambda x0, given: jnp.sum(x0 - given['ref'], -1))),
    r"given\['ref'\] is missing",
  ),
  'given missing in a scale': (lambda: draw(GUIDE * From('w')), r"given\['w'\]"),
  'no conds': (lambda: draw(denoiser=Mix(MIXTURE, cfg(1.0))), r"given=\{'conds'.*shared"),
  'conds too few': (
    lambda: draw(denoiser=Mix(MIXTURE, cfg(1.0)).shared([0, 1, 2])),
    'needs 2 conditions',
  ),
  'mix off one': (lambda: Mix(MIXTURE, [1.0, 1.0]), 'sum to one, these to 2'),
  'mix variance': (lambda: Mix(MIXTURE, [1.0], variance='extra'), "'clipped' or 'mixed'"),
  'empty schedule': (lambda: Process.make([]), 'empty schedule'),
  'no rows': (lambda: draw(process=PROCESS.forward(0)), 'no rows'),
  'steps > T': (lambda: Process.make(cosine(100), 250), '250 steps do not fit into 100'),
  'not a process': (lambda: draw(process=cosine(100)), r'Process.make\(cosine'),
  'raw key': (lambda: draw(keys=jax.random.PRNGKey(0)), r'one typed key.*got uint32\[2\]'),
  'raw keys': (lambda: draw(keys=jax.random.split(jax.random.PRNGKey(0), 4)), 'one typed key'),
  'one key': (lambda: draw(keys=jax.random.key(0)), r'jax.random.split\(jax.random.key\(0\), 8\)'),
  'a seed': (lambda: draw(keys=0), 'one typed key for each example'),
  'no keys': (lambda: draw(keys=KEYS[:0]), 'no keys'),
  'no shape': (lambda: sample(KEYS, PROCESS, MIXTURE), r'shape=\(H, W, C\)'),
  'x of another batch': (lambda: draw(x=jnp.ones((3, 2))), 'one x for each key'),
  'x against shape': (lambda: draw(x=jnp.ones((4, 2)), shape=(3,)), 'leave shape out'),
  'watch nothing': (
    lambda: draw(GUIDE, watch='energy/*'),
    r"matches none of the notes \['logp/bayes'\]",
  ),
  'watch a row outside': (lambda: draw(watch='x0@10'), r'rows \[10\] are not among'),
  'watch no number': (lambda: draw(watch='x0@last'), 'rows are numbers'),
  'chunk of one': (
    lambda: next(sample_by(1, KEYS, PROCESS, MIXTURE, shape=(2,))),
    'at least two rows',
  ),
  'injection of 2M': (
    lambda: DPMSolverPP(inject='mean'),
    r"injects \('eps',\), not 'mean': DPMSolverPP\(inject='eps'\)",
  ),
  'injection of Heun': (lambda: Heun(inject='sample'), 'Heun injects'),
  'injection of DDIM': (lambda: DDIM(inject='mean'), 'DDIM injects'),
  'injection of reverse': (lambda: ReverseDiffusion(inject='eps'), 'ReverseDiffusion injects'),
  'injection misspelt': (lambda: Ancestral(inject='means'), 'Ancestral injects'),
  'ahead with memory': (lambda: Lookahead(DPMSolverPP(), then=GUIDE), 'has a memory'),
  'ahead of travel with memory': (
    lambda: Lookahead(TimeTravel(DPMSolverPP()), then=None),
    'has a memory',
  ),
  'mode': (lambda: Lookahead(DDIM(), GUIDE, mode='second'), 'mode is one of'),
  'pairs of one': (lambda: Pairs(DDIM(), (GUIDE,)), 'two terms'),
  'pairing': (lambda: Pairs(DDIM(), (1, 2), 'all'), 'pairing is'),
  'travel none': (lambda: TimeTravel(DDIM(), 0), 'n >= 1'),
  'during a solver alone': (lambda: During((0, 1), DDIM()), 'otherwise=solver'),
  'during with two memories': (lambda: During((0, 1), DPMSolverPP(), DDIM()), 'cannot take turns'),
  'drop without null': (
    lambda: core.DenoiserLoss(Denoiser({}, NET), PROCESS, drop=0.1),
    r'null=K',
  ),
  'during one solver': (
    lambda: During((0, 1), guided(MIXTURE, [1.0, 1.0]), DDIM()),
    'otherwise=solver',
  ),
  'during NaN': (lambda: During((np.nan, 1), guided(MIXTURE, [1.0, 1.0])), 'During.t'),
  'during one number': (lambda: During(5, guided(MIXTURE, [1.0, 1.0])), 'a range'),
  'pairs of rounds': (
    lambda: Pairs(TimeTravel(DDIM()), (guided(MIXTURE, [1.0, 1.0]),) * 2),
    r'TimeTravel\(Pairs',
  ),
  'corrections none': (lambda: core.Langevin(DDIM(), 0), 'n >= 1'),
  'eta of each example': (lambda: DDIM(jnp.ones(4)), 'whole batch'),
  'eta from given': (lambda: DDIM(From('eta')), 'whole batch'),
  'snr of each example': (lambda: core.Langevin(DDIM(), snr=jnp.ones(4)), 'whole batch'),
  'mix from given': (lambda: Mix(MIXTURE, From('w')), 'whole batch'),
  'mix of each example': (lambda: Mix(MIXTURE, jnp.ones((4, 2)) / 2), r'\[K\]'),
  'conds twice': (
    lambda: draw(
      denoiser=Mix(MIXTURE, cfg(1.0)).shared([2, 1]), given={'conds': jnp.zeros((4, 2), int)}
    ),
    'twice',
  ),
  'weights NaN in a nested list': (lambda: classifier([[np.nan, 1.0]] * 4), 'finite'),
  'one class': (
    lambda: draw(Classifier(VARIABLES, [1.0], OneLogit())),
    'one logit.*Regressor',
  ),
  'climbing with noise': (
    lambda: draw(process=PROCESS.forward(), x=jnp.ones((4, 2))),
    r'cannot climb: solver=DDIM\(\)',
  ),
  'x of integers': (lambda: draw(x=jnp.ones((4, 2), int)), 'float array'),
  'x a list': (lambda: draw(x=[[1.0, 1.0]] * 4), 'float array'),
  'shape a number': (lambda: draw(shape=4), r'shape=\(H, W, C\)'),
  'one move': (lambda: draw(process=PROCESS.reverse()._replace(i=jnp.zeros((), int))), 'moves'),
  'a class for a solver': (lambda: draw(solver=DDIM), r'as in DDIM\(\)'),
  'a guidance for a solver': (lambda: draw(solver=guided(MIXTURE, [1.0, 1.0])), 'is no solver'),
  'a solver for a guidance': (lambda: draw(DDIM()), 'is a solver'),
  'no denoiser': (lambda: draw(denoiser=None), 'denoiser is a value that can be called'),
  'one key for a batch of losses': (
    lambda: core.ClassifierLoss(PROCESS, NET)(
      {}, {'image': jnp.ones((3, 2)), 'label': jnp.zeros(3, int)}, KEYS[:1]
    ),
    'one key for each example: 3',
  ),
  'aim NaN': (
    lambda: draw(classifier(Aim(60.0)), given={'aim': jnp.array([0, 0.5, jnp.nan, 1])}),
    r"given\['aim'\] holds NaN",
  ),
  'aim of another shape': (
    lambda: draw(classifier(Aim(60.0)), given={'aim': jnp.ones((4, 1))}),
    r"given\['aim'\] is one number",
  ),
  'x NaN': (lambda: draw(x=jnp.full((4, 2), jnp.nan)), 'x holds NaN'),
  'words for weights': (lambda: classifier(['30', '30']), 'numbers or a schedule'),
  'weights of other examples': (lambda: draw(classifier(jnp.ones((3, 2)))), 'belong to 3 examples'),
  'scale of other examples': (
    lambda: draw(guided(MIXTURE, [1.0, 1.0]) * jnp.ones(3)),
    'one for each of 4',
  ),
  'a list for a guidance': (lambda: draw([30.0, 30.0]), 'guidance is a value'),
  'a word for a merge': (lambda: Combine((MIXTURE,), 'sum'), r'CAGrad\(.5\)'),
  'a word for a merge of pairs': (
    lambda: Pairs(DDIM(), (guided(MIXTURE, [1.0, 1.0]),) * 2, merge='sum'),
    'a merge is',
  ),
  'ahead to a solver': (lambda: Lookahead(DDIM(), then=DDIM()), 'asks a guidance'),
  'around a number': (lambda: core.Langevin(3), 'goes around a solver'),
  'during a guidance for a solver': (
    lambda: draw(solver=During((0, 10), guided(MIXTURE, [1.0, 1.0]))),
    'is no solver',
  ),
  'during an empty range': (lambda: During((500, 200), guided(MIXTURE, [1.0, 1.0])), 'length of'),
  'a bare net': (
    lambda: draw(denoiser=zsi.UNet()),
    r'Denoiser\(variables, net\), not a bare net',
  ),
  'climbing from nothing': (
    lambda: sample(KEYS, PROCESS.forward(), MIXTURE, solver=DDIM(), shape=(2,)),
    'x=images',
  ),
  'a negative c': (lambda: core.CAGrad(-1.0), 'CAGrad.c is at least 0'),
  'tau of zero': (lambda: Regressor(VARIABLES, 0.5, 0.0, NET), 'Regressor.tau is above 0'),
  'half a chunk': (lambda: sample_by(2.5, KEYS, PROCESS, MIXTURE, shape=(2,)), 'two rows'),
  'half a round': (lambda: TimeTravel(DDIM(), 2.5), 'n >= 1'),
  'no sections': (lambda: core.spaced(10, []), 'no steps'),
  'site': (lambda: LogProb(lambda x, level, given: x, at='here'), 'at is one of'),
  'site of a classifier': (lambda: Classifier({}, [1.0], NET, at='mu'), 'at is one of'),
  'energy of the whole batch': (
    lambda: draw(Energy(lambda x0, given: jnp.sum(x0))),
    'one number for each example',
  ),
  'no terms': (lambda: Combine(()), 'at least one term'),
  'predicts': (lambda: Denoiser({}, NET, predicts='noise'), 'predicts is one of'),
  'variance': (lambda: Denoiser({}, NET, variance='fixed'), 'variance is one of'),
  'loss kind': (lambda: core.DenoiserLoss(Denoiser({}, NET), PROCESS, kind='l2'), 'kind is one of'),
  'regressor': (lambda: Regressor(VARIABLES, np.nan, 1.0, NET), 'Regressor.target'),
}


@pytest.mark.parametrize('name', CASES)
def test_is_refused_with_the_right_call(name, compiled):
  call, message = CASES[name]
  with pytest.raises(ValueError, match=message):
    call()
  assert not {'run', 'begin', 'advance'} & set(
    compiled
  )  # a ValueError that comes after a compilation has cost minutes


def test_a_right_call_is_what_compiles(compiled):
  draw(classifier([1.25, 1.0]), shape=(3,))
  assert compiled.count('run') == 1


class Three:
  """A network of three channels."""

  def apply(self, variables, x, t, cond=None):
    return x


def test_a_learned_variance_needs_its_channels():
  with pytest.raises(ValueError, match="variance='small'"):
    draw(denoiser=Denoiser({}, Three()))
  small = Denoiser({}, Three(), variance='small')
  assert jax.eval_shape(lambda keys: draw(denoiser=small, keys=keys), KEYS).shape == (4, 2)


def test_an_image_that_the_unet_cannot_halve():
  net = zsi.UNet(width=32, mults=(1, 1, 1), blocks=1, attend=(), out=6)
  variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)), jnp.zeros(1))
  variables = jax.tree.map(lambda a: jnp.zeros(a.shape), variables)
  with pytest.raises(ValueError, match=r'10 x 10.*multiples of 4'):
    draw(denoiser=Denoiser(variables, net), shape=(10, 10, 3))
