"""The architecture that a state dict must have, from its names and shapes.

1. Known networks: 'unet' and 'encoder' of guided-diffusion, 'dit', 'ddpm'. Others are refused.
2. The width is that of the time embedding. The descent is `levels` × (`blocks` residual blocks,
   then one halving): its n = levels · (blocks + 1) input blocks are cut at each divisor of n, and a
   cut stays if its levels have one channel count, all or no attention, and halvings where due.
3. What shapes cannot tell is an option with a default (`DEFAULTS`; `PUBLISHED` for the released
   ADM models) and is listed under 'assumed'. Options win over the file's header, the header over
   defaults. An option that contradicts the shapes is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.io.errors import WeightsError
from zsi_jax.io.weights import reading

Shapes = Mapping[str, tuple[int, ...]]

SIZES = {  # image size by mults, guided-diffusion's own table
  (1, 2, 3, 4): 64,
  (1, 1, 2, 3, 4): 128,
  (1, 1, 2, 2, 4, 4): 256,
  (0.5, 1, 1, 2, 2, 4, 4): 512,
}
PROCESS = dict(schedule='cosine', T=4000)  # the zero-shot interpolation paper's
ADM = dict(schedule='linear', T=1000)
DEFAULTS: dict[str, dict[str, Any]] = {
  'unet': dict(heads=4, head_width=None, new_order=False, dropout=0.0, spectral=None, **PROCESS),
  'encoder': dict(heads=4, head_width=64, new_order=False, dropout=0.0, spectral=None, **PROCESS),
  'dit': PROCESS,
  'ddpm': dict(dropout=0.0, **ADM),
}
PUBLISHED: dict[tuple[str, int, tuple[float, ...], int], dict[str, Any]] = {
  # (net, width, mults, blocks) of the models released with ADM
  ('unet', 192, (1, 2, 3, 4), 3): dict(head_width=64, new_order=True, schedule='cosine', T=1000),
  ('unet', 256, (1, 1, 2, 3, 4), 2): ADM,
  ('unet', 256, (1, 1, 2, 2, 4, 4), 2): dict(head_width=64, **ADM),
  ('unet', 256, (0.5, 1, 1, 2, 2, 4, 4), 2): dict(head_width=64, **ADM),
  ('encoder', 128, (1, 2, 3, 4), 4): dict(schedule='cosine', T=1000),
  ('encoder', 128, (1, 1, 2, 2, 4, 4), 2): ADM,
  ('encoder', 128, (0.5, 1, 1, 2, 2, 4, 4), 2): ADM,
}
EXAMPLES = dict(
  heads='heads=4', head_width='head_width=64', new_order='new_order=True', dropout='dropout=0.1',
  spectral="spectral='peer'", lipschitz='lipschitz=0.5', schedule="schedule='cosine'", T='T=4000',
  size='size=64',
)  # fmt: skip
HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}  # DiT's S, B, L and XL by width
LIPSCHITZ = 0.5  # what the peer trains with by default; its checkpoints do not say


def infer(
  arrays: Mapping[str, np.ndarray],
  *,
  file: str | Path = 'the weights file',
  header: Mapping[str, Any] | None = None,
  **options: Any,
) -> dict[str, Any]:
  """Hyper-parameters by field name, and 'net', 'size', 'channels', 'schedule', 'T', 'assumed'."""
  file = str(file)
  shapes = {_plain(key): tuple(a.shape) for key, a in arrays.items()}
  net = _kind(shapes, file)
  options = {k: _tidy(v) for k, v in options.items()}
  if (asked := options.pop('net', net)) != net:
    raise WeightsError(
      f'{file}: net={asked!r} was asked, but these are the weights of {net!r} '
      f'(it has {_mark(net)}). Drop the option, or give the file of a net {asked!r}.'
    )
  try:
    found = dict(unet=_unet, encoder=_encoder, dit=_dit, ddpm=_ddpm)[net](shapes, file, options)
  except WeightsError:
    raise
  except (LookupError, ValueError, TypeError, ArithmeticError) as error:
    raise WeightsError(
      f'{file}: it has {_mark(net)} as {net!r} has, but not all that follows ({error} is missing '
      f'or of another rank). Known are {_known()}.'
    ) from None
  if norm := reading(arrays):
    found['spectral'] = norm
  return _settle({'net': net, **found}, _defaults(net, found), header or {}, options, file)


def _settle(
  found: dict[str, Any],
  default: dict[str, Any],
  header: Mapping[str, Any],
  options: dict[str, Any],
  file: str,
) -> dict[str, Any]:
  """Options over header over defaults; none of them over the shapes."""
  parts = [p for p in (header.get('architecture'), header.get('process')) if isinstance(p, dict)]
  for name, said in ((k, _tidy(v)) for part in parts for k, v in part.items()):
    if name in found and said != found[name]:
      raise WeightsError(
        f'{file}: its header says {name}={said!r}, its weights {name}={found[name]!r}: keys are '
        'missing, changed or added since it was written. Convert the original again.'
      )
  told = {k: _tidy(v) for part in parts for k, v in part.items() if k in default} | options
  if unknown := [k for k in options if k not in found and k not in default]:
    raise WeightsError(
      f'{file}: no option {unknown[0]!r}; there are {", ".join((*found, *default))}.'
    )
  for name, asked in options.items():
    if name in found and asked != found[name]:
      raise WeightsError(
        f'{file}: {name}={asked!r} was asked, but the shapes of the weights say '
        f'{name}={found[name]!r}. Drop the option, or give another file.'
      )
  for name, value in told.items():
    if name in default and not _sane(name, value):
      raise WeightsError(f'{file}: {name}={value!r} is no {name}; an example is {EXAMPLES[name]}.')
  listed = header.get('assumed')
  unsure = listed if isinstance(listed, list) else []
  assumed = tuple(k for k in default if k not in told or (k in unsure and k not in options))
  return {**found, **default, **{k: v for k, v in told.items() if k in default}, 'assumed': assumed}


def _sane(name: str, value: Any) -> bool:
  match name:
    case 'schedule':
      return isinstance(value, str)
    case 'spectral':
      return value in (None, 'peer', 'paper')
    case 'new_order':
      return isinstance(value, bool)
    case 'dropout' | 'lipschitz':
      return type(value) in (int, float) and 0 <= value < math.inf
    case _:
      return (type(value) is int and value > 0) or (
        value is None and name in ('size', 'head_width')
      )


def _defaults(net: str, found: Mapping[str, Any]) -> dict[str, Any]:
  default = dict(DEFAULTS[net])
  if net == 'dit':
    return dict(
      heads=HEADS.get(found['width'], max(1, found['width'] // 64)),
      **({} if 'size' in found else {'size': 64}),
      **default,
    )
  default.update(PUBLISHED.get((net, found['width'], found['mults'], found['blocks']), {}))
  if 'size' not in found:
    default['size'] = SIZES.get(found['mults'])
  if found.get('spectral') == 'peer':
    default['lipschitz'] = LIPSCHITZ
  return {k: v for k, v in default.items() if k not in found}


def kind(arrays: Mapping[str, np.ndarray], *, file: str | Path = 'the weights file') -> str:
  """'unet', 'encoder', 'dit' or 'ddpm', by names alone; other weights are refused."""
  return _kind({_plain(key): tuple(a.shape) for key, a in arrays.items()}, str(file))


STEM = {'input_blocks.0.0.weight': 4, 'time_embed.0.weight': 2}  # what every one of them has


def _kind(shapes: Shapes, file: str) -> str:
  first = ', '.join(f'{k} {list(s)}' for k, s in list(shapes.items())[:3])
  if {'input_blocks.0.0.weight', 'time_embed.0.weight'} & set(shapes):
    for key, rank in STEM.items():
      if len(shapes.get(key, ())) != rank:
        found = list(shapes[key]) if key in shapes else 'nothing'
        raise WeightsError(
          f'{file}: {key} of rank {rank} was expected, found {found}. Is the file whole? '
          f'Known are {_known()}.'
        )
    if any(key.startswith('output_blocks.') for key in shapes):
      return 'unet'
    if 'out.2.positional_embedding' in shapes:
      return 'encoder'
    raise WeightsError(
      f'{file}: an encoder of guided-diffusion with another pool than attention '
      f'(it has no out.2.positional_embedding). Known are {_known()}.'
    )
  if 'x_embedder.proj.weight' in shapes and 'final_layer.linear.weight' in shapes:
    return 'dit'
  if {'temb.dense.0.weight', 'down.0.block.0.conv1.weight'} <= set(shapes):
    return 'ddpm'
  raise WeightsError(
    f'{file}: weights of an unknown architecture{_guess(shapes)}: its first keys are {first}. '
    f'Known are {_known()}.'
  )


def _guess(shapes: Shapes) -> str:
  for start, name in {
    'down_blocks.': 'a U-Net of diffusers, it seems',
    'conv_stem.': 'an EfficientNet of timm, it seems',
    'model.diffusion_model.': 'a latent diffusion checkpoint, it seems',
  }.items():
    if any(key.startswith(start) for key in shapes):
      return f' ({name})'
  return ''


def _mark(net: str) -> str:
  return {
    'unet': 'input_blocks.* and output_blocks.*',
    'encoder': 'input_blocks.* and out.2.positional_embedding',
    'dit': 'x_embedder.proj.weight and final_layer.linear.weight',
    'ddpm': 'temb.dense.0.weight and down.0.block.0.conv1.weight',
  }[net]


def _known() -> str:
  return "'unet', 'encoder' (guided-diffusion's, attention pool), 'dit' and 'ddpm' (SDEdit's names)"


def _unet(shapes: Shapes, file: str, options: Mapping[str, Any]) -> dict[str, Any]:
  found = _descent(shapes, file, options)
  labels = shapes.get('label_emb.weight')
  return {**found, 'out': shapes['out.2.weight'][0], 'labels': labels and labels[0]}


def _encoder(shapes: Shapes, file: str, options: Mapping[str, Any]) -> dict[str, Any]:
  found = _descent(shapes, file, options)
  return {**found, 'size': _side(shapes, len(found['mults']), file),
          'classes': shapes['out.2.c_proj.weight'][0]}  # fmt: skip


def _side(shapes: Shapes, levels: int, file: str) -> int:
  """Image size: the pool has one token for each pixel of the last level, and one for their mean."""
  tokens = shapes['out.2.positional_embedding'][1] - 1
  side = math.isqrt(tokens)
  if side * side != tokens:
    raise WeightsError(
      f'{file}: out.2.positional_embedding has {tokens} tokens and a mean: no square image.'
    )
  return side * 2 ** (levels - 1)


def _descent(shapes: Shapes, file: str, options: Mapping[str, Any]) -> dict[str, Any]:
  """Fields of what U-Net and encoder share; (2) in the head."""
  width = shapes['time_embed.0.weight'][1]
  n = 1 + max(int(m[1]) for k in shapes if (m := re.match(r'input_blocks\.(\d+)\.', k)))
  cuts = [_cut(shapes, n, blocks, width) for blocks in range(1, n) if n % (blocks + 1) == 0]
  fits = [cut for cut in cuts if cut is not None]
  if len(fits) > 1:  # shapes alone leave a choice: what was asked, then the usual tables, decide
    names = ('blocks', 'mults', 'attend', 'updown')
    asked = {k: options[k] for k in names if k in options}
    fits = [f for f in fits if all(f[k] == v for k, v in asked.items())] or fits
    if 'size' in options and 'out.2.positional_embedding' in shapes:
      sized = [f for f in fits if _side(shapes, len(f['mults']), file) == options['size']]
      fits = sized or fits
    fits = [f for f in fits if f['mults'] in SIZES] or fits
  if not fits:
    raise WeightsError(
      f'{file}: its {n} input blocks do not form levels of equally many residual blocks, each with '
      f'one channel count. Known are {_known()}.'
    )
  if len(fits) > 1:
    choices = ' or '.join(f'blocks={f["blocks"]} (mults={f["mults"]})' for f in fits)
    raise WeightsError(f'{file}: its shapes fit {choices}: give the option blocks.')
  first = 'input_blocks.1.0'
  rows = shapes[f'{first}.emb_layers.1.weight'][0]
  return {
    'width': width,
    **fits[0],
    'scale_shift': rows == 2 * shapes[f'{first}.out_layers.3.weight'][0],
    'channels': shapes['input_blocks.0.0.weight'][1],
  }


def _cut(shapes: Shapes, n: int, blocks: int, width: int) -> dict[str, Any] | None:
  """mults, blocks, attend, updown if every blocks + 1 input blocks are a level, else None."""
  levels = n // (blocks + 1)
  downs = {(blocks + 1) * k for k in range(1, levels)}
  strided = {i for i in range(n) if f'input_blocks.{i}.0.op.weight' in shapes}
  if strided and strided != downs:
    return None
  if any(f'input_blocks.{i}.0.skip_connection.weight' in shapes for i in downs):
    return None
  if any(f'input_blocks.{i}.1.qkv.weight' in shapes for i in downs):
    return None
  ups = {
    int(m[1]) for k in shapes if (m := re.match(r'output_blocks\.(\d+)\.[12]\.(conv|in_layers)', k))
  }
  if ups != {i - 1 for i in downs} and any(k.startswith('output_blocks.') for k in shapes):
    return None
  mults, attend = [], []
  for level in range(levels):
    inside = range(level * (blocks + 1) + 1, (level + 1) * (blocks + 1))
    channels = {shapes.get(f'input_blocks.{i}.0.out_layers.3.weight', (0,))[0] for i in inside}
    attends = {f'input_blocks.{i}.1.qkv.weight' in shapes for i in inside}
    if len(channels) != 1 or len(attends) != 1 or 0 in channels:
      return None
    mults.append(_ratio(channels.pop(), width))
    attend += [2**level] if attends.pop() else []
  updown = bool(downs) and not strided
  return {'mults': tuple(mults), 'blocks': blocks, 'attend': tuple(attend), 'updown': updown}


def _ratio(channels: int, width: int) -> float:
  """mult with int(mult · width) = channels."""
  if channels % width == 0:
    return channels // width
  mult = channels / width
  return mult if int(mult * width) == channels else math.nextafter(mult, math.inf)


def _ddpm(shapes: Shapes, file: str, options: Mapping[str, Any]) -> dict[str, Any]:
  width, channels = shapes['temb.dense.0.weight'][1], shapes['conv_in.weight'][1]
  down = re.findall(r'^down\.(\d+)\.block\.(\d+)\.conv1\.weight$', '\n'.join(shapes), re.M)
  levels = range(1 + max(int(level) for level, _ in down))
  return {
    'width': width,
    'mults': tuple(_ratio(shapes[f'down.{i}.block.0.conv1.weight'][0], width) for i in levels),
    'blocks': 1 + max(int(block) for _, block in down),
    'attend': tuple(2**i for i in levels if f'down.{i}.attn.0.q.weight' in shapes),
    'out': shapes['conv_out.weight'][0],
    'labels': shapes.get('label_emb.weight', (None,))[0],
    'channels': channels,
  }


def _dit(shapes: Shapes, file: str, options: Mapping[str, Any]) -> dict[str, Any]:
  width, channels, patch, _ = shapes['x_embedder.proj.weight']
  labels = shapes.get('y_embedder.embedding_table.weight')
  found = {
    'width': width,
    'patch': patch,
    'depth': 1 + max(int(m[1]) for k in shapes if (m := re.match(r'blocks\.(\d+)\.', k))),
    'mlp': _ratio(shapes['blocks.0.mlp.fc1.weight'][0], width),
    'out': shapes['final_layer.linear.weight'][0] // patch**2,
    'labels': labels and labels[0],
    'channels': channels,
  }
  if 'pos_embed' in shapes:
    found['size'] = math.isqrt(shapes['pos_embed'][1]) * patch
  return found


def _plain(key: str) -> str:
  return re.sub(r'\.parametrizations\.(weight|bias)\.original$', r'.\1', key)


def _tidy(value: Any) -> Any:
  return tuple(value) if isinstance(value, list) else value
