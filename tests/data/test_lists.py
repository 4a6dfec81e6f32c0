"""Lists and sheets: what is read, and the line of what cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from zsi_jax.data import lists
from zsi_jax.data.errors import DataError


@pytest.mark.parametrize('seed', range(4))
def test_lists_come_back_as_they_were(tmp_path, seed):
  index = np.random.default_rng(seed).integers(0, 1000, 50)
  path = tmp_path / 'train.txt'
  lists.write_indices(path, index)
  assert not path.read_bytes().endswith(b'\n') and [*tmp_path.iterdir()] == [path]
  assert np.array_equal(lists.read_indices(path, 1000), index)
  assert lists.read_indices(path, 1000).dtype == np.int64


@pytest.mark.parametrize('text', ['6\n7\n7\n3\n6', '6\n7\n7\n3\n6\n', '6\r\n7\r\n7\r\n3\r\n6\r\n'])
def test_repeats_are_counted_and_dropped_if_asked(tmp_path, text):
  path = tmp_path / 'a.txt'
  path.write_bytes(text.encode())
  found = lists.read_indices(path, 8)
  assert found.tolist() == [6, 7, 7, 3, 6] and lists.repeated(found) == 2
  assert lists.read_indices(path, 8, duplicates='drop').tolist() == [6, 7, 3]
  with pytest.raises(ValueError):
    lists.read_indices(path, 8, duplicates='maybe')


@pytest.mark.parametrize(
  'text, line, what',
  [
    ('1\n2\n10', 3, 'index 10 of a data set of 10'),
    ('1\n-1\n3', 2, 'index -1 of'),
    ('1\n\n3', 2, 'no index'),
    ('1\n2.0', 2, 'no index'),
    ('1\n1_0', 2, 'no index'),
    ('1 2', 1, 'no index'),
    ('٣', 1, 'no index'),
    ('index\n3', 1, "'index' is no index"),
    ('9' * 40, 1, 'no index'),
  ],
)
def test_a_bad_line_is_named(tmp_path, text, line, what):
  path = tmp_path / 'a.txt'
  path.write_text(text, encoding='utf-8')
  with pytest.raises(DataError, match=what) as error:
    lists.read_indices(path, 10)
  assert str(error.value).startswith(f'{path}:{line}: ')


def test_what_is_no_list_is_refused(tmp_path):
  path = tmp_path / 'a.txt'
  with pytest.raises(DataError, match='no such file'):
    lists.read_indices(path, 10)
  path.write_bytes(b'')
  with pytest.raises(DataError, match='empty'):
    lists.read_indices(path, 10)
  path.write_bytes(b'\xff\xfe1\x00')
  with pytest.raises(DataError, match='UTF-8'):
    lists.read_indices(path, 10)
  for bad in ([], [[1]], [0.5], [-1]):
    with pytest.raises(DataError):
      lists.write_indices(path, np.array(bad))
  assert path.read_bytes() == b'\xff\xfe1\x00'


def test_a_list_that_cannot_be_written_says_so(tmp_path):
  path = tmp_path / 'deep' / 'a.txt'
  lists.write_indices(path, np.arange(3))
  with pytest.raises(DataError, match='a.txt/b.txt: it cannot be written'):
    lists.write_indices(path / 'b.txt', np.arange(3))
  with pytest.raises(DataError, match='deep: it cannot be written'):
    lists.write_indices(path.parent, np.arange(3))
  assert [*path.parent.iterdir()] == [path] and [*tmp_path.iterdir()] == [path.parent]


FILES = ['a.png', 'b/c.png', 'd.png']


def sheet(tmp_path, text):
  path = tmp_path / 's.csv'
  path.write_text(text, encoding='utf-8')
  return path


@pytest.mark.parametrize(
  'text',
  [
    'file,score\nd.png,.3\na.png,0\nb/c.png,1\n',
    '\ufefffile,score\n./d.png, .3 \n"a.png",0.0\nb\\c.png,1e0',
    'note,score,index\nx,.3,2\n"y, z",0,0\n\n,1,1\n',
  ],
)
def test_scores_are_put_in_the_order_of_the_records(tmp_path, text):
  assert lists.read_scores(sheet(tmp_path, text), FILES).tolist() == [0, 1, 0.3]


@pytest.mark.parametrize(
  'text, what',
  [
    ('file,score\nx,0\na.png,0\ny,0\nz,0\nw,0', ':2: 4 of 5 rows name .* x, y, z and 1 more'),
    ('file,score\na.png,0', ': no row for 2 of 3: b/c.png, d.png'),
    ('file,score\na.png,0\nd.png,.5\na.png,0\nb/c.png,0', ':4: a.png was on line 2 already'),
    ('file,score\na.png,0\nd.png,high\nb/c.png,0', ":3: score 'high' is not a number"),
    ('file,score\na.png,0\nd.png,nan\nb/c.png,0', ":3: score 'nan' is not a number"),
    ('file,score\na.png,0\nd.png,\nb/c.png,0', ":3: score '' is not a number"),
    ('file,score\na.png,0\nd.png,1.5\nb/c.png,0', r':3: score 1.5 is not in \[0, 1\]'),
    ('file,score\na.png,0\nd.png\nb/c.png,0', ':3: 1 cells, the head has 2'),
    ('file,p\na.png,0\nd.png,0\nb/c.png,0', ": no column 'score' but file, p"),
    ('name,score\na.png,0', "no column 'file' or 'index' but name, score"),
    ('file,score,score\na.png,0,0', ":1: two columns are called 'score'"),
    ('file,score\n', 'a head and no rows'),
    ('index,score\n0,0\n1,0\n3,0', ':4: 1 of 3 rows name .* data set of 3: 3'),
    ('file,score\n"a.png,0', 'unexpected end of data'),
  ],
)
def test_a_bad_sheet_is_named_by_line(tmp_path, text, what):
  path = sheet(tmp_path, text)
  with pytest.raises(DataError, match=what) as error:
    lists.read_scores(path, FILES)
  assert str(error.value).startswith(str(path))


def test_marks_by_hand_name_some_records(tmp_path):
  path, files = tmp_path / 'h.csv', ['a.png', 'b/c.png', 'd.png', 'e.png']
  path.write_text('file,label,given\nd.png,1,0\na.png,,1\nb\\c.png,0,1\n')
  index, marks = lists.read_marks(path, files, [0, 3, 5, 9])
  assert index.tolist() == [2, 1] and marks.tolist() == [1, 0]
  path.write_text('index,label\n9,1\n3,0\n')
  assert lists.read_marks(path, files, [0, 3, 5, 9])[0].tolist() == [3, 1]


@pytest.mark.parametrize(
  'text, said',
  [
    ('file,label\nx.png,1\n', "h.csv:2: file 'x.png' is not in the data set"),
    ('file,label\na.png,1\na.png,1\n', 'h.csv:3: a.png was on line 2 already'),
    ('file,label\na.png,2\n', "h.csv:2: label is 0, 1 or, in doubt, empty, not '2'"),
    ('file,label\na.png,1\n', '0 records are marked 0 and 1 are marked 1; both are needed'),
    ('name,label\na.png,1\n', "no column 'file' or 'index' but name, label"),
    ('index,label\n4,1\n', "index '4' is not in the data set"),
  ],
)
def test_marks_that_cannot_be(tmp_path, text, said):
  (tmp_path / 'h.csv').write_text(text)
  with pytest.raises(DataError, match=said):
    lists.read_marks(tmp_path / 'h.csv', ['a.png', 'b.png'], [0, 3])
