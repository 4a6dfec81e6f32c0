"""`<role>.net` of a config: the architecture, and the network it names.

An architecture is what a header of a weights file holds: fields of a network class, `net`, `size`,
`channels`, and the process (`schedule`, `T`) that the network was trained with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from zsi_jax.build.keys import ConfigError, near

Maker = Callable[..., dict[str, Any]]
ROLES = {
  'denoiser': ('unet', 'dit', 'ddpm'),
  'classifier': ('encoder',),
  'judge': ('compact', 'efficientnet'),
}
READINGS = None, 'paper', 'peer'


def described(role: str, kind: str) -> Maker:
  """What the options of a network are the arguments of."""
  if kind not in ROLES[role]:
    raise ConfigError(f'{role}.net.kind: there is no {role} {kind!r}{near(kind, ROLES[role])}')
  makers: dict[str, Maker] = {'unet': unet, 'dit': dit, 'ddpm': ddpm, 'encoder': encoder}
  makers |= {'compact': compact, 'efficientnet': efficientnet}
  return makers[kind]


def unet(
  *,
  width: int = 128,
  mults: Sequence[float] = (1, 2, 3, 4),
  blocks: int = 3,
  attend: Sequence[int] = (4, 8),
  heads: int = 4,
  head_width: int | None = None,
  new_order: bool = False,
  scale_shift: bool = True,
  updown: bool = False,
  dropout: float = 0.0,
  spectral: str | None = None,
  lipschitz: float = 0.5,
  remat: str | None = None,
  dtype: str = 'float32',
) -> dict[str, Any]:
  """The U-Net of guided-diffusion; `attend` are downsampling factors."""
  return _whole(locals())


def encoder(
  *,
  width: int = 128,
  mults: Sequence[float] = (1, 2, 3, 4),
  blocks: int = 2,
  attend: Sequence[int] = (2, 4, 8),
  heads: int = 4,
  head_width: int | None = 64,
  new_order: bool = False,
  scale_shift: bool = True,
  updown: bool = True,
  classes: int | None = None,
  dropout: float = 0.0,
  spectral: str | None = None,
  lipschitz: float = 0.5,
  remat: str | None = None,
  dtype: str = 'float32',
) -> dict[str, Any]:
  """Its noisy classifier; `classes=None` is one logit for each label."""
  return _whole(locals())


def dit(
  *,
  variant: str | None = None,
  patch: int = 4,
  width: int = 768,
  depth: int = 12,
  heads: int = 12,
  mlp: float = 4.0,
  dtype: str = 'float32',
) -> dict[str, Any]:
  """DiT; a variant such as 'B/4' says patch, width, depth and heads."""
  fields = _whole(locals())
  if (name := fields.pop('variant')) is not None:
    from zsi_jax.nets import DiT

    try:
      net = DiT.variant(name)
    except ValueError as error:
      raise ConfigError(f'denoiser.net.variant: {error}') from None
    fields |= {key: getattr(net, key) for key in ('patch', 'width', 'depth', 'heads')}
  return fields


def ddpm(
  *,
  width: int = 128,
  mults: Sequence[float] = (1, 1, 2, 2, 4, 4),
  blocks: int = 2,
  attend: Sequence[int] = (16,),
  dropout: float = 0.0,
  remat: str | None = None,
  dtype: str = 'float32',
) -> dict[str, Any]:
  """The U-Net of DDPM, as `ddpm-celebahq-256` has it; `attend` are downsampling factors."""
  return _whole(locals())


def compact(
  *,
  width: int = 32,
  blocks: Sequence[int] = (1, 1, 1),
  spots: int = 32,
  hidden: int = 128,
  dropout: float = 0.0,
  dtype: str = 'float32',
) -> dict[str, Any]:
  """A small judge for a CPU; `blocks` of each level."""
  return {**locals(), 'blocks': tuple(blocks)}


def efficientnet(
  *, dropout: float = 0.2, drop_path: float = 0.2, dtype: str = 'float32'
) -> dict[str, Any]:
  """EfficientNetV2-S, as published judges are."""
  return locals()


def _whole(fields: dict[str, Any]) -> dict[str, Any]:
  """Whole multipliers as integers, as weights files have them; a factor where it is used."""
  if 'mults' in fields:
    fields['mults'] = tuple(int(m) if m == int(m) else m for m in fields['mults'])
    fields['attend'] = tuple(fields['attend'])
  if 'updown' in fields:
    fields['updown'] &= len(fields['mults']) > 1  # there is nothing to resize: weights do not tell
  if 'spectral' in fields:
    if fields['spectral'] not in READINGS:
      raise ConfigError(f'net.spectral is one of {READINGS}, not {fields["spectral"]!r}')
    if fields['spectral'] != 'peer':
      fields.pop('lipschitz')
  return fields


def architecture(
  config: ConfigDict, role: str, shape: Sequence[int], classes: int
) -> dict[str, Any]:
  """All that a network of this role is, for images of `shape` and so many labels."""
  height, width, channels = shape
  own = config[role]
  options = {k: v for k, v in own.net.items() if k != 'kind'}
  found = described(role, own.net.kind)(**options)
  if height != width:
    raise ConfigError(f'the images are {height} x {width}; networks take square ones')
  found |= {'net': own.net.kind, 'size': height, 'channels': channels}
  found |= {'schedule': config.process.schedule, 'T': config.process.T}
  if role == 'classifier':
    wanted = found['classes'] or classes
    if wanted < classes or classes < 2:
      raise ConfigError(
        f'classifier.net.classes is {wanted} and the split has {classes} labels; a classifier '
        'needs two at least, and a logit for each'
      )
    return found | {'classes': wanted}
  labels = None if own.drop is None else classes + 1  # the last row is "no condition"
  return found | {
    'labels': labels,
    'null': None if labels is None else classes,
    'out': channels * (2 if own.variance == 'learned' else 1),
    'predicts': own.predicts,
    'variance': own.variance,
  }
