"""Who this process is, of how many, by the environment.

Of what is set, the first of these counts; JAX_NUM_PROCESSES=1 says that there is one process.
  JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES, JAX_PROCESS_ID
  OpenMPI      mpirun; from OpenMPI 5 on it tells no address: give JAX_COORDINATOR_ADDRESS too
  SLURM        srun; the shell of salloc or of a batch script is one process
  TPU          TPU_WORKER_HOSTNAMES, TPU_WORKER_ID, MEGASCALE_* of GKE, or a TPU VM's metadata
  Kubernetes   an indexed Job or JobSet, which jax[k8s] asks the cluster about
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

MANUAL = 'JAX_COORDINATOR_ADDRESS', 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID'
TPU_PORT = 8482  # jax's own choice between the hosts of a TPU

Env = Mapping[str, str]


class DistributedError(ValueError):
  """Processes that did not find each other, or one that failed: what is set, what is missing."""


@dataclass(frozen=True)
class Plan:
  """Who this process is. Where n is None, jax finds out."""

  how: str
  address: str | None = None
  p: int | None = None
  n: int | None = None
  gpus: tuple[int, ...] = ()  # () is all that it sees

  def __post_init__(self) -> None:
    if self.n is not None and not 0 <= (self.p or 0) < self.n:
      raise DistributedError(f'{self.how}: there is no process {self.p} of {self.n}, count from 0')

  def __str__(self) -> str:
    who = 'as jax finds them' if self.n is None else f'process {self.p} of {self.n}'
    return f'{self.how}: {who}' + (f', coordinator {self.address}' if self.address else '')


def plan(env: Env = os.environ) -> Plan | None:
  """What the environment says of this process, or None where it is the only one."""
  if env.get('JAX_NUM_PROCESSES') == '1':
    return None
  ranks = _ompi(env) or _slurm(env)
  if any(env.get(name) for name in MANUAL):
    return _manual(env, ranks)
  if ranks is not None and ranks.address is None:
    raise DistributedError(
      f'{ranks.how} started {ranks.n} processes and does not tell where process 0 is: set '
      'JAX_COORDINATOR_ADDRESS=host:port on all of them'
    )
  return ranks or _tpu(env)


def _manual(env: Env, ranks: Plan | None) -> Plan:
  known = {MANUAL[1]: ranks.n, MANUAL[2]: ranks.p} if ranks else {}
  missing = [name for name in MANUAL if not env.get(name) and name not in known]
  if missing:
    there = ', '.join(f'{name}={env[name]}' for name in MANUAL if env.get(name))
    verb = 'are' if len(missing) > 1 else 'is'
    raise DistributedError(
      f'{there} is set, {" and ".join(missing)} {verb} missing: set all three on every process, '
      'or only JAX_NUM_PROCESSES=1 to run alone'
    )
  address = env[MANUAL[0]]
  if not re.fullmatch(r'\S+:\d+', address):
    raise DistributedError(f'{MANUAL[0]}={address} is not host:port')
  n, p = (number(env, name, default=known.get(name)) for name in MANUAL[1:])
  return Plan('JAX_COORDINATOR_ADDRESS', address, p, n, ranks.gpus if ranks else ())


def _ompi(env: Env) -> Plan | None:
  if 'OMPI_COMM_WORLD_SIZE' not in env:
    return None
  n, p = (number(env, f'OMPI_COMM_WORLD_{name}') for name in ('SIZE', 'RANK'))
  local, beside = (number(env, f'OMPI_COMM_WORLD_LOCAL_{name}') for name in ('RANK', 'SIZE'))
  uri = re.match(
    r'(\d+)\..*?(?:tcp://([^,:]+)|tcp6://\[([^,\]]+))', env.get('OMPI_MCA_orte_hnp_uri', '')
  )
  address = f'{uri[2] or f"[{uri[3]}]"}:{_port(env, int(uri[1]) // 2**12)}' if uri else None
  return None if n == 1 else Plan('OpenMPI', address, p, n, _gpus(env, local, beside))


def _slurm(env: Env) -> Plan | None:
  """A step of srun; in an interactive step, SLURM_NTASKS tells the tasks of the whole job."""
  tasks = 'SLURM_STEP_NUM_TASKS' if env.get('SLURM_STEP_NUM_TASKS') else 'SLURM_NTASKS'
  nodes = env.get('SLURM_STEP_NODELIST')
  if not nodes or (n := number(env, tasks)) == 1:
    return None
  p, local, job = (number(env, f'SLURM_{name}') for name in ('PROCID', 'LOCALID', 'JOB_ID'))
  node, step = (number(env, f'SLURM_{name}', default=0) for name in ('NODEID', 'STEP_ID'))
  first = re.split(r',(?![^\[]*\])', nodes)[0]  # of node[001-003,7],other
  host = re.sub(r'\[([^\],-]+)[^\]]*\]', r'\1', first)
  per_node = _expanded(env.get('SLURM_STEP_TASKS_PER_NODE') or env.get('SLURM_TASKS_PER_NODE', ''))
  beside = per_node[node] if node < len(per_node) else n
  return Plan('SLURM', f'{host}:{_port(env, job + 131 * step)}', p, n, _gpus(env, local, beside))


def _expanded(text: str) -> list[int]:
  """'2(x3),1' -> [2, 2, 2, 1]."""
  rows = re.findall(r'(\d+)(?:\(x(\d+)\))?', text)
  return [int(tasks) for tasks, times in rows for _ in range(int(times or 1))]


def _gpus(env: Env, local: int, beside: int) -> tuple[int, ...]:
  """The share of one of several tasks of a machine; () where it has all that it sees."""
  shown = env.get('CUDA_VISIBLE_DEVICES')
  seen = len(shown.split(',')) if shown else beside
  if env.get('JAX_LOCAL_DEVICE_IDS') or beside == 1 or seen < beside:
    return ()
  each = seen // beside
  return tuple(range(local * each, (local + 1) * each))


def _port(env: Env, job: int) -> int:
  """The same for all processes of a job, in the range of short-lived ports."""
  return number(env, 'JAX_COORDINATOR_PORT', default=61440 + job % 4096)


def number(env: Env, name: str, default: int | None = None) -> int:
  text = env.get(name)
  if not text and default is not None:
    return default
  if text is None or not text.isdecimal():
    found = 'is not set' if text is None else f'is {text!r}, no number'
    raise DistributedError(f'{name} {found}; set it, or JAX_NUM_PROCESSES=1 to run alone')
  return int(text)


def _tpu(env: Env) -> Plan | None:
  """Hosts by slices, as GKE tells them."""
  hosts = (env.get('TPU_PROCESS_ADDRESSES') or env.get('TPU_WORKER_HOSTNAMES') or '').split(',')
  if not hosts[0]:
    return _found_by_jax(env)
  slices = number(env, 'MEGASCALE_NUM_SLICES', default=1)
  if len(hosts) * slices == 1:
    return None
  p = number(env, 'TPU_WORKER_ID', default=None if len(hosts) > 1 else 0)
  chief = hosts[0]
  if slices > 1:
    p += number(env, 'MEGASCALE_SLICE_ID') * len(hosts)
    chief = env.get('MEGASCALE_COORDINATOR_ADDRESS', '')
    if not chief:
      raise DistributedError(f'TPU: {slices} slices, and MEGASCALE_COORDINATOR_ADDRESS is not set')
  port = number(env, 'JAX_COORDINATOR_PORT', default=TPU_PORT)
  return Plan('TPU', f'{chief.split(":")[0]}:{port}', p, len(hosts) * slices)


def _found_by_jax(env: Env) -> Plan | None:
  if 'KUBERNETES_SERVICE_HOST' in env and 'JOB_COMPLETION_INDEX' in env:
    if importlib.util.find_spec('kubernetes') is None:
      raise DistributedError(
        'Kubernetes: an indexed job does not tell where process 0 is: set '
        f'{", ".join(MANUAL)}, or install jax[k8s], or set JAX_NUM_PROCESSES=1 to run alone'
      )
    return Plan('Kubernetes')
  if importlib.util.find_spec('libtpu') is not None:
    from jax._src import cloud_tpu_init  # the only place that tells a TPU VM from another machine

    if cloud_tpu_init.running_in_cloud_tpu_vm:
      return Plan('TPU VM')
  return None
