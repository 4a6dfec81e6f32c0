"""Meters: what is in an image, read back from its pixels."""
