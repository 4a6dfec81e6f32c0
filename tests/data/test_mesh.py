"""Batches on a mesh: one global array on any topology, and nothing lost on the way."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.data.feeder import OPTIONS
from tests.data.toy import Toy
from zsi_jax.data.errors import DataError
from zsi_jax.data.mesh import on_mesh
from zsi_jax.data.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mesh():
  return jax.make_mesh(
    (1,), ('data',), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1]
  )


def running():
  return [t for t in threading.enumerate() if t.name == 'zsi-on-mesh']


def free_port():
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    return found.getsockname()[1]


@pytest.mark.parametrize('n', [1, 2])
def test_the_global_array_is_the_global_batch(n, tmp_path):
  port, devices = str(free_port()), str(4 // n)
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': devices}
  children = [
    subprocess.Popen(
      [sys.executable, '-m', 'tests.data.feeder', *map(str, (p, n, port, tmp_path / f'{p}.npz'))],
      cwd=ROOT,
      env=environment,
    )
    for p in range(n)
  ]
  assert [child.wait(120) for child in children] == [0] * n
  found = {}
  for p in range(n):
    with np.load(tmp_path / f'{p}.npz') as file:
      found |= {name: file[name] for name in file.files}
  wanted = list(Pipeline(Toy(), pad=True, threads=0, **OPTIONS).batches())
  assert len(found['sums']) == len(wanted) == 6
  for k, batch in enumerate(wanted):
    for name, array in batch.items():
      rows = np.concatenate([found[f'{k}/{name}/{row}'] for row in range(0, 8, 2)])
      np.testing.assert_array_equal(rows, array.astype(rows.dtype))
      assert rows.dtype.itemsize <= 4
    assert found['sums'][k] == pytest.approx(batch['image'].sum(), abs=1e-2)


def test_the_position_is_of_what_was_consumed(mesh):
  pipeline = Pipeline(Toy(), **OPTIONS)
  with on_mesh(pipeline.batches(), mesh, ahead=3) as batches:
    assert batches.position['example'] == 0
    first = [next(batches) for _ in range(2)]
    for _ in range(100):
      if batches._ready.full():
        break
      threading.Event().wait(0.02)
    position = batches.position
    assert position['example'] == 16 and batches._ready.full()
  assert not running()
  with on_mesh(pipeline.batches(position), mesh) as batches:
    then = next(batches)
  examples = np.concatenate([np.asarray(b['example']) for b in [*first, then]])
  np.testing.assert_array_equal(examples, np.arange(24))


def test_the_end_comes_once_and_stays(mesh):
  pipeline = Pipeline(Toy(), pad=True, **OPTIONS)
  with on_mesh(pipeline.batches(), mesh) as batches:
    assert len(list(batches)) == 6 and batches.position['example'] == 46
    assert next(batches, None) is None and not running()


def test_an_error_of_the_thread_comes_out(mesh):
  with on_mesh(Pipeline(Toy(corrupt=(11,)), **OPTIONS).batches(), mesh) as batches:
    with pytest.raises(DataError, match='photo 11: broken'):
      for given, _ in enumerate(batches, 1):
        assert batches.position['example'] == 8 * given
    assert not running() and next(batches, None) is None
    assert batches.position['example'] == 8 * given
  with on_mesh(Pipeline(Toy(), **OPTIONS).batches(), mesh) as batches:
    with pytest.raises(DataError, match='a batch of 6 rows here where 8 belong; .* pad=True'):
      list(batches)


def test_closing_stops_the_thread_while_it_waits(mesh):
  batches = on_mesh(Pipeline(Toy(), batch=1, seed=0).batches(), mesh, ahead=1)
  next(batches)
  assert running()
  batches.close()
  batches.close()
  assert not running()


def test_a_forgotten_one_stops_its_thread(mesh):
  batches = on_mesh(Pipeline(Toy(), batch=1, seed=0).batches(), mesh)
  next(batches)
  assert running()
  del batches
  gc.collect()
  assert not running()


def test_rows_over_several_axes():
  axes = ('data', 'fsdp')
  kinds = (jax.sharding.AxisType.Auto,) * 2
  both = jax.make_mesh((1, 1), axes, axis_types=kinds, devices=jax.devices()[:1])
  pipeline = Pipeline(Toy(), **OPTIONS)
  with on_mesh(pipeline.batches(), both, axes) as batches:
    found = next(batches)['image']
    assert found.sharding.spec == jax.sharding.PartitionSpec(axes)
  with pytest.raises(DataError, match="none is 'model'"):
    on_mesh(pipeline.batches(), both, ('data', 'model'))


def test_wrong_meshes(mesh):
  batches = Pipeline(Toy(), batch=4, seed=0).batches()
  with pytest.raises(DataError, match="axes .*'data'.*, none is 'model'"):
    on_mesh(batches, mesh, axis='model')
  with pytest.raises(DataError, match='one batch'):
    on_mesh(batches, mesh, ahead=0)
  half = Pipeline(Toy(), batch=4, seed=0, process=(1, 2)).batches()
  with pytest.raises(DataError, match='process 1 of 2 holds the rows 2 to 3 .* from 0 to 3'):
    on_mesh(half, mesh)
  far = Pipeline(Toy(), batch=4, seed=0).batches(2**33)
  with pytest.raises(DataError, match='example: 8589934595 does not fit the 32 bits'):
    next(on_mesh(far, mesh))
