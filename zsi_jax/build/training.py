"""`denoiser` and `classifier` of a config: all that the training of a network is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from zsi_jax.build import data, models
from zsi_jax.build.keys import ConfigError, plain, seed
from zsi_jax.build.networks import architecture
from zsi_jax.core import ClassifierLoss, Denoiser, DenoiserLoss, Process, Times, sample
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.stamp import stamp
from zsi_jax.train.job import Job
from zsi_jax.train.optim import optimizer

ROWS = 50  # at most, of the chains that sample grids are drawn by


def job(config: ConfigDict, role: str, shape: Sequence[int], classes: int) -> Job:
  """Of images of `shape` (H, W, C) and so many labels; nothing is allocated."""
  own, size = config[role], tuple(shape)
  found = architecture(config, role, size, classes)
  try:
    models.abstract(found)  # what does not fit is said here
    betas = models.betas(found['schedule'], found['T'])
  except (WeightsError, ValueError) as error:
    raise ConfigError(f'{role}: {error}') from None
  net, process = models.network(found), Process.make(betas)
  cond = (jnp.zeros(1, int),) if found.get('labels') else ()

  def init(key: jax.Array) -> Any:
    return net.init(key, jnp.zeros((1, *size)), jnp.zeros(1), *cond)

  try:
    if role == 'denoiser':
      denoiser = denoising(found)
      loss: Any = DenoiserLoss(denoiser, process, Times(*own.times), own.drop or 0.0, own.loss)
      loss = Conditional(loss) if cond else loss
    else:
      loss = ClassifierLoss(process, net, Times(*own.times))
    pace = paced(own)
  except ValueError as error:
    raise ConfigError(f'{role}: {error}') from None
  return Job(
    role=role,
    init=init,
    loss=loss,
    grid_every=own.get('grid_every'),
    grid=None if role != 'denoiser' else grid(found, size),
    batch=data.batch(config, role),
    process=process,
    carried=carried(config, role, found),
    **pace,
  )


def paced(own: ConfigDict) -> dict[str, Any]:
  """Of a Job what any network's part of a config says: rate, average, checkpoints."""
  names = 'warmup', 'decay', 'steps', 'clip', 'weight_decay', 'momentum'
  options = {name: own[name] for name in names if name in own}
  tx, rate = optimizer(own.lr, kind=own.get('optimizer', 'adam'), **options)
  kept = {k: own[k] for k in ('ema', 'accumulate', 'steps', 'log_every', 'save_every', 'keep')}
  return {'tx': tx, 'rate': rate, **kept}


@dataclasses.dataclass(frozen=True)
class Conditional:
  """The loss of a denoiser whose condition is the label; -1, unlabelled, is its null row."""

  loss: DenoiserLoss

  def __call__(self, variables: Any, batch: Any, keys: jax.Array, train: bool = True) -> Any:
    label, null = batch['label'], self.loss.denoiser.null
    cond = jnp.where(label < 0, null, label)
    return self.loss(variables, {**batch, 'cond': cond}, keys, train)


def denoising(found: dict[str, Any], variables: Any = None) -> Denoiser:
  """The denoiser of an architecture."""
  return Denoiser(
    {} if variables is None else variables,
    models.network(found),
    found['null'],
    predicts=found['predicts'],
    variance=found['variance'],
  )


def grid(found: dict[str, Any], shape: tuple[int, ...]) -> Callable[[Any, jax.Array], jax.Array]:
  """Unguided images of few rows, to look at while a denoiser is trained."""
  short = Process.make(models.betas(found['schedule'], found['T']), min(ROWS, found['T']))

  def draw(variables: Any, keys: jax.Array) -> jax.Array:
    images: jax.Array = sample(keys, short, denoising(found, variables), shape=shape)
    return images

  return draw


def carried(config: ConfigDict, role: str, found: dict[str, Any]) -> dict[str, Any]:
  """What a checkpoint says of itself: its network, its process, the config that made it."""
  told = {k: v for k, v in found.items() if k not in ('schedule', 'T', 'remat')}
  return {
    'kind': role,
    'name': config.classifier.name if role == 'classifier' else role,
    'architecture': told,
    'process': {'schedule': found['schedule'], 'T': found['T']},
    'config': plain(config),
    'stamp': stamp(plain(config), seeds=seed(config, role), device=False),
  }
