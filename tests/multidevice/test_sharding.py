"""Sharding the keys and `given` shards the chain: the same images on one device and on four."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = pytest.mark.parametrize('name', ['multi-guidance', 'pairs'])


def chain(devices):
  env = os.environ | {'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': str(devices)}
  env.pop('XLA_FLAGS', None)
  run = [sys.executable, '-m', 'tests.multidevice.chain']
  done = subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True, timeout=400)
  assert done.returncode == 0, done.stderr[-2000:]
  return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope='module')
def facts():
  return {d: chain(d) for d in (1, 4)}


@NAMES
def test_the_same_program_on_each_device_writes_the_same_bits(facts, name):
  """Micro-batches placed on the last device of four are those of the only one."""
  assert [f['devices'] for f in facts.values()] == [1, 4]
  assert facts[1][name]['sha256'] == facts[4][name]['sha256']
  assert facts[1][name]['spread'] > 0.1


@NAMES
def test_sharded_keys_draw_the_same_images(facts, name):
  """XLA may round a partitioned program otherwise: the same noise, and 1e-4 on [-1, 1]."""
  for f in facts.values():
    assert f[name]['gap'] <= 1e-4


@NAMES
def test_sampling_needs_no_collective(facts, name):
  assert facts[4][name]['collectives'] == []
