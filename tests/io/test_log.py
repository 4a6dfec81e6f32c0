"""The logger: who writes where, and a bar that stays in one piece."""

import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zsi_jax.io import log
from zsi_jax.io.log import bar, logger, opened

ROOT = Path(__file__).parents[2]
LINE = r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) '


class Tty(io.StringIO):
  def isatty(self):
    return True


def speak():
  logger.debug('for the file')
  logger.info('step %d', 1)
  logger.warning('look')
  logger.error('wrong')


def test_process_0_speaks_and_writes(tmp_path, capsys):
  with opened(tmp_path / 'log'):
    speak()
  out, err = capsys.readouterr()
  assert out == 'step 1\n' and err == 'zsi: warning: look\nzsi: error: wrong\n'
  text = (tmp_path / 'log' / 'process-0.log').read_text()
  assert re.sub(LINE, '', text) == 'for the file\nstep 1\nlook\nwrong\n'
  assert all(re.match(LINE, line) for line in text.splitlines())


def test_other_processes_only_write(tmp_path, capsys):
  with opened(tmp_path, 3):
    speak()
    assert bar(10).disable
  assert capsys.readouterr() == ('', '')
  assert len((tmp_path / 'process-3.log').read_text().splitlines()) == 4


def test_it_appends_and_leaves_the_logger_as_it_was(tmp_path, capsys):
  before = logger.level, logger.propagate, list(logger.handlers)
  for _ in range(2):
    with opened(tmp_path):
      logger.debug('and for the file')
      logger.info('once')
  assert (logger.level, logger.propagate, list(logger.handlers)) == before
  assert not logger.isEnabledFor(logging.DEBUG)
  logger.info('nowhere')
  assert capsys.readouterr().out == 'once\n' * 2
  assert len((tmp_path / 'process-0.log').read_text().splitlines()) == 4


def test_a_crash_leaves_its_traceback_in_the_file(tmp_path, capsys):
  with pytest.raises(ZeroDivisionError):
    with opened(tmp_path):
      raise ZeroDivisionError('division by zero')
  text = (tmp_path / 'process-0.log').read_text()
  assert 'Traceback' in text and 'ZeroDivisionError: division by zero' in text
  assert capsys.readouterr() == ('', '')  # the terminal is of whoever catches it


def test_a_log_that_cannot_be_written_is_said_once(tmp_path, capsys, monkeypatch):
  with opened(tmp_path):
    stream = next(h for h in logger.handlers if isinstance(h, log.File)).stream

    def full(_):
      raise OSError(28, 'No space left on device')

    monkeypatch.setattr(stream, 'write', full, raising=False)
    for step in range(3):
      logger.info('step %d', step)
    monkeypatch.undo()
  out, err = capsys.readouterr()
  assert out == 'step 0\nstep 1\nstep 2\n'
  assert err.count('\n') == 1 and f'{tmp_path}/process-0.log' in err and 'No space left' in err


MANY = """
import sys
from zsi_jax.io.log import logger, opened
with opened(sys.argv[1]):
  for i in range(20000):
    logger.info("line %d", i)
sys.stderr.write("whole")
"""


def test_a_reader_that_left_ends_nothing(tmp_path):
  command = f"set -o pipefail; '{sys.executable}' -c '{MANY}' '{tmp_path}' | head -1"
  done = subprocess.run(['bash', '-c', command], cwd=ROOT, capture_output=True, text=True)
  assert (done.returncode, done.stdout, done.stderr) == (0, 'line 0\n', 'whole')
  assert len((tmp_path / 'process-0.log').read_text().splitlines()) == 20000


def test_letters_that_a_terminal_lacks(tmp_path, monkeypatch):
  raw = io.BytesIO()
  monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(raw, encoding='ascii'))
  with opened(tmp_path):
    logger.info('schön λ')
  assert raw.getvalue() == b'sch\\xf6n \\u03bb\n'
  assert 'schön λ' in (tmp_path / 'process-0.log').read_text(encoding='utf-8')


def test_a_bar_shows_rate_and_eta_and_survives_log_lines(tmp_path, monkeypatch):
  screen = Tty()
  monkeypatch.setattr(sys, 'stderr', screen)
  monkeypatch.setattr(sys, 'stdout', screen)
  with opened(tmp_path), bar(10, 'image', initial=4, title='sample') as shown:
    shown.update(3)
    logger.info('a line of its own')
    shown.refresh()
  text = screen.getvalue()
  assert re.search(r'sample.*\| 7/10 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+image/s\]', text)
  lines = re.split(r'[\r\n]', text.replace('\x1b[A', ''))
  assert 'a line of its own' in [line.strip() for line in lines]
  assert text.index('4/10') < text.index('a line') < text.rindex('7/10')


def test_no_bar_where_nobody_looks(capsys):
  with bar(10) as shown:
    shown.update(3)
    shown.set_postfix(loss=1.0)
  assert capsys.readouterr() == ('', '')


def test_importing_it_is_light():
  code = (
    "import sys, zsi_jax.io.log; print([n for n in ('jax', 'tqdm', 'numpy') if n in sys.modules])"
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
  assert done.stdout.strip() == '[]'
