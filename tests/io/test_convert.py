"""convert: a .pt becomes a file that needs no options; nothing is written unless all of it fits."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest

from tests.io import made
from tests.io.test_weights import GOLDEN, NETS, abstract
from zsi_jax.io import weights
from zsi_jax.io.convert import convert
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.infer import infer


def test_convert(tmp_path):
  src, dst = GOLDEN / 'unet.pt', tmp_path / 'unet.safetensors'
  seen = []

  def check(found):
    seen.append(found)
    return abstract(NETS['unet'])

  told = convert(src, dst, check=check, heads=2, size=16)
  assert seen[0]['net'] == 'unet' and seen[0]['width'] == 32
  assert told['kind'] == 'denoiser'
  assert told['architecture']['heads'] == 2 and told['architecture']['size'] == 16
  assert told['process'] == {'schedule': 'cosine', 'T': 4000}
  assert told['source'] == {
    'name': 'unet.pt', 'bytes': src.stat().st_size,
    'sha256': hashlib.sha256(src.read_bytes()).hexdigest(),
  }  # fmt: skip
  assert told['stamp']['jax'] and str(src.parent) not in json.dumps(told)
  arrays, facts = weights.read(dst)
  assert facts['header'] == json.loads(json.dumps(told))
  whole, _ = weights.read(src)
  assert set(arrays) == set(whole) and all(np.array_equal(arrays[k], whole[k]) for k in whole)
  found = infer(arrays, header=facts['header'])
  assert found['heads'] == 2 and not {'heads', 'size'} & set(found['assumed'])
  assert os.listdir(tmp_path) == ['unet.safetensors']
  again = convert(dst, tmp_path / 'again.safetensors')
  assert again['architecture'] == told['architecture'] and again['assumed'] == told['assumed']


def test_convert_slices_the_head(tmp_path):
  told = convert(GOLDEN / 'encoder.pt', tmp_path / 'c.safetensors', classes=2)
  assert told['kind'] == 'classifier' and told['architecture']['classes'] == 2
  assert weights.read(tmp_path / 'c.safetensors')[0]['out.2.c_proj.bias'].shape == (2,)


def test_nothing_is_written_that_does_not_fit(tmp_path):
  dst = tmp_path / 'w.safetensors'

  def refused(words, src=GOLDEN / 'unet.pt', dst=dst, **options):
    with pytest.raises(WeightsError, match=words):
      convert(src, dst, **options)

  refused('does not fit', check=lambda found: abstract(NETS['unet_cond']))
  refused('width=7', width=7)
  refused('no such file', src=tmp_path / 'none.pt')
  refused('name it w.safetensors', dst=tmp_path / 'w.npz')
  refused('no directory', dst=tmp_path / 'no' / 'w.safetensors')
  refused("no classifier's", classes=2)
  arrays, _ = weights.read(GOLDEN / 'unet.pt')
  nan = made.save_zip(tmp_path / 'nan.pt', *made.plain(
    arrays | {'out.0.bias': np.full(32, np.nan, 'f4')}))  # fmt: skip
  refused('NaN', src=nan)
  assert os.listdir(tmp_path) == ['nan.pt']
  dst.mkdir()
  refused('a directory')
  dst.rmdir()
  dst.write_text('precious')
  refused('exists already; force=True')
  assert dst.read_text() == 'precious'
  convert(GOLDEN / 'unet.pt', dst, force=True)
  assert len(weights.read(dst)[0]) == 164
  refused('the source itself', src=dst, force=True)
