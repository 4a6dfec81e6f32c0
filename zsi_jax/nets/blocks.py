"""Layers and blocks that the U-Net, the encoder and DiT share.

A module bears the name of its published PyTorch twin, dots included, so that a path joined by dots
is the state-dict key. Ranks tell layouts apart: convolutions 4, width-1 convolutions 3, linear 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.nets.conv import conv
from zsi_jax.nets.spectral import Spectral, normalised

Array = jax.Array
GROUPS, FEWEST = 32, 8


def fan_uniform(fan: int) -> Callable:
  """U(-1/sqrt(fan), 1/sqrt(fan)), what PyTorch draws for weights and for biases."""
  bound = 1 / math.sqrt(fan)
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class Affine(nn.Module):
  """x W + b under the field `form`; W and b perhaps under a spectral norm.

  form: 'conv' or 'patch' (kernel rank 4: a padded window, or one that steps by its own size),
  'point' (rank 3, a width-1 convolution) or 'dense' (rank 2).
  """

  features: int
  form: str = 'dense'
  size: int = 1
  stride: int = 1
  kernel_init: Callable | None = None  # of the kernel; the bias then starts at zero
  spectral: Spectral | None = None
  train: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    window = {'dense': (), 'point': (1,)}.get(self.form, (self.size, self.size))
    fan = math.prod(window) * x.shape[-1]
    shape = (*window, x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init or fan_uniform(fan), shape)
    start = nn.initializers.zeros if self.kernel_init else fan_uniform(fan)
    bias = self.param('bias', start, (self.features,))
    if self.spectral is not None and self.spectral.covers(kernel):
      kernel, bias = normalised(self, self.spectral, kernel, bias, self.train)
    x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
    if self.form == 'conv' and self.size > 1:
      return conv(x, kernel, self.stride) + bias
    if self.form == 'patch':
      x = patches(x, self.size)
    return x @ kernel.reshape(fan, self.features) + bias


def patches(x: Array, size: int) -> Array:
  """[B, H, W, C] -> [B, H / size, W / size, size size C]."""
  b, h, w, c = x.shape
  x = x.reshape(b, h // size, size, w // size, size, c).swapaxes(2, 3)
  return x.reshape(b, h // size, w // size, size * size * c)


Conv = partial(Affine, form='conv', size=3)
Point = partial(Affine, form='point')
Dense = Affine


class GroupNorm(nn.Module):
  """(x - mean) / sqrt(var + eps) over groups of channels, in float32, then scale and bias.

  32 groups, as published; a width that 32 does not divide gets the largest power of two that does.
  """

  groups: int = GROUPS
  eps: float = 1e-5

  @nn.compact
  def __call__(self, x: Array) -> Array:
    channels = x.shape[-1]
    groups = math.gcd(self.groups, channels)
    if groups < FEWEST:
      raise ValueError(
        f'GroupNorm cannot split {channels} channels into {FEWEST} groups or more: take a width '
        f'whose every width * mult is a multiple of {FEWEST}, e.g. width={GROUPS}, mults=(1, 2)'
      )
    scale = self.param('scale', nn.initializers.ones, (channels,))
    bias = self.param('bias', nn.initializers.zeros, (channels,))
    h = x.astype(jnp.float32).reshape(x.shape[0], -1, channels)
    h = h - group_mean(h, groups)
    spread = jax.lax.rsqrt(group_mean(h * h, groups) + self.eps)
    return (h * (spread * scale) + bias).reshape(x.shape)


def group_mean(h: Array, groups: int) -> Array:
  """[B, N, C] -> [B, 1, C]: over pixels and the channels of a group, put back to each channel."""
  b, _, c = h.shape
  each = jax.lax.platform_dependent(h, cpu=_pixel_mean_cpu, default=_pixel_mean)
  mean = each.reshape(b, groups, c // groups).mean(-1, keepdims=True)
  return jnp.broadcast_to(mean, (b, groups, c // groups)).reshape(b, 1, c)


def _pixel_mean(h: Array) -> Array:
  return h.mean(1)


def _pixel_mean_cpu(h: Array) -> Array:
  """As a product: XLA's CPU backend takes longer to reduce a middle axis than to convolve it."""
  return (jnp.full((len(h), 1, h.shape[1]), 1 / h.shape[1]) @ h)[:, 0]


def timestep_embedding(t: Array, width: int) -> Array:
  """[cos(t f_k), sin(t f_k)] with f_k = 10000^(-k / half), [B] -> [B, width]."""
  half = width // 2
  # the exponent is rounded to float32 first, as PyTorch does: t reaches 4000, so an ulp shows
  power = np.float32(-math.log(10000)) * np.arange(half, dtype=np.float32) / np.float32(half)
  args = t.astype(jnp.float32)[:, None] * np.exp(power.astype(np.float64)).astype(np.float32)
  out = jnp.concatenate([jnp.cos(args), jnp.sin(args)], -1)
  return jnp.pad(out, ((0, 0), (0, width % 2)))


def halve(x: Array) -> Array:
  """Mean of each 2 x 2 square."""
  b, h, w, c = x.shape
  return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def double(x: Array) -> Array:
  """Each pixel four times: nearest neighbour."""
  return x.repeat(2, 1).repeat(2, 2)


class Downsample(nn.Module):
  """A 3 x 3 convolution of stride 2, padded by (1, 1)."""

  make: Callable = Conv

  @nn.compact
  def __call__(self, x: Array) -> Array:
    return self.make(x.shape[-1], stride=2, name='op')(x)


class Upsample(nn.Module):
  """Nearest neighbour, then a 3 x 3 convolution."""

  make: Callable = Conv

  @nn.compact
  def __call__(self, x: Array) -> Array:
    return self.make(x.shape[-1], name='conv')(double(x))


class Names(NamedTuple):
  """What the layers of a residual block are called where it was published: here ADM's."""

  norm: str = 'in_layers.0'
  conv: str = 'in_layers.2'
  emb: str = 'emb_layers.1'
  last_norm: str = 'out_layers.0'
  last_conv: str = 'out_layers.3'
  skip: str = 'skip_connection'


class ResBlock(nn.Module):
  """skip(x) + conv(drop(silu(norm(conv(silu(norm(x))), emb)))), perhaps resized before `conv`.

  emb enters as norm * (1 + scale) + shift, or is added before the norm.
  """

  features: int
  scale_shift: bool = True
  resize: Callable[[Array], Array] | None = None  # halve or double
  dropout: float = 0.0
  names: Names = Names()
  eps: float = 1e-5  # of its norms
  spectral: Spectral | None = None
  train: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, emb: Array) -> Array:
    named = self.names
    share: dict[str, Any] = dict(spectral=self.spectral, train=self.train)
    make = partial(Conv, self.features, dtype=self.dtype, **share)
    h = nn.silu(GroupNorm(eps=self.eps, name=named.norm)(x)).astype(self.dtype)
    if self.resize is not None:
      h, x = self.resize(h), self.resize(x)
    h = make(name=named.conv)(h)
    width = self.features * (2 if self.scale_shift else 1)
    emb = Dense(width, name=named.emb, **share)(nn.silu(emb))[:, None, None]  # float32
    norm = GroupNorm(eps=self.eps, name=named.last_norm)
    if self.scale_shift:
      scale, shift = jnp.split(emb, 2, -1)
      h = norm(h) * (1 + scale) + shift
    else:
      h = norm(h + emb.astype(h.dtype))
    h = nn.Dropout(self.dropout, deterministic=not self.train)(nn.silu(h))
    h = make(kernel_init=nn.initializers.zeros, name=named.last_conv)(h)
    if x.shape[-1] != self.features:
      x = make(size=1, name=named.skip)(x)
    return x + h


def time_embed(t: Array, width: int, **share) -> Array:
  """Two linear layers on the sinusoids, [B] -> [B, 4 width], in float32; called by a network."""
  emb = Dense(4 * width, name='time_embed.0', **share)(timestep_embedding(t, width))
  return Dense(4 * width, name='time_embed.2', **share)(nn.silu(emb))


def label_embed(net: nn.Module, emb: Array, cond: Array | None) -> Array:
  """emb + the row of each label where there is a table of labels; called by a network."""
  if net.labels is None:
    return emb
  start = nn.initializers.normal(1.0)
  return emb + nn.Embed(net.labels, emb.shape[-1], embedding_init=start, name='label_emb')(cond)


def check_image(net: nn.Module, x: Array, t: Array, stem: str = 'input_blocks.0.0') -> None:
  """Shapes are known when a network is traced: a ValueError then, that shows the right call."""
  call = f'call net.apply(variables, x, t{", cond" if getattr(net, "labels", None) else ""})'
  name = type(net).__name__
  if x.ndim != 4 or t.shape != x.shape[:1]:
    raise ValueError(f'{name} takes x [B, H, W, C] and t [B], not {x.shape} and {t.shape}: {call}')
  if net.has_variable('params', stem):
    weights: Any = net.get_variable('params', stem)
    channels = weights['kernel'].shape[2]
    if x.shape[3] != channels:
      raise ValueError(f'{name} has weights for {channels} channels (last), not {x.shape}: {call}')


def check_cond(net: nn.Module, cond: Array | None) -> None:
  """Labels where there is a table of labels, and nowhere else."""
  name = type(net).__name__
  if net.labels is None and cond is not None:
    raise ValueError(f'this {name} has no label table: call net.apply(variables, x, t), no cond')
  if net.labels is not None and cond is None:
    raise ValueError(
      f'this {name} has {net.labels} label rows: call net.apply(variables, x, t, cond) with cond '
      f'[B]; the row of "no condition" is by custom the last, {net.labels - 1}'
    )


def check_halves(net: nn.Module, x: Array) -> None:
  """Each level but the last halves the image: its sides must be even each time."""
  levels, (high, wide) = len(net.mults), x.shape[1:3]
  multiple = 2 ** (levels - 1)
  if high % multiple or wide % multiple:
    near = max(multiple, high // multiple * multiple)
    raise ValueError(
      f'{type(net).__name__} of {levels} levels cannot halve {high} x {wide} {levels - 1} times: '
      f'sides must be multiples of {multiple}, e.g. net.apply(variables, '
      f'jnp.zeros((1, {near}, {near}, {x.shape[3]})), t)'
    )
