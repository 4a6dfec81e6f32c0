"""Zero-shot interpolation with diffusion models in JAX. `import zsi_jax as zsi`; nothing loads before use."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = '0.1.0'

_ROOMS = {
  'zsi_jax.build': ('Model', 'convert', 'draw', 'keys', 'load', 'show'),
  'zsi_jax.core': (
    'Aim', 'Ancestral', 'Blend', 'CAGrad', 'Classifier', 'ClassifierLoss', 'Clip', 'Combine', 'Contrast', 'DDIM',
    'DDNM', 'DPMSolverPP', 'Denoiser', 'DenoiserLoss', 'During', 'Energy', 'Field', 'From', 'Guidance', 'Heun',
    'Importance', 'Landing', 'Langevin', 'Level', 'LogProb', 'Lookahead', 'Mean', 'Mix', 'Move', 'Nothing', 'PCGrad',
    'Pairs', 'Prediction', 'Process', 'Regressor', 'RegressorLoss', 'ReverseDiffusion', 'Rms', 'Scale', 'Score',
    'Solver', 'Step', 'Sum', 'TimeTravel', 'Times', 'cfg', 'cosine', 'linear', 'sample', 'sample_by',
    'scaled_linear', 'spaced', 'strided',
  ),
  'zsi_jax.nets': ('DiT', 'Encoder', 'Spectral', 'UNet'),
}  # fmt: skip
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = ['__version__', *sorted(_ROOM_OF)]


def __getattr__(name: str) -> Any:
  if name not in _ROOM_OF:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  value = globals()[name] = getattr(importlib.import_module(_ROOM_OF[name]), name)
  return value


def __dir__() -> list[str]:
  return __all__
