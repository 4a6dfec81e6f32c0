"""What is wrong with data, in one error."""

from __future__ import annotations


class DataError(ValueError):
  """Data that cannot be used: names the file and the index, expected and found, what to do."""
