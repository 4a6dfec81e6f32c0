"""Circles of 12 pixels and networks that compile in seconds, by `zsi run`."""

from __future__ import annotations

from tests.stages.command import CIRCLES, WORKDIR, start

SMALL = [
  *('data.options.size=12', 'data.options.radius=1', 'data.batch=12', 'process.T=20'),
  *('denoiser.net.width=8', 'denoiser.net.mults=(1,)', 'denoiser.net.attend=()'),
  *('denoiser.net.heads=1', 'denoiser.steps=6', 'denoiser.save_every=2', 'denoiser.log_every=2'),
  *('classifier.net.width=8', 'classifier.net.mults=(1,)', 'classifier.net.attend=()'),
  *('classifier.steps=4', 'classifier.save_every=2', 'classifier.log_every=1'),
  *(f'{role}.{k}' for role in ('denoiser', 'classifier') for k in ('warmup=0', 'decay=constant')),
  *('denoiser.lr=1e-3', 'classifier.lr=1e-3', 'denoiser.grid_every=1000'),
]


def said(*more, stage='denoiser'):
  """The arguments of `zsi run`; of what is said twice the last counts."""
  last = dict(pair.split('=', 1) for pair in (*SMALL, *more))
  return CIRCLES, WORKDIR, f'--stage={stage}', '--', *(f'{k}={v}' for k, v in last.items())


def run(*args, cwd, **env):
  """Compiling may take its time on a machine that does other things, too."""
  with start(*args, cwd=cwd, **env) as process:
    try:
      out, err = process.communicate(timeout=400)
    finally:
      process.kill()
  return process.returncode, out, err


def fine(*args, cwd, **env):
  code, out, err = run(*args, cwd=cwd, **env)
  assert code == 0 and err == '', err
  return out
