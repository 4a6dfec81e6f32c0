"""Protocols: what may be compared."""

from __future__ import annotations

import pytest

from zsi_jax.io.protocol import ProtocolError, agree, differences

A = {'size': 32, 'bins': 100, 'judge_b': 'f', 'features/inception': 'i', 'crop': None}


def test_equal_is_equal_however_it_was_written():
  assert differences(A, dict(reversed(A.items())) | {'size': 32.0}) == []
  assert differences({'split': (1, 2)}, {'split': [1, 2]}) == []


@pytest.mark.parametrize(
  'key, value', [('size', 64), ('bins', 100.5), ('crop', 0.8), ('crop', False)]
)
def test_two_values_differ(key, value):
  assert differences(A, A | {key: value}) == [key] == differences(A | {key: value}, A)


@pytest.mark.parametrize(
  'taken, differ',
  [
    ((['fid/inception'], ['judge_b/l2']), False),
    ((['judge_b/l2'], ['judge_b/l2']), True),
    ((['fid/inception'], ['fid/inception']), True),
    ((['fid/inception_v4'], ['judge_b/l2']), True),
  ],
)
def test_a_key_that_one_lacks_differs_unless_it_took_no_such_metric(taken, differ):
  less = {k: v for k, v in A.items() if k != 'features/inception'}
  assert differences(A, less, taken) == ['features/inception'] * differ
  assert differences(less, A, taken[::-1]) == ['features/inception'] * differ


def test_every_pair_is_compared():
  """What the first lacks, and rightly, may be what the others differ in."""
  runs = {'a': {}, 'b': {'truth': 1}, 'c': {'truth': 2}}
  taken = {'a': ['judge_b/l2'], 'b': ['truth/l2'], 'c': ['truth/l2']}
  with pytest.raises(
    ProtocolError, match=r'b and c were .*\(truth: 1 against 2\).*b: {"truth": 1}'
  ):
    agree(runs, taken)
  agree({k: runs[k] for k in 'ab'}, taken)
