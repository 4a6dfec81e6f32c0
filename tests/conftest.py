"""What every test has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope='session', autouse=True)
def caches(tmp_path_factory):
  """Tests leave nothing in the user's cache; those of one process share what they compile."""
  os.environ['ZSI_CACHE_DIR'] = str(tmp_path_factory.mktemp('cache'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A converted denoiser and classifier, as a user would keep them."""
  from zsi_jax.build.models import convert

  golden, to = Path(__file__).parent / 'golden', tmp_path_factory.mktemp('weights')
  told = dict(T=4000, schedule='cosine', size=16, heads=2)
  convert(golden / 'unet.pt', to / 'unet.safetensors', **told)
  convert(golden / 'encoder.pt', to / 'smile.safetensors', classes=2, T=4000)
  return to
