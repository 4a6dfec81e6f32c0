"""`split` and `support` of a config: the subsets they name, and what they refuse."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from zsi_jax.build import splits
from zsi_jax.build.splits import Records
from zsi_jax.data import subsets
from zsi_jax.data.errors import DataError

N = 400


@pytest.fixture
def of(tmp_path):
  """400 records of 402, of which the numbers 5 and 7 could not be read; and files about them."""
  rng = np.random.default_rng(0)
  numbers = np.delete(np.arange(N + 2), [5, 7])
  table = {
    'smile': rng.random(N, np.float32),
    'hair': rng.random(N, np.float32),
    'yaw': rng.uniform(-90, 90, N).astype(np.float32),
    'label': rng.integers(0, 2, N).astype(np.int32),
    'black': rng.integers(0, 2, N).astype(np.int32),
  }
  files = [f'{i:06d}.jpg' for i in numbers]
  (tmp_path / 'list.txt').write_text('3\n5\n6\n8\n8\n401')
  for name in ('judge', 'a', 'b'):
    score = np.where(rng.random(N) < 0.9, table['label'], 1 - table['label']) * 0.98 + 0.01
    rows = [f'{f},{s}' for f, s in zip(files, score, strict=True)]
    (tmp_path / f'{name}.csv').write_text('\n'.join(['file,score', *rows]))
  return Records(table, files, numbers, N + 2, tmp_path)


def both(of, kind, **options):
  split = splits.make(of, kind, options)
  assert split.denoiser is split.classifier
  return split.denoiser, split.about


def same(a, b):
  np.testing.assert_array_equal(a.index, b.index, strict=True)
  np.testing.assert_array_equal(a.label, b.label, strict=True)


def test_all_records_with_and_without_labels(of):
  subset, about = both(of, 'all')
  assert about == () and (subset.label == -1).all() and len(subset.index) == N
  subset, about = both(of, 'all', label='label')
  assert about == ('label',) and (subset.label == of.table['label']).all()
  subset, _ = both(of, 'all', label='label', balance='even')
  assert len({(subset.label == k).sum() for k in (0, 1)}) == 1 and len(subset.index) > N


def test_extremes_by_value_and_rank(of):
  smile, hair = of.table['smile'], of.table['hair']
  subset, about = both(of, 'within', attributes=('smile',), delta=0.2)
  same(subset, subsets.within(smile, 0.2))
  assert about == ('smile',)
  corner, about = both(of, 'within', attributes=('smile', 'hair'), delta=0.3)
  assert about == ('smile', 'hair') and set(corner.label.tolist()) == {0, 1, 2, 3}
  upper = corner.index[corner.label == 2]
  assert (smile[upper] >= 0.7 - 1e-6).all() and (hair[upper] <= 0.3 + 1e-6).all()
  same(both(of, 'tails', attributes=('smile',), share=0.1)[0], subsets.tails(smile, 0.1))
  small, _ = both(of, 'within', attributes=('smile',), delta=0.2, size=20)
  less, _ = both(of, 'within', attributes=('smile',), delta=0.2, size=10)
  assert len(small.index) == 20 and set(less.index) < set(small.index) < set(subset.index)
  same(both(of, 'top_k', k=10, attribute='smile')[0], small)


def test_a_list_counts_as_the_source_does(of):
  """5 was skipped; 6 and 8 are the records 5 and 6 here."""
  subset, about = both(of, 'list', list='list.txt', label='label')
  assert about == ('label',) and subset.index.tolist() == [3, 5, 6, 6, 399]
  assert (subset.label == of.table['label'][subset.index]).all()
  once, _ = both(of, 'list', list=str(of.home / 'list.txt'), label='label', duplicates='drop')
  assert once.index.tolist() == [3, 5, 6, 399]


def test_judges_decide_by_their_sheets(of):
  subset, _ = both(of, 'top_k', k=7, scores='judge.csv')
  assert (subset.label == 0).sum() == (subset.label == 1).sum() == 7
  said = dict(label='label', judge='judge.csv', ensemble=('a.csv', 'b.csv'), tau=(0.9, 0.9))
  agreed, about = both(of, 'agree', **said)
  assert about == ('label',) and (agreed.label == of.table['label'][agreed.index]).all()
  fewer, _ = both(of, 'agree', k=5, **said)
  assert len(fewer.index) == 10 and set(fewer.index) < set(agreed.index)


def test_a_sheet_may_have_rows_for_what_was_skipped(of):
  """By name or by the number in the source; but no more rows than were skipped."""
  wanted, _ = both(of, 'top_k', k=7, scores='judge.csv')
  rows = (of.home / 'judge.csv').read_text().splitlines()
  by_file = [*rows, '000005.jpg,.5', '000007.jpg,.5']
  (of.home / 'all.csv').write_text('\n'.join(by_file))
  same(both(of, 'top_k', k=7, scores='all.csv')[0], wanted)
  by_index = ['index,score', *(f'{int(r.split(".jpg,")[0])},{r.split(",")[1]}' for r in rows[1:])]
  (of.home / 'index.csv').write_text('\n'.join([by_index[0], '5,.5', *by_index[1:], '7,1']))
  same(both(of, 'top_k', k=7, scores='index.csv')[0], wanted)
  (of.home / 'more.csv').write_text('\n'.join([*by_file, 'no.jpg,.5']))
  with pytest.raises(DataError, match='3 of 403 rows name .* of 400, from which 2 were skipped'):
    both(of, 'top_k', k=7, scores='more.csv')
  (of.home / 'less.csv').write_text('\n'.join([rows[0], *rows[2:]]))
  with pytest.raises(DataError, match='no row for 1 of 400: 000000.jpg'):
    both(of, 'top_k', k=7, scores='less.csv')


def test_what_was_read_is_known_by_its_bytes(of):
  both(of, 'agree', label='label', judge='judge.csv', ensemble=('a.csv', 'b.csv'), tau=(0.9, 0.9))
  assert of.read.keys() == {'judge.csv', 'a.csv', 'b.csv'}
  data = (of.home / 'a.csv').read_bytes()
  assert of.read['a.csv'] == {'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()}
  both(of, 'list', list='list.txt', label='label')
  assert of.read['list.txt']['bytes'] == 13


def test_values_are_chosen_and_numbered_anew(of):
  side = np.arange(N) % 3
  chosen = dataclasses.replace(of, table=of.table | {'class': side.astype(np.int32)})
  subset, about = both(chosen, 'chosen', label='class', values=(2, 1))
  assert about == ('class',) and subset.index.tolist() == np.flatnonzero(side).tolist()
  assert (subset.label == 2 - side[subset.index]).all()
  with pytest.raises(DataError, match=r'class of \(2, 7\): 133 of label 0, 0 of label 1'):
    both(chosen, 'chosen', label='class', values=(2, 7))


def test_the_splits_of_a_turning_head(of):
  yaw = of.table['yaw']
  a, about = both(of, 'yaw_a')
  assert about == ('yaw',) and (np.abs(yaw[a.index]) >= 30).all()
  b = splits.make(of, 'yaw_b', {'share': 0.04})
  same(b.classifier, a)
  loose = b.denoiser.index[b.denoiser.label < 0]
  assert 0 < len(loose) <= 0.04 * len(b.denoiser.index) and (np.abs(yaw[loose]) <= 10).all()
  c, _ = both(of, 'yaw_c', slight=(-20.0, -5.0))
  assert ((yaw[c.index] < 0) == (c.label == 0)).all()


@pytest.mark.parametrize(
  'split, support, options',
  [
    ('yaw_a', 'turned', {}),
    ('yaw_b', 'split_b', {}),
    ('yaw_c', 'split_c', {'slight': (-20.0, -5.0)}),
  ],
)
def test_each_support_holds_for_its_split_and_not_for_all(of, split, support, options):
  made = splits.make(of, split, options)
  for role in splits.ROLES:
    promise = splits.promised(support, options, role)
    subset = getattr(made, role)
    promise.check(of.table, subset.index, subset.label)
    with pytest.raises(DataError):
      promise.check(of.table)


def test_the_frontal_ones_are_for_the_denoiser_alone(of):
  wide = splits.make(of, 'yaw_b', {}).denoiser
  splits.promised('split_b', {}, 'denoiser').check(of.table, wide.index, wide.label)
  with pytest.raises(DataError, match='outside'):
    splits.promised('split_b', {}, 'classifier').check(of.table, wide.index, wide.label)


@pytest.mark.parametrize(
  'kind, options, said',
  [
    ('within', dict(attributes=('smiel',)), 'did you mean smile'),
    ('within', dict(attributes=()), 'one attribute or two, not 0'),
    ('within', dict(attributes=('smile', 'hair', 'yaw')), 'outside'),
    ('within', dict(attributes=('smile', 'hair'), size=10), 'of one attribute, not of two'),
    ('within', dict(attributes=('smile',), numbering='xx'), 'split.numbering .* binary, peer'),
    ('all', dict(label='lable'), 'did you mean label'),
    ('list', dict(list='lists.txt', label='label'), 'no file .*lists.txt nor .*lists.txt'),
    ('top_k', dict(k=3), 'one of them'),
    ('top_k', dict(k=3, attribute='smile', scores='judge.csv'), 'one of them'),
  ],
)
def test_a_wrong_split_is_refused(of, kind, options, said):
  with pytest.raises(ValueError, match=said):
    splits.make(of, kind, options)
