"""Every key of a config with its type; an experiment is a diff of this, and `--` a diff of that.

The options of a source, a split and a support are keys too, with the defaults of zsi_jax/data:
`data.options.size=48`, `split.delta=.1`. None is "not said".
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

PRESETS = 'tiny', 'small', 'gpu', 'paper'


def get_config(preset: str) -> ConfigDict:
  c = ConfigDict()
  c.seed = 0
  c.check = False  # `zsi run --check`: read every byte of what is there

  c.data = ConfigDict()
  c.data.source = 'circles'  # discs, sizes, portraits, celeba, folder, npz
  c.data.options = ConfigDict()  # arguments of the source
  c.data.root = placeholder(str)  # where data sets lie; $ZSI_DATA_DIR, else ./data
  c.data.skip_corrupt = False  # leave out what cannot be read, and count it
  c.data.batch = pick(preset, tiny=32, small=64, gpu=128, paper=128)  # over all devices
  c.data.flip = False  # left to right at random: never where that changes a label
  c.data.crop = placeholder(float)  # .8: a random window of at least that share
  c.data.keep = ()  # attributes that go into the batches
  c.data.workers = 0  # processes that draw records, and later read them ahead; 0 is none

  # Which records each role sees, and with what label: all, chosen, within, tails, list, top_k,
  # agree, yaw_a, yaw_b, yaw_c.
  c.split = ConfigDict({'kind': 'all'})
  # What the networks may have seen, checked on the records: extremes, turned, split_b, split_c,
  # listed (nothing is known of the records), all (not zero-shot).
  c.support = ConfigDict({'kind': 'extremes'})
  return c


def pick(preset: str, **by_preset: Any) -> Any:
  """What this preset says; one that says nothing is as the next smaller one."""
  if preset not in PRESETS:
    raise ValueError(f'there is no preset {preset!r}: take one of {", ".join(PRESETS)}')
  up_to = PRESETS[: PRESETS.index(preset) + 1]
  return [by_preset[p] for p in up_to if p in by_preset][-1]


def faces(preset: str, *attributes: str, delta: float = 0.1) -> ConfigDict:
  """Portraits at both ends of one attribute, or in the corners of two; a fifth of them for one."""
  c = get_config(preset)
  c.data.source = 'portraits'
  n = pick(preset, tiny=1_500, small=15_000, gpu=60_000, paper=300_000)
  c.data.options = dict(n=n, size=pick(preset, tiny=32, gpu=64))
  c.data.flip = True  # a mirrored face has the same smile, age and hair
  c.data.keep = attributes
  c.split = dict(kind='within', attributes=attributes, delta=delta)
  c.support = dict(kind='extremes', attributes=attributes, delta=c.split.get_ref('delta'))
  return c
