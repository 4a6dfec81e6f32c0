"""What is wrong with a file of weights, in one error."""

from __future__ import annotations


class WeightsError(ValueError):
  """A weights file that cannot be used: names the file, the key, expected and found, what to do."""
