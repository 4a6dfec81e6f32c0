"""report: the page of what evaluate measured, and of several runs beside each other.

workdir/report/index.html    the page, with its pictures in it
workdir/report/metrics.json  the same numbers, without figures that need a file beside them; last
"""

from __future__ import annotations

from pathlib import Path

from ml_collections import ConfigDict

from zsi_jax import distributed
from zsi_jax.io.log import logger
from zsi_jax.report import read
from zsi_jax.report.compare import compare
from zsi_jax.report.page import page
from zsi_jax.report.read import NAME, Run
from zsi_jax.report.shape import ReportError
from zsi_jax.stages import workdir as work

PAGE = 'index.html'


def report(config: ConfigDict, workdir: Path) -> None:
  """Made anew each time: it takes a second, and the same metrics leave the same bytes."""
  with work.shared(workdir):
    distributed.alone(lambda: made(workdir), 'report')


def made(workdir: Path) -> None:
  path = workdir / 'evaluate' / NAME
  if not path.is_file():
    raise ReportError(f'{path}: is not there; run --stage=evaluate, which writes it')
  logger.info('report: %s', write(read.run(path), workdir / 'report'))


def pages(runs: list[str], out: str | None = None) -> str:
  """`zsi report`: the page of a run, or of several compared; returns what was written."""
  found = [read.run(run) for run in runs]
  if len(found) > 1:
    folder = Path(out or 'report').expanduser()
    work.write(folder / PAGE, compare(found).encode())
    return str(folder / PAGE)
  run = found[0]
  return write(run, Path(out).expanduser() if out else beside(run))


def beside(run: Run) -> Path:
  """workdir/report of what lies in workdir/evaluate; else the folder of the metrics."""
  folder = run.path.parent
  return folder.parent / 'report' if folder.name == 'evaluate' else folder


def write(run: Run, folder: Path) -> str:
  if (folder / NAME).resolve() == run.path.resolve():
    raise ReportError(
      f'{run.path}: would be written over, and with it the pictures that a page has and it has '
      'not; take another --out'
    )
  work.write(folder / PAGE, page(run).encode())
  work.write(folder / NAME, read.plain(run.facts))
  return str(folder / PAGE)
