"""Zero-shot interpolation with diffusion models in JAX: `import zsi_jax as zsi`."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = '0.1.0'

_ROOMS = {  # a name loads its room on first use
  'zsi_jax.build.models': 'Model convert draw keys load normalised show',
  'zsi_jax.core': """
    Aim Ancestral Blend CAGrad Classifier ClassifierLoss Clip Combine Contrast DDIM DDNM Denoiser
    DenoiserLoss DPMSolverPP During Energy Field From Guidance Heun Importance Landing Langevin
    Level LogProb Lookahead MGDA Mean Mix Move Nothing Pairs PCGrad Prediction Process Regressor
    RegressorLoss ReverseDiffusion Rms Scale Score Solver Step Sum Times TimeTravel Tree cfg cosine
    linear sample sample_by scaled_linear spaced static strided weight
  """,
  'zsi_jax.io.sampler': 'Sampler',
  'zsi_jax.nets': 'DDPM DiT Encoder Spectral UNet',
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names.split()}
__all__ = ['__version__', *sorted(_ROOM_OF)]


def __getattr__(name: str) -> Any:
  if name not in _ROOM_OF:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  value = globals()[name] = getattr(importlib.import_module(_ROOM_OF[name]), name)
  return value


def __dir__() -> list[str]:
  return __all__
