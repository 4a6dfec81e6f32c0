"""Networks of a workdir: loaded without a config, converted, put together for the sample stage."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

import zsi_jax as zsi
from zsi_jax.build import models, sampling, trained
from zsi_jax.build.keys import ConfigError
from zsi_jax.build.training import job
from zsi_jax.core import DDIM, Heun
from zsi_jax.io.checkpoint import Checkpoints
from zsi_jax.io.errors import WeightsError
from zsi_jax.main import cli
from zsi_jax.stages.config import load
from zsi_jax.train.state import create

CONFIG = 'configs/zsi/circles.py:tiny'
SMALL = {
  'process.T': 100,
  'sample.steps': 4,
  'denoiser.net.mults': (1,),
  'denoiser.net.attend': (),
  'denoiser.net.width': 32,
  'classifier.net.mults': (1,),
  'classifier.net.attend': (),
}


def made(workdir, roles=('denoiser', 'classifier'), **said):
  """A workdir with checkpoints of random numbers in every variable, and its config."""
  config = load(CONFIG, SMALL | said)
  for role in roles:
    todo = job(config, role, (8, 8, 3), 2)
    key = jax.random.key(0)
    make = functools.partial(create, todo.init, todo.tx, todo.ema)
    state = jax.eval_shape(make, key)
    with Checkpoints(workdir / role / 'checkpoints') as kept:
      kept.save(1, filled(state, len(role)), {}, todo.carried)
  return config


def filled(shapes, seed):
  draw = np.random.default_rng(seed)
  return jax.tree.map(lambda a: jax.numpy.asarray(0.1 * draw.normal(size=a.shape), a.dtype), shapes)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  made(folder)
  return folder


def test_a_workdir_loads_without_its_config(workdir):
  m = zsi.load(workdir, steps=3)
  assert m.shape == (8, 8, 3) and list(m.classifier) == ['side'] and len(m.process) == 3
  images = zsi.draw(m, 2, m.classifier['side'].towards(30.0, 30.0))
  assert images.shape == (2, 8, 8, 3) and bool(np.isfinite(images).all())
  state = m.config['denoiser']['source']
  assert state['step'] == 1 and len(state['sha256']) == 64


def test_the_same_weights_have_the_same_sha256(workdir, tmp_path):
  """However they are stored: orbax gives its files other names each time."""
  made(tmp_path)
  sources = [zsi.load(folder).config['denoiser']['source'] for folder in (workdir, tmp_path)]
  assert sources[0] == sources[1] != zsi.load(workdir).config['side']['source']


def test_the_average_is_what_is_loaded(workdir):
  """Of the denoiser; the classifier, as published, has none."""
  from zsi_jax.io.checkpoint import read

  m = zsi.load(workdir)
  for role, part, which in (
    ('denoiser', m.denoiser, 'ema'),
    ('classifier', m.classifier['side'], 'params'),
  ):
    _, trees, _ = read(workdir / role / 'checkpoints', (which,))
    same = jax.tree.map(np.array_equal, part.variables['params'], trees[which])
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize('dtype, near', [(None, 0), ('float16', 1e-3), ('bfloat16', 8e-3)])
def test_a_network_of_a_workdir_becomes_weights(workdir, tmp_path, dtype, near):
  options = {} if dtype is None else {'dtype': dtype}
  for role in ('denoiser', 'classifier'):
    said = zsi.convert(workdir / role, tmp_path / f'{role}.safetensors', **options)
    assert role in said and 'step 1' in said
  m, again = zsi.load(workdir), zsi.load(tmp_path)
  assert list(again.classifier) == ['classifier']
  assert again.denoiser.net == m.denoiser.net and again.denoiser.variance == m.denoiser.variance
  for a, b in zip(
    jax.tree.leaves(m.denoiser.variables), jax.tree.leaves(again.denoiser.variables), strict=True
  ):
    assert b.dtype == np.float32
    np.testing.assert_allclose(a, b, rtol=near, atol=near / 100)


def test_convert_wants_one_network_and_never_overwrites(workdir, tmp_path):
  with pytest.raises(WeightsError, match='denoiser and classifier; name one'):
    zsi.convert(workdir, tmp_path / 'a.safetensors')
  with pytest.raises(WeightsError, match='no checkpoints'):
    zsi.convert(tmp_path, tmp_path / 'a.safetensors')
  zsi.convert(workdir / 'denoiser', tmp_path / 'a.safetensors')
  with pytest.raises(WeightsError, match='exists already'):
    zsi.convert(workdir / 'denoiser', tmp_path / 'a.safetensors')


@pytest.mark.parametrize('option, words', [('heads=4', 'heads is no'), ('dtype=f16', "'f16'")])
def test_an_option_that_checkpoints_do_not_take(workdir, tmp_path, option, words, capsys):
  to = tmp_path / 'a.safetensors'
  assert cli(['convert', str(workdir / 'denoiser'), str(to), option]) == 2
  err = capsys.readouterr().err
  assert words in err and 'bfloat16' in err and not to.exists()


def test_the_model_of_a_config(workdir, tmp_path):
  config = load(CONFIG, SMALL | {'sample.weights': (3.0, 4.0), 'sample.at': 'mean'})
  m = trained.model(config, workdir)
  term = sampling.guidance(config, m)
  assert len(m.process) == 4 and term.at == 'mean' and term.weights.tolist() == [3, 4]
  assert sampling.guidance(load(CONFIG, SMALL | {'sample.weights': None}), m) is None
  file = tmp_path / 'side.safetensors'
  zsi.convert(workdir / 'classifier', file)
  said = {'sample.classifiers': (str(workdir), str(file)), 'sample.weights': ((1.0, 2.0),) * 2}
  config = load(CONFIG, SMALL | said)
  m = trained.model(config, workdir)
  assert list(m.classifier) == ['side', "side'"]
  assert len(sampling.guidance(config, m).terms) == 2
  assert m.config["side'"]['source']['sha256'] != m.config['side']['source']['sha256']


@pytest.mark.parametrize(
  'said, words',
  [
    ({'sample.weights': (1.0, 2.0, 3.0)}, ['3 numbers', "'side'", '2 classes']),
    ({'sample.weights': ((1.0, 2.0),) * 2}, ['2 rows', '1 classifiers', 'side']),
  ],
)
def test_weights_that_do_not_fit(workdir, said, words):
  config = load(CONFIG, SMALL | said)
  with pytest.raises(ConfigError) as caught:
    sampling.guidance(config, trained.model(config, workdir))
  assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
  'other, words',
  [
    ({'process.T': 50}, ["('cosine', 100)", "('cosine', 50)", 'cannot guide']),
    ({'process.schedule': 'linear'}, ["('linear', 100)", 'cannot guide']),
  ],
)
def test_networks_that_do_not_belong_together(workdir, tmp_path, other, words):
  made(tmp_path, ('classifier',), **other)
  config = load(CONFIG, SMALL | {'sample.classifiers': (str(tmp_path),)})
  with pytest.raises(ConfigError) as caught:
    trained.model(config, workdir)
  assert all(word in str(caught.value) for word in words), caught.value


def test_only_what_is_asked_for_is_read_and_once(workdir, monkeypatch):
  read, seen = models.checkpoints.read, []
  monkeypatch.setattr(models.checkpoints, 'read', lambda p: seen.append(p.name) or read(p))
  trained.model(load(CONFIG, SMALL | {'sample.weights': None}), workdir)
  assert seen == ['denoiser']
  trained.model(load(CONFIG, SMALL), workdir)
  assert seen == ['denoiser', 'denoiser', 'classifier']


def test_more_steps_than_there_are(workdir):
  with pytest.raises(ConfigError, match='sample.steps = 101, and the denoiser has T = 100: take'):
    trained.model(load(CONFIG, SMALL | {'sample.steps': 101}), workdir)


def test_unlabelled_records_are_the_null_row():
  todo = job(load(CONFIG, SMALL | {'denoiser.drop': 0.0}), 'denoiser', (8, 8, 3), 2)
  given = filled(jax.eval_shape(todo.init, jax.random.key(0)), 1)
  batch, keys = {'image': jax.numpy.zeros((3, 8, 8, 3))}, zsi.keys(0, 3)
  losses = [
    todo.loss(given, batch | {'label': jax.numpy.full(3, label)}, keys, False)[0]
    for label in (-1, 2, 1)
  ]
  assert losses[0] == losses[1] != losses[2]


def test_nothing_is_trained_yet(tmp_path, workdir):
  with pytest.raises(ConfigError, match='--stage=denoiser'):
    trained.model(load(CONFIG, SMALL), tmp_path)
  made(tmp_path, ('denoiser',))
  with pytest.raises(ConfigError, match='no classifier, only denoiser'):
    trained.model(load(CONFIG, SMALL), tmp_path)
  assert trained.model(load(CONFIG, SMALL | {'sample.weights': None}), tmp_path).classifier == {}


def test_solvers():
  said = {'sample.solver.kind': 'ddim', 'sample.solver.eta': 0.5}
  ddim = sampling.solver(load(CONFIG, said))
  assert isinstance(ddim, DDIM) and ddim.eta == 0.5
  assert isinstance(sampling.solver(load(CONFIG, {'sample.solver.kind': 'heun'})), Heun)
  config = load(CONFIG, {'sample.solver.inject': 'between'})
  with pytest.raises(ConfigError, match="'between'"):
    sampling.solver(config)
  with pytest.raises(ConfigError, match='heun'):
    load(CONFIG, {'sample.solver.kind': 'hoyn'})


def test_the_shipped_model_draws():
  with pytest.raises(WeightsError, match='by that name: did you mean circles32'):
    zsi.load('circles33')
  m = zsi.load('circles32', steps=8)
  assert m.shape == (32, 32, 3) and list(m.classifier) == ['side']
  size = sum(f.stat().st_size for f in (models.SHIPPED / 'circles32').iterdir())
  assert size <= 1_000_000
  images = zsi.draw(m, 2, m.classifier['side'].towards(30.0, 30.0))
  assert bool(np.isfinite(images).all())


@pytest.mark.parametrize('drop', [None, 0.1])
def test_a_ddpm_is_a_denoiser_as_any_other(tmp_path, drop):
  """Its loss takes labels where it has rows for them; its checkpoint needs no config."""
  config = made(tmp_path, ('denoiser',), **{'denoiser.net.kind': 'ddpm', 'denoiser.drop': drop})
  net = zsi.load(tmp_path).denoiser.net
  labels = None if drop is None else 3
  assert net == zsi.DDPM(width=32, mults=(1,), blocks=1, attend=(), out=3, labels=labels)
  todo = job(config, 'denoiser', (8, 8, 3), 2)
  given = jax.eval_shape(todo.init, jax.random.key(0))
  assert ('label_emb' in given['params']) == (drop is not None)
  batch = {'image': jax.numpy.zeros((3, 8, 8, 3)), 'label': jax.numpy.zeros(3, int)}
  loss, _ = jax.eval_shape(lambda v: todo.loss(v, batch, zsi.keys(0, 3), True), given)
  assert loss.shape == ()
