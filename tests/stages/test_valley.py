"""The plane on which ways are compared."""

from __future__ import annotations

import numpy as np

from zsi_jax.stages import valley


def test_paths_in_a_plane_are_where_they_are():
  """Two axes of any direction: distances from the start and between states are kept."""
  rng = np.random.default_rng(0)
  axes = np.linalg.qr(rng.standard_normal((12, 2)))[0].T.reshape(2, 2, 2, 3)
  flat = rng.standard_normal((3, 5, 2))
  flat[:, 0] = 0  # all start at one place
  paths = 0.7 + np.tensordot(flat, axes, 1)
  spots, found = valley.plane(paths)
  np.testing.assert_allclose(spots[:, 0], 0, atol=1e-12)
  for a, b in ((spots, flat), (spots[:2], flat[:2])):
    a, b = (v.reshape(-1, 2) for v in (a, b))
    gaps = [np.linalg.norm(v[:, None] - v[None], axis=-1) for v in (a, b)]
    np.testing.assert_allclose(*gaps, atol=1e-9)
  back = 0.7 + np.tensordot(spots, found, 1)
  np.testing.assert_allclose(back, paths, atol=1e-9)
  row = valley.line(found, np.array([0.0, 2.0]), -1.0)
  np.testing.assert_allclose(row[1], 2 * found[0] - found[1], atol=1e-6)
