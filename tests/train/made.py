"""Small jobs: a U-Net on images of 8 x 8, or a linear map whose training has a closed form."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.core import Denoiser, DenoiserLoss, Process, cosine, sample
from zsi_jax.nets import UNet
from zsi_jax.train.job import Job
from zsi_jax.train.optim import optimizer
from zsi_jax.train.sharding import Layout

T, SHAPE = 40, (8, 8, 3)


def job(init: Any, loss: Any, optim: Any, process: Any, **more: Any) -> Job:
  tx, rate = optim
  usual: Any = dict(role='denoiser', ema=0.9, accumulate=1, steps=8, log_every=2, save_every=3)
  usual |= dict(keep=3, grid_every=None, grid=None, batch=8)
  carried = {'kind': 'denoiser', 'config': {}}
  usual |= dict(init=init, loss=loss, tx=tx, rate=rate, process=process, carried=carried)
  return Job(**usual | more)


def unet(lr: float = 1e-3, **more: Any) -> Job:
  net = UNet(width=8, mults=(1,), blocks=0, attend=(), heads=1)
  process = Process.make(cosine(T))

  def grid(variables: Any, keys: Any) -> Any:
    short = Process.make(cosine(T), 3)
    return sample(keys, short, Denoiser(variables, net), shape=SHAPE)

  def init(key: Any) -> Any:
    return net.init(key, jnp.zeros((1, *SHAPE)), jnp.zeros(1))

  loss = DenoiserLoss(Denoiser({}, net), process, kind='hybrid')
  return job(init, loss, optimizer(lr, clip=1.0), process, grid=grid, **more)


@dataclasses.dataclass(frozen=True)
class Square:
  """|scale w . x + b - y|^2 of each example, y drawn by its key."""

  scale: float = 1.0

  def __call__(self, variables: Any, batch: Any, keys: Any, train: bool = True) -> Any:
    x = batch['image'].reshape(len(keys), -1)
    y = jax.vmap(jax.random.uniform)(keys)
    out = self.scale * (x @ variables['params']['map']['kernel'])[:, 0]
    losses = (out + variables['params']['map']['bias'][0] - y) ** 2
    t = jnp.floor(y * T)
    right = (losses < 1).astype(jnp.float32)
    return losses.mean(), ({'t': t, 'loss': losses, 'accuracy': right}, {})


def linear(lr: float = 1e-2, scale: float = 1.0, **more: Any) -> Job:
  def init(key: Any) -> Any:
    kernel = jax.random.uniform(key, (np.prod(SHAPE), 4), jnp.float32, -0.1, 0.1)
    return {'params': {'map': {'kernel': kernel, 'bias': jnp.zeros(4)}}}

  return job(init, Square(scale), optimizer(lr), Process.make(cosine(T)), **more)


def batch(step: int, size: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
  """Batch number `step` of a stream that depends on the place of an example alone."""
  places = np.arange(step * size, (step + 1) * size)
  images = [np.random.default_rng([seed, g]).uniform(-1, 1, SHAPE) for g in places]
  return {
    'image': np.stack(images).astype(np.float32),
    'label': (places % 2).astype(np.int32),
    'example': places.astype(np.int32),
  }


class Feed:
  """Such batches on a mesh, each process its rows, from a position on."""

  def __init__(self, layout: Layout, position: Any, size: int = 8) -> None:
    self.layout, self.size = layout, size
    self.position = {'example': 0} if position is None else position

  def __next__(self) -> Any:
    at, n = self.position['example'], jax.process_count()
    rows = slice(jax.process_index() * self.size // n, (jax.process_index() + 1) * self.size // n)
    self.position = {'example': at + self.size}
    return {
      name: jax.make_array_from_process_local_data(self.layout.rows, a[rows], a.shape)
      for name, a in batch(at // self.size, self.size).items()
    }

  def close(self) -> None: ...
