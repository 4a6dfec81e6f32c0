"""Arrays by name in one .npz: any name but 'x.npy', the same bytes each time, damage found."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from zsi_jax.data.errors import DataError


def write(file: Path | IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
  """np.savez would take a name such as 'file' for its own argument, and write the time of day."""
  with zipfile.ZipFile(file, 'w') as archive:
    for name, array in arrays.items():
      info = zipfile.ZipInfo(f'{name}.npy')
      info.compress_type = zipfile.ZIP_DEFLATED
      with archive.open(info, 'w', force_zip64=True) as member:
        np.lib.format.write_array(member, np.asarray(array, order='C'), allow_pickle=False)


def read(path: Path, again: str) -> dict[str, np.ndarray]:
  """All arrays, each checked by its CRC; where one is damaged, a DataError ending in `again`."""
  try:
    with np.load(path, allow_pickle=False) as file:
      return {name: file[name] for name in file.files}
  except (OSError, ValueError, KeyError, EOFError, AttributeError, NotImplementedError,
          RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
    raise DataError(
      f'{path}: no .npz of arrays, or a damaged one ({error}; {path.stat().st_size} bytes). {again}'
    ) from None
