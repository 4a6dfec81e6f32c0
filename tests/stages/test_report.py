"""report: the page of a workdir; `zsi report`: of one or several."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest

from tests.report import made
from zsi_jax import main
from zsi_jax.stages.report import report


def test_the_stage_leaves_a_page_and_the_numbers(tmp_path):
  workdir = made.write(tmp_path / 'run')
  report(None, workdir)
  html = (workdir / 'report' / 'index.html').read_text(encoding='utf-8')
  for name in ('guided.png', 'more/unguided.png'):
    data = (workdir / 'evaluate' / name).read_bytes()
    assert base64.b64encode(data).decode() in html
  told = json.loads((workdir / 'report' / 'metrics.json').read_text())
  assert told['sets'].keys() == made.metrics()['sets'].keys()


def test_the_same_metrics_leave_the_same_files(tmp_path):
  folders = [made.write(tmp_path / name) for name in 'ab']
  for folder in folders:
    report(None, folder)
  for name in ('index.html', 'metrics.json'):
    one, other = (folder / 'report' / name for folder in folders)
    assert one.read_bytes() == other.read_bytes()


def test_a_page_of_before_is_replaced_or_left_whole(tmp_path):
  workdir = made.write(tmp_path / 'run')
  report(None, workdir)
  page = workdir / 'report' / 'index.html'
  before = page.read_bytes()
  (workdir / 'evaluate' / 'guided.png').unlink()
  with pytest.raises(ValueError, match='is gone'):
    report(None, workdir)
  assert page.read_bytes() == before


def cli(capsys, *args):
  status = main.cli(['report', *map(str, args)])
  out, err = capsys.readouterr()
  return status, out, err


def test_without_evaluate_it_is_one_line(tmp_path, capsys):
  with pytest.raises(ValueError, match=r'evaluate/metrics.json: is not there; run --stage=evalu'):
    report(None, tmp_path)
  status, out, err = cli(capsys, tmp_path / 'nowhere')
  assert status == 2 and out == '' and err.count('\n') == 1
  assert err.startswith('zsi: error: ') and '--stage=evaluate' in err


def test_one_run(tmp_path, capsys):
  workdir = made.write(tmp_path / 'run')
  assert cli(capsys, workdir) == (0, f'{workdir}/report/index.html\n', '')
  one = (workdir / 'report' / 'index.html').read_bytes()
  assert cli(capsys, workdir, f'--out={tmp_path / "out"}')[0] == 0
  assert (tmp_path / 'out' / 'index.html').read_bytes() == one
  # What was published has no pictures beside it: its page is not made again without them.
  for place in (tmp_path / 'out', tmp_path / 'out' / 'metrics.json'):
    status, _, err = cli(capsys, place)
    assert status == 2 and 'written over' in err
  assert (tmp_path / 'out' / 'index.html').read_bytes() == one
  evaluated = (workdir / 'evaluate' / 'metrics.json').read_bytes()
  assert cli(capsys, workdir, f'--out={workdir / "evaluate"}')[0] == 2
  assert (workdir / 'evaluate' / 'metrics.json').read_bytes() == evaluated


def test_several_runs(tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ('one', 'two'):
    made.write(tmp_path / name, title=f'The run {name}')
  cli(capsys, 'one')
  cli(capsys, 'two')
  assert cli(capsys, 'one', 'two') == (0, 'report/index.html\n', '')
  html = (tmp_path / 'report' / 'index.html').read_text()
  assert 'The run one' in html and 'The run two' in html
  # Their reports alone are as good, but for pictures.
  assert cli(capsys, 'one/report', 'two/report', '--out=b')[0] == 0
  assert '<img' in html and '<img' not in (tmp_path / 'b' / 'index.html').read_text()


def test_two_protocols_are_refused_with_both(tmp_path, capsys):
  one = made.write(tmp_path / 'one')
  two = made.write(tmp_path / 'two', protocol=made.metrics()['protocol'] | {'bins': 50})
  status, out, err = cli(capsys, one, two, f'--out={tmp_path / "out"}')
  assert status == 2 and out == '' and err.count('\n') == 1
  assert 'bins: 100 against 50' in err and '"bins": 100' in err and '"bins": 50' in err
  assert not (tmp_path / 'out').exists()


def test_no_device_is_started_for_a_page(tmp_path):
  """A login node may have none, and TensorFlow's seconds are not spent."""
  code = """
import sys
from zsi_jax import main
status = main.cli(['report', sys.argv[1]])
bridge = sys.modules.get('jax._src.xla_bridge')
heavy = [n for n in ('tensorflow', 'orbax', 'grain', 'matplotlib', 'flax') if n in sys.modules]
print(status, len(bridge._backends) if bridge else 0, heavy)
"""
  workdir = made.write(tmp_path / 'run')
  done = subprocess.run(
    [sys.executable, '-c', code, str(workdir)], capture_output=True, text=True, check=True
  )
  assert done.stdout.splitlines()[-1] == '0 0 []'
