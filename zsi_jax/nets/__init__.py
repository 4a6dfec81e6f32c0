"""Networks as linen modules; imports jax and flax only."""

from __future__ import annotations

from zsi_jax.nets.ddpm import DDPM
from zsi_jax.nets.dit import DiT
from zsi_jax.nets.encoder import Encoder
from zsi_jax.nets.spectral import Spectral, collect
from zsi_jax.nets.unet import UNet

__all__ = ['DDPM', 'DiT', 'Encoder', 'Spectral', 'UNet', 'collect']
