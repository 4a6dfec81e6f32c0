"""Training on several devices and processes, and after every way to end: real processes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.stages import command
from tests.stages.small import fine, run, said
from zsi_jax.io.checkpoint import read

ROOT = Path(__file__).parents[2]
TIMING = 'images_per_second', 'model_flops_per_second'
SHORT = {'steps': 6, 'save_every': 3, 'log_every': 1}


def start(folder, devices=1, processes=1, **more):
  """The processes of one run; each has its share of the devices."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  env = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': str(devices // processes),
    'JAX_COMPILATION_CACHE_DIR': '',
  }
  env.pop('XLA_FLAGS', None)
  told = {'net': 'linear', 'folder': str(folder), 'processes': processes, 'port': port} | more
  return [
    subprocess.Popen(
      [sys.executable, '-m', 'tests.multidevice.trains', json.dumps(told | {'process': p})],
      cwd=ROOT,
      env=env,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for p in range(processes)
  ]


def ended(children, status=0):
  texts = [child.communicate(timeout=400)[0] for child in children]
  assert [child.returncode for child in children] == [status] * len(children), texts[0][-3000:]
  return texts[0]


def trained(folder, **more):
  ended(start(folder, **more))
  return folder


def lines(folder):
  rows = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
  return [{k: v for k, v in row.items() if k not in TIMING} for row in rows]


def saved(folder):
  names = 'step', 'params', 'ema', 'opt'
  return {
    jax.tree_util.keystr(path): array
    for path, array in jax.tree_util.tree_leaves_with_path(read(folder / 'checkpoints', names)[1])
  }


def assert_same(a, b):
  one, other = saved(a), saved(b)
  assert one.keys() == other.keys()
  for name in one:
    np.testing.assert_array_equal(one[name], other[name], name)


def assert_near(a, b):
  """Adam divides a gradient by its size, so the rounding of one near 0 moves it by up to lr."""
  one, other = (
    np.concatenate([x.ravel() for name, x in saved(f).items() if 'params' in name]) for f in (a, b)
  )
  assert np.sqrt(np.mean((one - other) ** 2)) < 5e-6 and np.abs(one - other).max() < 1e-3
  for x, y in zip(lines(a), lines(b), strict=True):
    assert x == pytest.approx(y, rel=1e-4, abs=1e-6)


def arrived(folder, step):
  """Waits until a checkpoint of this step, or a later one, has its name."""
  checkpoints = folder / 'checkpoints'
  for _ in range(4000):
    names = [p.name for p in checkpoints.iterdir()] if checkpoints.is_dir() else []
    if any(name.isdecimal() and int(name) >= step for name in names):
      return
    time.sleep(0.02)
  raise AssertionError(f'{folder} has no step {step}')


@pytest.fixture(scope='module')
def four(tmp_path_factory):
  """A U-Net on four devices of one process, replicated."""
  return trained(tmp_path_factory.mktemp('four'), net='unet', devices=4, job=SHORT)


@pytest.mark.parametrize('processes, fsdp', [(1, 4), (2, 1), (2, 4)])
def test_processes_and_fsdp_train_to_rounding_of_replication(four, tmp_path, processes, fsdp):
  """The same order of data, the same noise; the state divided over devices and processes."""
  trained(tmp_path, net='unet', devices=4, processes=processes, fsdp=fsdp, job=SHORT)
  assert_near(four, tmp_path)


def test_half_the_devices_continue_the_curve(four, tmp_path):
  shutil.copytree(four, tmp_path, dirs_exist_ok=True)
  shutil.rmtree(tmp_path / 'checkpoints' / '6')
  trained(tmp_path, net='unet', devices=2, fsdp=2, job=SHORT)
  assert_near(four, tmp_path)
  assert lines(four)[:3] == lines(tmp_path)[:3] and lines(four)[3:] != lines(tmp_path)[3:]


def test_the_first_weights_are_the_same_bits_on_any_mesh(tmp_path):
  told = [
    ended(start(tmp_path, net='unet', initial=True, devices=devices, fsdp=fsdp)).split()
    for devices, fsdp in ((1, 1), (4, 2))
  ]
  assert told[0][1] == '0' and int(told[1][1]) > 10  # arrays that are divided
  assert told[0][2] == told[1][2]


@pytest.mark.parametrize('fsdp', [1, 4])
def test_rows_stay_on_their_devices(tmp_path, fsdp):
  """Gradients are added up and, with fsdp, parameters gathered; no activation is moved."""
  job = {'accumulate': 2}
  told = ended(start(tmp_path, net='unet', devices=4, fsdp=fsdp, moved=True, job=job))
  found = set(json.loads(told.splitlines()[-1]))
  assert 'rematerialization' not in told
  assert found - {'reduce-scatter'} == {'all-reduce'} | ({'all-gather'} if fsdp > 1 else set())


LONG = {'steps': 60, 'save_every': 4, 'log_every': 3}


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  return trained(tmp_path_factory.mktemp('whole'), job=LONG)


def test_killed_three_times_it_ends_in_the_same_bits(whole, tmp_path):
  chance = random.Random(os.getpid())
  for n in range(3):
    (child,) = start(tmp_path, job=LONG, pause=0.02)
    arrived(tmp_path, 4 + 12 * n)
    time.sleep(wait := chance.uniform(0, 0.3))
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL, f'it had ended after {wait} s'
  trained(tmp_path, job=LONG)
  assert_same(whole, tmp_path)
  assert lines(whole) == lines(tmp_path)


def test_zsi_run_killed_three_times_ends_in_the_same_bits(tmp_path):
  """The same with a config, its data set and its network; a save is under way most of the time."""
  args = said('denoiser.steps=45', 'denoiser.save_every=3', 'denoiser.keep=1')
  env = {'JAX_COMPILATION_CACHE_DIR': str(tmp_path / 'cache'), 'ZSI_DATA_DIR': str(tmp_path)}
  once, often = tmp_path / 'once', tmp_path / 'often'
  for cwd in (once, often):
    cwd.mkdir()
    fine(*said(stage='prepare'), cwd=cwd, **env)
  fine(*args, cwd=once, **env)
  chance, kills = random.Random(os.getpid()), 0
  for n in range(3):
    child = command.start(*args, cwd=often, **env)
    arrived(often / 'runs/x/denoiser', 3 + 12 * n)
    time.sleep(chance.uniform(0, 0.2))
    child.kill()
    child.communicate()
    kills += child.returncode == -signal.SIGKILL
  assert kills >= 2  # a fast machine may have ended before the last
  code, _, err = run(*args, cwd=often, **env)
  assert code == 0 and all('a save that was cut short' in line for line in err.splitlines()), err
  assert_same(*(cwd / 'runs/x/denoiser' for cwd in (once, often)))
  assert lines(once / 'runs/x/denoiser') == lines(often / 'runs/x/denoiser')


def test_a_flipped_byte_in_the_largest_file_is_found(whole, tmp_path):
  """The step before is used, with a warning, and the end is the same."""
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  last = tmp_path / 'checkpoints' / '60'
  largest = max((p for p in last.rglob('*') if p.is_file()), key=lambda p: p.stat().st_size)
  data = bytearray(largest.read_bytes())
  data[len(data) // 2] ^= 1
  largest.write_bytes(data)
  told = ended(start(tmp_path, job=LONG))
  assert 'goes on from step 56 of 60' in told and 'warning' in told and largest.name in told
  assert_same(whole, tmp_path)


def test_sigterm_to_one_of_two_processes_stops_both_at_one_step(tmp_path):
  children = start(tmp_path, devices=2, processes=2, job=LONG | {'save_every': 1000}, pause=0.05)
  for _ in range(1000):
    if (tmp_path / 'metrics.jsonl').exists() and lines(tmp_path):
      break
    time.sleep(0.05)
  children[1].send_signal(signal.SIGTERM)
  time.sleep(0.1)
  children[1].send_signal(signal.SIGTERM)
  texts = [child.communicate(timeout=300)[0] for child in children]
  assert [child.returncode for child in children] == [143, 143], texts
  stopped = [[x for x in text.splitlines() if 'which is saved' in x] for text in texts]
  assert stopped[0] == stopped[1] and len(stopped[0]) == 1
  step = int(saved(tmp_path)["['step']"])
  assert f'after step {step} of 60' in stopped[0][0] and lines(tmp_path)[-1]['step'] == step
  trained(tmp_path, devices=2, processes=2, job=LONG | {'save_every': 1000})
  assert lines(tmp_path)[-1]['step'] == 60
