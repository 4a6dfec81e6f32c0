"""What a pipeline refuses before the first batch, and what it lets pass."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.data.toy import Toy
from zsi_jax.data import store
from zsi_jax.data.circles import Circles
from zsi_jax.data.discs import Discs
from zsi_jax.data.errors import DataError
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.data.record import Field
from zsi_jax.data.sizes import Sizes
from zsi_jax.data.support import Support, everything, extremes


@pytest.mark.parametrize(
  'options, said',
  [
    ({'index': []}, 'the index is empty'),
    ({'index': [0, 23]}, '1 numbers of the index, the first 23, are no records of .* 23'),
    ({'index': [0, -1]}, 'the first -1'),
    ({'index': [0.0, 1.0]}, 'float64'),
    ({'index': [[1, 2]]}, r'\(1, 2\)'),
    ({'index': [1, 2, 3, 4], 'label': [0, 1]}, r'labels int64 \(2,\) for an index of 4'),
    ({'label': np.full(23, -2)}, 'from -2 to -2'),
    ({'label': np.zeros(23)}, 'whole numbers'),
    ({'batch': 24, 'epochs': 1}, 'a batch of 24 of 23 examples'),
    ({'batch': 0}, 'a batch of 0'),
    ({'batch': 4, 'process': (0, 3)}, 'a batch of 4 cannot be split over 3 processes'),
    ({'process': (2, 2)}, 'process 2 of 2'),
    ({'epochs': 0}, '0 epochs'),
    ({'crop': 1.5}, 'crop = 1.5'),
    ({'seed': -1}, 'seed -1'),
    ({'workers': -1}, '-1 workers'),
    ({'keep': ('smile',)}, "keep='smile' is none of its fields"),
    ({'keep': ('image',)}, 'every batch has an entry'),
    ({'keep': ('caption',)}, 'text goes on no device'),
    ({'keep': ('mask',), 'crop': 0.8}, 'no longer fit'),
    ({'keep': ('landmarks',), 'crop': 0.8}, 'a crop changes landmarks'),
    ({'about': 'landmarks', 'crop': 0.8}, 'a crop changes landmarks'),
    ({'support': extremes('landmarks'), 'crop': 0.8}, 'a crop changes landmarks'),
    ({'label': np.zeros(23, int), 'crop': 0.8}, 'a crop changes landmarks, mask: about='),
    ({'keep': ('mask',), 'flip': True}, 'no longer fit'),
    ({'keep': ('yaw',), 'flip': True}, 'a mirror changes yaw'),
    ({'about': ('yaw',), 'flip': True}, 'a mirror changes yaw'),
    ({'support': extremes('yaw'), 'flip': True}, 'a mirror changes yaw'),
    ({'label': np.zeros(23, int), 'flip': True}, 'about='),
    ({'about': 'smile', 'flip': True}, "about='smile'"),
  ],
)
def test_wrong_calls(options, said):
  with pytest.raises(DataError, match=said):
    Pipeline(Toy(), **{'batch': 2, 'seed': 0, **options})


@pytest.mark.parametrize(
  'source, moved',
  [(Circles(), 'z'), (Circles(), 'label'), (Discs(n=4), 'z'), (Sizes(n=4), 'size')],
)
def test_a_crop_is_refused_where_it_moves_the_truth(source, moved):
  options = {'source': source, 'batch': 2, 'seed': 0}
  for seen in ({'keep': (moved,)}, {'about': moved}, {'support': extremes(moved)}):
    with pytest.raises(DataError, match=rf'crop=0.75, and a crop changes {moved}, .*Use crop=None'):
      Pipeline(**options, **seen, crop=0.75)
    Pipeline(**options, **seen)


def test_flip_is_allowed_where_nothing_turns():
  for options in (
    {'label': np.zeros(23, int), 'about': 'age', 'support': everything()},
    {'keep': ('landmarks', 'mask'), 'flip': False},
    {'label': np.zeros(23, int), 'about': 'age', 'crop': 0.8, 'keep': ('age', 'tokens')},
  ):
    Pipeline(Toy(), **{'batch': 2, 'seed': 0, 'flip': True, **options})

  class Plain(Toy):
    @property
    def fields(self):
      return {n: dataclasses.replace(f, mirrored=False) for n, f in super().fields.items()}

  assert not any(f.mirrored for f in Plain().fields.values()) and Field().mirrored is False
  Pipeline(Plain(), batch=2, seed=0, flip=True, label=np.zeros(23, int))


def test_the_support_is_checked_when_training_starts(tmp_path):
  ages = np.array([Toy().attributes(i)['age'] for i in range(23)])
  support = Support('low', {'age': ((0.0, 0.5),)})
  for source in (Toy(), store.open(store.write(Toy(), tmp_path))):
    good = Pipeline(source, batch=2, seed=0, index=np.flatnonzero(ages <= 0.5), support=support)
    assert 'records in age' in good.check()
    next(good.batches())
    bad = Pipeline(source, batch=2, seed=0, support=support)
    with pytest.raises(DataError, match="'low': .* records lie outside"):
      bad.batches()
