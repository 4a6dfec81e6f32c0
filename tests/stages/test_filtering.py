"""split.kind='judged': the filter by judges whose scores are known, and by trained ones."""

from __future__ import annotations

import json
import re
import signal
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.stages.command import CIRCLES, contents, start
from tests.stages.small import run
from zsi_jax.build import filtering
from zsi_jax.build.keys import ConfigError
from zsi_jax.build.records import Records
from zsi_jax.data import lists
from zsi_jax.data.errors import DataError
from zsi_jax.data.portraits import Portraits
from zsi_jax.stages.config import load
from zsi_jax.stages.prepare import prepare

N = 1200
OPTIONS = {
  'label': 'label',
  'scores': None,
  'column': 'score',
  'holdout': None,
  'tau': (0.9, 0.9),
  'judges': 5,
  'over': 'confident',
  'k': 100,
  'apart': 0.2,
}


@pytest.fixture
def of(tmp_path):
  """z, and what people say of it who are unsure in the middle."""
  rng = np.random.default_rng(0)
  z = rng.random(N)
  label = (z + rng.normal(0, 0.1, N) > 0.5).astype(np.int32)
  label[::50] = -1
  return Records({'label': label, 'z': z}, None, np.arange(N) + 3, N + 3, tmp_path)


class Judges:
  """Judges of a logit 15 (z − ½), each with errors of its own; what they learn is kept."""

  def __init__(self, of):
    self.of, self.learnt = of, {}

  def __call__(self, name, subset):
    self.learnt[name] = subset
    rng = np.random.default_rng(sum(map(ord, name)))
    return 1 / (1 + np.exp(-15 * (self.of.table['z'] - 0.5) - rng.normal(0, 1, N)))


def test_what_is_kept_is_extreme(of):
  ask = Judges(of)
  found = filtering.find(of, OPTIONS, 0, ask)
  z, label = of.table['z'], of.table['label']
  assert [*ask.learnt] == ['judge', '0', '1', '2', '3', '4'] and found.tau == (0.9, 0.9)
  kept, agreed, confident = (
    {*s.index.tolist()} for s in (found.kept, found.agreed, found.confident)
  )
  assert kept < agreed < confident and len(kept) == 200
  off = np.minimum(z, 1 - z)[found.kept.index]
  assert np.quantile(off, 0.95) < 0.2 and off.max() < 0.3
  assert (label[found.kept.index] == found.kept.label).all() and (found.kept.label >= 0).all()
  own = np.where(label == 1, found.ensemble, 1 - found.ensemble).min(0)
  assert agreed == {i for i in confident if own[i] > 0.9}


def test_judges_learn_distinct_parts_and_nothing_that_is_apart(of):
  ask = Judges(of)
  found = filtering.find(of, OPTIONS, 0, ask)
  first, *parts = ask.learnt.values()
  every = np.concatenate([p.index for p in parts])
  assert len(every) == len({*every}) and not found.apart[every].any()
  assert {*every} == {*found.confident.index} - {*np.flatnonzero(found.apart)}
  assert len(first) + found.apart.sum() == (of.table['label'] >= 0).sum()


def marked(of, picked, name='hand.csv', wrong=()):
  """A hold-out: what a person says of these records; nothing where it is unclear."""
  z, rows = of.table['z'], ['index,label']
  for i in picked:
    said = '' if abs(z[i] - 0.5) < 0.15 else str(int(z[i] > 0.5) ^ (i in wrong))
    rows.append(f'{of.numbers[i]},{said}')
  (of.home / name).write_text('\n'.join(rows))
  return name


def test_a_hold_out_raises_thresholds_to_precision_one(of):
  low = OPTIONS | {'tau': (0.5, 0.6), 'k': None}
  ask = Judges(of)
  base = filtering.find(of, low, 0, ask)
  picked = np.flatnonzero(base.apart)
  z = of.table['z']
  sure = [i for i in picked if abs(z[i] - 0.5) > 0.15 and 0.6 < base.judge[i] < 0.95]
  name = marked(of, picked, wrong={sure[0]})
  found = filtering.find(of, low | {'holdout': name}, 0, Judges(of))
  assert found.tau[0] == base.judge[sure[0]] and found.tau[1] > 0.6
  assert len(found.confident) < len(base.confident)
  kept = filtering.find(of, low | {'holdout': name, 'tau': (0.99, 0.6)}, 0, Judges(of))
  assert kept.tau[0] == 0.99


def test_who_is_marked_trains_nobody(of):
  base = filtering.find(of, OPTIONS, 0, Judges(of))
  picked = np.flatnonzero(~base.apart & (of.table['label'] >= 0))[:40]
  ask = Judges(of)
  found = filtering.find(of, OPTIONS | {'holdout': marked(of, picked)}, 0, ask)
  named = {i for i in picked if abs(of.table['z'][i] - 0.5) >= 0.15}
  assert found.apart[[*named]].all()
  assert not named & {*np.concatenate([s.index for s in ask.learnt.values()]).tolist()}


def test_without_thresholds_a_person_is_asked(of):
  ask = Judges(of)
  found = filtering.find(of, OPTIONS | {'tau': None}, 0, ask)
  assert found.kept is None and [*ask.learnt] == ['judge']
  files = filtering.files(of, found, OPTIONS, [{'image': np.zeros((8, 8, 3), np.uint8)}] * N)
  assert files.keys() == {'holdout_template.csv', 'scores/judge.csv', 'index.html'}
  head, *rows = files['holdout_template.csv'].decode().split()
  assert head == 'index,label,given,score' and len(rows) > 100
  cells = [row.split(',') for row in rows]
  assert {c[1] for c in cells} == {''} and {c[2] for c in cells} == {'0', '1'}
  here = np.array([int(c[0]) for c in cells]) - 3
  assert found.apart[here].all()


def test_a_judge_that_is_wrong_and_sure(of):
  found = filtering.find(of, OPTIONS | {'tau': None}, 0, Judges(of))
  pool = np.flatnonzero(found.apart)
  top = pool[found.judge[pool].argmax()]
  name = marked(of, pool, wrong={top})
  with pytest.raises(
    DataError, match=f'the first judge: no threshold .* record {of.numbers[top]} '
  ):
    filtering.find(of, OPTIONS | {'holdout': name}, 0, Judges(of))


def test_scores_of_another_model_replace_the_first_judge(of):
  rows = ['index,score', *(f'{n},{z}' for n, z in zip(of.numbers, of.table['z'], strict=True))]
  (of.home / 'farl.csv').write_text('\n'.join(rows))
  ask = Judges(of)
  found = filtering.find(of, OPTIONS | {'scores': 'farl.csv'}, 0, ask)
  assert [*ask.learnt] == ['0', '1', '2', '3', '4']
  np.testing.assert_array_equal(found.judge, of.table['z'])
  z, agreed = of.table['z'], found.agreed
  lowest, highest = (np.sort(z[agreed.index[agreed.label == side]]) for side in (0, 1))
  for side, wanted in ((0, lowest[:100]), (1, highest[-100:])):
    np.testing.assert_array_equal(np.sort(z[found.kept.index[found.kept.label == side]]), wanted)


class Pictures(HTMLParser):
  def __init__(self, text):
    super().__init__()
    self.sources, self.open = [], []
    self.feed(text)

  def handle_starttag(self, name, attrs):
    if name == 'img':
      self.sources.append(dict(attrs)['src'])
    if name not in ('img', 'meta', 'link', 'br'):
      self.open.append(name)

  def handle_endtag(self, name):
    assert self.open.pop() == name


def test_the_page_and_the_lists(of):
  found = filtering.find(of, OPTIONS, 0, Judges(of))
  files = filtering.files(of, found, OPTIONS, [{'image': np.zeros((8, 8, 3), np.uint8)}] * N)
  page = files['index.html'].decode()
  shown = Pictures(page)
  assert shown.open == [] and len(shown.sources) > 300
  assert all(s.startswith('data:image/jpeg;base64,') for s in shown.sources)
  assert not re.search(r'<script|https?:', page)
  for said in ('Kept, label 1', 'Borderline, label 0, at τ₁', 'contradicts', 'P ≤ (Chernoff)'):
    assert said in page
  kept = files['kept.txt'].decode().split('\n')
  assert [int(n) - 3 for n in kept] == found.kept.index.tolist()
  (of.home / 'f').mkdir()
  (of.home / 'f/kept.txt').write_bytes(files['kept.txt'])
  again = filtering.kept(of.home / 'f', of, 'label')
  np.testing.assert_array_equal(again.index, found.kept.index)
  np.testing.assert_array_equal(again.label, found.kept.label)
  (of.home / 'j.csv').write_bytes(files['scores/3.csv'])
  scores = lists.read_scores(of.home / 'j.csv', [''] * N, numbers=of.numbers.tolist())
  np.testing.assert_array_equal(scores, found.ensemble[3])


def test_the_estimate_of_errors_is_that_of_the_paper(of):
  found = filtering.find(of, OPTIONS, 0, Judges(of))
  told = filtering.errors(found)
  assert told['p'] == pytest.approx(0.15**5) and told['n'] == 200
  assert [row[0] for row in told['at least']] == [10, 15, 20]
  shares = filtering.accuracies(found)
  assert len(shares) == 6 and all(0.85 < s < 1 for s in shares.values())


SAID = {
  'data.source': 'npz',
  'data.root': 'data',
  'data.keep': '()',
  'data.options.path': 'people.npz',
  'split.kind': 'judged',
  'split.label': 'label',
  'split.k': '60',
  'split.judges': '2',
  'split.apart': '.2',
  'support.kind': 'listed',
  'judge.net.width': '8',
  'judge.net.blocks': '(1,1)',
  'judge.net.hidden': '16',
  'judge.steps': '80',
  'judge.save_every': '20',
  'judge.log_every': '40',
  'judge.batch': '32',
}


def said(**more):
  options = SAID | {k.replace('__', '.'): v for k, v in more.items()}
  return (
    CIRCLES,
    '--workdir=runs/x',
    '--stage=prepare',
    '--',
    *(f'{k}={v}' for k, v in options.items()),
  )


@pytest.fixture(scope='module')
def people(tmp_path_factory):
  """Drawn heads, blond (0) or black (1) as people say who are unsure between."""
  cwd, n = tmp_path_factory.mktemp('people'), 400
  source, rng = (
    Portraits(n=n, size=32, age=(0.0, 0.3), extras=0.0, yaw=(-5.0, 5.0)),
    np.random.default_rng(0),
  )
  records = [source[i] for i in range(n)]
  images = np.stack([r['image'] for r in records]).reshape(n, 16, 2, 16, 2, 3).mean((2, 4))
  hair = np.array([r['hair'] for r in records])
  label = (hair + rng.normal(0, 0.1, n) > 0.5).astype(np.int32)
  np.savez(cwd / 'people.npz', image=images.astype(np.uint8), hair=hair, label=label)
  return cwd, hair


def test_judges_are_trained_once_and_keep_extremes(people, cache):
  """First without thresholds; then a hold-out, a kill, and the end; then nothing is left to do."""
  cwd, hair = people
  code, _, err = run(*said(), cwd=cwd)
  assert (
    code == 2 and err.count('\n') == 1 and 'the first judge is trained. Label records of' in err
  )
  folder = cwd / 'runs/x/filter'
  assert not (folder / 'filter.json').exists() and not (cwd / 'runs/x/prepare.json').exists()
  head, *rows = (folder / 'holdout_template.csv').read_text().split()
  marks = [head]
  for row in rows:
    i, _, *rest = row.split(',')
    sure = '' if abs(hair[int(i)] - 0.5) < 0.15 else str(int(hair[int(i)] > 0.5))
    marks.append(','.join([i, sure, *rest]))
  (cwd / 'hand.csv').write_text('\n'.join(marks))
  first = (folder / 'judge.npz').read_bytes()

  more = {'split__holdout': 'hand.csv', 'split__tau': '(.7,.7)'}
  process = start(*said(**more), cwd=cwd)
  while process.poll() is None and not any(folder.glob('1/checkpoints/20/manifest.json')):
    time.sleep(0.01)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert process.returncode == -signal.SIGKILL and not (folder / 'filter.json').exists()
  zero = (folder / '0.npz').read_bytes()

  code, out, err = run(*said(**more), cwd=cwd)
  assert code == 0 and 'goes on from step' in out and 'filter: runs/x/filter has kept 120' in out, (
    err
  )
  assert (folder / 'judge.npz').read_bytes() == first and (folder / '0.npz').read_bytes() == zero
  told = json.loads((folder / 'filter.json').read_text())
  assert told['counts']['kept'] == {'0': 60, '1': 60} and min(told['tau']) >= 0.7
  assert told['accuracy apart']['judge'] > 0.8
  with np.load(cwd / 'runs/x/splits/denoiser.npz') as split:
    index, label = split['index'], split['label']
  side = np.where(label == 1, 1 - hair[index], hair[index])
  assert len(index) == 120 and side.mean() < 0.25 and np.quantile(side, 0.9) < 0.42
  assert side.mean() < np.minimum(hair, 1 - hair).mean() + 0.02

  before = contents(cwd / 'runs/x')
  code, out, _ = run(*said(**more), cwd=cwd)
  assert code == 0 and 'filter: runs/x/filter is done (kept 120' in out
  assert contents(cwd / 'runs/x') == before
  code, _, err = run(*said(split__k='50', **more), cwd=cwd)
  assert code == 2 and 'split.k: 60 -> 50' in err and "split.kind='agree' reads" in err
  code, _, err = run(*said(judge__steps='81', **more), cwd=cwd)
  assert code == 2 and 'judge.steps: 80 -> 81' in err


def test_other_k_by_the_sheets_of_a_filter(people):
  """Without training again: the sheets are those of `split.kind='agree'`."""
  cwd, _ = people
  sheets = [f'runs/x/filter/scores/{name}.csv' for name in ('judge', '0', '1')]
  assert all((cwd / s).is_file() for s in sheets)
  config = {
    k: v for k, v in SAID.items() if not k.startswith(('judge.', 'split.')) and k != 'data.keep'
  }
  config |= {
    'data.options.path': str(cwd / 'people.npz'),
    'data.keep': (),
    'data.root': str(cwd / 'd'),
  }
  ask = {'split.kind': 'agree', 'split.label': 'label', 'split.judge': str(cwd / sheets[0])}
  ask |= {'split.ensemble': tuple(str(cwd / s) for s in sheets[1:]), 'split.tau': (0.7, 0.7)}
  prepare(load(CIRCLES, config | ask | {'split.k': 20}), cwd / 'runs/y')
  with np.load(cwd / 'runs/y/splits/denoiser.npz') as split:
    few = {*split['index'].tolist()}
  kept = {*map(int, (cwd / 'runs/x/filter/kept.txt').read_text().split())}
  assert len(few) == 40 and few <= kept


@pytest.mark.parametrize(
  'more, text',
  [
    ({'split.label': 'hair'}, 'judges learn 0 and 1'),
    ({'split.tau': (0.3, 0.9)}, 'both are in'),
    ({'split.holdout': 'none.csv'}, 'no file'),
    ({'split.scores': 'none.csv'}, 'no file'),
    ({'split.judges': 0}, 'split.judges'),
    ({'split.over': 'x'}, 'split.over'),
    ({'split.apart': 2.0}, 'split.apart'),
  ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(people, more, text):
  cwd, _ = people
  base = {'data.source': 'npz', 'data.options.path': str(cwd / 'people.npz'), 'data.keep': ()}
  base |= {'data.root': str(cwd / 'e'), 'split.kind': 'judged', 'split.label': 'label'}
  config = load(CIRCLES, base | {'support.kind': 'listed'} | more)
  with pytest.raises((ConfigError, DataError), match=text):
    prepare(config, cwd / 'runs/z')
  assert not (cwd / 'runs/z/prepare.json').exists()


def test_prepare_alone_asks_no_judge(people):
  cwd, _ = people
  base = {'data.source': 'npz', 'data.options.path': str(cwd / 'people.npz'), 'data.keep': ()}
  base |= {'data.root': str(cwd / 'e'), 'split.kind': 'judged', 'split.label': 'label'}
  with pytest.raises(ConfigError, match='no judge was asked yet'):
    prepare(load(CIRCLES, base | {'support.kind': 'listed'}), cwd / 'runs/w')
