"""Notebooks are committed executed, and their code still runs."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / 'notebooks').glob('*.ipynb'))


def cells(path):
  return [c for c in json.loads(path.read_text())['cells'] if c['cell_type'] == 'code']


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_runs(path, monkeypatch):
  matplotlib.use('Agg')
  monkeypatch.chdir(path.parent)
  scope: dict = {}
  for cell in cells(path):
    exec(compile(''.join(cell['source']), path.name, 'exec'), scope)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_is_committed_executed(path):
  counts = [c['execution_count'] for c in cells(path)]
  assert counts == list(range(1, len(counts) + 1))
  outputs = [o for c in cells(path) for o in c['outputs']]
  assert any('image/png' in o.get('data', {}) for o in outputs)
  assert not any(o['output_type'] == 'error' for o in outputs)


def test_there_are_some():
  assert NOTEBOOKS
