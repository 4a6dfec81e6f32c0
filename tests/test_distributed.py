"""Who a process is, by what schedulers set; and what is asked of others, where there are none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from zsi_jax import distributed
from zsi_jax.distributed import DistributedError
from zsi_jax.distributed.plan import Plan, plan

ROOT = Path(__file__).resolve().parents[1]
MANUAL = {
  'JAX_COORDINATOR_ADDRESS': 'chief:1234', 'JAX_NUM_PROCESSES': '4', 'JAX_PROCESS_ID': '2'
}  # fmt: skip
STEP = {
  'SLURM_JOB_ID': '5',
  'SLURM_STEP_NODELIST': 'node[001-003,7],other',
  'SLURM_NTASKS': '8',
  'SLURM_PROCID': '3',
  'SLURM_LOCALID': '1',
  'SLURM_NODEID': '1',
  'SLURM_STEP_TASKS_PER_NODE': '2(x4)',
}
OMPI = {
  'OMPI_COMM_WORLD_SIZE': '4',
  'OMPI_COMM_WORLD_RANK': '3',
  'OMPI_COMM_WORLD_LOCAL_SIZE': '2',
  'OMPI_COMM_WORLD_LOCAL_RANK': '1',
}
URI = {'OMPI_MCA_orte_hnp_uri': '8192.0;tcp://10.0.0.1,10.0.0.2:4000'}
POD = {'TPU_WORKER_HOSTNAMES': 'a,b', 'TPU_WORKER_ID': '1'}
SLICES = POD | {
  'MEGASCALE_NUM_SLICES': '2',
  'MEGASCALE_SLICE_ID': '1',
  'MEGASCALE_COORDINATOR_ADDRESS': 'zero:8080',
}
ALONE = {'JAX_NUM_PROCESSES': '1'}


@pytest.mark.parametrize(
  'env, told',
  [
    (MANUAL, ('chief:1234', 2, 4, ())),
    (STEP, ('node001:61445', 3, 8, (1,))),
    (STEP | {'SLURM_STEP_ID': '1'}, ('node001:61576', 3, 8, (1,))),
    (STEP | {'SLURM_STEP_NODELIST': 'a-b,c'}, ('a-b:61445', 3, 8, (1,))),
    (STEP | {'SLURM_STEP_NODELIST': 'r[2-3]n[1,4]'}, ('r2n1:61445', 3, 8, (1,))),
    (STEP | {'SLURM_STEP_NUM_TASKS': '4'}, ('node001:61445', 3, 4, (1,))),
    (STEP | {'JAX_COORDINATOR_PORT': '9'}, ('node001:9', 3, 8, (1,))),
    (STEP | {'JAX_COORDINATOR_ADDRESS': 'x:9'}, ('x:9', 3, 8, (1,))),
    (OMPI | URI, ('10.0.0.1:61442', 3, 4, (1,))),
    (OMPI | {'JAX_COORDINATOR_ADDRESS': 'x:9'}, ('x:9', 3, 4, (1,))),
    (POD, ('a:8482', 1, 2, ())),
    (SLICES, ('zero:8482', 3, 4, ())),
    (SLICES | {'TPU_WORKER_HOSTNAMES': 'a', 'TPU_WORKER_ID': '0'}, ('zero:8482', 1, 2, ())),
  ],
)
def test_who_this_process_is(env, told):
  found = plan(env)
  assert (found.address, found.p, found.n, found.gpus) == told


@pytest.mark.parametrize(
  'more, gpus',
  [
    ({'SLURM_STEP_TASKS_PER_NODE': '1(x8)'}, ()),  # alone on its node: all of its GPUs
    ({'CUDA_VISIBLE_DEVICES': '0,1,2,3'}, (2, 3)),  # two tasks share four
    ({'CUDA_VISIBLE_DEVICES': '3'}, ()),  # SLURM gave it one of its own
    ({'JAX_LOCAL_DEVICE_IDS': '0'}, ()),  # jax reads that by itself
  ],
)
def test_tasks_of_a_node_share_its_gpus(more, gpus):
  assert plan(STEP | more).gpus == gpus


@pytest.mark.parametrize(
  'env',
  [
    {},
    ALONE,
    MANUAL | ALONE,
    STEP | ALONE,
    {'SLURM_JOB_ID': '5', 'SLURM_NTASKS': '8', 'SLURM_PROCID': '0', 'SLURM_LOCALID': '0'},  # sbatch
    STEP | {'SLURM_STEP_NUM_TASKS': '1'},  # salloc's interactive step
    OMPI | {'OMPI_COMM_WORLD_SIZE': '1', 'OMPI_COMM_WORLD_RANK': '0'},
    {'TPU_WORKER_HOSTNAMES': 'localhost', 'TPU_WORKER_ID': '0'},
    {'KUBERNETES_SERVICE_HOST': '10.0.0.1'},
  ],
)
def test_one_process_is_alone(env):
  assert plan(env) is None


@pytest.mark.parametrize(
  'env, words',
  [
    ({'JAX_PROCESS_ID': '0'}, 'JAX_PROCESS_ID=0 is set, .*ADDRESS and JAX_NUM_PROCESSES are miss'),
    (MANUAL | {'JAX_PROCESS_ID': ''}, 'JAX_PROCESS_ID is missing: set all three'),
    (MANUAL | {'JAX_PROCESS_ID': '4'}, 'no process 4 of 4'),
    (MANUAL | {'JAX_PROCESS_ID': '-1'}, "JAX_PROCESS_ID is '-1', no number"),
    (MANUAL | {'JAX_NUM_PROCESSES': 'two'}, "JAX_NUM_PROCESSES is 'two', no number"),
    (MANUAL | {'JAX_NUM_PROCESSES': '0'}, 'no process 2 of 0'),
    (MANUAL | {'JAX_COORDINATOR_ADDRESS': 'chief'}, 'chief is not host:port'),
    ({k: v for k, v in STEP.items() if k != 'SLURM_LOCALID'}, 'SLURM_LOCALID is not set'),
    (OMPI, 'OpenMPI started 4 processes .* set JAX_COORDINATOR_ADDRESS'),
    (OMPI | {'OMPI_COMM_WORLD_RANK': 'x'}, 'OMPI_COMM_WORLD_RANK'),
    ({'TPU_WORKER_HOSTNAMES': 'a,b'}, 'TPU_WORKER_ID is not set'),
    (SLICES | {'MEGASCALE_COORDINATOR_ADDRESS': ''}, 'MEGASCALE_COORDINATOR_ADDRESS is not set'),
    (SLICES | {'MEGASCALE_SLICE_ID': ''}, 'MEGASCALE_SLICE_ID'),
    ({'KUBERNETES_SERVICE_HOST': 'x', 'JOB_COMPLETION_INDEX': '0'}, 'indexed job'),
  ],
)
def test_what_is_missing_is_named_in_one_line(env, words):
  with pytest.raises(DistributedError, match=words) as error:
    plan(env)
  assert '\n' not in str(error.value)


def test_a_plan_says_who_it_is():
  assert str(plan(MANUAL)) == 'JAX_COORDINATOR_ADDRESS: process 2 of 4, coordinator chief:1234'
  assert str(Plan('TPU VM')) == 'TPU VM: as jax finds them'


def test_alone_is_the_same_call():
  """One process gets what several would: results of JSON, and its own errors."""
  assert distributed.processes() == (0, 1) and distributed.leader()
  assert distributed.alone(lambda: {'a': (1, 2)}) == {'a': [1, 2]}
  assert distributed.gathered((1,), 'x') == [[1]]
  distributed.barrier('x')
  with pytest.raises(TypeError):
    distributed.alone(object)
  with pytest.raises(ZeroDivisionError):
    distributed.alone(lambda: 1 / 0)
  distributed.fail(2, ValueError('nobody to tell'))  # returns


def test_alone_costs_no_jax():
  code = """
import os, sys
for name in [n for n in os.environ if n.startswith(('JAX_', 'SLURM_', 'OMPI_', 'TPU_'))]:
  del os.environ[name]
from zsi_jax import distributed as d
print(d.join(), d.processes(), d.alone(lambda: 1), 'jax' in sys.modules)
"""
  command = [sys.executable, '-c', code]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
  assert done.stdout == '(0, 1) (0, 1) 1 False\n'
