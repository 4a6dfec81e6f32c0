"""`zsi run` in a process of its own, and what it leaves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIGS = f'{ROOT}/configs/zsi'
CIRCLES = f'{CONFIGS}/circles.py:tiny'
WORKDIR = '--workdir=runs/x'


def start(*args, cwd, group=False, **env):
  """The stage that is named, else prepare."""
  if not any(arg.startswith('--stage') for arg in args):
    args = '--stage=prepare', *args
  kept = {name: os.environ[name] for name in ('PATH', 'ZSI_CACHE_DIR')}
  env = {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', **kept, **env}
  command = heard(sys.executable, '-m', 'zsi_jax', 'run', *args)
  pipe = subprocess.PIPE
  return subprocess.Popen(
    command, cwd=cwd, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=group
  )


def heard(*command):
  """Ctrl-C is ignored by what a shell starts in the background, and by all that this starts."""
  code = 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); '
  return [sys.executable, '-ISc', code + 'os.execv(sys.argv[1], sys.argv[1:])', *command]


def run(*args, cwd, **env):
  process = start(*args, cwd=cwd, **env)
  out, err = process.communicate(timeout=60)
  return process.returncode, out, err


def fine(*args, cwd, **env):
  code, out, err = run(*args, cwd=cwd, **env)
  assert code == 0 and err == '', err
  return out


def refused(*args, said, cwd):
  """Exit status 2, one line (a list of files may follow), and nothing below cwd is changed."""
  before = contents(cwd)
  code, _, err = run(*args, cwd=cwd)
  assert code == 2 and err.startswith('zsi: error: ') and 'Traceback' not in err, err
  for pattern in said:
    assert re.search(pattern, err), (pattern, err)
  assert contents(cwd) == before
  return err


def contents(folder):
  """Every file but locks, and logs, which tell of what was refused, too."""
  paths = [p for p in Path(folder).rglob('*') if p.is_file() and p.suffix not in ('.lock', '.log')]
  paths = [p for p in paths if p.name != '.lock']
  return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def told(cwd, workdir='runs/x'):
  return json.loads((cwd / workdir / 'prepare.json').read_text())
