"""Checkpoints of processes that are killed, and of several at once, in processes of their own."""

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.io import many
from tests.io.killed import PLACES
from zsi_jax.io.checkpoint import Checkpoints, read

ROOT = Path(__file__).parents[2]
KILLS = 20


def start(*args, devices=1):
  env = os.environ | {'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': str(devices)}
  env.pop('XLA_FLAGS', None)
  return subprocess.Popen(
    [sys.executable, '-m', *map(str, args)],
    cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
  )  # fmt: skip


def finish(*processes):
  try:
    outputs = [process.communicate(timeout=120) for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert [p.returncode for p in processes] == [0] * len(processes), outputs
  return [[json.loads(line) for line in out.splitlines() if line[0] == '{'] for out, _ in outputs]


def test_a_killed_save_leaves_a_whole_step(tmp_path):
  """kill -9 at every stage of a save, and at 20 random moments; each life checks what it finds."""
  (lives,) = finish(start('tests.io.killed', tmp_path, KILLS))
  assert [life['signal'] for life in lives] == [9] * len(lives)
  assert [life.get('wrong') for life in lives] == [[]] * len(lives)
  for before, after in itertools.pairwise(lives):  # what bears its number is whole
    assert after['step'] == max([0, *(int(n) for n in before['left'] if n.isdecimal())])
  assert lives[0]['step'] == 0 < min(life['step'] for life in lives[1:])
  assert len([life for life in lives if life['place'] is None]) == KILLS

  def left(place):
    return [life['left'] for life in lives if life['place'] == place]

  assert {life['place'] for life in lives} == {*PLACES, None}
  for place in list(PLACES)[:4]:
    assert any('sealing' in name for name in left(place)[0])
  assert any('orbax-checkpoint-tmp' in ' '.join(names) for names in left(None))  # amid a write
  assert not any('damaged' in name for life in lives for name in life['left'])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Saved by one process with four devices, gone on with by two with two each."""
  folder = tmp_path_factory.mktemp('many') / 'checkpoints'
  ((said,),) = finish(start('tests.io.many', 'save', folder, 0, 1, 0, devices=4))
  assert said == {'devices': 4}
  return folder


@pytest.fixture(scope='module')
def two(folder):
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    port = probe.getsockname()[1]
  processes = [start('tests.io.many', 'go_on', folder, p, 2, port, devices=2) for p in range(2)]
  return [said for (said,) in finish(*processes)]


def test_two_processes_go_on_with_the_same_step(two):
  first = [1, many.digest_host(many.host(1)), {'at': 1}, True]
  for said in two:
    assert said['devices'] == 4 and said['first'] == said['second'] == first
    assert said['third'] == [2, many.digest_host(many.host(2)), {'at': 2}, True]


def test_two_processes_fail_with_the_same_words(two):
  assert two[0]['architecture'] == two[1]['architecture'] and two[0]['back'] == two[1]['back']
  assert 'params/w is float32 [8, 12] there, float32 [8, 24] here' in two[0]['architecture']
  assert 'step 0 is to be saved, but step 1 is there' in two[0]['back']


def test_one_of_two_processes_may_read_alone(two):
  assert 'read' not in two[0] and two[1]['read'] == two[1]['ema']


def test_one_device_reads_and_restores_what_four_wrote(two, folder):
  assert len(jax.devices()) == 1
  _, trees, step = read(folder)
  assert step == 2 and np.array_equal(trees['ema']['w'], many.host(2)['ema']['w'])
  with Checkpoints(folder) as checkpoints:
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), many.host(0))
    restored = checkpoints.restore(shapes)
  assert many.digest_host(restored.state) == many.digest_host(many.host(2))
  assert (folder / 'damaged-2').is_dir()


LIMITED = """
import resource, sys
import jax.numpy as jnp, numpy as np
from zsi_jax.io.checkpoint import Checkpoints
from zsi_jax.io.errors import CheckpointError
from zsi_jax.io.steps import numbers
x = {'x': jnp.asarray(np.random.default_rng(0).random(1 << 16, np.float32))}
with Checkpoints(sys.argv[1]) as checkpoints:
  checkpoints.save(1, x, {}, {})
  checkpoints.settle()
  resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
  try:
    checkpoints.save(2, x, {}, {})
    checkpoints.settle()
  except CheckpointError as error:
    print(error)
  print(numbers(checkpoints.folder))
"""


def test_a_file_that_cannot_grow_is_a_line(tmp_path):
  """As on a full disk, but within the library that writes the arrays."""
  command = [sys.executable, '-c', LIMITED, str(tmp_path / 'c')]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
  lines = done.stdout.splitlines()
  assert done.returncode == 0 and done.stderr == '', done.stderr
  assert len(lines) == 2 and lines[1] == '[1]'
  assert '/c/2: the checkpoint could not be saved (File too large)' in lines[0]
