"""zsi_jax.data loads nothing heavy, and works where tfds, array_record and grain are not."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import zsi_jax.data
from tests.data.reader import read
from tests.data.toy import Toy
from zsi_jax.data import memory

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(m.name for m in pkgutil.walk_packages(zsi_jax.data.__path__, 'zsi_jax.data.'))


def run(code: str, *arguments: str) -> str:
  command = [sys.executable, '-c', code, *arguments]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  return done.stdout


IMPORTS = """
import importlib, json, sys
for name in sys.argv[1:]:
  importlib.import_module(name)
tops = {name.split('.')[0] for name in sys.modules}
heavy = {'tensorflow', 'tensorflow_datasets', 'array_record', 'grain', 'jax', 'torch', 'absl'}
print(json.dumps(sorted(tops & heavy)))
"""


def test_imports_are_light():
  assert 'zsi_jax.data.store' in MODULES and 'zsi_jax.data.mesh' in MODULES
  assert json.loads(run(IMPORTS, *MODULES)) == []


BLOCKED = """
import sys
ABSENT = 'tensorflow_datasets', 'array_record', 'grain', 'jax', 'absl', 'tqdm'
class Absent:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in ABSENT:
      raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Absent())
import numpy as np
from tests.data.reader import read
from tests.data.toy import Toy
from zsi_jax.data import memory, store
from zsi_jax.data.errors import DataError
source = memory.Npz(memory.write_npz(Toy(), sys.argv[1] + '/toy.npz'))
batches, position = read(source, batch=6, seed=3, crop=.8, flip=True, epochs=2, workers=2)
arrays = {f'{k}/{n}': a for k, b in enumerate(batches) for n, a in b.items()}
np.savez(sys.argv[1] + '/read.npz', **arrays)
assert position['example'] == 46
for ask in (lambda: store.write(Toy(), sys.argv[1]), lambda: store.open(sys.argv[2])[0]):
  try:
    ask()
  except DataError as error:
    print(error)
"""


def test_without_tfds_array_record_and_grain(tmp_path):
  from zsi_jax.data import store

  stored = store.write(Toy(), tmp_path / 'elsewhere')
  said = run(BLOCKED, str(tmp_path), str(stored)).splitlines()
  assert len(said) == 2
  assert all('need tensorflow-datasets and array_record' in s and 'write_npz' in s for s in said)
  assert sorted(p.name for p in tmp_path.iterdir()) == ['elsewhere', 'read.npz', 'toy.npz']
  wanted, _ = read(Toy(), batch=6, seed=3, crop=0.8, flip=True, epochs=2)
  with np.load(tmp_path / 'read.npz') as file:
    assert len(file.files) == 3 * len(wanted)
    for k, batch in enumerate(wanted):
      for name, array in batch.items():
        np.testing.assert_array_equal(file[f'{k}/{name}'], array, strict=True)
  assert len(memory.Npz(tmp_path / 'toy.npz')) == 23
