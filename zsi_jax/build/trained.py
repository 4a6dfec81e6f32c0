"""The model that the `sample` of a config draws with: this workdir's networks, or others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from zsi_jax.build import checkpoints, models, sampling
from zsi_jax.build.keys import ConfigError
from zsi_jax.io.errors import CheckpointError, WeightsError
from zsi_jax.io.log import logger


def model(config: ConfigDict, workdir: Path) -> models.Model:
  """Denoiser and classifiers, of one process and one image shape; a ConfigError where not."""
  own, read = config.sample, cache(lambda path: models.parts([path], {}))  # each is read once
  chosen: dict[str, Any] = {}
  denoisers = found(own.denoiser or str(workdir), 'denoiser', read)
  chosen['denoiser'] = denoisers['denoiser']
  for path in (own.classifiers or (str(workdir),)) if sampling.guided(config) else ():
    for name, part in found(path, 'classifier', read).items():
      if name != 'denoiser':
        while name in chosen:  # ten seeds of one classifier have one name
          name += "'"
        chosen[name] = part
  fits(own.steps, chosen['denoiser'][0]['T'])
  try:
    made = models.assemble(chosen, own.steps, None)
  except (WeightsError, ValueError) as error:
    raise ConfigError(f'sample: {error}') from None
  for name, (architecture, _, place) in chosen.items():
    step = architecture.get('source', {}).get('step')
    logger.info('sample: %s is %s%s', name, place, '' if step is None else f', step {step}')
  return made


def fits(steps: int, T: int) -> None:
  if steps > T:
    raise ConfigError(f'sample.steps = {steps}, and the denoiser has T = {T}: take {T} or less')


def found(path: str, role: str, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
  """The parts that lie there, one of this role among them."""
  try:
    place = models.place_of(path)
    inside = {folder.name: folder for folder in checkpoints.roles(place) if folder != place}
    if inside and role not in inside:
      raise absent(path, role, list(inside))
    parts = read(inside.get(role, place))
  except (WeightsError, CheckpointError, OSError) as error:
    raise ConfigError(
      f'sample has no {role}: {error}; train it first (--stage={role}), or say where it is: '
      f'sample.denoiser=…, sample.classifiers="(\'…\',)"'
    ) from None
  if not any((name == 'denoiser') == (role == 'denoiser') for name in parts):
    raise absent(path, role, list(parts))
  return parts


def absent(path: str, role: str, names: list[str]) -> ConfigError:
  return ConfigError(f'{path}: there is no {role}, only {", ".join(names)}; train it first')
