"""From dark blue by green to yellow, evenly in lightness, as viridis goes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from zsi_jax.report.numbers import number

# OKLCH: lightness, chroma, hue in degrees at even places of the scale; all within sRGB.
PLACES = (
  (0.28, 0.12, 315.0),
  (0.40, 0.12, 285.0),
  (0.52, 0.085, 235.0),
  (0.63, 0.09, 190.0),
  (0.75, 0.135, 155.0),
  (0.85, 0.17, 128.0),
  (0.94, 0.17, 108.0),
)
# OKLab to the cube roots of LMS, and LMS to linear sRGB (Björn Ottosson, 2020).
TO_LMS = np.array(
  [
    [1.0, 0.3963377774, 0.2158037573],
    [1.0, -0.1055613458, -0.0638541728],
    [1.0, -0.0894841775, -1.291485548],
  ]
)
TO_RGB = np.array(
  [
    [4.0767416621, -3.3077115913, 0.2309699292],
    [-1.2684380046, 2.6097574011, -0.3413193965],
    [-0.0041960863, -0.7034186147, 1.707614701],
  ]
)


def table() -> np.ndarray:
  """256 colours, uint8 [256, 3]."""
  knots = np.linspace(0, 1, len(PLACES))
  lightness, chroma, hue = (
    np.interp(np.linspace(0, 1, 256), knots, c) for c in zip(*PLACES, strict=True)
  )
  a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
  linear = (np.stack([lightness, a, b], 1) @ TO_LMS.T) ** 3 @ TO_RGB.T
  srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
  return np.rint(srgb * 255).astype(np.uint8)


def shares(
  values: Sequence[Sequence[float | None]], low: float, high: float, log: bool
) -> np.ndarray:
  """Places on the scale in [0, 1], float64; NaN where there is no number."""
  rows = np.array([[v if number(v) else math.nan for v in row] for row in values], np.float64)
  if log:
    with np.errstate(divide='ignore', invalid='ignore'):
      rows, low, high = np.log(rows), math.log(low), math.log(high)
  return ((rows - low) / (high - low)).clip(0, 1)


def png(places: np.ndarray) -> str:
  """A data URI, a pixel each; transparent where the place is NaN."""
  indices = np.rint(np.nan_to_num(places) * 255).astype(np.uint8)
  alpha = np.where(np.isnan(places), 0, 255).astype(np.uint8)
  pixels = np.concatenate([table()[indices], alpha[..., None]], -1)
  stream = io.BytesIO()
  Image.fromarray(pixels).save(stream, 'PNG')
  return f'data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}'
