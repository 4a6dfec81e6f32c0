"""The laws of the house, read from the sources: rooms, sizes, locks, light imports."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'zsi_jax'
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
SOURCES = {p.relative_to(PACKAGE).as_posix(): p.read_text() for p in PACKAGE.rglob('*.py')}

# A room may import itself and these; '' is the facade.
L0 = {'core', 'nets', 'data', 'io'}
L1 = {'guide', 'train', 'evaluate', 'report'}
MAY_IMPORT = {
  'whole': set(),
  **dict.fromkeys(L0, {'whole'}),
  'guide': {'core', 'nets'},
  'train': {'core', 'io', 'whole'},
  'evaluate': {'core', 'nets', 'io'},
  'report': {'io'},
  'build': L0 | L1,
  'distributed': set(),
  'stages': L0 | L1 | {'', 'build', 'distributed', 'whole'},
  'doctor': {'', 'data', 'stages', 'distributed'},  # looks at what a run would find here
  '__init__': {'core', 'nets', 'build', 'report'},
  'main': L0 | L1 | {'', 'build', 'stages', 'distributed', 'doctor'},
  '__main__': {'main'},
}
# Every loop of the compiled code, and why it is not a second loop over timesteps.
LOOPS = {
  'core/sampler.py': 'the loop over rows of the schedule',
  'core/compose.py': 'n repeats of one row: time travel and the Langevin corrector',
  'core/losses.py': 'writes a batch into the loss history of importance sampling',
  'core/merge.py': 'projected gradient of a merge, within one row',
  'guide/rules.py': 'steps down an energy on x0_hat, within one row',
  'nets/spectral.py': 'power iteration of spectral norm',
  'train/step.py': 'gradient accumulation: the parts of one batch',
}
DISTRIBUTIONS = {  # imported name: distribution, where they differ
  'PIL': 'pillow',
  'absl': 'absl-py',
  'cv2': 'opencv-python-headless',
  'ml_dtypes': 'jax',  # jax requires it: the type of its bfloat16 arrays on the host
  'orbax': 'orbax-checkpoint',
}


def room(path: str) -> str:
  return path.split('/')[0].removesuffix('.py')


def imports(path: str, source: str) -> Iterator[tuple[str, bool]]:
  """(dotted name, whether at the head of the file) of all that a file imports."""
  tree = ast.parse(source)
  here = ['zsi_jax', *path.split('/')[:-1]]
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      base = '.'.join(here[: len(here) - node.level + 1]) if node.level else ''
      module = '.'.join(filter(None, (base, node.module)))
      names = [f'{module}.{alias.name}' for alias in node.names]
    else:
      continue
    yield from ((name, node in tree.body) for name in names)


def wrong_directions(path: str, source: str) -> list[str]:
  me, wrong = room(path), []
  for name, _ in imports(path, source):
    parts = name.split('.')
    if parts[0] == 'zsi_jax' and not parts[-1].startswith('__'):
      target = parts[1] if len(parts) > 1 else ''
      if target != me and target not in MAY_IMPORT[me]:
        wrong.append(f'{path} imports {name}')
  return wrong


def foreign_to_core(path: str, source: str) -> list[str]:
  """core knows jax, numpy, flax.struct and the standard library; a progress bar loads late."""
  wrong = []
  for name, at_head in imports(path, source):
    top = name.split('.')[0]
    known = top in {'jax', 'numpy', 'zsi_jax', *sys.stdlib_module_names}
    if not (known or name.startswith('flax.struct') or (top == 'tqdm' and not at_head)):
      wrong.append(f'{path} imports {name}')
  return wrong


def dtypes_named(path: str, source: str) -> list[str]:
  """Floating dtypes named outside `Process.make`; np.float64 is the host's and allowed."""
  kinds = {'float16', 'float32', 'float64', 'bfloat16'}
  tree = ast.parse(source)
  makers = [
    f
    for c in ast.walk(tree)
    if isinstance(c, ast.ClassDef) and c.name == 'Process'
    for f in c.body
    if isinstance(f, ast.FunctionDef) and f.name == 'make'
  ]
  exempt = {id(n) for f in makers for n in ast.walk(f)}
  wrong = []
  for node in ast.walk(tree):
    named = (isinstance(node, ast.Attribute) and node.attr in kinds) or (
      isinstance(node, ast.Constant) and node.value in kinds
    )
    host = isinstance(node, ast.Attribute) and ast.unparse(node) == 'np.float64'
    if named and not host and id(node) not in exempt:
      wrong.append(f'{path}:{node.lineno} names {ast.unparse(node)}')
  return wrong


def loops(source: str) -> list[str]:
  names = {'scan', 'associative_scan', 'fori_loop', 'while_loop'}
  calls = (n.func for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call))
  called = [getattr(f, 'attr', getattr(f, 'id', '')) for f in calls]
  return [name for name in called if name in names]


def foreign_paths(text: str) -> list[str]:
  """Directories of one machine, and the hosts of package registries."""
  here = [str(d) for d in (ROOT.parent, Path.home()) if len(d.parts) > 1]
  roots = '|'.join(['/home', '/root', '/Users', '/opt', '/tmp', '/mnt', *map(re.escape, here)])
  patterns = [
    rf'(?<![\w.)}}~/-])(?:{roots})/',
    r'file:' + '//',
    r'pypi\.org|pythonhosted\.org|download\.pytorch\.org',
  ]
  return [m[0] for p in patterns for m in re.finditer(p, text)]


def texts() -> Iterator[tuple[str, str]]:
  """Each text file of the repository, by its name."""
  made = {'build', 'dist', 'runs', 'data'}  # by others, at the top
  for folder, folders, names in os.walk(ROOT):
    skip = {'.git', '__pycache__'} | (made if Path(folder) == ROOT else set())
    folders[:] = [
      f for f in folders if f not in skip and not re.match(r'\.(venv|.*_cache)|.*egg-info', f)
    ]
    for name in names:
      path = Path(folder, name)
      try:
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding='utf-8')
      except UnicodeDecodeError:
        continue  # not a text


def each(rule, *rooms: str) -> list[str]:
  rows = sorted(SOURCES.items())
  return [w for path, text in rows if not rooms or room(path) in rooms for w in rule(path, text)]


def test_imports_point_left_and_down():
  assert {room(path) for path in SOURCES} <= set(MAY_IMPORT)
  assert each(wrong_directions) == []


def test_core_knows_jax_numpy_and_structs():
  assert each(foreign_to_core, 'core') == []


def test_the_report_never_touches_a_device():
  used = [n for p, s in SOURCES.items() if room(p) == 'report' for n, _ in imports(p, s)]
  assert not [n for n in used if n.split('.')[0] in ('jax', 'flax')]


def test_what_is_imported_is_required():
  required = {canonicalize_name(Requirement(d).name) for d in PROJECT['dependencies']}
  tops = {n.split('.')[0] for p, s in SOURCES.items() for n, _ in imports(p, s)}
  foreign = tops - sys.stdlib_module_names - {'zsi_jax'}
  assert {canonicalize_name(DISTRIBUTIONS.get(t, t)) for t in foreign} <= required


def test_core_leaves_dtypes_to_process_make():
  assert each(dtypes_named, 'core') == []


def test_one_loop_over_timesteps():
  found = {path: loops(source) for path, source in SOURCES.items() if loops(source)}
  assert set(found) == set(LOOPS), (
    'a new loop needs its reason in LOOPS; one that is gone leaves it'
  )
  assert found['core/sampler.py'] == ['scan']


def test_no_config_below_build():
  below = {p: s for p, s in SOURCES.items() if room(p) in L0 | L1}
  assert [p for p, s in below.items() if re.search(r'\bConfigDict\b|ml_collections', s)] == []


@pytest.mark.parametrize(
  'rule, path, bad, good',
  [
    (
      wrong_directions,
      'core/a.py',
      'from zsi_jax.nets import UNet',
      'from zsi_jax.core import tree',
    ),
    (wrong_directions, 'nets/a.py', 'from zsi_jax import core', 'from zsi_jax.nets import conv'),
    (wrong_directions, 'core/a.py', 'from ..io import weights', 'from . import tree'),
    (wrong_directions, 'guide/a.py', 'import zsi_jax.build', 'import zsi_jax.core'),
    (wrong_directions, 'io/a.py', 'def f():\n  import zsi_jax', 'from zsi_jax import __version__'),
    (foreign_to_core, 'core/a.py', 'import optax', 'import math'),
    (foreign_to_core, 'core/a.py', 'from tqdm import tqdm', 'def f():\n  from tqdm import tqdm'),
    (foreign_to_core, 'core/a.py', 'import flax.linen as nn', 'from flax import struct'),
    (dtypes_named, 'core/a.py', 'x = y.astype(jnp.float32)', 'x = np.asarray(y, np.float64)'),
    (dtypes_named, 'core/a.py', "x = jnp.ones(3, 'bfloat16')", 'x = jnp.ones(3)'),
    (
      dtypes_named,
      'core/a.py',
      'def make(dtype=np.float32): ...',
      'class Process:\n  def make(dtype=np.float32): ...',
    ),
  ],
)
def test_the_rules_can_fail(rule, path, bad, good):
  assert rule(path, bad) and not rule(path, good)


def test_the_path_rule_can_fail():
  bad = ['file:' + '//x', '"/' + 'opt/x"', 'see /' + 'home/me/x', 'https://pypi' + '.org/simple']
  assert all(map(foreign_paths, bad))
  assert not foreign_paths('runs/home/x configs/opt/y ~/.cache/torch https://a.org/home/x')


def test_files_are_short_and_named_for_what_they_hold():
  rooms = [p for d in ('zsi_jax', 'bench', 'configs') for p in (ROOT / d).rglob('*.py')]
  assert {p.name: n for p in rooms if (n := len(p.read_text().splitlines())) > 350} == {}
  assert [p for p in rooms if p.stem == 'utils' or 'utils' in p.parent.parts[-1:]] == []
  assert len(SOURCES['main.py'].splitlines()) <= 70
  assert len((ROOT / 'README.md').read_text().splitlines()) <= 200


def test_no_path_of_a_machine_and_no_registry():
  assert {name: found for name, text in texts() if (found := foreign_paths(text))} == {}


def test_requirements_are_the_dependencies():
  lines = (ROOT / 'requirements.txt').read_text().splitlines()
  assert lines == PROJECT['dependencies']


@pytest.mark.parametrize('tag', ['py311', 'py312'])
def test_the_lock_pins_every_dependency_within_its_bounds(tag):
  lines = (ROOT / f'requirements/lock-{tag}.txt').read_text().splitlines()
  assert [x for x in lines if not re.fullmatch(r'[\w.-]+==[\w.!+]+', x)] == []
  pins = {canonicalize_name(n): Version(v) for n, v in (line.split('==') for line in lines)}
  for line in PROJECT['dependencies'] + PROJECT['optional-dependencies']['dev']:
    need = Requirement(line)
    assert pins.get(canonicalize_name(need.name), Version('0')) in need.specifier, line
  assert 'zsi-jax' not in pins and 'torch' not in pins


def test_the_extras():
  wanted = 'cuda12 cuda13 tpu k8s notebook export wandb parity dev'.split()
  assert list(PROJECT['optional-dependencies']) == wanted
  assert PROJECT['optional-dependencies']['parity'][:2] == ['torch==2.13.0', 'torchvision==0.28.0']
  assert PROJECT['requires-python'] == '>=3.11'


def test_the_version_stands_in_one_place():
  head = re.findall(r"^__version__ = '([^']+)'$", SOURCES['__init__.py'], re.MULTILINE)
  assert len(head) == 1 and 'version' in PROJECT['dynamic']
  elsewhere = [
    name
    for name, text in texts()
    if name.endswith(('.py', '.toml', '.cff', 'Makefile'))
    and re.search(rf"['\"]{head[0]}['\"]", text)
  ]
  assert elsewhere == ['zsi_jax/__init__.py']
  assert f'## [{head[0]}]' in (ROOT / 'CHANGELOG.md').read_text()


def test_every_command_named_is_a_target():
  targets = set(re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
  asked = 'demo test lint parity lock wheel'.split()
  for name in ('.ci/run', '.ci/wheel', '.pre-commit-config.yaml', 'README.md', 'CHANGELOG.md'):
    asked += re.findall(r'\bmake ([a-z-]+)\b(?! sure)', (ROOT / name).read_text())
  assert set(asked) <= targets
  scripts = [ROOT / '.ci' / name for name in ('run', 'venv', 'lock', 'wheel')]
  assert all(os.access(s, os.X_OK) for s in scripts)


LIGHT = """
import json, sys, time
import {module} as m
seconds = time.process_time()  # since the interpreter started; other processes do not count
every = [getattr(m, name) for name in dir(m)]
heavy = ('tensorflow', 'tensorflow_datasets', 'orbax', 'grain', 'torch', 'matplotlib', 'tqdm')
loaded = [name for name in heavy if name in sys.modules]
bridge = sys.modules.get('jax._src.xla_bridge')
print(json.dumps([seconds, loaded, len(bridge._backends) if bridge else 0]))
"""


@pytest.mark.parametrize('module', ['zsi_jax', 'zsi_jax.core'])
def test_imports_are_light(module):
  """Under 2 s, and nothing heavy nor a device before use; every public name is touched."""
  command = [sys.executable, '-c', LIGHT.format(module=module)]
  runs = [
    json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    for _ in range(2)  # the first may have to compile the sources
  ]
  assert min(seconds for seconds, _, _ in runs) < 2
  assert [row[1:] for row in runs] == [[[], 0]] * 2


def test_the_facade_loads_nothing_before_use():
  code = "import sys, zsi_jax; print([n for n in sys.modules if n.startswith(('jax', 'zsi_jax.'))])"
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, check=True, capture_output=True, text=True
  )
  assert done.stdout.strip() == '[]'
