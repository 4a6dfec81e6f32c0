"""Where memory runs out: how it is known, and what to lower."""

from __future__ import annotations

from ml_collections import ConfigDict

FULL = 'RESOURCE_EXHAUSTED', 'Out of memory', 'out of memory'


def full(error: Exception) -> bool:
  """Of the host, or of a device."""
  known = isinstance(error, RuntimeError) and any(word in str(error) for word in FULL)
  return known or isinstance(error, MemoryError)


def advice(config: ConfigDict, stage: str, devices: int) -> str:
  """'with data.batch = 64 on 8 devices (…): lower data.batch, or …'."""
  if stage == 'prepare':
    return f'with data.workers = {config.data.workers}: lower data.workers'
  if stage == 'sample':
    return f'with sample.batch = {config.sample.batch}: lower sample.batch'
  own = config[stage]
  key, size = batch(config, stage)
  parts = own.accumulate
  remat = f', or say {stage}.net.remat=full' if own.net.get('remat', 'full') is None else ''
  return (
    f'with {key} = {size}, {-(-size // devices // parts)} images at a time on each of {devices} '
    f'devices: lower {key}, or raise {stage}.accumulate (now {parts}){remat}, or spread the state '
    f'with mesh.fsdp (now {config.mesh.fsdp})'
  )


def batch(config: ConfigDict, role: str) -> tuple[str, int]:
  """The key that says the batch of a role, and what it says."""
  own = config[role].batch
  return ('data.batch', config.data.batch) if own is None else (f'{role}.batch', own)
