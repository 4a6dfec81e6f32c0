"""The networks once more, in PyTorch under the published names, to hold ours against.

Attention is PyTorch's own `scaled_dot_product_attention`, tables are loops, norms are torch.nn's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize


def sinusoids(t, width):
  half = width // 2
  freqs = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
  args = t.float()[:, None] * freqs[None]
  return torch.cat([args.cos(), args.sin()], -1)


class Walk(nn.Sequential):
  """A sequence some of whose members want the embedding too."""

  def forward(self, x, emb):
    for layer in self:
      x = layer(x, emb) if isinstance(layer, Res) else layer(x)
    return x


class Res(nn.Module):
  def __init__(self, c_in, c_out, emb, scale_shift, resize=None):
    super().__init__()
    self.scale_shift, self.resize = scale_shift, resize
    self.in_layers = nn.Sequential(
      nn.GroupNorm(32, c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1)
    )
    self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, c_out * (1 + scale_shift)))
    self.out_layers = nn.Sequential(
      nn.GroupNorm(32, c_out), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(c_out, c_out, 3, padding=1)
    )
    self.skip_connection = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

  def forward(self, x, emb):
    h = self.in_layers[1](self.in_layers[0](x))
    if self.resize == 'halve':
      h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
    elif self.resize == 'double':
      h, x = (F.interpolate(a, scale_factor=2, mode='nearest') for a in (h, x))
    h = self.in_layers[2](h)
    emb = self.emb_layers(emb)[:, :, None, None]
    if self.scale_shift:
      scale, shift = emb.tensor_split(2, 1)
      h = torch.addcmul(shift, self.out_layers[0](h), 1 + scale)
    else:
      h = self.out_layers[0](h + emb)
    return self.skip_connection(x) + self.out_layers[1:](h)


def attention(qkv, heads, new_order):
  """[B, 3 C, T] -> [B, C, T]."""
  b, width, length = qkv.shape
  if new_order:
    q, k, v = qkv.reshape(b, 3, heads, -1, length).unbind(1)
  else:
    q, k, v = qkv.reshape(b, heads, 3, -1, length).unbind(2)
  out = F.scaled_dot_product_attention(*(a.transpose(2, 3) for a in (q, k, v)))
  return out.transpose(2, 3).reshape(b, width // 3, length)


class Att(nn.Module):
  def __init__(self, channels, heads, new_order):
    super().__init__()
    self.heads, self.new_order = heads, new_order
    self.norm = nn.GroupNorm(32, channels)
    self.qkv = nn.Conv1d(channels, 3 * channels, 1)
    self.proj_out = nn.Conv1d(channels, channels, 1)

  def forward(self, x):
    h = self.qkv(self.norm(x).flatten(2))
    return x + self.proj_out(attention(h, self.heads, self.new_order)).reshape(x.shape)


class Down(nn.Module):
  def __init__(self, channels):
    super().__init__()
    self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

  def forward(self, x):
    return self.op(x)


class Up(nn.Module):
  def __init__(self, channels):
    super().__init__()
    self.conv = nn.Conv2d(channels, channels, 3, padding=1)

  def forward(self, x):
    return self.conv(F.interpolate(x, scale_factor=2, mode='nearest'))


class Pool(nn.Module):
  def __init__(self, side, channels, heads, classes):
    super().__init__()
    self.heads = heads
    self.positional_embedding = nn.Parameter(torch.randn(channels, side * side + 1))
    self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
    self.c_proj = nn.Conv1d(channels, classes, 1)

  def forward(self, x):
    x = x.flatten(2)
    x = torch.cat([x.mean(2, keepdim=True), x], 2) + self.positional_embedding
    return self.c_proj(attention(self.qkv_proj(x), self.heads, True))[:, :, 0]


class Adm(nn.Module):
  """Both networks; fields as those of zsi_jax.nets.UNet, or of Encoder where `classes` is given."""

  def __init__(
    self, width, mults, blocks, attend, heads=4, head_width=None, new_order=False,
    scale_shift=True, updown=False, out=6, labels=None, size=None, classes=None,
  ):  # fmt: skip
    super().__init__()
    self.width = width
    emb = 4 * width
    self.time_embed = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))
    if labels:
      self.label_emb = nn.Embedding(labels, emb)

    def res(a, b, resize=None):
      return Res(a, b, emb, scale_shift, resize)

    def att(c):
      return Att(c, c // head_width if head_width else heads, new_order)

    c = int(mults[0] * width)
    self.input_blocks = nn.ModuleList([Walk(nn.Conv2d(3, c, 3, padding=1))])
    skips, factor = [c], 1
    for level, mult in enumerate(mults):
      for _ in range(blocks):
        after = int(mult * width)
        layers = [res(c, after)] + ([att(after)] if factor in attend else [])
        self.input_blocks.append(Walk(*layers))
        c = after
        skips.append(c)
      if level + 1 < len(mults):
        self.input_blocks.append(Walk(res(c, c, 'halve') if updown else Down(c)))
        skips.append(c)
        factor *= 2
    self.middle_block = Walk(res(c, c), att(c), res(c, c))
    if classes:
      pool = Pool(size // factor, c, c // head_width if head_width else heads, classes)
      self.out = nn.Sequential(nn.GroupNorm(32, c), nn.SiLU(), pool)
      return
    self.output_blocks = nn.ModuleList()
    for level in range(len(mults) - 1, -1, -1):
      for i in range(blocks + 1):
        after = int(mults[level] * width)
        layers = [res(c + skips.pop(), after)] + ([att(after)] if factor in attend else [])
        c = after
        if level and i == blocks:
          layers.append(res(c, c, 'double') if updown else Up(c))
          factor //= 2
        self.output_blocks.append(Walk(*layers))
    self.out = nn.Sequential(nn.GroupNorm(32, c), nn.SiLU(), nn.Conv2d(c, out, 3, padding=1))

  def forward(self, x, t, y=None):
    emb = self.time_embed(sinusoids(t, self.width))
    if y is not None:
      emb = emb + self.label_emb(y)
    states = []
    for block in self.input_blocks:
      x = block(x, emb)
      states.append(x)
    x = self.middle_block(x, emb)
    for block in getattr(self, 'output_blocks', ()):
      x = block(torch.cat([x, states.pop()], 1), emb)
    return self.out(x)


class PeerWeight(nn.Module):
  """lipschitz W / sigma, or W at sigma 0; 15 iterations at first, 2 per training forward."""

  def __init__(self, weight, lipschitz):
    super().__init__()
    self.lipschitz = lipschitz
    w = weight.flatten(1)
    self.register_buffer('_u', F.normalize(torch.randn(w.shape[0]), dim=0))
    self.register_buffer('_v', F.normalize(torch.randn(w.shape[1]), dim=0))
    self.iterate(w, 15)

  @torch.no_grad()
  def iterate(self, w, steps):
    for _ in range(steps):
      self._u.copy_(F.normalize(torch.mv(w, self._v), dim=0, eps=1e-12))
      self._v.copy_(F.normalize(torch.mv(w.t(), self._u), dim=0, eps=1e-12))

  def forward(self, weight):
    w = weight.flatten(1)
    if self.training:
      self.iterate(w, 2)
    sigma = torch.dot(self._u.clone(), torch.mv(w, self._v.clone()))
    if torch.allclose(sigma, torch.zeros_like(sigma)):
      return weight
    return weight / sigma * self.lipschitz


class PeerBias(nn.Module):
  def forward(self, bias):
    return F.normalize(bias, dim=0, eps=1e-12)


def peer_norm(net, lipschitz):
  for layer in [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]:
    norm = PeerWeight(layer.weight.detach(), lipschitz)
    parametrize.register_parametrization(layer, 'weight', norm, unsafe=True)
    parametrize.register_parametrization(layer, 'bias', PeerBias(), unsafe=True)
  return net


class Mlp(nn.Module):
  def __init__(self, width, hidden):
    super().__init__()
    self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

  def forward(self, x):
    return self.fc2(F.gelu(self.fc1(x), approximate='tanh'))


class Self(nn.Module):
  def __init__(self, width, heads):
    super().__init__()
    self.heads = heads
    self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

  def forward(self, x):
    return self.proj(attention(self.qkv(x).transpose(1, 2), self.heads, True).transpose(1, 2))


def steered(h, shift, scale):
  return F.layer_norm(h, h.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class DiTBlock(nn.Module):
  def __init__(self, width, heads):
    super().__init__()
    self.attn, self.mlp = Self(width, heads), Mlp(width, 4 * width)
    self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

  def forward(self, h, c):
    s1, a1, g1, s2, a2, g2 = self.adaLN_modulation(c).chunk(6, 1)
    h = h + g1[:, None] * self.attn(steered(h, s1, a1))
    return h + g2[:, None] * self.mlp(steered(h, s2, a2))


class Dit(nn.Module):
  def __init__(self, size, patch, width, depth, heads, labels, out):
    super().__init__()
    self.patch, self.out = patch, out
    self.x_embedder = nn.Module()
    self.x_embedder.proj = nn.Conv2d(3, width, patch, stride=patch)
    self.t_embedder = nn.Module()
    self.t_embedder.mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
    if labels:
      self.y_embedder = nn.Module()
      self.y_embedder.embedding_table = nn.Embedding(labels, width)
    table = [
      [
        f(place / 10000 ** (k / (width // 4)))
        for place in (column, row)
        for f in (math.sin, math.cos)
        for k in range(width // 4)
      ]
      for row in range(size // patch)
      for column in range(size // patch)
    ]
    self.pos_embed = nn.Parameter(torch.tensor(table)[None], requires_grad=False)
    self.blocks = nn.ModuleList([DiTBlock(width, heads) for _ in range(depth)])
    self.final_layer = nn.Module()
    self.final_layer.linear = nn.Linear(width, patch * patch * out)
    self.final_layer.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

  def forward(self, x, t, y=None):
    side = x.shape[2] // self.patch
    h = self.x_embedder.proj(x).flatten(2).transpose(1, 2) + self.pos_embed
    c = self.t_embedder.mlp(sinusoids(t, 256))
    if y is not None:
      c = c + self.y_embedder.embedding_table(y)
    for block in self.blocks:
      h = block(h, c)
    shift, scale = self.final_layer.adaLN_modulation(c).chunk(2, 1)
    h = self.final_layer.linear(steered(h, shift, scale))
    # pixel_shuffle wants channels outermost, the published order has them innermost
    h = h.reshape(-1, side, side, self.patch**2, self.out).permute(0, 4, 3, 1, 2).flatten(1, 2)
    return F.pixel_shuffle(h, self.patch)
