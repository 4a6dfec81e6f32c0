"""The page of a run and of several, as text; tests/pages looks at them in a browser."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser

import pytest

from tests.report import made
from zsi_jax.io.protocol import ProtocolError
from zsi_jax.report import read, tables
from zsi_jax.report.compare import compare
from zsi_jax.report.markup import VOID, Html, tag
from zsi_jax.report.page import page
from zsi_jax.report.shape import ReportError

SCRIPT = '<script>alert("a" + \'b\')</script> &amp;'


class Reader(HTMLParser):
  """Balanced tags, and what they are."""

  def __init__(self):
    super().__init__()
    self.open, self.tags, self.texts = [], [], []

  def handle_starttag(self, name, attributes):
    self.tags.append((name, dict(attributes)))
    if name not in VOID:
      self.open.append(name)

  def handle_endtag(self, name):
    assert self.open.pop() == name

  def handle_data(self, data):
    self.texts.append(data)


def parsed(html):
  reader = Reader()
  reader.feed(html)
  assert reader.open == []
  return reader


def run(tmp_path, name='run', **changes):
  return read.run(made.write(tmp_path / name, **changes))


def test_text_is_escaped_unless_a_tag_made_it():
  assert (
    tag('p', '<b>', Html('<i></i>'), title='"<') == '<p title="&quot;&lt;">&lt;b&gt;<i></i></p>'
  )


def strings(value, said):
  """The same, with this text for every text but those that are names of other things."""
  match value:
    case dict():
      kept = {'kind', 'file', 'scale', 'set', 'metric'}
      return {k: v if k in kept else strings(v, said) for k, v in value.items()}
    case list():
      return [strings(v, said) for v in value]
  return said if isinstance(value, str) else value


@pytest.mark.parametrize('several', [False, True])
def test_no_text_becomes_a_tag(tmp_path, several):
  told = strings(made.metrics(), SCRIPT)
  told['sets'] = {SCRIPT: told['sets']['guided'], **told['sets']}
  told['sets'][SCRIPT]['values'][f'a/{SCRIPT}'] = SCRIPT
  told['protocol'][SCRIPT] = SCRIPT
  one, two = run(tmp_path, '<script>', **told), run(tmp_path, 'two', **told)
  reader = parsed(compare([one, two]) if several else page(one))
  assert 'script' not in {name for name, _ in reader.tags}
  assert not [a for _, rows in reader.tags for a in rows if a.startswith('on')]
  assert sum(SCRIPT in text for text in reader.texts) > 20


def test_the_page_is_whole_and_asks_for_nothing(tmp_path):
  html = page(run(tmp_path))
  reader = parsed(html)
  links = [v for _, rows in reader.tags for k, v in rows.items() if k in ('src', 'href')]
  assert len(links) >= 5 and all(link.startswith(('data:', '#')) for link in links)
  ids = [rows['id'] for _, rows in reader.tags if 'id' in rows]
  assert sorted(f'#{i}' for i in ids) == sorted(link for link in links if link[0] == '#')
  assert 'url(' not in html and '@import' not in html
  assert dict(reader.tags)['html'] == {'lang': 'en'}
  cells = [rows for name, rows in reader.tags if name == 'th']
  assert cells and all(rows.get('scope') in ('row', 'col') for rows in cells)
  assert all(rows.get('alt') for name, rows in reader.tags if name == 'img')


def test_the_same_metrics_give_the_same_bytes(tmp_path):
  assert page(run(tmp_path, 'a')) == page(run(tmp_path, 'b'))


def text(html):
  return re.sub(r'\s+', ' ', re.sub(r'<[^>]+>', ' ', html.split('</style>')[1]))


def test_ours_stands_beside_the_papers(tmp_path):
  said = text(page(run(tmp_path)))
  assert '0.0651 [0.0600, 0.0710] floor 0.0155 paper 0.065 ' in said
  assert 'λ = 30 not drawn here – paper 0.558' in said
  assert 'nan' not in said.lower().replace('nano', '') and 'None' not in said
  assert 'all 1 h 37 min' in said and 'Warning: Judge A scores' in said


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'zero_shot': True}, 'zero-shot'),
    ({'zero_shot': False}, 'not zero-shot of these sets: Aim, calibrated'),
    ({'zero_shot': False, 'why': 'it saw all'}, 'not zero-shot it saw all'),
  ],
)
def test_the_head_says_whether_it_is_zero_shot(tmp_path, changes, said):
  html = page(run(tmp_path, **changes))
  assert f'quot; {said} Portraits' in text(html)


def test_little_is_enough(tmp_path):
  told = {'title': 't', 'zero_shot': True, 'protocol': {}, 'sets': {}}
  (tmp_path / 'metrics.json').write_text(json.dumps(told))
  assert '<h2' not in page(read.run(tmp_path))


def test_metrics_are_called_by_words():
  assert (
    tables.words('judge_b/l2, binned as the peer') == 'judge B: L2 to uniform, binned as the peer'
  )
  assert tables.words('lpips diversity') == 'LPIPS diversity'
  assert tables.grouped(['a/b/c', 'd', 'a/b/e']) == {'a/b': ['a/b/c', 'a/b/e'], '': ['d']}


def drop(key):
  return lambda told: told.pop(key)


def put(value, *keys):
  def change(told):
    for key in keys[:-1]:
      told = told[key]
    told[keys[-1]] = value

  return change


BAD = {
  'no title': (drop('title'), "there is no 'title'"),
  'no sets': (drop('sets'), "there is no 'sets'"),
  'sets in a list': (put([], 'sets'), 'sets is a list'),
  'a word for n': (put('many', 'sets', 'guided', 'n'), "sets.guided.n is 'many', not a number"),
  'true for n': (put(True, 'sets', 'guided', 'n'), 'sets.guided.n is True'),
  'no value': (put({}, 'sets', 'guided', 'values', 'fid'), 'sets.guided.values.fid is an object'),
  'an unknown kind': (put('pie', 'figures', 0, 'kind'), "figures[0].kind is 'pie'"),
  'counts below 0': (put([1, -1], 'figures', 0, 'series', 0, 'counts'), 'no counts'),
  'no counts': (put([], 'figures', 0, 'series', 1, 'counts'), 'figures[0].series[1].counts'),
  'an empty range': (put(0, 'figures', 0, 'high'), 'low < high'),
  'y without x': (put([1], 'figures', 2, 'series', 0, 'y'), '1 y, but 11 x'),
  'a short row': (put([1], 'figures', 4, 'values', 3), 'figures[4].values[3]'),
  'no cells': (put([], 'figures', 4, 'values'), 'is empty'),
  'half an extent': (put([0, 1], 'figures', 4, 'extent'), '2 numbers, but 4'),
  'a scale': (put('sqrt', 'figures', 4, 'scale'), 'neither linear nor log'),
  'a point of 3': (put([1, 2, 3], 'figures', 6, 'points', 0), 'points[0]'),
  'labels': (put(['a'], 'figures', 7, 'labels'), 'but 1 labels'),
  'a long row': (put([1] * 5, 'tables', 0, 'rows', 0), 'tables[0].rows[0] has 5 cells'),
  'a yes': (put('yes', 'zero_shot'), "zero_shot is 'yes', not true or false"),
}


@pytest.mark.parametrize('name', BAD)
def test_another_shape_is_one_line_that_names_the_place(tmp_path, name):
  change, said = BAD[name]
  told = made.metrics()
  change(told)
  folder = tmp_path / 'evaluate'
  folder.mkdir()
  (folder / 'metrics.json').write_text(json.dumps(told))
  with pytest.raises(ReportError) as caught:
    read.run(tmp_path)
  line = str(caught.value)
  assert said in line and str(folder / 'metrics.json') in line and '\n' not in line


@pytest.mark.parametrize(
  'data', [b'', b'{"title": ', b'[]', b'\xff\xfe', b'null', b'[' * 100_000, b'{} {}']
)
def test_what_is_no_json_of_ours_is_one_line(tmp_path, data):
  (tmp_path / 'metrics.json').write_bytes(data)
  with pytest.raises(ReportError, match='metrics.json') as caught:
    read.run(tmp_path)
  assert '\n' not in str(caught.value)


def torn(path):
  path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
  'harm, said',
  [
    (lambda path: path.unlink(), 'is gone'),
    (torn, 'is no whole PNG'),
    (lambda path: path.write_text('GIF89a'), 'is no whole PNG'),
    (lambda path: (path.unlink(), path.mkdir()), 'is no whole PNG'),
  ],
)
def test_a_picture_that_cannot_be_shown_is_one_line(tmp_path, harm, said):
  found = run(tmp_path)
  path = tmp_path / 'run' / 'evaluate' / 'guided.png'
  harm(path)
  with pytest.raises(ReportError, match=said) as caught:
    page(found)
  assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_a_picture_lies_below_its_metrics(tmp_path):
  found = run(tmp_path, figures=[{'kind': 'images', 'title': 't', 'file': '../x.png'}])
  (tmp_path / 'run' / 'x.png').write_bytes(b'')
  with pytest.raises(ReportError, match='not below'):
    page(found)


def test_runs_are_compared_by_what_they_share(tmp_path):
  sets = made.metrics()['sets']
  del sets['unguided']['values']['fid/judge_b']
  one = run(tmp_path, 'one')
  two = run(tmp_path, 'two', title='Another', sets=sets, figures=made.figures()[:1])
  html = compare([one, two])
  said = text(html)
  assert 'FID: judge B: only' in said and 'Another' in said
  assert said.count('0.0651 [0.0600, 0.0710]') == 2
  assert html.count('<svg') == 2  # the one title that both have
  assert html == compare([one, two])


def metric(**changes):
  return made.metrics()['protocol'] | changes


@pytest.mark.parametrize('key, value', [('bins', 50), ('crop', 0.8), ('judge_b', 'a' * 64)])
def test_another_protocol_is_refused_with_both(tmp_path, key, value):
  other = metric(**{key: value})
  runs = [run(tmp_path, 'one'), run(tmp_path, 'two'), run(tmp_path, 'three', protocol=other)]
  with pytest.raises(ProtocolError) as caught:
    compare(runs)
  line = str(caught.value)
  assert f'one and {tmp_path}/three' in line and '\n' not in line
  before = made.metrics()['protocol']
  for told in (before, other):
    assert all(f'"{name}"' in line for name in told) and str(told['bins']) in line
  assert f'({key}: ' in line and ' against ' in line


def test_a_run_is_not_compared_with_itself(tmp_path):
  one = run(tmp_path)
  again = read.run(tmp_path / 'run' / '..' / 'run' / 'evaluate')
  for other in (one, again):
    with pytest.raises(ReportError, match='each once'):
      compare([one, other])
  with pytest.raises(ReportError, match='two runs or more'):
    compare([one])


def test_nothing_shared_is_nothing_to_compare(tmp_path):
  one = run(tmp_path, 'one')
  two = run(tmp_path, 'two', sets={'a': {'n': 1, 'values': {'other': 1}}})
  with pytest.raises(ReportError, match='no metric was taken of all'):
    compare([one, two])


def test_the_copy_has_numbers_only(tmp_path):
  found = run(tmp_path)
  told = read.plain(found.facts).decode()
  assert 'NaN' not in told and 'guided.png' not in told
  again = json.loads(told)
  assert again['sets']['guided']['values']['judge_b/kld']['floor'] is None
  assert math.isnan(found.facts['sets']['guided']['values']['judge_b/kld']['floor'])
