"""`zsi run --stage=sample` with tiny networks, as a process of its own or in this one."""

from __future__ import annotations

import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp

import zsi_jax as zsi
from tests.nets.made import drawn
from tests.stages.command import CIRCLES, ROOT
from zsi_jax.build import trained
from zsi_jax.build.models import Model
from zsi_jax.main import cli

SIZE, CHANNELS = 8, 3
SAID = {
  'sample.n': 20,
  'sample.batch': 4,
  'sample.per_file': 8,
  'sample.steps': 4,
  'sample.unguided': 0,
  'sample.weights': (5.0, 5.0),
  'sample.denoiser': 'fake',  # another workdir's: whether it is finished is not asked
  'sample.classifiers': ('fake',),
}


class Net(nn.Module):
  """Compiles in a tenth of the time of a U-Net."""

  out: int
  classes: int = 0
  labels: int | None = None

  @nn.compact
  def __call__(self, x, t, cond=None):
    h = nn.Conv(8, (3, 3))(x) + nn.Dense(8)(jnp.sin(t[:, None] / 50))[:, None, None]
    if self.labels is not None:
      h = h + nn.Embed(self.labels, 8)(cond)[:, None, None]
    h = nn.Conv(self.out, (3, 3))(nn.silu(h))
    return h.mean((1, 2)) if self.classes else h


def model(config, workdir=None, *, seed=0, scale=1.0, labels=None, null=None, classes=2):
  """What stands where trained networks would."""
  args = jnp.zeros((1, SIZE, SIZE, CHANNELS)), jnp.zeros(1), jnp.zeros(1, int)
  if config.denoiser.drop is not None and labels is None:
    labels, null = 3, 2
  nets = Net(2 * CHANNELS, labels=labels), Net(classes, classes=classes)
  one, two = (drawn(net, *args, seed=seed + k) for k, net in enumerate(nets))
  one = jax.tree.map(lambda a: a * scale, one)
  chain = {'schedule': 'cosine', 'T': config.process.T}
  told = {
    name: chain | {'source': {'step': 10, 'sha256': f'{seed}{name}'}}
    for name in ('denoiser', 'side')
  }
  process = zsi.Process.make(zsi.cosine(config.process.T), config.sample.steps)
  guide = zsi.Classifier(two, [0.0] * classes, nets[1], name='side')
  shape = SIZE, SIZE, CHANNELS
  if config.sample.weights is None and config.sample.aim is None:
    del told['side']
  return Model(zsi.Denoiser(one, nets[0], null), {'side': guide}, process, shape, told)


def start(workdir, *flags, said=None, env=None, config=CIRCLES, cwd=ROOT):
  """A process that samples into the workdir."""
  env = {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'PATH': os.environ['PATH'], **(env or {})}
  keys = [f'{key}={value}' for key, value in (SAID | (said or {})).items()]
  command = [sys.executable, '-m', 'tests.stages.drawer', config]
  command += [f'--workdir={workdir}', '--stage=sample', *flags, '--', *keys]
  pipe = subprocess.PIPE
  return subprocess.Popen(command, cwd=cwd, env=env, stdout=pipe, stderr=pipe, text=True)


def main(*args):
  trained.model = model
  return cli(['run', *args])


if __name__ == '__main__':
  sys.exit(main(*sys.argv[1:]))
