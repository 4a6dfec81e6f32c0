"""Where a file comes from: versions, commit, config, seeds, device, time."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def stamp(
  config: Any = None,
  *,
  seeds: int | Sequence[int] | None = None,
  batch: int | None = None,
  device: bool = True,
) -> dict[str, Any]:
  """JSON-ready facts of this run; `batch` is per device; `device=False` starts no backend."""
  return {
    'zsi_jax': getattr(sys.modules['zsi_jax'], '__version__', None) or version('zsi_jax'),
    'commit': commit(),
    'config': None if config is None else digest(config),
    'seeds': list(seeds) if isinstance(seeds, (Sequence, range)) else seeds,
    'jax': version('jax'),
    'jaxlib': version('jaxlib'),
    'device': device_kind() if device else None,
    'batch': batch,
    'time': datetime.now(UTC).isoformat(timespec='seconds'),
  }


def version(package: str) -> str | None:
  """The installed version, or None."""
  try:
    return metadata.version(package)
  except metadata.PackageNotFoundError:
    return None


@functools.cache
def commit(root: Path = ROOT) -> str | None:
  """The commit of the checkout that this package lies in, with '-dirty'; else None."""
  if not (root / '.git').exists():  # in site-packages, git would find some other repository
    return None
  try:
    asked = subprocess.run(
      ['git', '-C', str(root), 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'],
      capture_output=True, text=True, timeout=10, check=True,
    )  # fmt: skip
  except (OSError, subprocess.SubprocessError):
    return None
  return asked.stdout.strip() or None


def digest(config: Any) -> str:
  """16 hex digits of the sha256 of the config as sorted JSON."""
  plain = config.to_dict() if hasattr(config, 'to_dict') else config
  plain = dict(plain) if isinstance(plain, Mapping) else plain
  text = json.dumps(plain, sort_keys=True, default=repr)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def device_kind() -> str | None:
  """The kind of the first device, 'cpu' or a product name."""
  import jax

  try:
    return jax.devices()[0].device_kind
  except RuntimeError:  # no usable backend: the stamp still tells the rest
    return None
