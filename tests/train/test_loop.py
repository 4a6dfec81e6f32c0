"""The loop: lines, pictures, checkpoints, how it ends and how it goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest
from PIL import Image

from tests.train import made
from zsi_jax.io.checkpoint import Checkpoints, read
from zsi_jax.io.errors import CheckpointError, Stopped
from zsi_jax.io.steps import numbers
from zsi_jax.train.finite import TrainingError
from zsi_jax.train.loop import Run, fit, model_flops
from zsi_jax.train.sharding import Layout, mesh
from zsi_jax.train.state import create
from zsi_jax.train.step import make_step
from zsi_jax.train.stop import listening

NAMES = 'step', 'params', 'ema', 'opt'
TIMING = 'images_per_second', 'model_flops_per_second'


def run(job, folder, feed=made.Feed, **more):
  layout = Layout(mesh())
  return fit(job, layout, lambda position: feed(layout, position), folder, seed=0, **more)


def lines(folder):
  rows = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
  return [{k: v for k, v in row.items() if k not in TIMING} for row in rows]


def saved(folder, step=None):
  """(the step, its arrays by path)."""
  _, found, step = read(folder / 'checkpoints', NAMES, step)
  return step, jax.tree_util.tree_leaves_with_path(found)


def assert_same(one, other):
  (step, a), (also, b) = saved(one), saved(other)
  assert step == also
  for (path, x), (_, y) in zip(a, b, strict=True):
    np.testing.assert_array_equal(x, y, jax.tree_util.keystr(path))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """An uninterrupted run of 8 steps, a line every 2 and a save every 3."""
  folder = tmp_path_factory.mktemp('whole')
  return folder, run(made.linear(), folder)


def test_lines_and_saves_and_facts(whole):
  folder, facts = whole
  told = lines(folder)
  assert [row['step'] for row in told] == [2, 3, 4, 6, 8]  # a save ends a line
  assert {'loss', 'loss/q1', 'accuracy', 'grad_norm', 'param_norm', 'update_norm', 'lr'} <= set(
    told[0]
  ) | set(told[1])
  first = json.loads((folder / 'metrics.jsonl').read_text().splitlines()[0])
  assert first['images_per_second'] > 0 and first['model_flops_per_second'] > 0
  assert numbers(folder / 'checkpoints') == [3, 6, 8]
  assert facts['steps'] == 8 and facts['seconds'] > 0
  assert facts['metrics'] == {k: v for k, v in told[-1].items() if k != 'step'}


def test_a_line_is_the_mean_over_its_steps(whole, tmp_path):
  run(dataclasses.replace(made.linear(), log_every=1), tmp_path)
  each = {row['step']: row['loss'] for row in lines(tmp_path)}
  for row, steps in zip(lines(whole[0]), ([1, 2], [3], [4], [5, 6], [7, 8]), strict=True):
    assert row['loss'] == pytest.approx(np.mean([each[k] for k in steps]), rel=1e-6)


def test_what_is_finished_is_only_told(whole):
  class Never(made.Feed):
    def __next__(self):
      raise AssertionError

  again = run(made.linear(), whole[0], Never)
  assert again['metrics'] == whole[1]['metrics'] and again['steps'] == 8
  assert [row['step'] for row in lines(whole[0])] == [2, 3, 4, 6, 8]


def test_a_run_goes_on_bit_for_bit(whole, tmp_path):
  """It ends after step 5; the line of step 4, beyond the checkpoint, is written anew."""

  class Broken(made.Feed):
    def __next__(self):
      if self.position['example'] == 5 * self.size:
        raise OSError('no more')
      return super().__next__()

  with pytest.raises(OSError, match='no more') as told:
    run(made.linear(), tmp_path, Broken)
  assert told.value.__notes__ == ['at step 6 of denoiser']
  assert saved(tmp_path)[0] == 3 and [row['step'] for row in lines(tmp_path)] == [2, 3, 4]
  facts = run(made.linear(), tmp_path)
  assert_same(whole[0], tmp_path)
  assert lines(tmp_path) == lines(whole[0])
  assert facts['metrics'] == whole[1]['metrics']


def test_sigterm_saves_and_goes_on_bit_for_bit(whole, tmp_path):
  class Termed(made.Feed):
    def __next__(self):
      if self.position['example'] == 3 * self.size:
        for _ in range(3):  # the second and the third change nothing
          os.kill(os.getpid(), signal.SIGTERM)
      return super().__next__()

  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(Stopped, match='denoiser after step 5 of 8, which is saved') as told:
    run(made.linear(), tmp_path, Termed)
  assert not hasattr(told.value, '__notes__')
  assert signal.getsignal(signal.SIGTERM) == before
  assert saved(tmp_path)[0] == 5
  run(made.linear(), tmp_path)
  assert_same(whole[0], tmp_path)


def test_sigterm_before_the_first_step(tmp_path):
  def early(position):
    os.kill(os.getpid(), signal.SIGTERM)
    return made.Feed(layout, position)

  layout = Layout(mesh())
  with pytest.raises(Stopped):
    fit(made.linear(), layout, early, tmp_path, seed=0)
  assert saved(tmp_path)[0] == 2


def test_sigterm_after_the_last_step_is_not_forgotten(tmp_path):
  class Late(made.Feed):
    def close(self):
      os.kill(os.getpid(), signal.SIGTERM)

  with pytest.raises(Stopped, match='denoiser after step 2 of 2'):
    run(dataclasses.replace(made.linear(), steps=2), tmp_path, Late)
  assert saved(tmp_path)[0] == 2


def test_a_checkpoint_beyond_the_end_is_refused(whole):
  with pytest.raises(TrainingError, match='step 8 is there, and denoiser.steps = 5'):
    run(dataclasses.replace(made.linear(), steps=5), whole[0])
  assert lines(whole[0])[-1]['step'] == 8


def test_the_work_of_a_step_does_not_depend_on_its_parts(tmp_path):
  found = []
  for parts in (1, 2):
    run(dataclasses.replace(made.linear(), steps=1, accumulate=parts), tmp_path / str(parts))
    line = json.loads((tmp_path / str(parts) / 'metrics.jsonl').read_text())
    found.append(line['model_flops_per_second'] / line['images_per_second'])
  assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_the_work_of_a_step_is_that_of_its_network():
  job = made.unet()
  key = jax.random.key(0)
  state = jax.eval_shape(lambda key: create(job.init, job.tx, job.ema, key), key)
  found = model_flops(jax.jit(make_step(job.loss, job.tx)).lower(state, made.batch(0), key))
  weights = sum(a.size for a in jax.tree.leaves(state.params) if a.ndim > 2)  # of each pixel
  passes, images, pixels = 3, 8, 64  # forward, and backward to inputs and to weights
  assert found == pytest.approx(2 * passes * images * pixels * weights, rel=0.2)


def test_listening_where_no_handler_can_be_set():
  import threading

  heard = []

  def elsewhere():
    with listening() as stopping:
      heard.append(stopping())

  thread = threading.Thread(target=elsewhere)
  thread.start()
  thread.join()
  assert heard == [False]


def test_nan_stops_and_names_the_last_good_step(tmp_path):
  job = dataclasses.replace(made.linear(lr=1e-2), steps=9)

  class Poisoned(made.Feed):
    def __next__(self):
      found = super().__next__()
      if self.position['example'] == 5 * self.size:  # the batch of step 5
        found['image'] = found['image'].at[0].set(np.nan)
      return found

  with pytest.raises(TrainingError) as told:
    run(job, tmp_path, Poisoned)
  text = str(told.value)
  assert text.startswith('denoiser: step 5 is not finite: ') and '\n' not in text
  assert 'loss = nan' in text and 'grad_norm = nan' in text
  assert '2 of 2 parameters hold' in text and 'map/kernel' in text
  assert f'The last good step: step 3, in {tmp_path}' in text and 'denoiser.lr' in text
  assert not hasattr(told.value, '__notes__')  # the step under way, which is another
  assert saved(tmp_path)[0] == 3


class Seen(made.Square):
  """Its collection is lost, and no metric tells."""

  def __call__(self, variables, batch, keys, train=True):
    loss, (told, _) = super().__call__(variables, batch, keys, train)
    return loss, (told, {'seen': {'n': variables['seen']['n'] * np.nan}})


def test_what_no_metric_tells_is_not_saved(tmp_path):
  job = made.linear()

  def init(key):
    return job.init(key) | {'seen': {'n': jax.numpy.ones(2)}}

  said = (
    r'step 3 is not finite: no metric tells; 1 of \d+ arrays of the state hold 2 numbers that are '
    r'not \(first collections/seen/n \(2\)\)\. The last good step: none was saved'
  )
  with pytest.raises(TrainingError, match=said):
    run(dataclasses.replace(job, init=init, loss=Seen()), tmp_path)


def test_a_rate_that_is_far_too_high_stops(tmp_path):
  job = dataclasses.replace(made.linear(lr=1e30), save_every=1)
  with pytest.raises(TrainingError, match='step 1 is not finite: .*none was saved'):
    run(job, tmp_path)
  assert numbers(tmp_path / 'checkpoints') == []


def test_another_architecture_and_another_config(whole):
  with pytest.raises(CheckpointError, match='another architecture'):
    run(made.unet(), whole[0])

  def agree(carried):
    assert carried['kind'] == 'denoiser'
    raise ValueError('not mine')

  with pytest.raises(ValueError, match='not mine'):
    run(made.linear(), whole[0], agree=agree)
  assert [row['step'] for row in lines(whole[0])] == [2, 3, 4, 6, 8]


def test_grids_come_from_the_average_by_keys_that_stay(tmp_path):
  def grid(variables, keys):
    noise = jax.vmap(lambda k: jax.random.uniform(k, made.SHAPE))(keys)
    return noise * variables['params']['map']['bias'][0]

  job = dataclasses.replace(made.linear(lr=1.0), grid=grid, grid_every=4)
  run(job, tmp_path)
  names = sorted(path.name for path in (tmp_path / 'grids').iterdir())
  assert names == ['000004.png', '000008.png']
  pictures = [Image.open(tmp_path / 'grids' / name) for name in names]
  assert {p.size for p in pictures} == {(38, 38)}  # 4 x 4 of 8 pixels, 2 between
  assert pictures[0].tobytes() != pictures[1].tobytes()
  first = (tmp_path / 'grids' / names[0]).read_bytes()
  other = tmp_path / 'other'
  run(dataclasses.replace(job, steps=4), other)
  assert (other / 'grids' / names[0]).read_bytes() == first


def plain(variables, keys):
  return jax.numpy.zeros((len(keys), *made.SHAPE))


def test_a_kill_amid_a_save_loses_no_picture(tmp_path, monkeypatch):
  """Who goes on after the save would never draw it."""
  monkeypatch.setattr(Checkpoints, 'save', lambda *_: 1 / 0)
  job = dataclasses.replace(made.linear(), grid=plain, grid_every=3)
  with pytest.raises(ZeroDivisionError) as told:
    run(job, tmp_path)
  assert told.value.__notes__ == ['at step 3 of denoiser']
  assert (tmp_path / 'grids' / '000003.png').is_file()


def test_who_is_asked_to_stop_saves_before_it_draws(tmp_path, monkeypatch):
  class Termed(made.Feed):
    def __next__(self):
      os.kill(os.getpid(), signal.SIGTERM)
      return super().__next__()

  monkeypatch.setattr(Run, 'draw', lambda *_: 1 / 0)
  job = dataclasses.replace(made.linear(), grid=plain, grid_every=1)
  with pytest.raises(ZeroDivisionError):
    run(job, tmp_path, Termed)
  assert saved(tmp_path)[0] == 1


def test_a_grid_of_what_has_blown_up_is_a_picture_all_the_same(tmp_path):
  def grid(variables, keys):
    return jax.numpy.full((len(keys), *made.SHAPE), jax.numpy.nan)

  run(dataclasses.replace(made.linear(), steps=2, grid=grid, grid_every=2), tmp_path)
  assert (tmp_path / 'grids' / '000002.png').is_file()
