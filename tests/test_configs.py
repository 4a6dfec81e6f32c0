"""Every config is a whole one at every preset; at :paper it builds, with the published numbers."""

from __future__ import annotations

import ast
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from zsi_jax.build import models, sampling
from zsi_jax.build.keys import flat, meaning
from zsi_jax.build.networks import architecture
from zsi_jax.build.training import job
from zsi_jax.core import sample
from zsi_jax.stages.config import load
from zsi_jax.stages.sweep import variants
from zsi_jax.train.state import create
from zsi_jax.train.step import make_step

FILES = sorted((Path(__file__).parents[1] / 'configs').glob('z*/*.py'))
OWN = [path for path in FILES if path.stem != 'imagenet_pair']  # that train what they draw with
EACH = pytest.mark.parametrize('file', FILES, ids=lambda p: p.stem)
ROLES = 'denoiser', 'classifier'
KEY = jax.eval_shape(lambda: jax.random.key(0))


def facts(config):
  """Image shape and number of labels: a row of the weights has a number for each."""
  size = config.data.options.size
  weights = config.sample.weights
  return (size, size, 3), 2 if weights is None else len(weights)


def told(config, role):
  return json.dumps([meaning(config, role)[k] for k in (role, 'process')] + [facts(config)])


@functools.cache
def stepped(file, preset, role, _):
  """Shapes of a state and of what the training step makes of it; the last argument is its cache."""
  config = load(f'{file}:{preset}')
  shape, classes = facts(config)
  todo = job(config, role, shape, classes)
  rows = 8 * todo.accumulate
  batch = {
    'image': jax.ShapeDtypeStruct((rows, *shape), jnp.float32),
    'label': jax.ShapeDtypeStruct((rows,), jnp.int32),
    'example': jax.ShapeDtypeStruct((rows,), jnp.int32),
  }
  state = jax.eval_shape(lambda key: create(todo.init, todo.tx, todo.ema, key), KEY)
  step = make_step(todo.loss, todo.tx, todo.ema, todo.accumulate)
  return todo, state, *jax.eval_shape(step, state, batch, KEY)


_TOLD: dict = {}


def abstract(file, preset, role):
  """`stepped`, once for each architecture: most experiments share theirs."""
  own = told(load(f'{file}:{preset}'), role)
  return stepped(_TOLD.setdefault(own, file), preset, role, own)


@EACH
def test_every_variant_is_a_whole_config(file, tmp_path):
  for preset in ('tiny', 'small', 'gpu', 'paper'):
    found = variants(f'{file}:{preset}', {}, tmp_path)
    assert found[0].config == load(f'{file}:{preset}')
    assert all(one.overrides for one in found[1:])


@EACH
def test_every_preset_is_a_whole_config(file):
  for preset in ('tiny', 'small', 'gpu', 'paper'):
    config = load(f'{file}:{preset}')
    assert config.sample.per_file % config.sample.batch == 0
    shape, classes = facts(config)
    for role in ROLES:
      models.abstract(architecture(config, role, shape, classes))


@EACH
@pytest.mark.parametrize('role', ROLES)
def test_the_training_step_at_paper_has_the_state_it_was_given(file, role):
  todo, state, after, metrics = abstract(file, 'paper', role)
  shapes = functools.partial(jax.tree.map, lambda a: (a.shape, a.dtype))
  assert shapes(after) == shapes(state)
  assert {'loss', 'grad_norm', 'param_norm', 'update_norm'} <= set(metrics)
  assert {a.dtype for a in jax.tree.leaves(state.params)} == {jnp.dtype('float32')}


@pytest.mark.parametrize('file', OWN, ids=lambda p: p.stem)
def test_the_sampler_at_paper_gives_images(file):
  config = load(f'{file}:paper')
  shape, classes = facts(config)
  shapes = {role: abstract(file, 'paper', role)[1] for role in ROLES}

  def draw(params, keys):
    parts = {
      name: (architecture(config, role, shape, classes), {'params': params[role]}, Path(name))
      for name, role in (('denoiser', 'denoiser'), (config.classifier.name, 'classifier'))
    }
    m = models.assemble(parts, config.sample.steps, None)
    guidance, solver = sampling.guidance(config, m), sampling.solver(config)
    return sample(keys, m.process, m.denoiser, guidance, solver, shape=m.shape)

  params = {role: state.params for role, state in shapes.items()}
  keys = jax.eval_shape(lambda: models.keys(0, 2))
  images = jax.eval_shape(draw, params, keys)
  assert images.shape == (2, *shape) and images.dtype == jnp.float32


@EACH
def test_at_paper_the_published_hyper_parameters(file):
  c = flat(load(f'{file}:paper'))
  wanted = {
    'process.T': 4000,
    'process.schedule': 'cosine',
    'data.batch': 128,
    'denoiser.lr': 1e-4,
    'denoiser.ema': 0.9999,
    'denoiser.loss': 'hybrid',
    'denoiser.variance': 'learned',
    'denoiser.weight_decay': 0.0,
    'denoiser.clip': None,
    'classifier.lr': 3e-4,
    'classifier.ema': None,
    'classifier.net.dtype': 'float32',
  }
  assert {key: c[key] for key in wanted} == wanted


@pytest.mark.parametrize(
  'name, role, count',
  [
    ('smile', 'denoiser', 121_063_942),
    ('smile', 'classifier', 41_287_016 - (1000 - 2) * 513),
    ('circles', 'classifier', 10_043_816 - (1000 - 2) * 257),
    ('celeba_smile_128', 'denoiser', 125_070_598),
    ('celeba_smile_128', 'classifier', 42_568_040 - (1000 - 2) * 513),
  ],
)
def test_parameters_at_paper(name, role, count):
  state = abstract(next(f for f in FILES if f.stem == name), 'paper', role)[1]
  assert sum(a.size for a in jax.tree.leaves(state.params)) == count


@EACH
def test_a_gpu_preset_is_small(file):
  config = load(f'{file}:gpu')
  found = architecture(config, 'denoiser', *facts(config))
  tree = models.abstract(found)
  assert sum(a.size for a in jax.tree.leaves(tree['params'])) <= 8_000_000


@EACH
def test_a_docstring_holds_the_command_and_the_file_is_short(file):
  text = file.read_text()
  said = ast.get_docstring(ast.parse(text))
  assert f'zsi run configs/{file.parent.name}/{file.name}:' in said and len(text.splitlines()) <= 45
