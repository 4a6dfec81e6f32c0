"""LPIPS: the distance of two images in the features of an image network, with learned weights.

(1) f_k = activations at five depths of AlexNet or VGG16 of (x - shift) / scale, x in [-1, 1]
(2) d(x, y) = sum_k mean over space of w_k . (f_k(x) / |f_k(x)| - f_k(y) / |f_k(y)|)^2
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.nets.vgg import VGG16, Layer, plan, walk

Array = jax.Array
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)
EPS = 1e-10
# Of AlexNet, in torchvision's numbers; None: a max pool
ALEX = (
  Layer(1, 0, 64, 11, 4, 2), None, Layer(2, 3, 192, 5, 1, 2), None, Layer(3, 6, 384, 3, 1, 1),
  Layer(4, 8, 256, 3, 1, 1), Layer(5, 10, 256, 3, 1, 1),
)  # fmt: skip
VGG = plan(VGG16)
TRUNKS = {'alex': (ALEX, 3, 31), 'vgg': (VGG, 2, 16)}  # layers, window of a pool, least side


class LPIPS(nn.Module):
  """Images [B, H, W, 3] in [-1, 1], twice -> distances [B] (2)."""

  trunk: str = 'alex'  # or 'vgg'

  def constants(self) -> dict[str, np.ndarray]:
    """What published files hold beside the weights: (1) has them as numbers."""
    parts = {'shift': SHIFT, 'scale': SCALE}
    return {f'scaling_layer.{k}': v.reshape(1, 3, 1, 1) for k, v in parts.items()}

  @nn.compact
  def __call__(self, x: Array, y: Array) -> Array:
    if self.trunk not in TRUNKS:
      raise ValueError(f'trunk is one of {tuple(TRUNKS)}, not {self.trunk!r}')
    layers, pool, least = TRUNKS[self.trunk]
    if x.shape != y.shape or x.ndim != 4 or x.shape[3] != 3 or min(x.shape[1:3]) < least:
      raise ValueError(
        f'LPIPS({self.trunk!r}) takes two batches [B, H, W, 3] of images of {least} pixels or '
        f'more, not {list(x.shape)} and {list(y.shape)}'
      )
    h = (jnp.concatenate([x, y]) - SHIFT) / SCALE

    def make(of: Layer) -> nn.Module:
      return nn.Conv(
        of.features,
        (of.size, of.size),
        of.stride,
        [(of.pad, of.pad)] * 2,
        precision='highest',
        name=f'net.slice{of.block}.{of.number}',
      )

    taps = {of.block: h for of, h in walk(h, layers, make, pool)}  # the last of each block
    total = jnp.zeros(len(x), x.dtype)
    for k, f in enumerate(taps.values()):
      f = f / (jnp.sqrt(jnp.sum(f**2, axis=-1, keepdims=True)) + EPS)
      gap = (f[: len(x)] - f[len(x) :]) ** 2
      head = nn.Conv(1, (1, 1), use_bias=False, precision='highest', name=f'lin{k}.model.1')
      total += head(gap).mean(axis=(1, 2, 3))
    return total
