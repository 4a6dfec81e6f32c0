"""Where arrays lie: a mesh (data, fsdp), and a table of paths that says which of them are divided.

A batch is divided over all devices. A rule is (regular expression, how); the first that is found in
the path of a parameter, 'input_blocks.1.0/out_layers.3/kernel', says how it lies:
  'replicate'   whole on every device
  'largest'     its largest axis that the fsdp size divides, over fsdp; whole where there is none
  '_,_,_,fsdp'  an axis of the mesh for each of its own, _ for none
The optimizer's moments and the average lie as their parameters do, all else is replicated.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = 'data', 'fsdp'
DEFAULT = (('(bias|scale)$', 'replicate'), ('', 'largest'))
T = TypeVar('T')


def mesh(fsdp: int = 1) -> Mesh:
  """All devices, those of a process side by side: it feeds the rows of a batch that it holds."""
  devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
  if fsdp < 1 or len(devices) % fsdp:
    raise ValueError(f'mesh.fsdp = {fsdp} does not divide the {len(devices)} devices')
  grid = np.array(devices).reshape(-1, fsdp)
  return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


@dataclasses.dataclass(frozen=True)
class Layout:
  """A mesh and the rules that come before the default ones."""

  mesh: Mesh
  rules: tuple[tuple[str, str], ...] = ()

  @property
  def devices(self) -> int:
    return int(self.mesh.size)

  @property
  def whole(self) -> NamedSharding:
    return NamedSharding(self.mesh, PartitionSpec())

  @property
  def rows(self) -> NamedSharding:
    """Of a leading axis, such as that of a batch."""
    return NamedSharding(self.mesh, PartitionSpec(AXES))

  def params(self, shapes: Any) -> Any:
    """A sharding for each parameter; a ValueError for a rule that finds none, or cannot be."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    paths = [_path(path) for path, _ in leaves]
    for pattern, _ in self.rules:
      if not any(re.search(pattern, path) for path in paths):
        raise ValueError(f'mesh.rules: {pattern!r} is found in no parameter, such as {paths[0]}')
    specs = [self._spec(path, a.shape) for path, (_, a) in zip(paths, leaves, strict=True)]
    return jax.tree.unflatten(tree, [NamedSharding(self.mesh, spec) for spec in specs])

  def state(self, shapes: Any) -> Any:
    """A sharding for each array of a TrainState; what ends like a parameter's path lies like it."""
    of = {
      path: (a.shape, sharding)
      for (path, a), sharding in zip(
        jax.tree_util.tree_flatten_with_path(shapes.params)[0],
        jax.tree.leaves(self.params(shapes.params)),
        strict=True,
      )
    }

    def placed(path: Any, a: Any) -> NamedSharding:
      for start in range(len(path)):
        shape, sharding = of.get(path[start:], (None, self.whole))
        if shape == a.shape:
          return sharding
      return self.whole

    apart = jax.tree_util.tree_map_with_path(placed, shapes._replace(collections={}))
    return apart._replace(collections=jax.tree.map(lambda _: self.whole, shapes.collections))

  def gathered(self, tree: T) -> T:
    """Inside jit: whole on every device, so that a network divides its batch and nothing else."""
    return jax.lax.with_sharding_constraint(tree, jax.tree.map(lambda _: self.whole, tree))

  def divided(self, grads: T) -> T:
    """Inside jit: added up over the batch, then divided as the rules say.

    Without the first, XLA moves activations between devices, to compute each part in one place.
    """
    return jax.lax.with_sharding_constraint(self.gathered(grads), self.params(grads))

  def parts(self, batch: T, n: int) -> T:
    """Inside jit: [B, …] -> [n, B / n, …], each row still on its device."""
    return jax.tree.map(functools.partial(self._part, n), batch)

  def _part(self, n: int, a: jax.Array) -> jax.Array:
    d = self.devices
    if a.shape[0] % (d * n):
      raise ValueError(
        f'a batch of {a.shape[0]} cannot be split over {d} devices and {n} accumulated parts'
      )
    own = a.reshape(d, n, a.shape[0] // (d * n), *a.shape[1:]).swapaxes(0, 1)
    rows = own.reshape(n, a.shape[0] // n, *a.shape[1:])
    spec = PartitionSpec(None, AXES)
    return jax.lax.with_sharding_constraint(rows, NamedSharding(self.mesh, spec))

  def _spec(self, path: str, shape: Sequence[int]) -> PartitionSpec:
    table = (*self.rules, *DEFAULT)
    how = next(how for pattern, how in table if re.search(pattern, path))
    size = self.mesh.shape['fsdp']
    if how == 'replicate':
      return PartitionSpec()
    if how == 'largest':
      fits = [i for i, n in enumerate(shape) if n % size == 0]
      longest = max(fits, key=lambda i: shape[i], default=None)
      if longest is None:
        return PartitionSpec()
      return PartitionSpec(*(None,) * longest, 'fsdp')
    names = [None if name == '_' else name for name in how.split(',')]
    if len(names) != len(shape) or not {*names} <= {None, *AXES}:
      raise ValueError(
        f"mesh.rules: {how!r} is none of 'replicate', 'largest' or {len(shape)} of "
        f'_, {", ".join(AXES)} for {path} {tuple(shape)}'
      )
    for name, n in zip(names, shape, strict=True):
      if name and n % self.mesh.shape[name]:
        raise ValueError(
          f'mesh.rules: {how!r}: {self.mesh.shape[name]} does not divide {n}: {path}'
        )
    return PartitionSpec(*names)


def _path(keys: Any) -> str:
  return jax.tree_util.keystr(keys, simple=True, separator='/')


def abstract(layout: Layout, make: Callable[[jax.Array], Any]) -> Any:
  """The shapes of the TrainState make(key), each with its sharding; nothing is allocated."""
  shapes = jax.eval_shape(make, jax.random.key(0))
  return jax.tree.map(
    lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, layout.state(shapes)
  )
