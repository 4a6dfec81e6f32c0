"""Processes that meet, and never go on alone: real ones, on this machine."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CIRCLES = f'{ROOT}/configs/zsi/circles.py:tiny'
JOIN = '-m', 'tests.multidevice.joins'
# As if SHARED were short: no disk of this machine takes a minute.
RUN = (
  '-c',
  'import sys, zsi_jax.stages.run as r; r.SEEN = 1; import zsi_jax.main as m; sys.exit(m.cli())',
)


@pytest.fixture
def port():
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    return free.getsockname()[1]


def start(*args, cwd=ROOT, **env):
  kept = {name: os.environ[name] for name in ('PATH', 'HOME') if name in os.environ}
  kept |= {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'ZSI_JOIN_TIMEOUT': '60'}
  pipe = subprocess.PIPE
  return subprocess.Popen(
    [sys.executable, *args], cwd=cwd, env=kept | env, stdout=pipe, stderr=pipe, text=True
  )


def ends(processes):
  """(status, stdout, stderr) of each, and the seconds that all took."""
  begun, rows = time.monotonic(), []
  try:
    for process in processes:
      out, err = process.communicate(timeout=60)
      rows.append((process.returncode, out, err))
  finally:
    for process in processes:
      process.kill()
  return rows, time.monotonic() - begun


def pair(*args, port, n=2, cwd=(ROOT, ROOT), **env):
  env |= {'JAX_COORDINATOR_ADDRESS': f'127.0.0.1:{port}', 'JAX_NUM_PROCESSES': str(n)}
  return ends(
    [start(*args, cwd=folder, JAX_PROCESS_ID=str(p), **env) for p, folder in enumerate(cwd)]
  )


def said(err):
  """What zsi says; the C++ of jax and of gloo says what it wants."""
  return [line for line in err.splitlines() if line.startswith('zsi: ')]


def test_two_processes_meet_by_their_environment(port):
  rows, _ = pair(*JOIN, 'meet', port=port)
  for p, (status, out, err) in enumerate(rows):
    assert status == 0, err
    told = ast.literal_eval(out)
    assert told == [[{'p': 0}, {'p': 1}], {'by': 0, 'of': [2]}, p == 0]


def test_two_tasks_of_slurm_meet(port):
  env = {
    'SLURM_JOB_ID': '77',
    'SLURM_STEP_NODELIST': '127.0.0.1',
    'SLURM_NTASKS': '2',
    'JAX_COORDINATOR_PORT': str(port),
    'JAX_NUM_CPU_DEVICES': '2',
  }
  tasks = [
    start(*JOIN, 'devices', SLURM_PROCID=str(p), SLURM_LOCALID=str(p), **env) for p in (0, 1)
  ]
  rows, _ = ends(tasks)
  assert [(status, ast.literal_eval(out)) for status, out, _ in rows] == [
    (0, [0, 2, 4]),
    (0, [1, 2, 4]),
  ], rows


@pytest.mark.parametrize(
  'env, words',
  [
    ({'JAX_NUM_PROCESSES': '2'}, ['JAX_NUM_PROCESSES=2', 'JAX_COORDINATOR_ADDRESS', 'missing']),
    ({'JAX_COORDINATOR_ADDRESS': 'a:1', 'JAX_PROCESS_ID': '0'}, ['JAX_NUM_PROCESSES', 'missing']),
    ({'SLURM_STEP_NODELIST': 'a', 'SLURM_NTASKS': '2'}, ['SLURM_PROCID is not set']),
    ({'OMPI_COMM_WORLD_SIZE': '2'}, ['OMPI_COMM_WORLD_RANK is not set']),
  ],
)
def test_a_partly_set_environment_starts_nothing(tmp_path, env, words):
  run = start(*RUN, 'run', CIRCLES, '--workdir=w', '--stage=prepare', cwd=tmp_path, **env)
  [(status, out, err)], _ = ends([run])
  assert status == 2 and out == '' and err.count('\n') == 1, err
  assert all(word in err for word in ['zsi: error: ', *words])
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('p, words', [('1', 'does not answer'), ('0', 'not all processes came')])
def test_nobody_goes_on_alone(tmp_path, port, p, words):
  env = {'JAX_COORDINATOR_ADDRESS': f'127.0.0.1:{port}', 'JAX_NUM_PROCESSES': '2'}
  run = ('run', CIRCLES, '--workdir=w', '--stage=prepare')
  process = start(*RUN, *run, cwd=tmp_path, JAX_PROCESS_ID=p, ZSI_JOIN_TIMEOUT='2', **env)
  [(status, out, err)], seconds = ends([process])
  assert status == 2 and seconds < 30 and out == '' and len(said(err)) == 1, err
  assert words in err and f'process {p} of 2' in err
  assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_one_line(port):
  with socket.socket() as other:
    other.bind(('127.0.0.1', port))
    other.listen()
    env = {'JAX_COORDINATOR_ADDRESS': f'127.0.0.1:{port}', 'JAX_NUM_PROCESSES': '2'}
    [(status, _, err)], _ = ends([start(*JOIN, 'meet', JAX_PROCESS_ID='0', **env)])
  assert status == 2 and err.count('\n') == 1 and f'port {port}' in err


def test_what_fails_alone_fails_for_all(port):
  rows, seconds = pair(*JOIN, 'alone', port=port)
  assert [status for status, _, _ in rows] == [2, 2] and seconds < 20
  assert said(rows[0][2]) == ['zsi: error: the disk is full']
  assert said(rows[1][2]) == [
    'zsi: error: process 0 failed in prepare: ValueError: the disk is full'
  ]


def test_a_defect_of_one_ends_the_other(port):
  (first, second), seconds = pair(*JOIN, 'one_fails', port=port)
  assert (first[0], second[0]) == (1, 1) and seconds < 20
  assert 'Traceback' in second[2] and 'a defect' in second[2]
  assert "process 1 failed, and this one ends with it: KeyError: 'a defect'" in first[2]


def test_one_that_is_stopped_stops_the_other(port):
  rows, seconds = pair(*JOIN, 'one_stops', port=port)
  assert [status for status, _, _ in rows] == [143, 143] and seconds < 20
  assert [said(err)[-1] for _, _, err in rows] == ['zsi: stopped; saved too', 'zsi: stopped; saved']


def test_prepare_is_done_once_and_seen_by_all(port, tmp_path):
  run = ('run', CIRCLES, '--workdir=w', '--stage=prepare')
  rows, _ = pair(*RUN, *run, port=port, cwd=(tmp_path, tmp_path))
  assert [status for status, _, _ in rows] == [0, 0], rows
  assert rows[0][1].count('224 records') == 1 and rows[1][1] == ''
  assert sorted(p.name for p in (tmp_path / 'w/log').iterdir()) == [
    'process-0.log',
    'process-1.log',
  ]


def test_a_disk_that_is_not_shared_is_found(port, tmp_path):
  folders = tmp_path / 'a', tmp_path / 'b'
  for folder in folders:
    folder.mkdir()
  run = ('run', CIRCLES, '--workdir=w', '--stage=prepare')
  rows, _ = pair(*RUN, *run, port=port, cwd=folders)
  for status, _, err in rows:
    assert status == 2 and 'processes [1] do not see' in err and 'disk that they share' in err
