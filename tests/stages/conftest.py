"""Of the stages."""

from __future__ import annotations

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  """What compiles twice compiles once."""
  folder = str(tmp_path_factory.mktemp('cache'))
  said = {
    'jax_compilation_cache_dir': folder,
    'jax_persistent_cache_min_compile_time_secs': 0,
    'jax_persistent_cache_min_entry_size_bytes': -1,
  }
  before = {key: getattr(jax.config, key) for key in said}
  for key, value in said.items():
    jax.config.update(key, value)
  compilation_cache.reset_cache()
  yield {key.upper(): str(value) for key, value in said.items()}
  for key, value in before.items():
    jax.config.update(key, value)
  compilation_cache.reset_cache()
