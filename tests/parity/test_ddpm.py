"""DDPM's U-Net against diffusers' `UNet2DModel`, and against a twin with SDEdit's names."""

from __future__ import annotations

import hashlib
import warnings

import jax
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zsi_jax as zsi
from tests.parity.test_nets import arrays, compare, inputs, noisy, shapes, theirs
from zsi_jax.io import diffusers, weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.infer import infer
from zsi_jax.nets import DDPM

# Of 'name shape', a line each, in the order of the state dict that SDEdit's own class gave.
SDEDIT = 'b0d40818e02bb1579b8607e602bf9feaf542b538325a5bc92d9aa2646b7f50d3'
# Two channels a group: the norm of a channel alone would take the embedding of t away.
TINY = dict(width=64, mults=(1, 2), blocks=2, attend=(2,))
CASES = {
  'two blocks': TINY,
  'three levels': dict(width=64, mults=(1, 1, 2), blocks=1, attend=(1, 4)),
}


class Res(nn.Module):
  def __init__(self, c_in, c_out, emb):
    super().__init__()
    self.norm1 = nn.GroupNorm(32, c_in, eps=1e-6)
    self.conv1 = nn.Conv2d(c_in, c_out, 3, padding='same')
    self.temb_proj = nn.Linear(emb, c_out)
    self.norm2 = nn.GroupNorm(32, c_out, eps=1e-6)
    self.conv2 = nn.Conv2d(c_out, c_out, 3, padding='same')
    if c_in != c_out:
      self.nin_shortcut = nn.Conv2d(c_in, c_out, 1)

  def forward(self, x, emb):
    h = self.conv1(F.silu(self.norm1(x))) + self.temb_proj(F.silu(emb))[..., None, None]
    h = self.conv2(F.silu(self.norm2(h)))
    return h + (self.nin_shortcut(x) if hasattr(self, 'nin_shortcut') else x)


class Att(nn.Module):
  def __init__(self, c):
    super().__init__()
    self.norm = nn.GroupNorm(32, c, eps=1e-6)
    self.q, self.k, self.v, self.proj_out = (nn.Conv2d(c, c, 1) for _ in range(4))

  def forward(self, x, emb=None):
    h = self.norm(x)
    q, k, v = (conv(h).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))
    h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    return x + self.proj_out(h.reshape(x.shape))


def within(**parts):
  module = nn.Module()
  for name, part in parts.items():
    setattr(module, name, part)
  return module


class Twin(nn.Module):
  """Fields as those of zsi_jax.nets.DDPM."""

  def __init__(self, width, mults, blocks, attend, out=3):
    super().__init__()
    self.width, self.labels, emb = width, None, 4 * width
    self.temb = within(dense=nn.ModuleList([nn.Linear(width, emb), nn.Linear(emb, emb)]))
    self.conv_in = nn.Conv2d(3, width, 3, padding='same')
    widths = [m * width for m in mults]
    self.down, up, skips, c = nn.ModuleList(), [], [width], width
    for level, wide in enumerate(widths):
      last = level == len(widths) - 1
      here = range(blocks if 2**level in attend else 0)
      stage = within(
        block=nn.ModuleList(Res(wide if j else c, wide, emb) for j in range(blocks)),
        attn=nn.ModuleList(Att(wide) for _ in here),
      )
      if not last:
        stage.downsample = within(conv=nn.Conv2d(wide, wide, 3, stride=2))
      self.down.append(stage)
      skips += [wide] * (blocks + (not last))
      c = wide
    self.mid = within(block_1=Res(c, c, emb), attn_1=Att(c), block_2=Res(c, c, emb))
    for level in range(len(widths) - 1, -1, -1):
      rows, wide = [], widths[level]
      for _ in range(blocks + 1):
        rows.append(Res(c + skips.pop(), wide, emb))
        c = wide
      here = range(blocks + 1 if 2**level in attend else 0)
      stage = within(block=nn.ModuleList(rows), attn=nn.ModuleList(Att(wide) for _ in here))
      if level:
        stage.upsample = within(conv=nn.Conv2d(wide, wide, 3, padding='same'))
      up.append(stage)
    self.up = nn.ModuleList(reversed(up))
    self.norm_out = nn.GroupNorm(32, c, eps=1e-6)
    self.conv_out = nn.Conv2d(c, out, 3, padding='same')

  def forward(self, x, t):
    freqs = torch.logspace(0, -4, self.width // 2)  # both ends included: half - 1 steps
    args = t.float()[:, None] * freqs
    first, second = self.temb.dense
    emb = second(F.silu(first(torch.cat([args.sin(), args.cos()], 1))))
    hs = [self.conv_in(x)]
    for stage in self.down:
      for j, block in enumerate(stage.block):
        h = block(hs[-1], emb)
        hs.append(stage.attn[j](h) if len(stage.attn) else h)
      if hasattr(stage, 'downsample'):
        hs.append(stage.downsample.conv(F.pad(hs[-1], (0, 1, 0, 1))))
    h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(hs[-1], emb)), emb)
    for stage in reversed(self.up):
      for j, block in enumerate(stage.block):
        h = block(torch.cat([h, hs.pop()], 1), emb)
        h = stage.attn[j](h) if len(stage.attn) else h
      if hasattr(stage, 'upsample'):
        h = stage.upsample.conv(F.interpolate(h, scale_factor=2, mode='nearest'))
    return self.conv_out(F.silu(self.norm_out(h)))


def unet2d(width, mults, blocks, attend, **changed):
  """diffusers' network of these fields, random everywhere."""
  from diffusers import UNet2DModel

  def types(way):
    return tuple(f'{"Attn" * (2**i in attend)}{way}Block2D' for i in range(len(mults)))

  torch.manual_seed(0)
  options = dict(
    sample_size=16,
    block_out_channels=tuple(m * width for m in mults),
    layers_per_block=blocks,
    down_block_types=types('Down'),
    up_block_types=types('Up')[::-1],
    downsample_padding=0,
    freq_shift=1,
    flip_sin_to_cos=False,
    norm_eps=1e-6,
    attention_head_dim=None,
  )
  return UNet2DModel(**options | changed).eval()


def near(ours, want):
  assert np.abs(ours - want).max() <= 1e-4 * want.std()


def answer(net, variables, args):
  return jax.jit(net.apply)(variables, *args)


def answer_of(twin, args):
  with torch.no_grad():
    return twin(*theirs(args)).sample.permute(0, 2, 3, 1).numpy()


def test_the_published_names_shapes_and_order():
  fields = dict(width=128, mults=(1, 1, 2, 2, 4, 4), blocks=2, attend=(16,))
  with torch.device('meta'):
    twin, other = Twin(**fields), unet2d(**fields, sample_size=256)
  lines = [f'{k} {tuple(v.shape)}' for k, v in twin.state_dict().items()]
  assert hashlib.sha256('\n'.join(lines).encode()).hexdigest() == SDEDIT
  want = {k: tuple(v.shape) for k, v in twin.state_dict().items()}
  assert {k: slot.shape for k, slot in weights.slots(shapes(DDPM(), 32)).items()} == want
  hollow = {k: np.broadcast_to(np.float32(0), v.shape) for k, v in other.state_dict().items()}
  assert diffusers.known(hollow)
  assert {k: a.shape for k, a in diffusers.published(hollow).items()} == want


@pytest.mark.parametrize('name', CASES)
def test_by_the_names_of_sdedit(name):
  """Output, gradients in x and in every weight."""
  twin = noisy(Twin(**CASES[name]))
  found = infer(arrays(twin))
  assert {k: found[k] for k in CASES[name]} == CASES[name]
  compare(DDPM(**CASES[name]), twin, 16)


@pytest.mark.parametrize('name', CASES)
def test_by_the_names_of_diffusers(name):
  twin, net = noisy(unet2d(**CASES[name])), DDPM(**CASES[name])
  given = diffusers.published(arrays(twin))
  found = infer(given)
  assert {k: found[k] for k in CASES[name]} == CASES[name]
  variables = weights.fill(shapes(net, 16), given)
  args = inputs(16, None, batch=2)
  near(answer(net, variables, args), answer_of(twin, args))
  back = diffusers.theirs(weights.empty(variables))
  assert set(back) == set(twin.state_dict())
  for key, value in twin.state_dict().items():
    np.testing.assert_array_equal(back[key], value.numpy())


@pytest.mark.parametrize('safe', [True, False])
def test_what_diffusers_and_pytorch_save_is_loaded(tmp_path, safe):
  from diffusers import DDPMScheduler

  twin = noisy(unet2d(**TINY))
  twin.save_pretrained(tmp_path / 'unet', safe_serialization=safe)
  DDPMScheduler().save_pretrained(tmp_path / 'scheduler')
  (file,) = (tmp_path / 'unet').glob('diffusion_pytorch_model.*')
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    model = zsi.load(file.parent if safe else file, steps=4)
  args = inputs(16, None, batch=2)
  near(answer(model.denoiser.net, model.denoiser.variables, args), answer_of(twin, args))
  assert model.config['denoiser']['T'] == 1000 and model.shape == (16, 16, 3)


def test_a_plain_checkpoint_is_loaded(tmp_path):
  twin = noisy(Twin(**TINY))
  torch.save(twin.state_dict(), tmp_path / 'celeba_hq.ckpt')
  model = zsi.load(tmp_path / 'celeba_hq.ckpt', size=16, schedule='linear', T=1000, steps=4)
  args = inputs(16, None)
  want = twin(*theirs(args)).detach().permute(0, 2, 3, 1).numpy()
  near(answer(model.denoiser.net, model.denoiser.variables, args), want)


def test_the_network_of_diffusers_own_defaults_is_another_one(tmp_path):
  twin = unet2d(**TINY, freq_shift=0)
  twin.save_pretrained(tmp_path)
  with pytest.raises(WeightsError, match='freq_shift is 0'):
    zsi.load(tmp_path)
