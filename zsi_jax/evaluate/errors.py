"""What no metric can judge: what was given, what was expected, what to do."""

from __future__ import annotations


class MetricError(ValueError):
  """Scores, features, images or protocols that a metric cannot take; nothing was computed."""
