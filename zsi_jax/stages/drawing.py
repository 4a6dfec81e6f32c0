"""What a set of images is drawn with: one program, on each device by itself.

1. A program partitioned over devices rounds otherwise than that of one device. So every device runs
   the latter, with its own copy of the weights, on micro-batches of one size: the bits are the same
   on one device, on four, and on those of other hosts.
2. Image i belongs to row i % batch of a micro-batch, also where it is drawn alone.
3. Numbers are arguments: sets that differ in strength, weights or seed alone share one program.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from zsi_jax.build.keys import ConfigError
from zsi_jax.build.models import keys
from zsi_jax.io.compiling import options
from zsi_jax.io.images import to_uint8
from zsi_jax.stages.sampled import Sampled


@functools.lru_cache(maxsize=32)
def program(fn: Callable[..., Any], tree: Any, avals: tuple[Any, ...], device: jax.Device) -> Any:
  """fn of arguments of these shapes, compiled for a device; once (3)."""
  place = jax.sharding.SingleDeviceSharding(device)
  like = [
    jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place, weak_type=a.weak_type) for a in avals
  ]
  return jax.jit(fn).lower(*jax.tree.unflatten(tree, like)).compile(options())


class Crew:
  """fn(shared, *item), compiled for each device; `shared` is placed on each, once."""

  def __init__(
    self, fn: Callable[..., Any], shared: Any, like: tuple[Any, ...], devices: Sequence[jax.Device]
  ) -> None:
    self.devices = list(devices)
    self._shared = [jax.device_put(shared, device) for device in self.devices]

    def compiled(k: int) -> Any:
      args = self._shared[k], *jax.device_put(like, self.devices[k])
      leaves, tree = jax.tree.flatten(args)
      return program(fn, tree, tuple(map(jax.typeof, leaves)), self.devices[k])

    # XLA compiles for each device anew, unless its persistent cache leaves the device's number out
    # of the key, as on GPUs: there the others find what the first left.
    self._programs = [compiled(0)]
    with ThreadPoolExecutor(max(1, len(self.devices) - 1)) as pool:
      self._programs += pool.map(compiled, range(1, len(self.devices)))

  def map(self, items: Iterable[tuple[Any, ...]]) -> Iterator[np.ndarray]:
    """fn of each item, in order. Every device has one in flight, also while the caller works.

    The next item is asked for when its device is free: so who ends `items` waits for no more.
    """
    flying, rest, number = deque[Any](), iter(items), 0
    while True:
      full = len(flying) == len(self.devices)  # the oldest is on the device of this number
      landed = [np.asarray(flying.popleft())] if full else []
      item = next(rest, None)
      if item is not None:
        k = number % len(self.devices)
        flying.append(self._programs[k](self._shared[k], *jax.device_put(item, self.devices[k])))
        number += 1
      yield from landed
      if item is None:
        break
    while flying:
      yield np.asarray(flying.popleft())


@dataclasses.dataclass(frozen=True)
class Task:
  """A set of images, and what they are drawn with."""

  stored: Sampled
  chain: Callable[..., Any]  # (shared, words of keys, given) -> images
  shared: tuple[Any, ...]  # process, denoiser, guidance, solver
  advice: str  # against images that are no numbers
  given: Callable[[np.ndarray], dict[str, np.ndarray]] = lambda images: {}  # by their numbers

  @property
  def batch(self) -> int:
    return int(self.stored.source['sample']['batch'])

  @functools.cached_property
  def _keys(self) -> np.ndarray:
    """The words of each image's key."""
    return np.asarray(jax.random.key_data(keys(self.stored.source['seed'], self.stored.n)))

  def item(self, rows: Mapping[int, int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(words, given) of a micro-batch {row: image}; any image fills the empty rows."""
    filled = next(iter(rows.values()))
    images = np.array([rows.get(row, filled) for row in range(self.batch)])
    return self._keys[images], self.given(images)

  def crew(self, devices: Sequence[jax.Device]) -> Crew:
    return Crew(self.chain, self.shared, self.item({0: 0}), devices)

  def pixels(self, rows: Mapping[int, int], images: np.ndarray) -> np.ndarray:
    """{0 … 255}, of {row: image}; a ConfigError that names images that are NaN or infinite."""
    bad = [i for row, i in rows.items() if not np.isfinite(images[row]).all()]
    if bad:
      more = f' and {len(bad) - 5} more' if len(bad) > 5 else ''
      raise ConfigError(
        f'{self.stored.folder}: image {", ".join(map(str, bad[:5]))}{more}: NaN or infinite; '
        f'{self.advice}'
      )
    return to_uint8(images[list(rows)])


def micro_batches(images: Iterable[int], batch: int) -> list[dict[int, int]]:
  """{row: image}, each image in its row of the first one where that is free."""
  made: list[dict[int, int]] = []
  for i in images:
    row = i % batch
    free = next((m for m in made if row not in m), None)
    if free is None:
      made.append(free := {})
    free[row] = i
  return made
