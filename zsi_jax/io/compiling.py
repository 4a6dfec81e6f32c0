"""What XLA is told where this package compiles a program itself."""

from __future__ import annotations

import functools
from typing import Any

import jax

from zsi_jax.io.stamp import version

FIRST = 0, 11  # of jaxlib that is told nothing: 0.12 uses all cores by itself, 0.11 is not known


@functools.cache
def options() -> dict[str, Any]:
  """On a CPU: convolutions by Eigen, where XLA's newer ones leave cores idle.

  With 32 to 192 channels they are up to twice as fast on two cores, and as fast on one.
  """
  there = tuple(map(int, (version('jaxlib') or '0.0').split('.')[:2]))
  if jax.default_backend() != 'cpu' or there >= FIRST:
    return {}
  return {'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT'}
