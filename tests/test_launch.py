"""launch/: what each script would run, what it really runs, and what it refuses."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from tests.stages.command import heard
from zsi_jax import main
from zsi_jax.stages.config import load

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = ROOT / 'launch'
SCRIPTS = 'local.sh', 'gpu.sh', 'slurm.sbatch', 'tpu_pod.sh', 'xpk.sh', 'jobset.sh'
RUN = (
  'configs/zsi/circles.py:tiny',
  '--workdir=runs/a b',
  '--',
  'sample.weights=(60., 15.)',
  "a='b'",
)
POD = '--name', 'pod', '--zone', 'z'
GKE = '--cluster', 'c', '--zone', 'z', '--project', 'p'
JOB = 'jobset.sh', 'create', '--name', 'job', '--image', 'i', '--claim', 'disk'
WHOLE = [  # every way to `zsi run`
  ('local.sh', *RUN),
  ('local.sh', '--processes', '2', '--devices=2', *RUN),
  ('gpu.sh', '--gpus', '0,1', '--memory=.9', *RUN),
  ('slurm.sbatch', '--nodes', '2', '--gpus-per-node=8', *RUN),
  (
    'slurm.sbatch',
    '--nodes=2',
    '--gpus-per-node',
    '8',
    '--per-gpu',
    '--setup',
    'module load a',
    *RUN,
  ),
  ('tpu_pod.sh', 'run', *POD, *RUN),
  ('xpk.sh', 'create', *GKE, '--workload', 'w', '--type', 'v5litepod-16', *RUN),
  ('xpk.sh', 'create', *GKE, '--workload', 'w', '--type', 'v5p-8', '--image', 'i', *RUN),
  (*JOB, '--gpu', 'nvidia-h100-80gb', '--hosts', '2', '--chips', '8', *RUN),
  (*JOB, '--tpu', 'tpu-v6e-slice', '--topology', '4x4', '--hosts', '4', '--slices', '2', *RUN),
]
OTHERS = [
  ('tpu_pod.sh', 'create', *POD, '--type', 'v5litepod-16', '--version', 'v', '--spot'),
  ('tpu_pod.sh', 'setup', *POD, '--disk', '10.0.0.2:/share'),
  ('tpu_pod.sh', 'logs', *POD, '--worker', '3'),
  ('tpu_pod.sh', 'stop', *POD, '--delete'),
  ('xpk.sh', 'list', *GKE),
  ('xpk.sh', 'delete', *GKE, '--workload', 'w'),
  ('jobset.sh', 'logs', '--name', 'job'),
  ('jobset.sh', 'delete', '--name', 'job'),
]
FAKE = """#!{python}
import json, os, sys
with open(os.environ['SAID'], 'a') as file:
  print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]), file=file)
if sys.argv[-1] == '-':
  with open(os.environ['SAID'] + '-in', 'w') as file:
    file.write(sys.stdin.read())
print(os.environ.get('FAKE_SAYS', ''))
sys.exit(int(os.environ.get('FAKE_' + os.path.basename(sys.argv[0]), 0)))
"""


@functools.cache
def plain():
  """A PATH without the tools of a cluster: none of these tests may reach one."""
  folder = tempfile.TemporaryDirectory()
  for name in 'bash sh env awk cat dirname sed rm python3'.split():
    os.symlink(shutil.which(name), Path(folder.name, name))
  return folder


def launched(script, *args, cwd=ROOT, path='', **env):
  """No tool of a cluster is on the PATH, unless it lies in `path`."""
  env = {'PATH': f'{path}:{plain().name}', 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', **env}
  command = [shutil.which('bash'), str(LAUNCH / script), *args]
  return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=100)


def dry(script, *args, **env):
  """The lines; --dry-run goes before CONFIG, wherever that is."""
  args = [*args]
  at = 1 if args[0].isalpha() else 0
  done = launched(script, *args[:at], '--dry-run', *args[at:], **env)
  assert done.returncode == 0 and done.stderr == '', done.stderr
  return done.stdout


def words(text):
  """Of all that a shell would run, with what it hands to further shells: each word."""
  found = shlex.split(text.replace(' &\n', '\n'))
  for word in found[:]:
    if ' zsi_jax run ' in word:
      found += words(word.removeprefix('--command='))
  return found


def runs(text):
  """The arguments of each `zsi run` in there."""
  if 'kind: JobSet' in text:
    return [container(text)['command'][3:]]
  found = []
  for line in text.splitlines():
    if 'zsi_jax run' in line:
      row = words(line)
      start = len(row) - row[::-1].index('zsi_jax')  # of the innermost shell
      found.append(row[start : start + 1 + len(RUN)])
  return found


def manifest(text):
  body = re.fullmatch(r"kubectl apply -f - <<'END'\n(.*)END\n", text, re.DOTALL)
  return yaml.safe_load(body[1])


def container(text):
  job = manifest(text)['spec']['replicatedJobs'][0]['template']['spec']
  return job['template']['spec']['containers'][0]


@pytest.mark.parametrize('name', [*SCRIPTS, 'common.bash'])
def test_bash_reads_it_and_it_stops_at_errors(name):
  path = LAUNCH / name
  subprocess.run(['bash', '-n', path], check=True)
  if name != 'common.bash':
    assert os.access(path, os.X_OK)
    assert '\nset -euo pipefail\n' in path.read_text()


@pytest.mark.parametrize('name', SCRIPTS)
def test_help_shows_how_and_nothing_runs(name):
  done = launched(name, '--help')
  assert done.returncode == 0 and done.stderr == ''
  assert f'  launch/{name} ' in done.stdout and '--dry-run' in done.stdout
  assert '#' not in done.stdout and 'set -e' not in done.stdout


@pytest.mark.parametrize('args', WHOLE, ids=' '.join)
def test_what_is_printed_is_a_run(args):
  """`zsi run` understands it: through every shell, spaces and quotes arrive as they were."""
  found = runs(dry(*args))
  assert len(found) == (2 if '--processes' in args else 1)
  for command in found:
    assert command == ['run', *RUN]
    given, rest = main.parse(command)
    assert given['workdir'] == 'runs/a b' and rest == list(RUN[3:])


@pytest.mark.parametrize('args', [*WHOLE, *OTHERS], ids=' '.join)
def test_a_dry_run_needs_no_tool_and_leaves_nothing(args, tmp_path):
  assert dry(*args, cwd=tmp_path).strip() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('name', SCRIPTS)
def test_the_examples_of_its_head_run(name):
  text = re.sub(r'\\\n# +', '', (LAUNCH / name).read_text())
  examples = re.findall(rf'^#   launch/{re.escape(name)} (.*)', text, re.MULTILINE)
  assert examples
  for example in examples:
    args = shlex.split(example)
    assert dry(name, *args)
    for config in [word for word in args if '.py:' in word]:
      assert load(config)


def test_several_processes_are_told_apart():
  lines = dry('local.sh', '--processes', '2', '--devices', '4', *RUN).splitlines()
  assert lines[2] == 'wait' and all(line.endswith(' &') for line in lines[:2])
  for p, line in enumerate(lines[:2]):
    asked = dict(word.split('=', 1) for word in shlex.split(line)[1:7] if '=' in word)
    assert asked.items() >= {
      'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': '4', 'JAX_NUM_PROCESSES': '2',
      'JAX_PROCESS_ID': str(p),
    }.items()  # fmt: skip
    assert re.fullmatch(r'127\.0\.0\.1:\d+', asked['JAX_COORDINATOR_ADDRESS'])


def test_settings_go_into_the_environment():
  options = '--data', 'd d', '--cache=c', '--env', 'A=b c', '--env=ZSI_JOIN_TIMEOUT=9'
  asked = {'ZSI_DATA_DIR=d d', 'ZSI_CACHE_DIR=c', 'A=b c', 'ZSI_JOIN_TIMEOUT=9'}
  for script, *args in WHOLE[:6]:
    args[0:0] = [] if not args[0].isalpha() else [args.pop(0)]
    at = 1 if script == 'tpu_pod.sh' else 0
    assert asked <= set(words(dry(script, *args[:at], *options, *args[at:])))
  rows = container(dry(*JOB, '--gpu', 'g', *options, *RUN))['env']
  assert {f'{row["name"]}={row.get("value")}' for row in rows} >= asked


def test_slurm_asks_for_what_it_starts():
  nodes = '--nodes', '2', '--gpus-per-node', '8', '--cpus-per-task', '6', '--time', '1:00:00'
  submit, step = dry('slurm.sbatch', *nodes, *RUN).splitlines()
  asked = '--nodes=2 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=6 --time=1:00:00'
  assert set(asked.split()) <= set(words(submit)) and '--dry-run' not in submit
  assert {'srun', '--ntasks-per-node=1', '--cpus-per-task=6', 'JAX_PLATFORMS=cuda'} <= set(
    words(step)
  )
  submit, step = dry('slurm.sbatch', *nodes, '--per-gpu', *RUN).splitlines()
  assert '--ntasks-per-node=8' in submit and '--ntasks-per-node=8' in step
  assert 'JAX_PLATFORMS=cpu' in dry('slurm.sbatch', *RUN)
  text = (LAUNCH / 'slurm.sbatch').read_text()
  head = text[: text.index('set -e')]
  assert '\n#SBATCH --requeue\n' in head and '\n#SBATCH --signal=B:TERM@' in head


def test_the_manifests_count_their_processes():
  told = manifest(dry(*JOB, '--gpu', 'g', '--hosts', '3', '--chips', '8', '--restarts', '5', *RUN))
  assert told['metadata'] == {'name': 'job', 'annotations': {}}
  assert told['spec']['failurePolicy'] == {'maxRestarts': 5}
  (workers,) = told['spec']['replicatedJobs']
  job, pod = workers['template']['spec'], workers['template']['spec']['template']['spec']
  assert (workers['replicas'], job['parallelism'], job['completions']) == (1, 3, 3)
  assert job['completionMode'] == 'Indexed' and job['backoffLimit'] == 0
  assert pod['nodeSelector'] == {'cloud.google.com/gke-accelerator': 'g'}
  assert pod['volumes'][0]['persistentVolumeClaim'] == {'claimName': 'disk'}
  (box,) = pod['containers']
  env = {row['name']: row.get('value', row.get('valueFrom')) for row in box['env']}
  assert env['JAX_COORDINATOR_ADDRESS'] == 'job-workers-0-0.job:61440'
  assert env['JAX_NUM_PROCESSES'] == '3' and env['JAX_PLATFORMS'] == 'cuda'
  index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
  assert env['JAX_PROCESS_ID'] == {'fieldRef': {'fieldPath': index}}
  assert box['resources']['limits'] == {'nvidia.com/gpu': 8}

  told = manifest(
    dry(*JOB, '--tpu', 't', '--topology', '4x4', '--slices', '2', '--hosts', '4', *RUN)
  )
  (workers,) = told['spec']['replicatedJobs']
  pod = workers['template']['spec']['template']['spec']
  assert (workers['replicas'], workers['template']['spec']['parallelism']) == (2, 4)
  assert list(told['metadata']['annotations'].values()) == ['cloud.google.com/gke-nodepool']
  assert [row['name'] for row in pod['containers'][0]['env']] == ['JAX_PLATFORMS']
  assert pod['containers'][0]['resources']['limits'] == {'google.com/tpu': 4}
  assert '4x4' in pod['nodeSelector'].values() and '$' not in yaml.dump(told)


@pytest.mark.parametrize(
  'line, said',
  [
    ('local.sh', 'CONFIG is missing'),
    ('local.sh c.py', '--workdir=DIR is missing'),
    ('local.sh c.py -- --workdir=w', '--workdir=DIR is missing'),
    ('local.sh --processes 0 c.py --workdir=w', '--processes 0 is no number above 0'),
    ('local.sh --devices two c.py --workdir=w', '--devices two is no number'),
    ('local.sh --fast c.py --workdir=w', 'there is no option --fast'),
    ('local.sh --port', '--port needs a value'),
    ('local.sh --data= c.py --workdir=w', '--data needs a value'),
    ('local.sh --env A c.py --workdir=w', '--env A is not NAME=VALUE'),
    ('local.sh --python none c.py --workdir=w', 'none is not installed'),
    ('gpu.sh --gpus all c.py --workdir=w', '--gpus all is no list'),
    ('gpu.sh --memory 9 c.py --workdir=w', '--memory 9 is no share'),
    ('gpu.sh c.py --workdir=w', 'nvidia-smi is not installed'),
    ('slurm.sbatch --nodes 2', 'CONFIG is missing'),
    ('slurm.sbatch --per-gpu c.py --workdir=w', '--gpus-per-node is missing'),
    ('slurm.sbatch c.py --workdir=w', 'sbatch is not installed'),
    ('tpu_pod.sh', 'nothing is none of create, setup, run, logs, stop'),
    ('tpu_pod.sh fly', 'fly is none of'),
    ('tpu_pod.sh create --name a', '--zone is missing'),
    ('tpu_pod.sh logs --name a --zone z', 'gcloud is not installed'),
    ('tpu_pod.sh create --dry-run --name a --zone z', '--type is missing'),
    ('tpu_pod.sh run --dry-run --name a --zone z', 'CONFIG is missing'),
    ('xpk.sh list --cluster c --zone z', '--project is missing'),
    ('xpk.sh list --cluster c --zone z --project p', 'xpk is not installed'),
    ('jobset.sh create --name A', 'no name of Kubernetes'),
    ('jobset.sh create --dry-run --name a', '--image is missing'),
    ('jobset.sh create --dry-run --name a --image i --claim c c.py --workdir=w', '--tpu or --gpu'),
    (
      'jobset.sh create --dry-run --name a --image i --claim c --tpu t c.py --workdir=w',
      '--topology is missing',
    ),
  ],
)
def test_what_is_missing_is_one_line(line, said):
  script, *args = line.split()
  done = launched(script, *args)
  assert done.returncode == 2 and done.stdout == ''
  assert done.stderr.startswith(f'{script}: error: ') and done.stderr.count('\n') == 1
  assert said in done.stderr


@pytest.fixture
def tools(tmp_path):
  """Tools of a cluster that only write down how they were called."""
  folder = tmp_path / 'bin'
  folder.mkdir()
  for name in 'gcloud xpk kubectl sbatch srun scontrol squeue nvidia-smi git'.split():
    (folder / name).write_text(FAKE.format(python=sys.executable))
    (folder / name).chmod(0o755)
  return {'path': str(folder), 'SAID': str(tmp_path / 'said')}


def said(tools):
  path = Path(tools['SAID'])
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
  'args', [WHOLE[5], *WHOLE[6:8], *(a for a in OTHERS if a[1] != 'setup')], ids=' '.join
)
def test_what_is_run_is_what_was_printed(args, tools):
  printed = [shlex.split(line) for line in dry(*args).splitlines()]
  done = launched(*args, **tools)
  assert done.returncode == 0, done.stderr
  assert said(tools) == printed


def test_the_manifest_goes_to_kubectl(tools):
  options = *JOB, '--gpu', 'g', *RUN
  assert launched(*options, **tools).returncode == 0
  assert said(tools) == [['kubectl', 'apply', '-f', '-']]
  assert yaml.safe_load(Path(tools['SAID'] + '-in').read_text()) == manifest(dry(*options))


def test_slurm_submits_itself(tools):
  options = '--nodes', '2', '--gpus-per-node', '8', *RUN
  printed = shlex.split(dry('slurm.sbatch', *options).splitlines()[0])
  assert launched('slurm.sbatch', *options, **tools).returncode == 0
  assert said(tools) == [printed]


@pytest.mark.parametrize(
  'status, state, again',
  [(0, '', False), (2, '', False), (143, 'RUNNING', True), (143, 'CANCELLED', False)],
)
def test_a_job_that_had_to_stop_queues_again(tools, tmp_path, status, state, again):
  """SLURM runs a copy of the script, elsewhere."""
  copy = tmp_path / 'slurm_script'
  shutil.copy(LAUNCH / 'slurm.sbatch', copy)
  inside = {'SLURM_JOB_ID': '7', 'ZSI_LAUNCH': str(LAUNCH), 'FAKE_srun': str(status)}
  done = launched(copy, '--nodes', '2', *RUN, **tools, **inside, FAKE_SAYS=state)
  assert done.returncode == status
  called = said(tools)
  step = shlex.split(dry('slurm.sbatch', '--nodes', '2', *RUN).splitlines()[1])
  assert called[0] == step
  assert (['scontrol', 'requeue', '7'] in called) == again


def test_one_process_runs_here(tmp_path):
  run = 'configs/zsi/circles.py:tiny', f'--workdir={tmp_path}/w', '--stage=prepare'
  settings = '--python', sys.executable, '--data', str(tmp_path / 'data')
  done = launched('local.sh', *settings, *run)
  assert done.returncode == 0 and '224 records' in done.stdout, done.stderr
  assert (tmp_path / 'w/prepare.json').is_file() and (tmp_path / 'data').is_dir()
  again = launched('local.sh', *settings, *run, '--', 'data.options.radius=3')
  assert again.returncode == 2 and 'another config' in again.stderr


def test_two_processes_run_here(tmp_path):
  run = 'configs/zsi/circles.py:tiny', f'--workdir={tmp_path}/w', '--stage=prepare'
  settings = '--python', sys.executable, '--data', str(tmp_path / 'data'), '--processes', '2'
  done = launched('local.sh', *settings, *run)
  assert done.returncode == 0 and done.stdout.count('224 records') == 1, done.stderr
  assert len(list((tmp_path / 'w/log').iterdir())) == 2
  failed = launched('local.sh', *settings, *run, '--', 'data.options.radius=3')
  assert failed.returncode == 2 and failed.stderr.count('another config') == 2


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_process(tmp_path, number):
  """Ctrl-C goes to all that a terminal started; what runs in the background does not hear it."""
  sleeper = tmp_path / 'python'
  wait = f'exec {sys.executable} -c "import time; time.sleep(60)"'
  sleeper.write_text(f'#!/bin/sh\n: > {tmp_path}/started.$$\n{wait}\n')
  sleeper.chmod(0o755)
  command = [LAUNCH / 'local.sh', '--processes', '2', '--port', '9', '--python', sleeper, *RUN]
  process = subprocess.Popen(heard(*command), start_new_session=True)
  until = time.monotonic() + 30
  while len(list(tmp_path.glob('started.*'))) < 2 and time.monotonic() < until:
    time.sleep(0.1)
  time.sleep(0.5)  # until the script waits for them
  os.killpg(process.pid, number)
  process.communicate(timeout=20)
  assert process.returncode == 143


def test_the_image_goes_without_what_git_ignores():
  """And without git: a context of gigabytes, secrets, and other platforms' environments."""

  def lines(name):
    return [x for x in (ROOT / name).read_text().splitlines() if not x.startswith('#')]

  wanted = [x.strip('/') if x[0] == '/' else '**/' + x.strip('/') for x in lines('.gitignore')]
  assert lines('.dockerignore') == ['.git', *wanted] and '**/.env' in wanted
