"""`UNet2DModel` of diffusers under the names of DDPM's U-Net, and what its two configs must say.

1. A name is renamed word by word (`WORDS`); levels of the ascent count from the other end.
2. Attention has linear layers here and convolutions of width 1 there: [O, I] <-> [O, I, 1, 1].
3. Names and shapes do not tell sinusoids, eps, padding and heads. `config.json` beside the weights
   does; without it they are taken for those of `ddpm-celebahq-256`, and a note says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.io.errors import WeightsError

WORDS = {  # DDPM's: diffusers'
  'temb.dense.0': 'time_embedding.linear_1',
  'temb.dense.1': 'time_embedding.linear_2',
  'mid.block_1': 'mid_block.resnets.0',
  'mid.block_2': 'mid_block.resnets.1',
  'mid.attn_1': 'mid_block.attentions.0',
  'down': 'down_blocks',
  'up': 'up_blocks',
  'block': 'resnets',
  'attn': 'attentions',
  'downsample': 'downsamplers.0',
  'upsample': 'upsamplers.0',
  'temb_proj': 'time_emb_proj',
  'nin_shortcut': 'conv_shortcut',
  'norm': 'group_norm',
  'q': 'to_q',
  'k': 'to_k',
  'v': 'to_v',
  'proj_out': 'to_out.0',
  'norm_out': 'conv_norm_out',
}
OLDER = {'q': 'query', 'k': 'key', 'v': 'value', 'proj_out': 'proj_attn'}  # in older files
MARKS = 'time_embedding.linear_1.weight', 'down_blocks.0.resnets.0.norm1.weight', 'conv_in.weight'
SAID = {  # which diffusers' own defaults contradict
  'attention_head_dim': None,
  'downsample_padding': 0,
  'flip_sin_to_cos': False,
  'freq_shift': 1,
  'norm_eps': 1e-6,
}
USUAL = {  # what they are where a config does not say
  'act_fn': 'silu',
  'attn_norm_num_groups': None,
  'center_input_sample': False,
  'class_embed_type': None,
  'mid_block_scale_factor': 1,
  'norm_num_groups': 32,
  'resnet_time_scale_shift': 'default',
  'time_embedding_type': 'positional',
}
LINEAR = dict(beta_schedule='linear', beta_start=1e-4, beta_end=0.02, num_train_timesteps=1000)
PLAIN = dict(prediction_type='epsilon', trained_betas=None)
SCHEDULER = 'scheduler_config.json'
UP = re.compile(r'up\.(\d+)\.')


def known(arrays: Mapping[str, Any]) -> bool:
  """Whether names are those of `UNet2DModel`; `UNet2DConditionModel` attends to text, too."""
  return set(MARKS) <= set(arrays) and not any('transformer_blocks' in key for key in arrays)


def published(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """DDPM's names and shapes."""
  words = [(b, a) for table in (OLDER, WORDS) for a, b in table.items()]
  named = {_worded(key, words): a for key, a in arrays.items()}
  return {
    _turned(key, named): a[:, :, None, None] if '.attn' in key and a.ndim == 2 else a
    for key, a in named.items()
  }


def theirs(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The way back."""
  return {
    _worded(_turned(key, arrays), WORDS.items()): a[:, :, 0, 0]
    if '.attn' in key and a.ndim == 4
    else a
    for key, a in arrays.items()
  }


def _worded(key: str, words: Iterable[tuple[str, str]]) -> str:
  key = f'.{key}'
  for old, new in words:
    key = key.replace(f'.{old}.', f'.{new}.')
  return key[1:]


def _turned(key: str, keys: Iterable[str]) -> str:
  """The level of the ascent, from the other end."""
  last = max(int(m[1]) for k in keys if (m := UP.match(k)))
  return UP.sub(lambda m: f'up.{last - int(m[1])}.', key)


def told(weights: Path, notes: list[str]) -> dict[str, Any] | None:
  """What the configs beside a weights file say, as our own header would; wrong ones are refused."""
  config = _json(weights.with_name('config.json'))
  if config is None:
    notes.append("no config.json beside it: taken for a network of ddpm-celebahq-256's kind")
    return None
  said = {name: config.get(name, "diffusers' default") for name in SAID}
  _same(weights.with_name('config.json'), USUAL | config | said, USUAL | SAID)
  size = config.get('sample_size')
  header: dict[str, Any] = {'architecture': {'dropout': config.get('dropout', 0.0)}}
  header['architecture'] |= {'size': size} if isinstance(size, int) else {}
  for folder in (weights.parent, weights.parent.parent / 'scheduler'):
    if (noise := _json(folder / SCHEDULER)) is not None:
      _same(folder / SCHEDULER, PLAIN | noise, PLAIN | LINEAR)
      return header | {'process': {'schedule': 'linear', 'T': LINEAR['num_train_timesteps']}}
  return header


def _json(file: Path) -> dict[str, Any] | None:
  if not file.is_file():
    return None
  try:
    found = json.loads(file.read_text(encoding='utf-8'))
  except ValueError as error:
    raise WeightsError(f'{file}: no JSON ({error}). Copy it again.') from None
  if not isinstance(found, dict):
    raise WeightsError(f'{file}: a JSON object was expected, found {type(found).__name__}.')
  return found


def _same(file: Path, found: Mapping[str, Any], want: Mapping[str, Any]) -> None:
  for name, value in want.items():
    if found.get(name) != value:
      raise WeightsError(
        f'{file}: {name} is {found.get(name)!r}; of UNet2DModel only the variant of '
        f'ddpm-celebahq-256 is known, which has {name}={value!r}.'
      )
