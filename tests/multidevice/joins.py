"""One of several processes: joins as the environment says, then does what its argument says."""

from __future__ import annotations

import signal
import sys
import time

from zsi_jax import distributed
from zsi_jax.io.errors import Stopped
from zsi_jax.stages.ending import ended


def meet(p, n):
  """All that processes ask each other."""
  told = [
    distributed.gathered({'p': p}, 'all'),
    distributed.alone(lambda: {'by': p, 'of': (n,)}, 'one does it'),
    distributed.leader(),
  ]
  distributed.barrier('the end')
  print(told, flush=True)


def alone(p, n):
  def full():
    raise ValueError('the disk is full\nand more')

  distributed.alone(full, 'prepare')


def one_fails(p, n):
  if p == 1:
    raise KeyError('a defect')
  time.sleep(60)


def one_stops(p, n):
  """As training does: SIGTERM is heard, the step ends, and then the process stops."""
  heard = []
  signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
  if p == 1:
    raise Stopped('saved')
  for _ in range(600):
    time.sleep(0.1)
    if heard:
      raise Stopped('saved too')


def devices(p, n):
  import jax

  print([jax.process_index(), jax.process_count(), jax.device_count()], flush=True)


if __name__ == '__main__':
  try:
    globals()[sys.argv[1]](*distributed.join())
  except Exception as error:
    sys.exit(ended(error))
