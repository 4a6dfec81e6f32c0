"""Metrics: a step stands there once, whatever was killed; W&B is asked for, or is not there."""

import json
import math
import subprocess
import sys
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.io.test_events import parsed, records, values
from zsi_jax.io.metrics import Metrics

PICTURE = Image.new('RGB', (4, 4))
ROOT = Path(__file__).parents[2]


def lines(folder):
  return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def test_numbers_of_any_kind_become_numbers_of_json(tmp_path):
  numbers = {
    'loss': jnp.float32(0.5),
    'half': jnp.bfloat16(2),
    'numpy': np.float64(0.1),
    'count': np.int64(3),
    'device': jnp.int32(4),
    'yes': np.bool_(True),
    'plain': 1,
    'zero': np.zeros(()),
    'word': 'cosine',
  }
  with Metrics(tmp_path) as metrics:
    metrics.write(np.int64(10), numbers)
  (line,) = lines(tmp_path)
  assert line == {
    'step': 10, 'loss': 0.5, 'half': 2.0, 'numpy': 0.1, 'count': 3, 'device': 4, 'yes': 1,
    'plain': 1, 'zero': 0.0, 'word': 'cosine',
  }  # fmt: skip
  assert list(line)[0] == 'step' and isinstance(line['count'], int)
  (path,) = (tmp_path / 'tb').iterdir()
  *_, event = records(path)
  assert 'word' not in [v[1][0].decode() for v in values(event)] and len(values(event)) == 8


def test_what_is_not_finite_is_null(tmp_path):
  with Metrics(tmp_path) as metrics:
    metrics.write(1, {'a': math.nan, 'b': jnp.float32(math.inf), 'c': -math.inf, 'd': 1.0})

  def refuse(constant):
    raise AssertionError(constant)

  text = (tmp_path / 'metrics.jsonl').read_text()
  assert json.loads(text, parse_constant=refuse) == {
    'step': 1, 'a': None, 'b': None, 'c': None, 'd': 1.0
  }  # fmt: skip


def test_a_resumed_run_leaves_the_lines_of_an_uninterrupted_one(tmp_path):
  with Metrics(tmp_path / 'whole') as metrics:
    for step in range(1, 7):
      metrics.write(step, {'loss': 1 / step})
  with Metrics(tmp_path / 'cut') as metrics:
    metrics.resume(0)
    for step in range(1, 6):
      metrics.write(step, {'loss': 1 / step})
  path = tmp_path / 'cut' / 'metrics.jsonl'
  path.write_bytes(path.read_bytes()[:-7])  # killed amid a line
  with Metrics(tmp_path / 'cut') as metrics:
    metrics.resume(3)
    assert len(lines(tmp_path / 'cut')) == 3
    for step in range(4, 7):
      metrics.write(step, {'loss': 1 / step})
  assert path.read_bytes() == (tmp_path / 'whole' / 'metrics.jsonl').read_bytes()
  assert [p.name for p in path.parent.iterdir() if p.name.endswith('.part')] == []
  first, second = sorted((tmp_path / 'cut' / 'tb').iterdir())
  assert [e[2][0] for e in records(second)] == [0, 4, 4, 5, 6]
  assert list(records(second))[1][7] == [b'\x08\x01']  # what others say from step 4 on is replaced


def test_each_life_tells_its_config(tmp_path):
  """As of its first step, so that what a killed one said of the same step is replaced."""
  config = {'seed': 1, 'data': {'root': 'ü'}}
  for at in (0, 3, 3):
    with Metrics(tmp_path, config=config) as metrics:
      metrics.resume(at)
  for path, step in zip(sorted((tmp_path / 'tb').iterdir()), (1, 4, 4), strict=True):
    *_, start, event = records(path)
    assert start[2] == event[2] == [step]
    (said,) = values(event)
    (text,) = parsed(said[8][0])[8]
    assert said[1] == [b'config'] and json.loads(text) == config
    assert {line[:4] for line in text.splitlines()} == {b'    '}


@pytest.mark.parametrize(
  'junk',
  [
    b'{"step": 2, "lo',
    b'{"step": 2}',
    b'\xff\xfe\n',
    b'[1]\n',
    b'{"loss": 1}\n',
    b'{"step": "2"}\n',
    b'\n',
  ],
)
def test_half_a_line_goes(tmp_path, junk):
  good = b'{"step": 1, "loss": 2.0}\n'
  (tmp_path / 'metrics.jsonl').write_bytes(good + junk)
  with Metrics(tmp_path) as metrics:
    metrics.resume(2)
    assert (tmp_path / 'metrics.jsonl').read_bytes() == good


def test_what_stays_is_not_written_again(tmp_path):
  with Metrics(tmp_path) as metrics:
    metrics.write(1, {'loss': 1.0})
  before = (tmp_path / 'metrics.jsonl').stat().st_ino
  with Metrics(tmp_path) as metrics:
    metrics.resume(1)
  assert (tmp_path / 'metrics.jsonl').stat().st_ino == before


def test_a_run_that_never_saved_starts_its_lines_anew(tmp_path):
  for _ in range(2):
    with Metrics(tmp_path) as metrics:  # nobody says where it goes on from: its first step does
      metrics.write(1, {'loss': 1.0})
      metrics.write(2, {'loss': 1.0})
  assert [line['step'] for line in lines(tmp_path)] == [1, 2]


def test_pictures_stand_beside_the_numbers(tmp_path):
  with Metrics(tmp_path) as metrics:
    metrics.write(5, {'loss': 1.0})
    metrics.image(5, 'samples', PICTURE)
  (path,) = (tmp_path / 'tb').iterdir()
  *_, event = records(path)
  assert event[2] == [5] and parsed(values(event)[0][4][0])[4][0].startswith(b'\x89PNG')
  assert [line['step'] for line in lines(tmp_path)] == [5]


LIMITED = """
import resource, sys
from zsi_jax.io.metrics import Metrics
metrics = Metrics(sys.argv[1])
metrics.write(1, {'loss': 1.0})
resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))
try:
  for step in range(2, 100):
    metrics.write(step, {'loss': 1.0})
except OSError as error:
  print(error)
"""


def test_a_full_disk_is_a_line_that_names_the_file(tmp_path):
  command = [sys.executable, '-c', LIMITED, str(tmp_path / 'm')]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
  assert done.returncode == 0 and done.stderr == ''
  assert done.stdout.strip().endswith(f"File too large: '{tmp_path}/m/metrics.jsonl'")
  with Metrics(tmp_path / 'm') as metrics:
    metrics.resume(1)
  assert [line['step'] for line in lines(tmp_path / 'm')] == [1]


class Run:
  def __init__(self, asked):
    self.asked, self.logged, self.defined, self.finished = asked, [], [], False

  def define_metric(self, name, **more):
    self.defined.append((name, more))

  def log(self, row):
    self.logged.append(row)

  def finish(self):
    self.finished = True


@pytest.fixture
def wandb(monkeypatch):
  runs = []
  module = types.ModuleType('wandb')
  module.init = lambda **asked: runs.append(Run(asked)) or runs[-1]
  module.Image = lambda picture: ('image', picture.size)
  module.runs = runs
  monkeypatch.setitem(sys.modules, 'wandb', module)
  return module


def test_wandb_gets_the_same_numbers_under_the_same_id(tmp_path, wandb):
  for _ in range(2):
    with Metrics(tmp_path, wandb='faces', config={'seed': 1}) as metrics:
      metrics.resume(0)
      metrics.write(3, {'loss': jnp.float32(0.5), 'word': 'x'})
      metrics.image(3, 'samples', PICTURE)
  first, second = wandb.runs
  assert first.asked == second.asked and first.asked['project'] == 'faces'
  assert first.asked['resume'] == 'allow' and first.asked['config'] == {'seed': 1}
  assert first.asked['id'] == json.loads((tmp_path / 'wandb.json').read_text())['id']
  assert first.logged == [{'step': 3, 'loss': 0.5}, {'step': 3, 'samples': ('image', (4, 4))}]
  assert ('*', {'step_metric': 'step'}) in first.defined and first.finished


def test_wandb_takes_the_arguments_of_init(tmp_path, wandb):
  Metrics(tmp_path, wandb={'project': 'p', 'mode': 'offline'}).close()
  assert wandb.runs[0].asked['mode'] == 'offline' and wandb.runs[0].asked['project'] == 'p'


def test_no_wandb_unless_it_is_asked_for(tmp_path, wandb):
  Metrics(tmp_path).close()
  assert wandb.runs == [] and not (tmp_path / 'wandb.json').exists()


def test_a_missing_wandb_is_said_before_training(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with pytest.raises(
    ValueError, match=r"log.wandb='p' needs wandb: pip install 'zsi_jax\[wandb\]'"
  ):
    Metrics(tmp_path, wandb='p')


def test_a_wandb_that_refuses_is_said_in_a_line(tmp_path, wandb):
  def init(**_):
    raise RuntimeError('api_key not configured\nlong help')

  wandb.init = init
  with pytest.raises(ValueError, match='api_key not configured.*log.wandb=None') as caught:
    Metrics(tmp_path, wandb='p')
  assert '\n' not in str(caught.value) and not (tmp_path / 'wandb.json').exists()


def test_a_network_that_fails_does_not_end_the_run(tmp_path, wandb, caplog):
  def log(_):
    raise ConnectionError('gone')

  with Metrics(tmp_path, wandb='p') as metrics:
    wandb.runs[0].log = log
    for step in range(1, 4):
      metrics.write(step, {'loss': 1.0})
  assert len(lines(tmp_path)) == 3
  assert [r.getMessage() for r in caplog.records] == ['W&B: gone; the run goes on without it']
