"""The global stream of a seed: which record, flip and crop stands at each position, for everyone.

(1) n = entries of the index; position g lies in epoch g // n, at place g mod n of its order.
(2) The order of an epoch sorts n uniforms of (seed, epoch); entry = order[g mod n].
(3) Flip and crop come from uniforms of (seed, g): another epoch, another draw.
Nothing depends on batches, processes, workers or the library that moves the records.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from zsi_jax.data import transforms
from zsi_jax.data.chance import uniforms
from zsi_jax.data.record import Source, entries

ORDER, AUGMENT = 2**31, 2**31 + 1  # streams of chance, apart from those that sources draw from


@functools.lru_cache(maxsize=4)
def order(seed: int, epoch: int, n: int) -> np.ndarray:
  """A permutation of 0 … n − 1."""
  return np.argsort(uniforms(seed, epoch, n, ORDER), kind='stable')


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
  """Examples by global position; those from `total` on are blank."""

  source: Source
  seed: int
  index: np.ndarray  # int64 [n]: record numbers, with repeats where a class is over-sampled
  label: np.ndarray | None  # int32 [n], -1 = unlabelled
  keep: tuple[str, ...]
  shuffle: bool
  flip: bool
  crop: float | None
  total: int | None
  pad: bool

  def example(self, position: int) -> dict[str, Any]:
    """The entries of a batch for one example, its image still uint8."""
    if self.total is not None and position >= self.total:
      return self._blank()
    epoch, row = divmod(int(position), len(self.index))
    if self.shuffle:
      row = int(order(self.seed, epoch, len(self.index))[row])
    record = entries(self.source, int(self.index[row]), ('image', *self.keep))
    image = record['image']
    if self.crop is not None or self.flip:
      chance = uniforms(self.seed, position, 4, AUGMENT)
      if self.crop is not None:
        image = transforms.random_crop(image, self.crop, chance[1:])
      if self.flip and chance[0] < 0.5:
        image = transforms.mirror(image)
    made = {'image': image, 'index': self.index[row], 'example': np.int64(position)}
    if self.label is not None:
      made['label'] = self.label[row]
    if self.pad:
      made['valid'] = np.True_
    return {**made, **{name: record[name] for name in self.keep}}

  def _blank(self) -> dict[str, Any]:
    """What fills the last batch: zeros under `valid` = False."""
    fields = {name: self.source.fields[name] for name in ('image', *self.keep)}
    made: dict[str, Any] = {n: np.zeros(f.shape, f.dtype)[()] for n, f in fields.items()}
    made |= {'index': np.int64(-1), 'example': np.int64(-1), 'valid': np.False_}
    return made if self.label is None else {**made, 'label': np.int32(-1)}

  def collate(self, examples: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Examples as a batch, its image float32 in [−1, 1]."""
    batch = {name: np.stack([e[name] for e in examples]) for name in examples[0]}
    batch['image'] = transforms.normalise(batch['image'])
    return batch
