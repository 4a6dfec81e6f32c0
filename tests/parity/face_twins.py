"""BiSeNet, ArcFace and MobileFaceNet once more, in PyTorch under the published names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def kernel(a, b, size=3, stride=1, groups=1, pad=None):
  return nn.Conv2d(a, b, size, stride, size // 2 if pad is None else pad, groups=groups, bias=False)


def parts(**named):
  out = nn.Module()
  for name, module in named.items():
    out.add_module(name, module)
  return out


def mean(x):
  return F.adaptive_avg_pool2d(x, 1)


class Line(nn.Module):
  """conv, bn and perhaps prelu; then `act`."""

  def __init__(self, conv, act=None, prelu=False):
    super().__init__()
    self.conv, self.bn, self.act = conv, nn.BatchNorm2d(conv.out_channels), act
    self.prelu = nn.PReLU(conv.out_channels) if prelu else nn.Identity()

  def forward(self, x):
    x = self.prelu(self.bn(self.conv(x)))
    return self.act(x) if self.act else x


def relu_line(a, b, size=3):
  return Line(kernel(a, b, size), F.relu)


class BiSeNet(nn.Module):
  def __init__(self, classes):
    super().__init__()
    from torchvision.models import resnet18

    resnet = resnet18()
    resnet.fc = nn.Identity()

    def arm(a):
      return parts(
        conv=relu_line(a, 128), conv_atten=kernel(128, 128, 1), bn_atten=nn.BatchNorm2d(128)
      )

    def head(a, middle):
      return parts(conv=relu_line(a, middle), conv_out=kernel(middle, classes, 1))

    self.cp = parts(
      resnet=resnet,
      arm16=arm(256),
      arm32=arm(512),
      conv_head32=relu_line(128, 128),
      conv_head16=relu_line(128, 128),
      conv_avg=relu_line(512, 128, 1),
    )
    self.ffm = parts(
      convblk=relu_line(256, 256, 1), conv1=kernel(256, 64, 1), conv2=kernel(64, 256, 1)
    )
    self.conv_out, self.conv_out16, self.conv_out32 = head(256, 256), head(128, 64), head(128, 64)

  def forward(self, x):
    def refined(arm, x):
      x = arm.conv(x)
      return x * torch.sigmoid(arm.bn_atten(arm.conv_atten(mean(x))))

    def doubled(x):
      return F.interpolate(x, scale_factor=2, mode='nearest')

    cp, net, size = self.cp, self.cp.resnet, x.shape[2:]
    h = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x)))))
    at8 = net.layer2(h)
    at16 = net.layer3(at8)
    at32 = net.layer4(at16)
    c16 = cp.conv_head32(doubled(refined(cp.arm32, at32) + cp.conv_avg(mean(at32))))
    c8 = cp.conv_head16(doubled(refined(cp.arm16, at16) + c16))
    f = self.ffm.convblk(torch.cat([at8, c8], 1))
    f = f + f * torch.sigmoid(self.ffm.conv2(F.relu(self.ffm.conv1(mean(f)))))
    heads = ((self.conv_out, f), (self.conv_out16, c8), (self.conv_out32, c16))
    return [
      F.interpolate(head.conv_out(head.conv(h)), size, mode='bilinear', align_corners=True)
      for head, h in heads
    ]


class Squeeze(nn.Module):
  def __init__(self, c, shrink):
    super().__init__()
    self.fc1, self.fc2 = kernel(c, c // shrink, 1), kernel(c // shrink, c, 1)

  def forward(self, x):
    return x * torch.sigmoid(self.fc2(F.relu(self.fc1(mean(x)))))


class SeBlock(nn.Module):
  def __init__(self, a, b, stride, shrink):
    super().__init__()
    self.shortcut_layer = (
      nn.MaxPool2d(1, stride)
      if a == b
      else nn.Sequential(kernel(a, b, 1, stride), nn.BatchNorm2d(b))
    )
    self.res_layer = nn.Sequential(
      nn.BatchNorm2d(a), kernel(a, b), nn.PReLU(b), kernel(b, b, 3, stride), nn.BatchNorm2d(b),
      Squeeze(b, shrink),
    )  # fmt: skip

  def forward(self, x):
    return self.res_layer(x) + self.shortcut_layer(x)


class IrSe(nn.Module):
  def __init__(self, depths, width=64, side=7, out=512, shrink=16):
    super().__init__()
    self.input_layer = nn.Sequential(kernel(3, width), nn.BatchNorm2d(width), nn.PReLU(width))
    blocks, a = [], width
    for s, depth in enumerate(depths):
      for i in range(depth):
        blocks.append(SeBlock(a, width * 2**s, 1 if i else 2, shrink))
        a = width * 2**s
    self.body = nn.Sequential(*blocks)
    self.output_layer = nn.Sequential(
      nn.BatchNorm2d(a), nn.Dropout(), nn.Flatten(), nn.Linear(a * side**2, out),
      nn.BatchNorm1d(out),
    )  # fmt: skip

  def forward(self, x):
    return F.normalize(self.output_layer(self.body(self.input_layer(x))))


class ResBlock(nn.Module):
  def __init__(self, a, b, stride):
    super().__init__()
    self.bn1, self.conv1, self.bn2 = nn.BatchNorm2d(a), kernel(a, b), nn.BatchNorm2d(b)
    self.prelu, self.conv2 = nn.PReLU(b), kernel(b, b, 3, stride)
    self.bn3 = nn.BatchNorm2d(b)
    self.downsample = (
      nn.Sequential(kernel(a, b, 1, stride), nn.BatchNorm2d(b)) if stride > 1 else nn.Identity()
    )

  def forward(self, x):
    h = self.prelu(self.bn2(self.conv1(self.bn1(x))))
    return self.bn3(self.conv2(h)) + self.downsample(x)


class IResNet(nn.Module):
  def __init__(self, depths, width=64, side=7, out=512):
    super().__init__()
    self.conv1, self.bn1 = kernel(3, width), nn.BatchNorm2d(width)
    self.prelu, a = nn.PReLU(width), width
    for s, depth in enumerate(depths):
      b = width * 2**s
      first = ResBlock(a, b, 2)
      more = [ResBlock(b, b, 1) for _ in range(depth - 1)]
      self.add_module(f'layer{s + 1}', nn.Sequential(first, *more))
      a = b
    self.bn2, self.fc = nn.BatchNorm2d(a), nn.Linear(a * side**2, out)
    self.features = nn.BatchNorm1d(out)

  def forward(self, x):
    x = self.prelu(self.bn1(self.conv1(x)))
    for s in range(1, 5):
      x = getattr(self, f'layer{s}')(x)
    return F.normalize(self.features(self.fc(self.bn2(x).flatten(1))))


class Sep(nn.Module):
  """1 x 1, depthwise, 1 x 1."""

  def __init__(self, a, wide, b, stride):
    super().__init__()
    self.conv = Line(kernel(a, wide, 1), prelu=True)
    self.conv_dw = Line(kernel(wide, wide, 3, stride, groups=wide), prelu=True)
    self.project, self.same = Line(kernel(wide, b, 1)), stride == 1

  def forward(self, x):
    h = self.project(self.conv_dw(self.conv(x)))
    return x + h if self.same else h


class MobileFace(nn.Module):
  def __init__(self, out=136):
    super().__init__()
    self.conv1 = Line(kernel(3, 64, 3, 2), prelu=True)
    self.conv2_dw = Line(kernel(64, 64, groups=64), prelu=True)
    a = 64
    for s, b, first, wide, depth in (
      (3, 64, 128, 128, 4), (4, 128, 256, 256, 6), (5, 128, 512, 256, 2),
    ):  # fmt: skip
      self.add_module(f'conv_{s - 1}{s}', Sep(a, first, b, 2))
      row = nn.Sequential(*[Sep(b, wide, b, 1) for _ in range(depth)])
      self.add_module(f'conv_{s}', parts(model=row))
      a = b
    self.conv_6_sep = Line(kernel(128, 512, 1), prelu=True)
    self.output_layer = parts(
      conv_6_dw=Line(kernel(512, 512, 7, groups=512, pad=0)),
      linear=nn.Linear(512, out, bias=False),
      bn=nn.BatchNorm1d(out),
    )

  def forward(self, x):
    x = self.conv2_dw(self.conv1(x))
    for s in (3, 4, 5):
      x = getattr(self, f'conv_{s}').model(getattr(self, f'conv_{s - 1}{s}')(x))
    tail = self.output_layer
    return tail.bn(tail.linear(tail.conv_6_dw(self.conv_6_sep(x)).flatten(1)))


def shaken(net, seed=0):
  """In use, every number random: statistics of a fresh network would hide what uses them."""
  torch.manual_seed(seed)
  with torch.no_grad():
    for module in net.modules():
      if isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.running_mean.normal_(0, 0.1)
        module.running_var.uniform_(0.5, 1.5)
        module.weight.uniform_(0.8, 1.2)
        module.bias.normal_(0, 0.1)
      elif isinstance(module, nn.PReLU):
        module.weight.uniform_(0.1, 0.4)
      elif isinstance(module, nn.Conv2d | nn.Linear):
        module.weight.normal_(0, (1.5 / module.weight[0].numel()) ** 0.5)
        if module.bias is not None:
          module.bias.normal_(0, 0.1)
  return net.eval()
