"""README's table of experiments is what the command makes of docs/results."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import experiments
from bench.experiments import BEGIN, END, NONE, main
from tests.report import made
from zsi_jax.report import read

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_is_what_the_command_makes(capsys):
  assert main(ROOT, check=True) == 0, capsys.readouterr().out


@pytest.fixture
def checkout(tmp_path):
  (tmp_path / 'README.md').write_text(f'head\n{BEGIN}\nold\n{END}\ntail\n')
  return tmp_path


def publish(root, name, **changes):
  run = read.run(made.write(root / 'runs' / name, **changes))
  folder = root / experiments.RESULTS / name
  folder.mkdir(parents=True)
  (folder / 'metrics.json').write_bytes(read.plain(run.facts))
  return folder


def lines(root):
  text = (root / 'README.md').read_text()
  assert text.startswith(f'head\n{BEGIN}\n') and text.endswith(f'\n{END}\ntail\n')
  return text.split('\n')[2:-3]


def test_without_results_it_says_so(checkout):
  assert main(checkout, check=False) == 0
  assert lines(checkout) == [NONE]


def test_a_row_for_each_result(checkout, capsys):
  publish(checkout, 'smile', title='Smile | or [not] <b>')
  paper = made.metrics()['config'].replace('small', 'paper')
  publish(checkout, 'age', title='Age', zero_shot=False, config=paper, preset=None, headline=[])
  assert main(checkout, check=True) == 1
  assert 'make results' in capsys.readouterr().out and lines(checkout) == ['old']
  assert main(checkout, check=False) == 0 == main(checkout, check=True)
  head, rule, age, smile = lines(checkout)
  assert {line.replace('\\|', '').count('|') for line in (head, rule, age, smile)} == {8}
  assert smile == (
    '| [Smile \\| or \\[not\\] \\<b\\>](docs/results/smile/index.html) '
    '([config](configs/zsi/smile.py)) | Fig. 5, Table 1 '
    '| L2 to uniform, λ = 75 **0.0651 [0.0600, 0.0710]**; '
    'λ = 75, judge B: KLD to uniform, nats **0.188** '
    '| 0.065; 0.188 | `:small`, reduced | cpu | 1 h 37 min |'
  ).replace('0651 [0.0600, 0.0710]', '0651 \\[0.0600, 0.0710\\]')
  assert '), not zero-shot (' in age and '| `:paper` |' in age and 'reduced' not in age


def test_a_result_that_cannot_be_read_is_one_line(checkout, capsys):
  folder = publish(checkout, 'smile')
  (folder / 'metrics.json').write_text('{')
  assert main(checkout, check=False) == 2
  err = capsys.readouterr().err
  assert 'smile/metrics.json' in err and err.count('\n') == 1 and lines(checkout) == ['old']


@pytest.mark.parametrize('text', ['', BEGIN, f'{END}\n{BEGIN}\n'])
def test_without_its_marks_the_readme_is_left(checkout, capsys, text):
  (checkout / 'README.md').write_text(text)
  assert main(checkout, check=False) == 2 and (checkout / 'README.md').read_text() == text
  assert BEGIN in capsys.readouterr().err


def test_every_config_is_listed():
  text = (ROOT / experiments.EVERY).read_text()
  configs = {p.relative_to(ROOT).as_posix() for p in (ROOT / 'configs').glob('*/*.py')}
  assert {f'[{name}](../{name})' for name in configs} == {
    line.split(' | ')[0][2:] for line in text.splitlines() if line.startswith('| [configs/')
  }
  pages = {p.parent.name for p in (ROOT / experiments.RESULTS).glob('*/metrics.json')}
  assert {name for name in pages if f'(results/{name}/index.html)' in text} == pages
