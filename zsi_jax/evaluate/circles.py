"""How many circles, where, and of which radius: found by the shape that explains them best.

1. g = mean over channels; background b and noise σ from the quartiles, which small shapes and
   clipping at black leave alone.
2. Blobs: peaks of (mean inside a disc) − (mean of the ring around it).
3. Around each blob a round window W that no neighbour 3r away reaches. Of a template T with
   ‖T‖_W = 1 the fit with free amplitude leaves ‖g − b‖²_W − c², c = ⟨g − b, T⟩_W.
4. The evidence for a kind of shape is the mean of exp(c² / 2σ²) over its sizes and ways to cut or
   pair it, the sum over places. A circle is a blob for which discs have more of it than squares,
   halves and pairs that touch or overlap, and which is not much else besides; its centre is the
   mean over discs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from zsi_jax.evaluate import templates
from zsi_jax.evaluate.pixels import blocks

LARGEST = 5.0  # px; the number of templates grows with the square of the radius
CUT = 0.4  # px by which a circle may seem to leave the image: half of one column missing
SIGNIFICANT = 7.0  # standard deviations of c; the maximum over an image of pure noise is near 5
MISFIT = 0.25  # share of a circle's energy that may be left over
GAP = 0.5  # px of background between two circles that do not touch
CHUNK = 512  # blobs at a time
GRID = 0.07  # share of the amplitude by which the nearest of the templates misses a shape


class Found(NamedTuple):
  """Circles of N images, K the largest number; in pixels, (0, 0) the centre of the first one."""

  number: np.ndarray  # [N] int64
  x: np.ndarray  # [N, K] float64, NaN beyond the number
  y: np.ndarray
  radius: np.ndarray  # of the disc of the same area: PIL's r = 2 covers 21 px and reads 2.59
  others: np.ndarray  # [N] int64, blobs that are no circle


class Shares(NamedTuple):
  """Of N images; the four add to 1. `middle` is the accuracy of Deschenaux et al. §5.5."""

  middle: float  # exactly one circle, z in [low, high]
  sides: float  # exactly one, elsewhere
  none: float
  several: float


def find(images: Any, radius: float | tuple[float, float] = 2.0, contrast: float = 0.15) -> Found:
  """Circles of a radius, or of one between two, in images [N, H, W, C], uint8 or in [-1, 1].

  Bright on dark or dark on bright. `contrast` is the least difference, black to white being 1.
  """
  radii = _radii(radius)
  if not 0 < contrast < 1:
    raise ValueError(f'contrast lies between 0 (none) and 1 (black to white), not {contrast}')
  rows, n = [np.zeros((0, 6))], 0
  for at, block in blocks(images, 'the circle detector'):
    grey = block.mean(axis=3)
    level, noise = _background(grey)
    signal = grey - level[:, None, None]
    found = [_search(signal, noise, r, radii[0], contrast) for r in radii]
    rows += [part + [at, 0, 0, 0, 0, 0] for part in found]
    n += len(block)
  return _collect(np.concatenate(rows), n, radii[0])


def shares(found: Found, size: int, low: float = 0.2, high: float = 0.8) -> Shares:
  """How often exactly one circle lies in the middle, z = (x + ½) / size in [low, high]."""
  if not len(found.number):
    raise ValueError('shares are of one image at least')
  one = found.number == 1
  z = (found.x[:, 0] + 0.5) / size if found.x.shape[1] else np.full(len(one), np.nan)
  inside = one & (z >= low) & (z <= high)
  parts = inside, one & ~inside, found.number == 0, found.number > 1
  return Shares(*(float(part.mean()) for part in parts))


def _radii(radius: float | tuple[float, float]) -> list[float]:
  """Every half pixel from the least radius to the largest."""
  ends = np.ravel(radius)
  if len(ends) not in (1, 2) or not 1.5 <= ends[0] <= ends[-1] <= LARGEST:
    raise ValueError(f'a radius lies in [1.5, {LARGEST:g}] px, or is (low, high), not {radius}')
  return [float(r) for r in np.arange(ends[0], ends[-1] + 0.25, 0.5)]


def _background(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Level and noise of each image, [N]: the wider half of the middle half, and a trimmed mean."""
  flat = grey.reshape(len(grey), grey.shape[1] * grey.shape[2])
  low, middle, high = np.percentile(flat, (25, 50, 75), axis=1).astype(np.float32)
  noise = np.maximum(high - middle, middle - low) / np.float32(0.6745)
  near = np.abs(flat - middle[:, None]) <= 3 * noise[:, None] + 1e-6
  return (flat * near).sum(axis=1) / near.sum(axis=1), noise


def _search(
  signal: np.ndarray, noise: np.ndarray, radius: float, least: float, contrast: float
) -> np.ndarray:
  """Blobs of all images: rows (image, x, y, radius, c² of the disc, whether it is a circle)."""
  bank = templates.bank(radius, max(least, radius - 0.5))
  blobs = _blobs(signal, noise, radius, contrast)
  half = (len(bank.window) - 1) // 2
  padded = np.pad(signal, ((0, 0), (half, half), (half, half)))
  rows = [
    _judge(padded, noise, blobs[at : at + CHUNK], bank, contrast)
    for at in range(0, len(blobs), CHUNK)
  ]
  return _alone(np.concatenate(rows), radius) if rows else np.zeros((0, 6))


def _alone(rows: np.ndarray, radius: float) -> np.ndarray:
  """No circle touches another blob: the end of a pair may look whole where it is seen alone."""
  out = rows.copy()
  for start in np.flatnonzero(np.diff(rows[:, 0], prepend=-1)):
    group = slice(start, start + np.searchsorted(rows[start:, 0], rows[start, 0], 'right'))
    x, y, r, energy = rows[group, 1:5].T
    apart = np.hypot(x[:, None] - x, y[:, None] - y)
    near = (apart > radius) & (apart <= r[:, None] + r + GAP)
    out[group, 5] *= ~(near & (energy > 0.25 * energy[:, None])).any(axis=1)
  return out


def _judge(
  padded: np.ndarray, noise: np.ndarray, blobs: np.ndarray, bank: templates.Bank, contrast: float
) -> np.ndarray:
  dy, dx = np.nonzero(bank.window)
  height, width = (side - len(bank.window) + 1 for side in padded.shape[1:])
  image, y, x = blobs[:, :3].astype(int).T
  sign = blobs[:, 3:].astype(np.float32)
  rows, discs = np.arange(len(blobs)), len(bank.places)

  def patches() -> np.ndarray:
    return padded[image[:, None], y[:, None] + dy, x[:, None] + dx] * sign

  # The window is to lie about the disc and not about the peak.
  places = bank.places[(patches() @ bank.templates[:, :discs]).argmax(axis=1)]
  x = np.clip(x + np.rint(places[:, 0]).astype(int), 0, width - 1)
  y = np.clip(y + np.rint(places[:, 1]).astype(int), 0, height - 1)
  patch = patches()
  c = patch @ bank.templates[:, :discs]
  best = c.argmax(axis=1)
  disc, places = c[rows, best], bank.places[best]
  amplitude, spread = disc / bank.norms[best], noise[image]
  left = (patch**2).sum(axis=1) - disc**2
  cx, cy = x + places[:, 0], y + places[:, 1]
  over = np.maximum.reduce([-cx, -cy, cx - width + 1, cy - height + 1]) + places[:, 2] - 0.5
  circle = (
    (disc > SIGNIFICANT * spread)
    & (amplitude > contrast)
    & (left <= MISFIT * disc**2 + spread**2 * (len(dy) + 4 * np.sqrt(2 * len(dy))))
    & (over < CUT)
  )
  where = np.flatnonzero(circle)
  variance = spread**2 + (GRID * amplitude) ** 2
  rest = patch[where] @ bank.templates[:, discs:]
  evidence = [
    _evidence(part, disc[where], variance[where], weights)
    for part, weights in ((c[where], bank.weights[:discs]), (rest, bank.weights[discs:]))
  ]
  circle[where] = evidence[0] > evidence[1]
  moments = bank.weights[:discs, None] * np.insert(bank.places[:, :2], 0, 1, axis=1)
  mean = _evidence(c[where], disc[where], spread[where] ** 2, moments)
  cx[where], cy[where] = x[where] + mean[:, 1] / mean[:, 0], y[where] + mean[:, 2] / mean[:, 0]
  return np.stack([image, cx, cy, places[:, 2], disc**2, circle], axis=1)


def _evidence(c: np.ndarray, disc: np.ndarray, variance: np.ndarray, weights: np.ndarray) -> Any:
  """Σ weight · exp((c² − disc²) / 2σ²), [K]; c is overwritten, there are millions of them."""
  np.maximum(c, 0, out=c)
  c *= c
  c -= disc[:, None] ** 2
  c *= 0.5 / np.maximum(variance[:, None], 1e-12)
  return np.exp(np.minimum(c, 60, out=c), out=c) @ weights


def _blobs(signal: np.ndarray, noise: np.ndarray, radius: float, contrast: float) -> np.ndarray:
  """Peaks of inside minus ring: rows (image, y, x, sign); one sign for an image."""
  half = int(np.ceil(radius + 2))
  d = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1])
  inside, ring = templates.cover(d - radius - 0.25), (d > radius + 1) & (d <= radius + 2)
  kernel = (inside / inside.sum() - ring / ring.sum()).astype(np.float32)
  around = np.ones((2 * int(radius) + 1,) * 2, np.uint8)
  least = np.maximum(0.6 * contrast, 5 * noise * np.sqrt((kernel**2).sum()))
  found = [np.zeros((0, 4))]
  for i, image in enumerate(signal):
    peaks = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_CONSTANT)
    sign = 1.0 if peaks.max() >= -peaks.min() else -1.0
    peaks *= sign
    y, x = np.nonzero((peaks >= least[i]) & (peaks == cv2.dilate(peaks, around)))
    found.append(np.stack([np.full(len(y), i), y, x, np.full(len(y), sign)], axis=1))
  return np.concatenate(found)


def _collect(rows: np.ndarray, n: int, radius: float) -> Found:
  """Circles that are neither found twice nor merged, and the blobs that belong to none of them."""
  circles = []
  others = np.zeros(n, int)
  order = np.lexsort((-rows[:, 4], -rows[:, 5]))  # circles first, the clearest first
  for i, group in enumerate(_by_image(rows[order], n)):
    kept: list[np.ndarray] = []
    for row in group:
      if all(_apart(row, k) > radius + k[3] * (1 - row[5]) for k in kept):
        kept.append(row)
    alone = [
      k[5] > 0 and all(k is j or not j[5] or _apart(k, j) > k[3] + j[3] + GAP for j in kept)
      for k in kept
    ]
    circles.append([k[1:4] for k, good in zip(kept, alone, strict=True) if good])
    others[i] = len(kept) - len(circles[-1])
  number = np.array([len(c) for c in circles], int)
  x, y, r = np.full((3, n, number.max(initial=0)), np.nan)
  for i, found in enumerate(circles):
    if found:
      x[i, : len(found)], y[i, : len(found)], r[i, : len(found)] = np.transpose(found)
  return Found(number, x, y, r, others)


def _by_image(rows: np.ndarray, n: int) -> list[np.ndarray]:
  rows = rows[np.argsort(rows[:, 0], kind='stable')]
  ends = np.searchsorted(rows[:, 0], np.arange(n + 1))
  return [rows[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]


def _apart(a: np.ndarray, b: np.ndarray) -> float:
  return float(np.hypot(a[1] - b[1], a[2] - b[2]))
