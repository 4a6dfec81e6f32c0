"""Processes that work as one; imports jax only where there are several."""

from zsi_jax.distributed.group import (
  alone,
  barrier,
  fail,
  gathered,
  join,
  leader,
  leave,
  processes,
)
from zsi_jax.distributed.plan import DistributedError, plan

__all__ = [
  'DistributedError',
  'alone',
  'barrier',
  'fail',
  'gathered',
  'join',
  'leader',
  'leave',
  'plan',
  'processes',
]
