"""zsi: what is typed, what is called, what is said when it fails."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from zsi_jax import doctor, main
from zsi_jax.io.errors import Stopped

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def convert(monkeypatch):
  """Stands where the converter stands; `calls` is what it was given."""

  def fake(src, dst, force=False, **options):
    fake.calls.append((src, dst, force, options))
    if fake.error is not None:
      raise fake.error

  fake.calls, fake.error = [], None
  room = types.ModuleType('zsi_jax.build.models')
  room.convert = fake
  monkeypatch.setitem(sys.modules, 'zsi_jax.build.models', room)
  monkeypatch.delenv('ZSI_DEBUG', raising=False)
  return fake


def test_convert_is_given_literals_and_words(convert):
  words = 'heads=4 T=4000 schedule=cosine mults=(1,2,3) new_order=True spectral=None name=a-b.c'
  assert main.cli(['convert', 'a.pt', 'b.safetensors', *words.split()]) == 0
  options = dict(T=4000, mults=(1, 2, 3), new_order=True, spectral=None)
  options |= dict(heads=4, schedule='cosine', name='a-b.c')
  assert convert.calls == [('a.pt', 'b.safetensors', False, options)]
  assert main.cli(['convert', 'a.pt', 'b.safetensors', '--force']) == 0
  assert convert.calls[1:] == [('a.pt', 'b.safetensors', True, {})]


@pytest.mark.parametrize(
  'bad', ['heads', 'heads=', '=4', 'a-b=4', 'a..b=4', '--hard', '--fast=1', 'mults=(1,2']
)
def test_a_bad_pair_names_itself_and_calls_nothing(convert, capsys, bad):
  assert main.cli(['convert', 'a.pt', 'b.safetensors', bad]) == 2
  err = capsys.readouterr().err
  assert err.startswith('zsi: error: ') and repr(bad) in err and err.count('\n') == 1
  assert convert.calls == []


@pytest.mark.parametrize('name', ['src', 'dst', 'force'])
def test_an_option_is_not_said_twice(convert, capsys, name):
  assert main.cli(['convert', 'a.pt', 'b.safetensors', f'{name}=1']) == 2
  assert repr(name) in capsys.readouterr().err and convert.calls == []


@pytest.mark.parametrize(
  'error', [ValueError('a.pt: no such key'), FileNotFoundError('a.pt is not there')]
)
def test_an_error_is_one_line(convert, capsys, monkeypatch, error):
  convert.error = error
  assert main.cli(['convert', 'a.pt', 'b.safetensors']) == 2
  assert capsys.readouterr().err == f'zsi: error: {error}\n'
  assert main.cli(['--debug', 'convert', 'a.pt', 'b.safetensors']) == 2
  debugged = capsys.readouterr().err
  monkeypatch.setenv('ZSI_DEBUG', '1')
  assert main.cli(['convert', 'a.pt', 'b.safetensors']) == 2
  for err in (debugged, capsys.readouterr().err):
    assert err.startswith('Traceback') and err.endswith(f'zsi: error: {error}\n')


def test_a_defect_keeps_its_traceback(convert, capsys):
  convert.error = KeyError('x')
  assert main.cli(['convert', 'a.pt', 'b.safetensors']) == 1
  err = capsys.readouterr().err
  assert err.startswith('Traceback') and err.endswith("KeyError: 'x'\n")


@pytest.fixture
def run(monkeypatch):
  """Stands where the stages stand; `calls` is what they were given."""

  def fake(**given):
    fake.calls.append(given)
    return 0

  fake.calls = []
  room = types.ModuleType('zsi_jax.stages.run')
  room.run = fake
  monkeypatch.setitem(sys.modules, 'zsi_jax.stages.run', room)
  return fake


@pytest.mark.parametrize(
  'line',
  [
    'run c.py:tiny --workdir=w --stage=prepare --check -- data.root=a/b.c split.delta=.1 k=None',
    'run --workdir w --check c.py:tiny --stage prepare -- data.root=a/b.c split.delta=.1 k=None',
    'run c.py:tiny data.root=a/b.c split.delta=.1 --workdir=w --stage=prepare --check k=None',
  ],
)
def test_run_is_given_its_config_and_overrides(run, line):
  assert main.cli(line.split()) == 0
  given = {'config': 'c.py:tiny', 'workdir': 'w', 'stage': 'prepare', 'check': True}
  assert run.calls == [given | {'data.root': 'a/b.c', 'split.delta': 0.1, 'k': None}]


def test_run_runs_every_stage_unless_told(run):
  assert main.cli(['run', 'c.py', '--workdir=w']) == 0
  assert run.calls == [{'config': 'c.py', 'workdir': 'w', 'stage': 'all', 'check': False}]


def test_every_stage_is_a_choice(run, monkeypatch):
  monkeypatch.delitem(sys.modules, 'zsi_jax.stages.run')
  stages = importlib.import_module('zsi_jax.stages.run').STAGES
  monkeypatch.setitem(sys.modules, 'zsi_jax.stages.run', types.ModuleType('x'))
  sys.modules['zsi_jax.stages.run'].run = run
  for name in ('all', *stages):
    assert main.cli(['run', 'c.py', '--workdir=w', f'--stage={name}']) == 0
  assert [call['stage'] for call in run.calls] == ['all', *stages]


@pytest.mark.parametrize(
  'error, status, said',
  [
    (KeyboardInterrupt(), 130, 'zsi: stopped; what was finished stays\n'),
    (Stopped('denoiser: step 7 is saved'), 143, 'zsi: stopped; denoiser: step 7 is saved\n'),
  ],
)
def test_a_run_that_is_stopped_says_so_in_one_line(run, capsys, monkeypatch, error, status, said):
  def stopped(**_):
    raise error

  monkeypatch.setattr(sys.modules['zsi_jax.stages.run'], 'run', stopped)
  assert main.cli(['run', 'c.py', '--workdir=w']) == status
  assert capsys.readouterr().err == said


@pytest.mark.parametrize(
  'line', ['run c.py', 'run --workdir=w', 'run c.py --workdir=w --stage=bake', 'run c.py --workdir']
)
def test_a_run_lacks_nothing(run, line):
  with pytest.raises(SystemExit) as stop:
    main.cli(line.split())
  assert stop.value.code == 2 and run.calls == []


@pytest.mark.parametrize('bad', ['delta', '--delta=1', 'split.=1', '.delta=1', 'workdir=x'])
def test_a_bad_override_is_one_line(run, capsys, bad):
  assert main.cli(['run', 'c.py', '--workdir=w', '--', bad]) == 2
  err = capsys.readouterr().err
  assert err.startswith('zsi: error: ') and err.count('\n') == 1 and run.calls == []


@pytest.mark.parametrize(
  'argv', [[], ['paint'], ['doctor', '--fast'], ['convert', 'a.pt'], ['export', 'a']]
)
def test_what_is_not_understood_is_refused(argv):
  with pytest.raises(SystemExit) as stop:
    main.cli(argv)
  assert stop.value.code == 2


def test_help_shows_every_verb_and_examples():
  command = [sys.executable, '-m', 'zsi_jax', '--help']
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
  assert 'examples:' in done.stdout
  assert all(f'\n    {verb} ' in done.stdout for verb in 'run convert export report doctor'.split())


def test_missing_weights_are_one_line(tmp_path):
  command = [sys.executable, '-m', 'zsi_jax', 'convert', 'none.pt', 'out.safetensors']
  env = {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'PATH': ''}
  done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
  assert done.returncode == 2, done.stderr
  assert done.stderr.startswith('zsi: error: ') and 'none.pt' in done.stderr
  assert 'Traceback' not in done.stderr and list(tmp_path.iterdir()) == []


@pytest.fixture
def installed(monkeypatch):
  """The metadata of a package that needs what this environment surely has."""
  monkeypatch.setattr('importlib.metadata.requires', lambda _: installed_lines)
  installed_lines = ['numpy<3,>=2.0', 'absent>=1; sys_platform == "none"', 'ruff; extra == "dev"']
  return installed_lines


def test_doctor_tells_programs_what_it_tells_people(installed, capsys):
  assert main.cli(['doctor']) == 0
  lines = capsys.readouterr().out.splitlines()
  assert all(line.startswith(('OK', 'MISSING')) for line in lines[1:-1])
  assert main.cli(['doctor', '--json']) == 0
  told = json.loads(capsys.readouterr().out)
  assert told['ok'] and len(told['findings']) == len(lines) - 2
  assert {f['kind'] for f in told['findings']} - {'data'} == {
    'python', 'system', 'disk', 'package', 'device', 'run', 'files'
  }  # fmt: skip
  assert [f['name'] for f in told['findings'] if f['kind'] == 'package'] == ['numpy']
  assert all(f['advice'] for f in told['findings'] if not f['ok'])


@pytest.mark.parametrize('line', ['numpy>=99', 'numpy<1', 'no-such-package>=1'])
def test_doctor_fails_for_a_dependency_out_of_bounds(installed, capsys, line):
  installed.append(line)
  assert main.cli(['doctor']) == 1
  name = line.split('>')[0].split('<')[0]
  wrong = [x for x in capsys.readouterr().out.splitlines() if x.startswith('MISSING package')]
  assert len(wrong) == 1 and f"pip install '{line}'" in wrong[0] and name in wrong[0]


def test_doctor_names_a_dependency_that_does_not_import(installed, monkeypatch):
  monkeypatch.setitem(doctor.MODULES, 'numpy', 'numpy.no_such_module')
  found = doctor.dependency('numpy', '>=2')
  assert not found.ok and 'does not import' in found.found and 'force-reinstall' in found.advice


def test_doctor_lives_without_a_device(monkeypatch):
  import jax

  def nothing():
    raise RuntimeError("Unable to initialize backend 'tpu'\nmore")

  monkeypatch.setattr(jax, 'devices', nothing)
  monkeypatch.setenv('JAX_PLATFORMS', 'tpu')
  (found,) = doctor.devices()
  assert not found.ok and not found.required and 'JAX_PLATFORMS=tpu' in found.advice


def test_doctor_finds_data_and_weighs_the_inception_network(monkeypatch, tmp_path):
  name, _ = doctor.INCEPTION
  (tmp_path / 'hub/checkpoints').mkdir(parents=True)
  monkeypatch.setenv('TORCH_HOME', str(tmp_path))
  monkeypatch.setenv('ZSI_DATA_DIR', str(tmp_path))
  monkeypatch.setenv('ZSI_WEIGHTS_DIR', str(tmp_path / 'none'))
  found = {f.name: f for f in doctor.files()}
  assert found['ZSI_DATA_DIR'].ok and not found['ZSI_WEIGHTS_DIR'].ok
  assert not found['Inception'].ok and str(tmp_path) in found['Inception'].advice
  path = tmp_path / 'hub/checkpoints' / name
  path.write_bytes(b'short')
  assert not {f.name: f for f in doctor.files()}['Inception'].ok
  monkeypatch.setattr(doctor, 'INCEPTION', (name, 5))
  assert {f.name: f for f in doctor.files()}['Inception'].ok


@pytest.mark.parametrize(
  'version, bounds, ok',
  [
    ('0.10.2', '>=0.10.2,<0.13', True),
    ('0.12.0.1', '<0.13,>=0.10.2', True),
    ('0.9.9', '>=0.10.2', False),
    ('0.13.0', '<0.13', False),
    ('2.13.0+cpu', '>=2.13', True),
    ('1.0', '', True),
  ],
)
def test_versions_compare_as_numbers(version, bounds, ok):
  assert doctor.within(version, bounds) is ok
