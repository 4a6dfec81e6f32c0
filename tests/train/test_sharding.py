"""The table of paths: what lies where, decided from shapes alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from tests.train import made
from zsi_jax.train.optim import optimizer
from zsi_jax.train.sharding import AXES, Layout, abstract, mesh
from zsi_jax.train.state import create

MESH = AbstractMesh((2, 4), AXES, axis_types=(AxisType.Auto,) * 2)
SHAPES = {
  'in.0': {'kernel': (3, 3, 6, 32), 'bias': (32,)},
  'out.2': {'kernel': (3, 3, 32, 6)},
  'odd': {'kernel': (3, 5, 7)},
  'square': {'kernel': (8, 8)},
}


def like(shapes):
  return jax.tree.map(
    lambda s: jax.ShapeDtypeStruct(s, jnp.float32), shapes, is_leaf=lambda s: isinstance(s, tuple)
  )


def specs(tree):
  found = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(p, simple=True, separator='/'): a.spec for p, a in found}


def test_the_largest_axis_that_divides_is_divided():
  assert specs(Layout(MESH).params(like(SHAPES))) == {
    'in.0/kernel': PartitionSpec(None, None, None, 'fsdp'),
    'in.0/bias': PartitionSpec(),  # replicated by default: too small to be worth a message
    'out.2/kernel': PartitionSpec(None, None, 'fsdp'),
    'odd/kernel': PartitionSpec(),  # no axis divides
    'square/kernel': PartitionSpec('fsdp'),
  }


def test_the_first_rule_that_is_found_says():
  rules = (('^out', 'replicate'), ('in.*bias', 'largest'), ('in.*kernel', '_,_,data,fsdp'))
  found = specs(Layout(MESH, rules).params(like(SHAPES)))
  assert found['out.2/kernel'] == PartitionSpec()
  assert found['in.0/bias'] == PartitionSpec('fsdp')
  assert found['in.0/kernel'] == PartitionSpec(None, None, 'data', 'fsdp')
  assert found['square/kernel'] == PartitionSpec('fsdp')


@pytest.mark.parametrize(
  'rule, wrong',
  [
    (('kernal', 'replicate'), "'kernal' is found in no parameter, such as in.0/bias"),
    (('square', 'fsdp'), "'fsdp' is none of .* or 2 of _, data, fsdp for square/kernel"),
    (('square', '_,model'), 'for square/kernel'),
    (('out', '_,_,_,fsdp'), '4 does not divide 6: out.2/kernel'),
  ],
)
def test_rules_that_cannot_be(rule, wrong):
  with pytest.raises(ValueError, match=wrong):
    Layout(MESH, (rule,)).params(like(SHAPES))


def test_moments_and_average_lie_as_their_parameters():
  tx, _ = optimizer(0.1, clip=1.0, warmup=3)

  def init(key):
    params = jax.tree.map(lambda a: jnp.zeros(a.shape), like(SHAPES))
    return {'params': params, 'spectral': {'in.0': {'u': jnp.zeros((32,)), 'v': jnp.zeros((54,))}}}

  state = abstract(Layout(MESH), lambda key: create(init, tx, 0.9, key))
  found = {path: a.sharding.spec for path, a in specs_of(state)}
  whole = {k: v for k, v in found.items() if v == PartitionSpec()}
  for path, spec in specs(Layout(MESH).params(like(SHAPES))).items():
    alike = [v for k, v in found.items() if k.endswith(path)]
    assert alike == [spec] * 4, path  # params, ema, mu, nu
  assert {'step', 'collections/spectral/in.0/u', 'collections/spectral/in.0/v'} <= set(whole)
  assert [k for k in whole if k.endswith('count')]


def specs_of(state):
  found = jax.tree_util.tree_leaves_with_path(state)
  return [(jax.tree_util.keystr(p, simple=True, separator='/'), a) for p, a in found]


def test_the_mesh():
  assert mesh().axis_names == AXES and mesh().size == len(jax.devices())
  assert set(mesh().axis_types) == {AxisType.Auto}
  with pytest.raises(ValueError, match='mesh.fsdp = 999 does not divide'):
    mesh(999)


def test_parts_of_a_batch():
  layout = Layout(mesh())
  rows = np.arange(24).reshape(12, 2)
  parts = jax.jit(lambda a: layout.parts(a, 3))(rows)
  assert parts.shape == (3, 4, 2)
  assert set(np.unique(parts)) == set(range(24))
  with pytest.raises(ValueError, match='a batch of 12 cannot be split .* and 5 accumulated parts'):
    jax.eval_shape(lambda a: layout.parts(a, 5), rows)


def test_nothing_is_allocated_for_the_shapes_of_a_network():
  job = made.unet()
  state = abstract(Layout(MESH), lambda key: create(job.init, job.tx, job.ema, key))
  assert all(isinstance(a, jax.ShapeDtypeStruct) for a in jax.tree.leaves(state))
  divided = [a for a in jax.tree.leaves(state.params) if a.sharding.spec != PartitionSpec()]
  assert sum(a.size for a in divided) > 0.9 * sum(a.size for a in jax.tree.leaves(state.params))
