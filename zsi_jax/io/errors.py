"""What is wrong with a file, in one error; and the end of a run that was asked to stop."""

from __future__ import annotations


class WeightsError(ValueError):
  """A weights file that cannot be used: names the file, the key, expected and found, what to do."""


class CheckpointError(ValueError):
  """A checkpoint that cannot be used or written: names the file and what to do."""


class Stopped(Exception):
  """The run was asked to stop (SIGTERM) and has saved: not an error, and not the end of the job."""
