"""The model that the `sample` of a config draws with: this workdir's networks, or others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from zsi_jax.build import models
from zsi_jax.build.keys import ConfigError
from zsi_jax.io.errors import CheckpointError, WeightsError


def model(config: ConfigDict, workdir: Path) -> models.Model:
  """Denoiser and classifiers, of one process and one image shape; a ConfigError where not."""
  own = config.sample
  chosen: dict[str, Any] = {}
  denoisers = found(own.denoiser or str(workdir), 'denoiser')
  chosen['denoiser'] = denoisers['denoiser']
  for path in (own.classifiers or (str(workdir),)) if own.weights is not None else ():
    for name, part in found(path, 'classifier').items():
      if name != 'denoiser':
        while name in chosen:  # ten seeds of one classifier have one name
          name += "'"
        chosen[name] = part
  try:
    T = chosen['denoiser'][0]['T']
    return models.assemble(chosen, min(own.steps, T), None)
  except (WeightsError, ValueError) as error:
    raise ConfigError(f'sample: {error}') from None


def found(path: str, role: str) -> dict[str, Any]:
  """The parts that lie there, one of this role among them."""
  try:
    parts = models.parts([path], {})
  except (WeightsError, CheckpointError, OSError) as error:
    raise ConfigError(
      f'sample has no {role}: {error}; train it first (--stage={role}), or say where it is: '
      f'sample.denoiser=…, sample.classifiers="(\'…\',)"'
    ) from None
  if not any((name == 'denoiser') == (role == 'denoiser') for name in parts):
    raise ConfigError(f'{path}: there is no {role}, only {", ".join(parts)}; train it first')
  return parts
