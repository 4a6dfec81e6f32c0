"""Batch norm of a batch that is divided over devices is that of the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]


def stepped(devices):
  env = os.environ | {'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': str(devices)}
  run = [sys.executable, '-m', 'tests.multidevice.judges']
  done = subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True, timeout=400)
  assert done.returncode == 0, done.stderr[-2000:]
  return json.loads(done.stdout.splitlines()[-1])


def test_statistics_are_of_all_devices():
  one, four = stepped(1), stepped(4)
  assert (one['devices'], four['devices']) == (1, 4)
  assert one['numbers'].keys() == four['numbers'].keys()
  assert sum("['mean']" in name for name in one['numbers']) > 5
  for name, wanted in one['numbers'].items():
    np.testing.assert_allclose(four['numbers'][name], wanted, rtol=1e-3, atol=2e-4, err_msg=name)
