"""`zsi run`: a config, a workdir, and the stages between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zsi_jax.stages.config import load
from zsi_jax.stages.prepare import prepare

STAGES = {'prepare': prepare}  # in the order in which they build on each other


def run(
  config: str, workdir: str, stage: str = 'all', check: bool = False, **overrides: Any
) -> int:
  """The stage, or all of them; each does what is not done yet. `overrides` are keys with dots."""
  told = load(config, overrides | ({'check': True} if check else {}))
  for name in STAGES if stage == 'all' else (stage,):
    STAGES[name](told, Path(workdir).expanduser())
  return 0
