"""Notebooks are committed executed, small, and run again by `make notebooks`."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import notebooks

PATHS = sorted(notebooks.FOLDER.glob('*.ipynb'))
EACH = pytest.mark.parametrize('path', PATHS, ids=lambda p: p.stem)
WANTED = {'quickstart', 'your_own_attribute', 'guidance_algebra', 'guide_your_own_denoiser'}


def cells(path):
  return [c for c in json.loads(path.read_text())['cells'] if c['cell_type'] == 'code']


def outputs(path):
  return [o for c in cells(path) for o in c['outputs']]


@EACH
def test_is_committed_executed(path):
  counts = [c['execution_count'] for c in cells(path)]
  assert counts == list(range(1, len(counts) + 1))
  assert not any(o['output_type'] == 'error' for o in outputs(path))
  head = json.loads(path.read_text())['cells'][0]
  assert head['cell_type'] == 'markdown' and head['source'][0].startswith('# ')


@EACH
def test_its_pictures_are_small(path):
  pictures = [
    base64.b64decode(o['data']['image/png'])
    for o in outputs(path)
    if 'image/png' in o.get('data', {})
  ]
  assert pictures and all(len(p) <= notebooks.LARGEST for p in pictures)
  assert all(p.startswith(b'\x89PNG') for p in pictures)
  assert path.stat().st_size < 5 * notebooks.LARGEST


def test_they_are_all_there():
  assert WANTED <= {p.stem for p in PATHS}


def test_the_quickstart_is_25_lines():
  code = [line for c in cells(notebooks.FOLDER / 'quickstart.ipynb') for line in c['source']]
  assert len([line for line in code if line.strip()]) <= 25


def notebook(*sources):
  code = {'cell_type': 'code', 'metadata': {}, 'outputs': [], 'execution_count': None}
  return {'cells': [{**code, 'source': notebooks.lines(s)} for s in sources], 'nbformat': 4}


def test_cells_share_names_and_show_what_jupyter_would():
  made = notebooks.executed(
    notebook(
      "print('a')\nx = 2",
      'x + 1',
      'x + 2;',
      'from PIL import Image\nImage.new("RGB", (3, 2))',
      'import matplotlib\nmatplotlib.use("Agg")\nimport matplotlib.pyplot as plt\nplt.plot([1]);',
      'None',
    ),
    'x',
  )
  shown = [c['outputs'] for c in made['cells']]
  assert shown[0] == [{'output_type': 'stream', 'name': 'stdout', 'text': ['a\n']}]
  assert shown[1][0]['data'] == {'text/plain': ['3']} and shown[1][0]['execution_count'] == 2
  assert shown[2] == shown[5] == []
  assert notebooks.pictures(made) == [0, 0, 0, 1, 1, 0]
  assert shown[4][0]['output_type'] == 'display_data'


def test_a_picture_that_is_too_large():
  with pytest.raises(ValueError, match='x: a picture of 100,001 bytes'):
    notebooks.shown(b'0' * 100_001, 'x')


@pytest.mark.parametrize(
  'sources, said',
  [
    (['1 / 0'], 'ZeroDivisionError'),
    (['1 + 1'], 'it shows no picture'),
    (['from PIL import Image', 'Image.new("RGB", (3, 2))', '3'], None),
  ],
)
def test_a_notebook_runs_in_a_process_of_its_own(tmp_path, monkeypatch, capfd, sources, said):
  """One that fails, one without pictures, and one that shows other pictures than before."""
  path = tmp_path / 'a.ipynb'
  path.write_text(json.dumps(notebook(*sources)))
  code = f"""import sys; from pathlib import Path; from bench import notebooks
notebooks.FOLDER = Path({str(tmp_path)!r})
sys.exit(notebooks.main())"""
  before = path.read_text()

  def called(*more):
    command = [sys.executable, '-c', code, '--here', 'a', *more]
    done = subprocess.run(command, cwd=notebooks.ROOT, capture_output=True, text=True)
    return done.returncode, done.stderr

  status, err = called()
  if said:
    assert status == 1 and said in err and path.read_text() == before
    return
  assert status == 1 and 'its cells show [0, 1, 0] pictures, [0, 0, 0] before' in err
  assert called('--write')[0] == 0 and called()[0] == 0
  assert [c['execution_count'] for c in cells(path)] == [1, 2, 3]
  assert Path(path).read_text().endswith('\n')
