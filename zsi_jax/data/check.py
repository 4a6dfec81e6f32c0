"""A source and its records, held against what they declare before anything is kept of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Field, Record, Source, digest

WHOLE = {'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32'}
DTYPES = WHOLE | {'bool', 'str', 'float32', 'float64'}
KINDS = {'b': (bool,), 'i': (int,), 'u': (int,), 'f': (float, int)}  # of numbers without a dtype


def source(given: Source) -> None:
  """A DataError where a source declares what no store can keep."""
  if not re.fullmatch(r'[a-z][a-z0-9_]*', given.name):
    raise DataError(f'the data set {given.name!r}: its name is no snake_case word; rename it.')
  if len(given) == 0:
    raise DataError(f'{given.name}: the source has no records.')
  try:
    digest(given)
  except (TypeError, ValueError) as error:
    raise DataError(f'{given.name}: its parameters are not JSON ({error}).') from None
  image = given.fields.get('image')
  if image is None or image.kind != 'image':
    raise DataError(f"{given.name}: no field 'image' of kind 'image' but {sorted(given.fields)}.")
  for name, field in given.fields.items():
    where = f'{given.name}: field {name!r}'
    if field.dtype not in DTYPES:
      raise DataError(f'{where} has dtype {field.dtype!r}, not one of {sorted(DTYPES)}.')
    if field.dtype == 'str' and field.shape:
      raise DataError(f'{where} is text of shape {field.shape}; text has shape ().')
    if field.kind == 'image' and not (
      field.dtype == 'uint8' and len(field.shape) == 3 and field.shape[2] in (1, 3, 4)
    ):
      raise DataError(
        f'{where} is an image of {field.dtype} {field.shape}, not of uint8 [H, W, 1, 3 or 4].'
      )


def records(
  given: Source, skip_corrupt: bool, skipped: list[tuple[int, str]], numbers: Iterable[int]
) -> Iterator[Record]:
  """Records by number, each checked; a corrupt one goes to `skipped` where that is asked."""
  for i in numbers:
    try:
      drawn = given[i]
    except DataError as error:
      if not skip_corrupt:
        raise DataError(f'{given.name}: record {i}: {error}') from None
      skipped.append((i, str(error)))
      continue
    except OSError as error:  # not of the disk that is written to
      raise DataError(f'{given.name}: record {i} cannot be read ({error}).') from None
    yield record(drawn, given.fields, f'{given.name}: record {i}')
  if len(skipped) == len(given):
    raise DataError(f'{given.name}: no record can be read; the first: {skipped[0][1]}')


def record(given: Mapping[str, Any], fields: Mapping[str, Field], where: str) -> Record:
  """The record with exactly the declared entries, shapes, dtypes and ranges; else a DataError."""
  if missing := sorted(fields.keys() - given.keys()):
    raise DataError(f'{where}: it lacks {", ".join(missing)}; it has {sorted(given)}.')
  if more := sorted(given.keys() - fields.keys()):
    raise DataError(f'{where}: it has {", ".join(more)}, which its source does not declare.')
  return {name: _value(given[name], field, f'{where}: {name}') for name, field in fields.items()}


def _value(given: Any, field: Field, where: str) -> Any:
  if field.dtype == 'str':
    if not isinstance(given, str):
      raise DataError(f'{where} is {type(given).__name__}, not text.')
    return str(given)
  dtype = np.dtype(field.dtype)
  if type(given) in KINDS[dtype.kind]:
    given = dtype.type(given)
  array = np.asarray(given)
  if array.dtype != dtype or array.shape != field.shape:
    raise DataError(f'{where} is {array.dtype} {array.shape}, not {dtype} {field.shape}.')
  if dtype.kind == 'f' and not np.isfinite(array).all():
    raise DataError(f'{where} is not finite ({_first(array, ~np.isfinite(array))}).')
  if field.low is not None or field.high is not None:
    low = -np.inf if field.low is None else field.low
    high = np.inf if field.high is None else field.high
    if (outside := (array < low) | (array > high)).any():
      raise DataError(f'{where} is {_first(array, outside)}, outside [{low:g}, {high:g}].')
  return array[()]


def _first(array: np.ndarray, where: np.ndarray) -> str:
  return f'{array[where].flat[0]}'
