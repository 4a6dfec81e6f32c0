"""Options of the compiler: those that this XLA knows, and the same numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsi_jax.io import compiling
from zsi_jax.nets.conv import conv


@pytest.fixture
def fresh():
  compiling.options.cache_clear()
  yield
  compiling.options.cache_clear()


def test_this_xla_takes_them_and_the_numbers_stay(fresh):
  x, w = (
    jax.random.normal(jax.random.key(k), s) for k, s in ((0, (2, 8, 8, 32)), (1, (3, 3, 32, 32)))
  )
  plain, told = (jax.jit(conv).lower(x, w).compile(o) for o in ({}, compiling.options()))
  np.testing.assert_allclose(told(x, w), plain(x, w), atol=1e-4)
  assert ('ynn' in told.as_text()) <= ('ynn' in plain.as_text())
  assert jnp.isfinite(told(x, w)).all()


def test_other_devices_and_versions_are_told_nothing(fresh, monkeypatch):
  monkeypatch.setattr(compiling, 'version', lambda package: '0.11.0')
  assert compiling.options() == {}
  compiling.options.cache_clear()
  monkeypatch.setattr(compiling, 'version', lambda package: '0.10.2')
  assert list(compiling.options()) == ['xla_cpu_experimental_ynn_fusion_type']
  compiling.options.cache_clear()
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert compiling.options() == {}
