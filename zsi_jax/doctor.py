"""What this machine has and what it lacks, one line each: OK or MISSING, and what to do about it.

Only a required dependency that is absent, out of bounds or broken makes the status 1.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import zsi_jax
from zsi_jax import distributed
from zsi_jax.stages import cache

# Where the name that is imported is not the name that is installed.
MODULES = {
  'absl-py': 'absl',
  'opencv-python-headless': 'cv2',
  'orbax-checkpoint': 'orbax.checkpoint',
  'pillow': 'PIL',
}
DIRECTORIES = {
  'ZSI_DATA_DIR': 'data sets',
  'ZSI_WEIGHTS_DIR': 'weights',
}
# The Inception network of FID, as pytorch-fid and torch-fidelity keep it.
INCEPTION = 'pt_inception-2015-12-05-6726825d.pth', 95_628_359
ROOMY = 5e9  # bytes


@dataclasses.dataclass(frozen=True)
class Finding:
  kind: str
  name: str
  ok: bool
  found: str
  advice: str = ''
  required: bool = False

  def __str__(self) -> str:
    line = f'{"OK" if self.ok else "MISSING":7} {self.kind:8} {self.name:22} {self.found}'
    return f'{line} -> {self.advice}' if self.advice else line


def number(version: str) -> tuple[int, ...]:
  """The release of a version: '0.12.0.1+local' is (0, 12, 0, 1), '5.0.0rc1' is (5, 0, 0)."""
  release = re.match(r'\d+(\.\d+)*', version)
  return tuple(map(int, release[0].split('.'))) if release else ()


def within(version: str, bounds: str) -> bool:
  """Whether a version meets '>=0.10.2,<0.13'; other comparisons are not used by this package."""
  for bound in filter(None, bounds.replace(' ', '').split(',')):
    below = bound.startswith('<')
    have, limit = number(version), number(bound.lstrip('<>='))
    width = max(len(have), len(limit))
    have, limit = (v + (0,) * (width - len(v)) for v in (have, limit))
    if have >= limit if below else have < limit:
      return False
  return True


def first_line(error: Exception) -> str:
  return f'{type(error).__name__}: {str(error).strip()}'.splitlines()[0]


def requirements() -> Iterator[tuple[str, str]]:
  """(name, bounds) of each dependency that this platform needs, from the installed metadata."""
  for line in importlib.metadata.requires('zsi_jax') or ():
    requirement, _, marker = line.partition(';')
    platforms = re.findall(r"sys_platform == ['\"](\w+)['\"]", marker)
    if 'extra' in marker or (platforms and sys.platform not in platforms):
      continue
    name = re.split(r'[^\w.-]', requirement.strip(), maxsplit=1)[0]
    yield name, requirement.strip()[len(name) :].strip()


def dependency(name: str, bounds: str) -> Finding:
  install = f"python -m pip install '{name}{bounds}'"
  try:
    version = importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return Finding('package', name, False, f'needs {bounds}', install, True)
  if not within(version, bounds):
    return Finding('package', name, False, f'{version}, needs {bounds}', install, True)
  try:
    importlib.import_module(MODULES.get(name, name.replace('-', '_')))
  except Exception as error:  # whatever a broken installation raises is what we came to report
    why = f'{version} does not import: {first_line(error)}'
    return Finding('package', name, False, why, f'{install} --force-reinstall', True)
  return Finding('package', name, True, f'{version}  ({bounds})', required=True)


def packages() -> Iterator[Finding]:
  try:
    names = sorted(requirements())
  except importlib.metadata.PackageNotFoundError:
    advice = 'python -m pip install -e . in the checkout'
    yield Finding('package', 'zsi_jax', False, 'not installed: bounds unknown', advice, True)
    return
  for name, bounds in names:
    yield dependency(name, bounds)


def devices() -> Iterator[Finding]:
  try:
    import jax

    found = jax.devices()
  except Exception as error:  # no jax, or a platform that was asked for and is not there
    asked = os.environ.get('JAX_PLATFORMS')
    advice = f'JAX_PLATFORMS={asked} is set: try without it' if asked else 'see the line of jax'
    yield Finding('device', 'jax', False, first_line(error), advice)
    return
  kinds = sorted({d.device_kind for d in found})
  yield Finding('device', found[0].platform, True, f'{len(found)} x {", ".join(kinds)}')
  if found[0].platform == 'cpu' and shutil.which('nvidia-smi'):
    advice = "python -m pip install 'zsi_jax[cuda13]', and unset JAX_PLATFORMS"
    yield Finding('device', 'gpu', False, 'this machine has one and jax does not see it', advice)


def run() -> Iterator[Finding]:
  """What `zsi run` would find here: the processes that it is one of, and what was compiled."""
  try:
    told = distributed.plan()
    alone = 'one, with all devices of this machine; for more, see launch/'
    yield Finding('run', 'processes', True, alone if told is None else str(told))
  except distributed.DistributedError as error:
    yield Finding('run', 'processes', False, str(error), 'zsi run would stop here')
  path = cache.folder()
  there = next(p for p in (path, *path.parents) if p.exists())
  if not there.is_dir() or not os.access(there, os.W_OK):
    advice = 'set JAX_COMPILATION_CACHE_DIR or ZSI_CACHE_DIR: else every run compiles again'
    yield Finding('run', 'compiled programs', False, f'{path} cannot be written', advice)
    return
  sizes = [entry.stat().st_size for entry in path.glob('*-cache')]
  yield Finding(
    'run', 'compiled programs', True, f'{path}: {len(sizes)}, {sum(sizes) / 1e6:.1f} MB'
  )


def machine() -> Iterator[Finding]:
  right = sys.version_info >= (3, 11)
  yield Finding('python', platform.python_version(), right, sys.executable, required=True)
  yield Finding('system', platform.system(), True, f'{platform.release()} {platform.machine()}')
  usable = getattr(os, 'sched_getaffinity', lambda _: range(os.cpu_count() or 1))
  cores = len(usable(0))
  try:
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    yield Finding('system', 'cores, memory', True, f'{cores}, {memory / 2**30:.1f} GiB')
  except (AttributeError, OSError, ValueError):
    yield Finding('system', 'cores', True, f'{cores}')
  free = shutil.disk_usage('.').free
  advice = '' if free > ROOMY else f'runs and data want {ROOMY / 1e9:.0f} GB'
  yield Finding('disk', 'free here', free > ROOMY, f'{free / 1e9:.1f} GB', advice)


def data_sets(root: Path) -> Iterator[Finding]:
  """What `zsi run --stage=prepare` left below a data root, whole or not: sizes, not every byte."""
  from zsi_jax.data import manifest

  for path in sorted(root.glob(f'*/*/*/{manifest.FILE}')):
    if any(part.startswith('.') for part in path.relative_to(root).parts):
      continue  # half written
    name = '/'.join(path.relative_to(root).parts[:2])
    try:
      told = manifest.read(path.parent)
    except ValueError as error:
      yield Finding('data', name, False, str(error))
      continue
    size = sum(file['bytes'] for file in told.files.values())
    gone = f', {len(told.skipped)} skipped' if told.skipped else ''
    yield Finding('data', name, True, f'{told.count:,} records{gone}, {size / 1e6:.1f} MB')
  for path in sorted(root.glob('*/*.npz')):
    if re.fullmatch(r'[0-9a-f]{8}', path.stem):
      found = f'one .npz, {path.stat().st_size / 1e6:.1f} MB'
      yield Finding('data', f'{path.parent.name}/{path.stem}', True, found)
  for path in sorted(root.glob('*/.*.part')):
    name, advice = f'{path.parent.name}/{path.stem[1:]}', 'prepare it again, unless that runs now'
    yield Finding('data', name, False, 'unfinished', advice)


def files() -> Iterator[Finding]:
  for variable, what in DIRECTORIES.items():
    value = os.environ.get(variable)
    if not value and variable == 'ZSI_DATA_DIR' and Path('data').is_dir():
      value = 'data'  # where `zsi run` looks then
    if not value:
      yield Finding('files', variable, False, f'not set ({what})', f'export {variable}=<directory>')
    elif not Path(value).is_dir():
      yield Finding('files', variable, False, f'{value} is no directory', f'mkdir -p {value}')
    else:
      yield Finding('files', variable, True, f'{value}: {len(os.listdir(value))} entries')
  yield from data_sets(Path(os.environ.get('ZSI_DATA_DIR') or 'data').expanduser())
  name, size = INCEPTION
  home = os.environ.get('TORCH_HOME') or Path(
    os.environ.get('XDG_CACHE_HOME') or '~/.cache', 'torch'
  )
  rooms = [Path(os.environ.get('ZSI_WEIGHTS_DIR') or '.'), Path(home, 'hub', 'checkpoints')]
  paths = [room.expanduser() / name for room in rooms]
  path = next((p for p in paths if p.is_file()), None)
  if path is None:
    advice = f'FID only: put {name} ({size:,} bytes) into {paths[-1].parent}'
    yield Finding('files', 'Inception', False, 'not found', advice)
  else:
    right = path.stat().st_size == size
    found = f'{path}: {path.stat().st_size:,} bytes'
    yield Finding('files', 'Inception', right, found, '' if right else f'a whole one has {size:,}')


def doctor(as_json: bool = False) -> int:
  findings = [*machine(), *packages(), *devices(), *run(), *files()]
  ok = all(f.ok for f in findings if f.required)
  if as_json:
    rows = [dataclasses.asdict(f) for f in findings]
    print(json.dumps({'zsi_jax': zsi_jax.__version__, 'ok': ok, 'findings': rows}, indent=2))
  else:
    print(f'zsi_jax {zsi_jax.__version__}', *findings, sep='\n')
    print('Everything required is here.' if ok else 'Something required is missing: see above.')
  return 0 if ok else 1
