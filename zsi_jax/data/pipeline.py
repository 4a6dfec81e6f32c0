"""Records to batches: the same global stream on any number of processes, resumed at any position.

Global batch k is the examples [kB, (k+1)B) of the stream (`stream.py`); process p of n holds rows
[pB/n, (p+1)B/n) of it, so that `jax.make_array_from_process_local_data` gives one global array on
any topology. grain only moves the examples; without it a plain loop gives the same batches.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import warnings
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Source, digest, table
from zsi_jax.data.stream import Stream

ENDLESS = 2**50  # examples; a stream without epochs ends after this many
BUFFER = 2  # batches that each thread or worker holds ready


class Support(Protocol):
  """What a pipeline may show; see `support.Support`."""

  @property
  def attributes(self) -> tuple[str, ...]: ...

  def check(self, values: Mapping[str, Any], index: Any = None, label: Any = None) -> str: ...


class Pipeline:
  """Batches of a source: numpy {'image' float32 [b, H, W, C], 'index', 'example', …}.

  `batch` is global. `index` chooses records, with repeats where a class is over-sampled; `label`
  goes with it, -1 = unlabelled. `about` names the attributes that the labels were made from, `keep`
  the fields that go into the batches. `crop=.8` is a random window after enlarging by up to 1/.8.
  `workers` are processes, `threads` those of this process where there are none.
  `epochs=None` never ends; `pad` fills the last batch and adds 'valid'. `process` is (p, n).
  """

  def __init__(
    self,
    source: Source,
    *,
    batch: int,
    seed: int,
    index: Any = None,
    label: Any = None,
    about: tuple[str, ...] = (),
    keep: tuple[str, ...] = (),
    support: Support | None = None,
    flip: bool = False,
    crop: float | None = None,
    epochs: int | None = None,
    shuffle: bool = True,
    pad: bool = False,
    process: tuple[int, int] | None = None,
    workers: int = 0,
    threads: int = 2,
  ) -> None:
    self.source, self.batch, self.support = source, int(batch), support
    self.workers, self.threads = workers, threads
    self.process = _here() if process is None else process
    p, n = self.process
    if not 0 <= p < n:
      raise DataError(f'{source.name}: process {p} of {n}; processes are 0 … n - 1.')
    if batch < 1 or batch % n:
      raise DataError(
        f'{source.name}: a batch of {batch} cannot be split over {n} processes; take a multiple.'
      )
    if workers < 0 or threads < 0:
      raise DataError(f'{source.name}: {workers} workers, {threads} threads; 0 is the least.')
    if not 0 <= seed < 2**32:
      raise DataError(f'{source.name}: seed {seed} is not in [0, 2**32).')
    if epochs is not None and epochs < 1:
      raise DataError(f'{source.name}: {epochs} epochs; None is without end.')
    if crop is not None and not 0 < crop <= 1:
      raise DataError(f'{source.name}: crop = {crop}; it is the least share kept, in (0, 1].')
    numbers = _index(source, index)
    total = None if epochs is None else epochs * len(numbers)
    if total is not None and batch > total and not pad:
      raise DataError(
        f'{source.name}: a batch of {batch} of {total} examples in all; take a smaller batch, or '
        'pad=True for one that is filled up.'
      )
    self.stream = Stream(
      source=source,
      seed=int(seed),
      index=numbers,
      label=_label(source, label, len(numbers)),
      keep=_fields(source, 'keep', keep),
      shuffle=shuffle,
      flip=flip,
      crop=crop,
      total=total,
      pad=pad,
    )
    self._check_kept()
    self._check_moved(_fields(source, 'about', about))

  def _check_kept(self) -> None:
    own = {'image', 'index', 'example', *(['label'] if self.stream.label is not None else [])}
    own |= {'valid'} if self.stream.pad else set()
    for name in self.stream.keep:
      field, where = self.source.fields[name], f'{self.source.name}: keep={name!r}'
      if name in own:
        raise DataError(f'{where}: every batch has an entry of that name; keep another.')
      if field.dtype == 'str':
        raise DataError(f'{where}: text goes on no device; read it by the index of the example.')
      if field.kind == 'image' and (self.stream.crop is not None or self.stream.flip):
        raise DataError(
          f'{where}: it would no longer fit the image; crop=None and flip=False keep it whole.'
        )

  def _check_moved(self, about: tuple[str, ...]) -> None:
    """A mirrored or cropped image must not carry what that changes."""
    fields, crop = self.source.fields.items(), self.stream.crop
    mirrored, cropped = {n for n, f in fields if f.mirrored}, {n for n, f in fields if f.cropped}
    seen = (*about, *self.stream.keep, *(self.support.attributes if self.support else ()))
    for asked, how, what, changed, instead in (
      (self.stream.flip, 'flip=True', 'a mirror', mirrored, 'flip=False'),
      (crop is not None, f'crop={crop}', 'a crop', cropped, 'crop=None'),
    ):
      if asked and (wrong := sorted(changed & set(seen))):
        raise DataError(
          f'{self.source.name}: {how}, and {what} changes {", ".join(wrong)}, which the labels, '
          f'the support or the kept fields are about. Use {instead}.'
        )
      if asked and self.stream.label is not None and changed and not about:
        raise DataError(
          f'{self.source.name}: {how} with labels, and {what} changes '
          f'{", ".join(sorted(changed))}: about=(...) must say which attributes the labels are '
          f'made from. Or use {instead}.'
        )

  def check(self) -> str:
    """What the support finds of the records used; a DataError where it is broken."""
    if self.support is None:
      return 'no support is declared'
    values = table(self.source) if self.support.attributes else {}
    return self.support.check(values, self.stream.index, self.stream.label)

  def batches(self, start: int | Mapping[str, Any] = 0) -> Batches:
    """From a position (`Batches.position`, or a number of examples) on; the support is checked."""
    first = self._position(start)
    self.check()
    if ready := getattr(self.source, 'ready', None):
      ready()
    return Batches(self, first)

  @functools.cached_property
  def identity(self) -> dict[str, Any]:
    """What the order and the pixels of the stream depend on."""
    s = self.stream
    return {
      'source': f'{s.source.name}/{digest(s.source)}',
      'records': len(s.source),
      'index': _sha(s.index),
      'label': None if s.label is None else _sha(s.label),
      'seed': s.seed,
      'shuffle': s.shuffle,
      'flip': s.flip,
      'crop': s.crop,
    }

  def _position(self, start: int | Mapping[str, Any]) -> int:
    where = f'{self.source.name}: the position'
    if isinstance(start, Mapping):
      try:
        first, of = int(start['example']), dict(start['of'])
      except (KeyError, TypeError, ValueError):
        raise DataError(f'{where} {start!r:.200} is none of Batches.position.') from None
      mine = self.identity
      if differ := sorted(k for k in {*of, *mine} if of.get(k) != mine.get(k)):
        said = '; '.join(f'{k} {of.get(k)!r}, here {mine.get(k)!r}' for k in differ)
        raise DataError(f'{where} belongs to another pipeline: {said}.')
    else:
      first = start
    if not 0 <= first <= (ENDLESS if self.stream.total is None else self.stream.total):
      raise DataError(f'{where} {first} is outside the stream of {self.stream.total} examples.')
    return first


class Batches:
  """One pass over the stream. `position` is after the last batch that `next` gave."""

  def __init__(self, pipeline: Pipeline, first: int) -> None:
    self.pipeline, self._at = pipeline, first
    self._moving = _move(pipeline, first)
    self._stop = weakref.finalize(self, getattr(self._moving, 'close', lambda: None))

  def __iter__(self) -> Batches:
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    if not self._stop.alive:
      raise StopIteration
    total = self.pipeline.stream.total
    try:
      batch = next(self._moving)
    except StopIteration:  # a process whose slab of the last short batch is empty stops before it
      self._at = self._at if total is None else total
      raise
    except BaseException:  # what comes next is not known: the position stays, and nothing comes
      self.close()
      raise
    after = self._at + self.pipeline.batch
    self._at = after if total is None else min(after, total)
    return batch

  @property
  def position(self) -> dict[str, Any]:
    """JSON-ready: {'example': the global number of examples, 'of': the pipeline's identity}."""
    return {'example': self._at, 'of': self.pipeline.identity}

  def close(self) -> None:
    """Stop threads and workers; there is no next batch."""
    self._stop()
    self._moving = iter(())  # grain's iterator goes now, and not when the interpreter does

  def __enter__(self) -> Batches:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def _move(pipeline: Pipeline, first: int) -> Iterator[dict[str, np.ndarray]]:
  """Batches of this process from position `first` on."""
  stream, (p, n) = pipeline.stream, pipeline.process
  stop = ENDLESS if stream.total is None else stream.total
  if stream.pad:
    stop = first + -((first - stop) // pipeline.batch) * pipeline.batch
  rows = pipeline.batch // n
  grain = _grain() if pipeline.workers or pipeline.threads else None
  if grain is None:
    if pipeline.workers:
      warnings.warn(
        f'grain is not installed: the same batches without {pipeline.workers} workers', stacklevel=3
      )
    return _plain(stream, first + p * rows, stop, rows, pipeline.batch)
  batches = (
    grain.MapDataset.range(first, stop)
    .map(stream.example)
    .batch(rows, drop_remainder=False, batch_fn=stream.collate)[p::n]
  )
  threads = 1 if pipeline.workers else pipeline.threads
  moving = batches.to_iter_dataset(
    grain.ReadOptions(num_threads=threads, prefetch_buffer_size=BUFFER * threads)
  )
  if pipeline.workers:
    _parse_flags()
    moving = moving.mp_prefetch(
      grain.MultiprocessingOptions(num_workers=pipeline.workers, per_worker_buffer_size=BUFFER)
    )
  return iter(moving)


def _plain(
  stream: Stream, first: int, stop: int, rows: int, step: int
) -> Iterator[dict[str, np.ndarray]]:
  for at in range(first, stop, step):
    yield stream.collate([stream.example(g) for g in range(at, min(at + rows, stop))])


def _grain() -> Any:
  """grain, or None where it is not installed."""
  try:
    import grain
  except ImportError:
    return None
  return grain


def _parse_flags() -> None:
  """grain's workers read absl flags, which only a program under absl.app has parsed."""
  from absl import flags

  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()


def _here() -> tuple[int, int]:
  """This process and how many; without jax.distributed there is one, and no device is started."""
  jax = sys.modules.get('jax')
  if jax is None or not jax.distributed.is_initialized():
    return 0, 1
  return jax.process_index(), jax.process_count()


def _index(source: Source, given: Any) -> np.ndarray:
  size = len(source)
  index = np.arange(size) if given is None else np.asarray(given)
  if index.size == 0:
    raise DataError(f'{source.name}: the index is empty; no record is left to show.')
  if index.ndim != 1 or index.dtype.kind not in 'iu':
    raise DataError(
      f'{source.name}: the index is {index.dtype} {index.shape}, not record numbers [n].'
    )
  if (wrong := index[(index < 0) | (index >= size)]).size:
    raise DataError(
      f'{source.name}: {wrong.size} numbers of the index, the first {wrong[0]}, are no records of '
      f'a data set of {size}.'
    )
  return index.astype(np.int64)


def _label(source: Source, given: Any, n: int) -> np.ndarray | None:
  if given is None:
    return None
  label = np.asarray(given)
  if label.shape != (n,) or label.dtype.kind not in 'iu':
    raise DataError(
      f'{source.name}: labels {label.dtype} {label.shape} for an index of {n}; they are whole '
      'numbers, one for each entry.'
    )
  if label.min() < -1 or label.max() >= 2**31:
    raise DataError(
      f'{source.name}: labels from {label.min()} to {label.max()}; they are 0, 1, …, and -1 for '
      'an unlabelled record.'
    )
  return label.astype(np.int32)


def _fields(source: Source, what: str, given: tuple[str, ...]) -> tuple[str, ...]:
  names = (given,) if isinstance(given, str) else tuple(given)
  if unknown := [name for name in names if name not in source.fields]:
    raise DataError(
      f'{source.name}: {what}={unknown[0]!r} is none of its fields {sorted(source.fields)}.'
    )
  return names


def _sha(array: np.ndarray) -> str:
  return hashlib.sha256(array.tobytes()).hexdigest()[:8]
