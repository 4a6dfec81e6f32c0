"""Records drawn by other processes: the same ones, in order, and nothing is left running."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.data import celeba_fake
from zsi_jax.data import store
from zsi_jax.data.celeba import CelebA
from zsi_jax.data.discs import Discs
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import digest, table
from zsi_jax.stages.ahead import CHUNK, Ahead

ROOT = Path(__file__).parents[2]


def same(a, b):
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], strict=True)


def test_the_same_records_in_order():
  source = Discs(n=2 * CHUNK + 5, size=16)
  with Ahead(source, 2) as ahead:
    assert digest(ahead) == digest(source) and ahead.fields == source.fields
    same(ahead[-1], source[-1])  # out of order
    for i in range(len(source)):
      same(ahead[i], source[i])
    same(ahead[3], source[3])  # once more
    same(table(ahead), table(source))


def test_a_corrupt_record_is_skipped_or_named(tmp_path):
  root = celeba_fake.build(tmp_path, 'official_folder')
  (root / 'img_align_celeba/000005.jpg').write_bytes(b'no image')
  source = CelebA(root, 16, attributes=('Male',), expect=None)
  with Ahead(source, 1) as ahead, pytest.raises(DataError, match='record 4: .*000005.jpg'):
    store.write(ahead, tmp_path / 'a')
  with Ahead(source, 1) as ahead:
    stored = store.open(store.write(ahead, tmp_path / 'b', skip_corrupt=True))
  assert [i for i, _ in stored.skipped] == [4] and len(stored) == 13
  same({k: v for k, v in stored[4].items()}, source[5])


@dataclasses.dataclass(frozen=True)
class Fragile(Discs):
  """A record takes its process along."""

  def __getitem__(self, index):
    os._exit(3)


def test_a_worker_that_dies_is_an_error():
  with Ahead(Fragile(n=5, size=16), 1) as ahead, pytest.raises(DataError, match='worker'):
    ahead[0]


BUSY = """
import os
from multiprocessing import active_children
from zsi_jax.data.discs import Discs
from zsi_jax.stages.ahead import Ahead
if __name__ == '__main__':
  ahead = Ahead(Discs(n=10**6), 2)
  ahead[0]
  print(*(child.pid for child in active_children()), flush=True)
  for i in range(1, 10**6):
    ahead[i]
"""


def running(pid: int) -> bool:
  try:
    return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
  except FileNotFoundError:
    return False


@pytest.mark.skipif(sys.platform != 'linux', reason='looks into /proc')
def test_workers_end_with_a_killed_parent(tmp_path):
  (tmp_path / 'busy.py').write_text(BUSY)
  env = {**os.environ, 'PYTHONPATH': str(ROOT)}
  command = [sys.executable, 'busy.py']
  parent = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
  children = [int(pid) for pid in parent.stdout.readline().split()]
  assert len(children) == 2 and all(map(running, children))
  parent.kill()
  parent.wait()
  last = time.monotonic() + 10
  while (left := [pid for pid in children if running(pid)]) and time.monotonic() < last:
    time.sleep(0.05)
  for pid in left:
    os.kill(pid, signal.SIGKILL)
  parent.stdout.close()
  assert not left
