"""A sampler as one file: the same images, for other platforms, without the networks' code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import zsi_jax as zsi
from zsi_jax import main
from zsi_jax.build.export import export
from zsi_jax.io import files
from zsi_jax.io.errors import WeightsError

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def pulled(folder, tmp_path_factory):
  path = tmp_path_factory.mktemp('sampler') / 'pulled.safetensors'
  said = export(folder, path, batch=2, steps=3, weights=(20.0, 10.0))
  assert said.startswith(f'{path}: ') and "weights = {'smile': [20.0, 10.0]}" in said
  return path


def test_it_draws_what_the_model_draws(folder, pulled):
  m, draw = zsi.load(folder, steps=3), zsi.Sampler(pulled)
  smile = m.classifier['smile']
  ours = zsi.draw(m, 3, smile.towards(20.0, 10.0), seed=4)
  theirs = draw(3, seed=4)  # two micro-batches, the last of them cut
  assert theirs.shape == (3, 16, 16, 3)
  np.testing.assert_allclose(theirs, ours, atol=2e-4)
  other = zsi.draw(m, 2, smile.towards(0.0, 40.0), seed=4)
  np.testing.assert_allclose(draw(2, seed=4, smile=(0, 40)), other, atol=2e-4)
  assert np.abs(other - ours[:2]).max() > 1e-2
  np.testing.assert_array_equal(draw(1, seed=4), theirs[:1])
  assert '\n' not in repr(draw) and 'smile' in repr(draw)


def test_each_image_is_asked_for_its_own(folder, tmp_path):
  path = tmp_path / 'aimed.safetensors'
  export(folder, path, batch=2, steps=3, aim=40.0, platforms='cpu')
  m, draw, z = zsi.load(folder, steps=3), zsi.Sampler(path), np.array([0.0, 0.5, 1.0], np.float32)
  ours = zsi.draw(m, 3, m.classifier['smile'].towards(zsi.Aim(40.0)), given={'aim': z})
  np.testing.assert_allclose(draw(3, aim=z), ours, atol=2e-4)
  np.testing.assert_allclose(draw(2, aim=0.0)[0], ours[0], atol=2e-4)
  for bad, match in (
    ({}, 'say aim=z'),
    ({'aim': 1.5}, r'one number in \[0, 1\]'),
    ({'aim': z[:2]}, 'or 3 of them'),
    ({'aim': 0.5, 'smile': (1, 2)}, 'aims, and is not pulled by weights'),
  ):
    with pytest.raises(ValueError, match=match):
      draw(3, **bad)


ALONE = """
import sys, time
began = time.perf_counter()
from zsi_jax.io.sampler import Sampler
draw = Sampler(sys.argv[1])
seconds = time.perf_counter() - began
images = draw(2)
rooms = [n for n in sys.modules if n.startswith(('zsi_jax.nets', 'zsi_jax.core', 'flax'))]
print(seconds, images.shape, rooms)
"""


def test_it_needs_no_network_and_loads_in_two_seconds(pulled):
  done = subprocess.run(
    [sys.executable, '-c', ALONE, str(pulled)], cwd=ROOT, capture_output=True, text=True, check=True
  )
  seconds, rest = done.stdout.split(' ', 1)
  assert rest == '(2, 16, 16, 3) []\n'
  assert float(seconds) < 10  # 2 on a machine that does nothing else


def test_what_lies_in_the_file(pulled):
  arrays, facts = files.read(pulled)
  told = facts['header']
  assert told['kind'] == 'sampler' and told['platforms'] == ['cpu', 'cuda', 'tpu']
  assert told['steps'] == 3 and told['classifiers'] == {'smile': 2} and told['batch'] == 2
  assert set(told['sources']) == {'denoiser', 'smile'} and told['stamp']['jax']
  assert b'callback' not in arrays['program'].tobytes()


@pytest.mark.parametrize(
  'options, match',
  [
    ({'platforms': 'toaster'}, r"platforms = \['toaster'\]: some of cpu, cuda, tpu"),
    ({'batch': 0}, 'batch = 0'),
    ({'weights': (1.0, 2.0, 3.0)}, 'as many as classes, of smile 2'),
    ({'weights': (1.0, float('nan'))}, 'finite'),
    ({'aim': 30.0, 'weights': (1.0, 2.0)}, 'aim pulls one classifier'),
    ({'solver': 'ancestrel'}, "no solver 'ancestrel': did you mean ancestral"),
    ({'colour': 1}, "'colour'"),
    ({'steps': 5000}, '5000'),
  ],
)
def test_what_cannot_be_exported(folder, tmp_path, options, match):
  with pytest.raises(ValueError, match=match):
    export(folder, tmp_path / 'a.safetensors', **options)
  assert not list(tmp_path.iterdir())


def test_what_cannot_be_drawn(pulled):
  draw = zsi.Sampler(pulled)
  for said, match in (
    ({'smile': (1, 2, 3)}, 'it takes 2 finite weights'),
    ({'smile': (1, np.inf)}, 'it takes 2 finite weights'),
    ({'age': (1, 2)}, r"age: this sampler knows \['smile'\]"),
    ({'aim': 0.5}, 'pulled by weights'),
    ({'n': 0}, 'n is 1 or more'),
    ({'seed': -1}, r'a seed in \[0, 2\^32\)'),
  ):
    with pytest.raises(ValueError, match=match):
      draw(**said)


def test_what_is_no_sampler(folder, pulled, tmp_path):
  with pytest.raises(WeightsError, match='weights and no sampler'):
    zsi.Sampler(folder / 'unet.safetensors')
  with pytest.raises(WeightsError, match='there is no such file'):
    zsi.Sampler(tmp_path / 'gone.safetensors')
  whole, (_, facts) = load_file(pulled), files.read(pulled)
  other = tmp_path / 'cut.safetensors'
  files.write(other, whole | {'program': whole['program'][:1000]}, facts['header'])
  with pytest.raises(WeightsError, match='export it again'):
    zsi.Sampler(other)
  other.write_bytes(pulled.read_bytes()[:-50])
  with pytest.raises(WeightsError, match='truncated'):
    zsi.Sampler(other)
  export(folder, other, force=True, steps=2, batch=1, platforms=['tpu'])
  with pytest.raises(WeightsError, match='it is for tpu, and this is a cpu'):
    zsi.Sampler(other)


def test_the_command(folder, tmp_path, capsys):
  path = tmp_path / 'a.safetensors'
  line = ['export', str(folder), str(path), 'steps=2', 'batch=1', 'platforms=cpu']
  assert main.cli(line) == 0
  assert 'kind = sampler' in capsys.readouterr().out
  assert main.cli(line) == 2 and '--force' in capsys.readouterr().err
  assert main.cli([*line, '--force']) == 0
  header = json.loads(json.dumps(zsi.Sampler(path).facts))
  assert header['steps'] == 2 and header['weights'] == {'smile': [30.0, 30.0]}
