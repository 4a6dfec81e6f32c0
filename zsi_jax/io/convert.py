"""A checkpoint of PyTorch becomes safetensors that names its own architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.infer import infer
from zsi_jax.io.stamp import stamp

KINDS = {'unet': 'denoiser', 'ddpm': 'denoiser', 'dit': 'denoiser', 'encoder': 'classifier'}
PROCESS = ('schedule', 'T')


def convert(
  src: str | Path,
  dst: str | Path,
  *,
  force: bool = False,
  check: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
  part: str | None = None,
  classes: int | None = None,
  **options: Any,
) -> dict[str, Any]:
  """src (.pt, .safetensors, …) -> dst (.safetensors); returns what its header says.

  `classes` keeps the first logits of a classifier, `part` picks one of several nested state dicts,
  `options` are those of `infer`. `check` turns the inferred architecture into the abstract
  variables of the real network, which the file must fill.
  """
  src, dst = Path(src), Path(dst)
  writable(src, dst, force)
  arrays, facts = weights.read(src, part)
  if classes is not None:
    arrays = weights.slice_head(arrays, classes, file=src)
  found = infer(arrays, file=src, header=facts['header'], **options)
  if check is None:
    weights.check(arrays, file=src)
  else:
    weights.fill(check(found), arrays, file=src)
  assumed = found.pop('assumed')
  metadata = {
    'kind': KINDS[found['net']],
    'architecture': {k: v for k, v in found.items() if k not in PROCESS},
    'process': {k: found[k] for k in PROCESS},
    'assumed': list(assumed),
    'notes': facts['notes'],
    'source': {'name': src.name, 'bytes': src.stat().st_size, 'sha256': weights.sha256(src)},
    'stamp': stamp(device=False),
  }
  weights.write(dst, arrays, metadata)
  return metadata


def writable(src: Path, dst: Path, force: bool) -> None:
  if dst.suffix != '.safetensors':
    raise WeightsError(
      f'{dst}: safetensors are written; name it {dst.with_suffix(".safetensors").name}.'
    )
  if not dst.parent.is_dir():
    raise WeightsError(f'{dst}: there is no directory {dst.parent}; make it first.')
  if dst.is_dir():
    raise WeightsError(f'{dst}: a directory; give a file name.')
  if dst.exists() and src.exists() and dst.samefile(src):
    raise WeightsError(f'{dst}: it is the source itself; give another name.')
  if dst.exists() and not force:
    raise WeightsError(f'{dst}: it exists already; force=True (--force) writes over it.')
