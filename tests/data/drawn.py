"""What every drawn data set promises: the same bytes for the same index, wherever it is drawn."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np

from zsi_jax.data import check
from zsi_jax.data.record import Source

ELSEWHERE = """
import pickle, sys
source, index = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(pickle.dumps([source[i] for i in index]))
"""


def sha256(images: np.ndarray) -> str:
  return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()[:16]


def images(source: Source) -> np.ndarray:
  return np.stack([source[i]['image'] for i in range(len(source))])


def same(a: dict, b: dict) -> bool:
  return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def keeps_its_promises(source: Source) -> None:
  """Declared fields, access at random, from the end, from attributes alone, in another process."""
  check.source(source)
  n = len(source)
  index = [n - 1, 0, n // 2, 1, n // 2]
  records = [source[i] for i in index]
  for i, record in zip(index, records, strict=True):
    kept = check.record(record, source.fields, f'record {i}')
    assert same(kept, record) and type(record['image']) is np.ndarray
    assert same(source[i - n], record)
    scalars = {k: v for k, v in record.items() if k != 'image'}
    assert same(source.attributes(i), scalars)
  done = subprocess.run(
    [sys.executable, '-c', ELSEWHERE],
    input=pickle.dumps((source, index)),
    capture_output=True,
    check=True,
    cwd=Path(__file__).resolve().parents[2],
  )
  assert all(same(a, b) for a, b in zip(records, pickle.loads(done.stdout), strict=True))
  for outside in (n, -n - 1):
    try:
      source[outside]
    except IndexError as error:
      assert str(n) in str(error)
    else:
      raise AssertionError(f'record {outside} of {n} exists')
