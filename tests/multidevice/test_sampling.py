"""The same files from one device, from four, and from two processes with two each."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from tests.stages import drawer
from zsi_jax.data import npz

SWEPT = f'{Path(drawer.__file__).parent}/swept.py:gpu'  # with a variant whose images are aimed
# 37 images are 5 files, of which process 1 of 2 has two; 3 images are one file, and it has none.
SAID = {
  'sample.n': 37,
  'sample.batch': 4,
  'sample.per_file': 8,
  'sample.steps': 6,
  'sample.unguided': 3,
  'sample.weights': (30.0, 30.0),
}


def port():
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    return s.getsockname()[1]


def sampled(workdir, processes, devices, *flags, said=SAID, **env):
  """What each process printed, and its exit status."""
  env = {'JAX_NUM_CPU_DEVICES': str(devices), 'ZSI_JOIN_TIMEOUT': '60', **env}
  each = [{}]
  if processes > 1:
    where = f'127.0.0.1:{port()}'
    each = [
      {
        'JAX_COORDINATOR_ADDRESS': where,
        'JAX_NUM_PROCESSES': str(processes),
        'JAX_PROCESS_ID': f'{p}',
      }
      for p in range(processes)
    ]
  running = [drawer.start(workdir, *flags, said=said, env=env | own, config=SWEPT) for own in each]
  told = [process.communicate(timeout=300) for process in running]
  return [(process.returncode, *text) for process, text in zip(running, told, strict=True)]


def arrays(workdir):
  """All that lies in the files but the time of the stamp."""
  found = {}
  for path in sorted(workdir.glob('samples/*/*.npz')):
    file = npz.read(path, '')
    stamp = json.loads(str(file.pop('stamp')))
    stamp.pop('time')
    found[str(path.relative_to(workdir))] = file, stamp
  return found


LAYOUTS = {'1x1': (1, 1), '1x4': (1, 4), '2x2': (2, 2)}


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
  """Workdirs by layout, and what was printed."""
  folder = tmp_path_factory.mktemp('drawn')
  env = {
    'JAX_COMPILATION_CACHE_DIR': str(folder / 'cache'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  return {
    name: (folder / name, sampled(folder / name, *layout, **env))
    for name, layout in LAYOUTS.items()
  }


def test_any_number_of_devices_and_processes_writes_the_same_files(drawn):
  for _, told in drawn.values():
    assert all(code == 0 and err == '' for code, _, err in told), told
  one, *others = (arrays(workdir) for workdir, _ in drawn.values())
  assert len(one) == 11
  assert one['samples/guided/00000.npz'][0]['images'].std() > 20
  assert len(set(one['samples/aim/00000.npz'][0]['aim'].tolist())) == 8
  for other in others:
    assert other.keys() == one.keys()
    for name, (file, stamp) in other.items():
      assert stamp == one[name][1]
      for key in one[name][0].keys() | file.keys():
        np.testing.assert_array_equal(file[key], one[name][0][key])


def test_all_devices_took_part(drawn):
  rates = {
    name: json.loads((workdir / 'samples/guided/sample.json').read_text())['rate']
    for name, (workdir, _) in drawn.items()
  }
  found = {name: (rate['processes'], rate['devices']) for name, rate in rates.items()}
  assert found == {'1x1': (1, 1), '1x4': (1, 4), '2x2': (2, 4)}
  assert all(rate['images'] == 37 for rate in rates.values())


def test_another_layout_goes_on_where_one_was_stopped(drawn):
  """Of the files of two processes some are gone; one process draws them, and checks all."""
  workdir, _ = drawn['2x2']
  before = arrays(workdir)
  for name in ('00001.npz', '00002.npz', 'sample.json'):
    os.unlink(workdir / 'samples/guided' / name)
  env = {'JAX_COMPILATION_CACHE_DIR': str(workdir.parent / 'cache')}
  ((code, out, err),) = sampled(workdir, 1, 1, '--check', **env)
  assert code == 0 and err == '' and out.count('the same bits') == 3, (out, err)
  after = arrays(workdir)
  assert after.keys() == before.keys()
  for name, (file, _) in before.items():
    np.testing.assert_array_equal(after[name][0]['images'], file['images'])


def test_every_process_hears_what_is_wrong(drawn):
  workdir, _ = drawn['1x4']
  for code, _, err in sampled(workdir, 2, 1, said=SAID | {'sample.n': 36}):
    assert code == 2 and 'sample.n: 37 -> 36' in err and 'Traceback' not in err, err
