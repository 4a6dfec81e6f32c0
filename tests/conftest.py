"""What every test has."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope='session', autouse=True)
def caches(tmp_path_factory):
  """Tests leave nothing in the user's cache; those of one process share what they compile."""
  os.environ['ZSI_CACHE_DIR'] = str(tmp_path_factory.mktemp('cache'))
