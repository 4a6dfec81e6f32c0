"""The metrics of a run, and the pictures that it names."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from zsi_jax.report.shape import ReportError, checked

NAME = 'metrics.json'
PLACES = 'evaluate', 'report', ''


class Run(NamedTuple):
  """`path` is of its metrics.json, `name` as it was asked for."""

  name: str
  path: Path
  facts: dict[str, Any]


class Picture(NamedTuple):
  """`uri` holds all its bytes."""

  uri: str
  width: int
  height: int


def run(place: str | Path) -> Run:
  """The run of a workdir, of a folder with a metrics.json, or of that file."""
  path = found(Path(place).expanduser())
  try:
    return Run(str(place), path, checked(json.loads(path.read_bytes())))
  except OSError as error:
    raise ReportError(f'{path}: cannot be read ({error.strerror})') from None
  except ReportError as error:
    raise ReportError(f'{path}: {error}; it is no metrics.json of this version') from None
  except (ValueError, RecursionError) as error:  # of JSON, or of the letters in it
    raise ReportError(
      f'{path}: is not whole JSON ({error}); remove it and run --stage=evaluate again'
    ) from None


def found(place: Path) -> Path:
  if place.is_file():
    return place
  for folder in PLACES:
    if (path := place / folder / NAME).is_file():
      return path
  raise ReportError(
    f'{place}: there is no {NAME} in it, in its evaluate/ or report/: '
    f'`zsi run CONFIG --workdir={place} --stage=evaluate` writes one'
  )


def picture(run: Run, file: str) -> Picture:
  """A PNG beside the metrics, whole."""
  path = run.path.parent / file
  if not path.resolve().is_relative_to(run.path.parent.resolve()):
    raise ReportError(f'{run.path}: names the picture {file!r}, which is not below its folder')
  try:
    data = path.read_bytes()
    with Image.open(io.BytesIO(data), formats=['PNG']) as image:
      image.load()
      width, height = image.size
  except FileNotFoundError:
    raise ReportError(
      f'{path}: is gone, and {run.path} names it; run --stage=evaluate again'
    ) from None
  except (OSError, ValueError, SyntaxError) as error:  # the last is Pillow's, of a broken chunk
    raise ReportError(
      f'{path}: is no whole PNG ({error}); remove it and run --stage=evaluate again'
    ) from None
  return Picture(f'data:image/png;base64,{base64.b64encode(data).decode()}', width, height)


def plain(facts: dict[str, Any]) -> bytes:
  """JSON without the figures that need a picture beside it; what is not finite is null."""
  figures = [f for f in facts.get('figures', []) if f['kind'] != 'images']
  told = facts | ({'figures': figures} if 'figures' in facts else {})
  return (json.dumps(_finite(told), indent=1, ensure_ascii=False) + '\n').encode()


def _finite(value: Any) -> Any:
  match value:
    case dict():
      return {key: _finite(inner) for key, inner in value.items()}
    case list():
      return [_finite(inner) for inner in value]
    case float() if not math.isfinite(value):
      return None
  return value
