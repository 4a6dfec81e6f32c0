"""Spectral normalisation, in the paper's reading and in the peer's.

(1) sigma = u^T W v with W flattened to [out, in kh kw]; u and v from power iteration:
    u <- W v / |W v|,  v <- W^T u / |W^T u|; they are constants of the gradient, sigma is not
(2) paper: W / sigma for convolutions, one iteration per training forward: a Lipschitz bound of 1
    for each as a matrix. A kernel of zeros keeps its u and is normalised once it has grown.
(3) peer: lipschitz * W / sigma and b / max(|b|, 1e-12) for convolutions and linear layers, not for
    width-1 convolutions (attention, the logits) nor norms; two iterations per training forward.
(4) The peer's quirk, kept: a kernel that starts at zero gets u = v = 0, hence sigma = 0 for ever,
    and is returned as it is. So the second convolution of no residual block is ever normalised.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array
START = 15  # power iterations when u and v are made


@dataclasses.dataclass(frozen=True)
class Spectral:
  """A reading of spectral normalisation: `Spectral()` or `Spectral.peer(lipschitz=.5)`."""

  reading: str = 'paper'  # 'paper' (2) or 'peer' (3)
  lipschitz: float = 1.0
  iterations: int = 1  # per training forward

  def __post_init__(self):
    if self.reading not in ('paper', 'peer'):
      raise ValueError(f"no reading {self.reading!r}: Spectral('paper') or Spectral.peer()")
    if not self.lipschitz > 0 or self.iterations < 0:
      raise ValueError(f'lipschitz > 0 and iterations >= 0 are needed, not {self}')

  @classmethod
  def peer(cls, lipschitz: float = 0.5, iterations: int = 2) -> Spectral:
    """What the peer's script trains with; its sampling script takes lipschitz=1."""
    return cls('peer', lipschitz, iterations)

  def covers(self, kernel: Any) -> bool:
    """Convolutions have rank 4, linear layers rank 2, width-1 convolutions rank 3."""
    return len(kernel.shape) in ((4,) if self.reading == 'paper' else (4, 2))

  def iterate(self, w: Array, u: Array, v: Array, steps: int) -> tuple[Array, Array]:
    """`steps` power iterations on w [out, rest]."""

    def once(_, pair):
      u = self._unit(w @ pair[1], pair[0])
      return u, self._unit(w.T @ u, pair[1])

    return jax.lax.fori_loop(0, steps, once, (u, v))

  def start(self, key: Array, kernel: Array, steps: int = START) -> tuple[Array, Array]:
    """u, v of a kernel: Gaussian directions after `steps` iterations."""
    w = flat(kernel)
    ends = (jax.random.normal(k, (n,)) for k, n in zip(jax.random.split(key), w.shape, strict=True))
    u, v = (end / jnp.linalg.norm(end) for end in ends)
    return self.iterate(w, u, v, steps)

  def weight(self, kernel: Array, u: Array, v: Array) -> Array:
    """lipschitz * W / sigma; W where sigma is 0."""
    sigma = u @ flat(kernel) @ v
    dead = jnp.abs(sigma) <= (1e-8 if self.reading == 'peer' else 0.0)
    return jnp.where(dead, kernel, kernel * (self.lipschitz / jnp.where(dead, 1.0, sigma)))

  def offset(self, bias: Array) -> Array:
    """b / max(|b|, 1e-12) in the peer's reading, which `lipschitz` does not scale."""
    if self.reading == 'paper':
      return bias
    square = (bias * bias).sum()
    norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    return bias / jnp.maximum(norm, 1e-12)

  def _unit(self, x: Array, before: Array) -> Array:
    norm = jnp.linalg.norm(x)
    if self.reading == 'paper':
      return jnp.where(norm > 0, x / jnp.where(norm > 0, norm, 1.0), before)
    return x / jnp.maximum(norm, 1e-12)


def flat(kernel: Array) -> Array:
  """[..., in, out] -> [out, in * window], in PyTorch's order."""
  axes = (kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2))
  return kernel.transpose(axes).reshape(kernel.shape[-1], math.prod(kernel.shape[:-1]))


def normalised(
  module: nn.Module, how: Spectral, kernel: Array, bias: Array, train: bool
) -> tuple[Array, Array]:
  """(1) inside a module that owns kernel and bias: u and v live in its 'spectral' collection."""
  starting = module.is_initializing()
  if not starting and not module.has_variable('spectral', 'u'):
    raise ValueError(
      "spectral norm needs u and v: net.apply({'params': params, "
      "'spectral': spectral.collect(how, params, key)}, ...)"
    )
  drawn = how.start(module.make_rng('params'), kernel) if starting else ()
  kept = [module.variable('spectral', name, lambda i=i: drawn[i]) for i, name in enumerate('uv')]
  pair: tuple[Any, Any] = (kept[0].value, kept[1].value)
  if train and not starting:
    pair = how.iterate(jax.lax.stop_gradient(flat(kernel)), *pair, how.iterations)
    if module.is_mutable_collection('spectral'):
      kept[0].value, kept[1].value = pair
  return how.weight(kernel, *pair), how.offset(bias)


def collect(how: Spectral, params: Mapping, key: Array, steps: int = START) -> dict:
  """u and v for every kernel of a trained net, to normalise it at sampling only."""
  found: dict = {}
  for i, name in enumerate(sorted(params)):
    under, key_i = params[name], jax.random.fold_in(key, i)
    if isinstance(under, Mapping):
      if inner := collect(how, under, key_i, steps):
        found[name] = inner
    elif name == 'kernel' and how.covers(under):
      found['u'], found['v'] = how.start(key_i, under, steps)
  return found
