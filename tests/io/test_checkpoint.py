"""Checkpoints of one process: the same bits, the last and the best, and whatever may be broken."""

import errno
import logging
import os
import shutil
import threading
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from zsi_jax.io import seal, steps
from zsi_jax.io.checkpoint import Checkpoints, read
from zsi_jax.io.errors import CheckpointError

STRANGE = [-0.0, np.nan, np.inf, -np.inf, 1e-45, 3.4e38]  # 1e-45 is denormal
TX = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3), optax.identity())


class State(NamedTuple):
  step: Any
  params: Any
  ema: Any
  opt: Any
  collections: Any


def made(step, ema=True, width=4):
  rng = np.random.default_rng(step)
  params = {
    'in.0': {'kernel': jnp.asarray(rng.standard_normal((3, width)), jnp.float32)},
    'half': jnp.asarray(rng.standard_normal((2, 5)), jnp.bfloat16),
    'strange': jnp.asarray(STRANGE, jnp.float32),
  }
  return State(
    jnp.int32(step), params, params if ema else None, TX.init(params),
    {'spectral': {'u': jnp.arange(3.0) + step}} if step % 2 else {},
  )  # fmt: skip


def abstract(step=0, **more):
  return jax.eval_shape(lambda: made(step, **more))


def bits(tree):
  leaves, structure = jax.tree.flatten(tree)
  return structure, [(x.dtype, x.shape, np.asarray(x).tobytes()) for x in leaves]


def filled(folder, *numbers, **options):
  with Checkpoints(folder, **options) as checkpoints:
    for step in numbers:
      checkpoints.save(step, made(2 * step), {'at': step}, {'kind': 'x', 'none': None})
  return folder


def files(folder):
  return {
    p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob('*') if p.is_file()
  }


def flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def largest(folder):
  return max((p for p in folder.rglob('*') if p.is_file()), key=lambda p: p.stat().st_size)


@pytest.fixture(scope='module')
def three(tmp_path_factory):
  return filled(tmp_path_factory.mktemp('three') / 'checkpoints', 1, 2, 3)


@pytest.fixture
def folder(three, tmp_path):
  return shutil.copytree(three, tmp_path / 'checkpoints')


@pytest.fixture
def said(caplog):
  caplog.set_level(logging.WARNING, 'zsi_jax')
  return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize('step, ema', [(0, True), (1, False)])
def test_what_is_restored_is_what_was_saved_bit_for_bit(tmp_path, step, ema):
  state, data, config = made(step, ema), {'next': [1, None], 'ü': 0.1}, {'net': {'width': 32}}
  with Checkpoints(tmp_path / 'c') as checkpoints:
    checkpoints.save(7, state, data, config)
  with Checkpoints(tmp_path / 'c') as checkpoints:
    restored = checkpoints.restore(abstract(step, ema=ema))
  assert (restored.step, restored.data, restored.config) == (7, data, config)
  assert bits(restored.state) == bits(state)
  assert isinstance(restored.state, State) and type(restored.state.opt) is type(state.opt)


def test_where_never_a_step_was_there_is_none(tmp_path, said):
  with Checkpoints(tmp_path / 'a' / 'b') as checkpoints:
    assert checkpoints.restore(abstract()) is None and steps.numbers(checkpoints.folder) == []
  assert said() == []


def test_a_first_save_that_was_cut_short_is_none_too(tmp_path, said):
  (tmp_path / '10.orbax-checkpoint-tmp' / 'state').mkdir(parents=True)
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.restore(abstract()) is None
    checkpoints.save(10, made(0), {}, {})
    checkpoints.settle()
    assert steps.numbers(checkpoints.folder) == [10]
  assert len(said()) == 1 and 'training starts afresh' in said()[0]


def test_the_last_and_the_best_stay(tmp_path):
  losses = {1: 0.5, 2: 0.1, 3: 0.3, 4: float('nan'), 5: 0.2, 6: 0.4}
  with Checkpoints(tmp_path, keep=2, best='loss') as checkpoints:
    for step, loss in losses.items():
      checkpoints.save(step, made(0), {}, {}, {'loss': jnp.float32(loss), 'other': 1})
    checkpoints.settle()
    assert steps.numbers(checkpoints.folder) == [2, 5, 6]
  with Checkpoints(tmp_path, keep=2, best='loss') as checkpoints:  # it is known in another life
    checkpoints.restore(abstract())
    for step, loss in {7: 0.3, 8: 0.05, 9: 1.0, 10: 1.0}.items():
      checkpoints.save(step, made(0), {}, {}, {'loss': loss})
      checkpoints.settle()
      assert (2 in steps.numbers(checkpoints.folder)) == (step < 8)
    assert steps.numbers(checkpoints.folder) == [8, 9, 10]


def test_without_a_metric_only_the_last_stay(tmp_path):
  with Checkpoints(filled(tmp_path, 1, 2, 3, keep=1), keep=1) as checkpoints:
    assert steps.numbers(checkpoints.folder) == [3]


def test_training_goes_on_while_a_save_is_written(tmp_path, monkeypatch):
  """Buffers that are donated and written over after `save` do not change what it saves."""
  held = []
  real = seal.close
  monkeypatch.setattr(seal, 'close', lambda *args: (held.append(gate.wait(20)), real(*args)))
  gate = threading.Event()
  advance = jax.jit(lambda x: x * 1.5 + 1, donate_argnums=0)
  x = jax.random.normal(jax.random.key(0), (1 << 18,))
  before = np.array(x)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, {'x': x}, {}, {})
    for _ in range(5):
      x = advance(x)
    x.block_until_ready()
    assert (
      steps.numbers(checkpoints.folder) == [] and x.is_ready()
    )  # not on the disk yet, and here we are
    gate.set()
    checkpoints.settle()
    assert held == [True]
    restored = checkpoints.restore({'x': jax.ShapeDtypeStruct(x.shape, x.dtype)})
  assert np.array_equal(restored.state['x'], before) and not np.array_equal(x, before)


def test_a_step_is_saved_once(tmp_path):
  with Checkpoints(filled(tmp_path, 1)) as checkpoints:
    with pytest.raises(CheckpointError, match='step 1 is there and was not restored'):
      checkpoints.save(1, made(0), {}, {})
    checkpoints.restore(abstract())
    before = files(tmp_path)
    checkpoints.save(1, made(0), {'other': 1}, {})
    checkpoints.settle()
    assert files(tmp_path) == before
    with pytest.raises(CheckpointError, match='step 0 is to be saved, but step 1'):
      checkpoints.save(0, made(0), {}, {})


def broken_file(path):
  flip(largest(path))
  return largest(path)


def cut_file(path):
  file = largest(path / 'state')
  file.write_bytes(file.read_bytes()[:-1])
  return file


def lost_file(path):
  file = path / 'data' / 'metadata'
  file.unlink()
  return file


def added_file(path):
  (path / 'state' / 'more').touch()
  return path / 'state' / 'more'


def unsealed(path):
  (path / seal.NAME).unlink()
  return path / seal.NAME


def forged(path):
  file = path / seal.NAME
  file.write_text(file.read_text().replace('float32', 'float64', 1))
  return file


def nonsense(path):
  (path / seal.NAME).write_text('[1]')
  return path / seal.NAME


def emptied(path):
  shutil.rmtree(path)
  path.mkdir()
  return path / seal.NAME


@pytest.mark.parametrize(
  'damage',
  [broken_file, cut_file, lost_file, added_file, unsealed, forged, nonsense, emptied],
)
def test_a_broken_step_goes_aside_and_the_one_before_is_used(folder, said, damage):
  file = damage(folder / '3')
  there = files(folder / '3')
  with Checkpoints(folder) as checkpoints:
    restored = checkpoints.restore(abstract())
    assert restored.step == 2 and bits(restored.state) == bits(made(4))
    assert len(said()) == 1 and str(file) in said()[0]
    assert 'step 3 is now damaged-3, step 2 is used instead' in said()[0] and '\n' not in said()[0]
    assert files(folder / 'damaged-3') == there and steps.numbers(checkpoints.folder) == [1, 2]
    checkpoints.save(3, made(8), {}, {})
  with Checkpoints(folder) as checkpoints:
    assert bits(checkpoints.restore(abstract()).state) == bits(made(8))
    assert steps.numbers(checkpoints.folder) == [1, 2, 3]


def test_a_flipped_byte_of_any_file_is_found(folder):
  whole, found = seal.check(folder / '2'), 0
  for file in (p for p in (folder / '2').rglob('*') if p.is_file()):
    flip(file)
    with pytest.raises(seal.Broken, match=r'sha256'):
      seal.check(folder / '2')
    flip(file)
    found += 1
  assert found > 10 and seal.check(folder / '2') == whole


def test_the_same_step_goes_aside_twice(folder, said):
  for _ in range(2):
    flip(largest(folder / '3'))
    with Checkpoints(folder) as checkpoints:
      assert checkpoints.restore(abstract()).step == 2
      checkpoints.save(3, made(0), {}, {})
  assert {p.name for p in folder.iterdir()} == {'1', '2', '3', 'damaged-3', 'damaged-3-1'}
  for step in (2, 3):
    flip(largest(folder / str(step)))
  with Checkpoints(folder) as checkpoints:
    assert checkpoints.restore(abstract()).step == 1
  assert len(said()) == 4 and all(line.endswith('step 1 is used instead') for line in said()[2:])


def test_where_all_are_broken_nothing_is_touched(folder, said):
  for step in (1, 2, 3):
    flip(largest(folder / str(step)))
  before = files(folder)
  with Checkpoints(folder) as checkpoints:
    with pytest.raises(CheckpointError, match=r'3/.* no step before it is whole \(3 there\)'):
      checkpoints.restore(abstract())
    with pytest.raises(CheckpointError, match='step 3 is there and was not restored'):
      checkpoints.save(3, made(0), {}, {})
  assert files(folder) == before and said() == []


@pytest.mark.parametrize(
  'other, message',
  [
    (abstract(width=5), r'params/in.0/kernel is float32 \[3, 4\] there, float32 \[3, 5\] here'),
    (abstract(ema=False), r'ema/half is bfloat16 \[2, 5\] there, nothing here; .* nothing here\.'),
    (abstract(step=1), r'collections/spectral/u is nothing there, float32 \[3\] here'),
    (
      abstract()._replace(step=jax.ShapeDtypeStruct((), np.uint32)),
      r'step is int32 \[\] there, uint32 \[\] here\.',
    ),
  ],
)
def test_another_architecture_is_refused_before_anything_is_read(
  folder, monkeypatch, other, message
):
  monkeypatch.setattr(steps.seal, 'check', lambda _: pytest.fail('read'))
  before = files(folder)
  with Checkpoints(folder) as checkpoints:
    with pytest.raises(CheckpointError, match=message) as caught:
      checkpoints.restore(other)
  assert '\n' not in str(caught.value) and files(folder) == before


@pytest.mark.parametrize('name', ['_CHECKPOINT_METADATA', 'data/metadata', 'state/_METADATA'])
def test_an_older_broken_step_does_not_matter(folder, said, name):
  (folder / '1' / name).write_bytes(b'{')
  with Checkpoints(folder, best='loss') as checkpoints:
    assert checkpoints.restore(abstract()).step == 3
    checkpoints.save(4, made(0), {}, {}, {'loss': 1.0})
    checkpoints.settle()
    assert steps.numbers(checkpoints.folder) == [2, 3, 4] and said() == []


def test_scratch_is_known_by_its_name():
  assert ocp.utils.TMP_DIR_SUFFIX == steps.SCRATCH


def test_names_that_are_no_steps_are_left_alone(folder):
  for name in ('notes', '007', '-1', '4.5', 'damaged-9'):
    (folder / name).mkdir()
  (folder / '12').touch()
  with Checkpoints(folder) as checkpoints:
    assert steps.numbers(checkpoints.folder) == [1, 2, 3]
    assert checkpoints.restore(abstract()).step == 3


def test_the_terminal_stays_clean(folder, capfd):
  flip(largest(folder / '3'))
  logging.getLogger('zsi_jax').addHandler(quiet := logging.NullHandler())
  logging.getLogger('zsi_jax').propagate = False
  try:
    with Checkpoints(folder) as checkpoints:
      checkpoints.restore(abstract())
      checkpoints.save(3, made(0), {}, {})
    read(folder)
  finally:
    logging.getLogger('zsi_jax').propagate = True
    logging.getLogger('zsi_jax').removeHandler(quiet)
  assert capfd.readouterr() == ('', '')


# Part of it, without a target.


def test_parts_are_read_without_a_target(folder):
  config, trees, step = read(folder)
  assert (config, step) == ({'kind': 'x', 'none': None}, 3)
  want = jax.tree.map(np.asarray, made(6))
  assert bits(trees) == bits({'collections': {}, 'ema': want.ema})
  assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(trees))
  assert list(read(folder, lambda config: config['kind'] == 'x' and iter(['ema']))[1]) == ['ema']
  _, trees, step = read(folder, ['params'], step=1)
  assert step == 1 and bits(trees['params']) == bits(jax.tree.map(np.asarray, made(2)).params)


def test_a_missing_average_is_none(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, made(1, ema=False), {}, {})
  _, trees, _ = read(tmp_path)
  assert trees['ema'] is None and list(trees['collections']) == ['spectral']


def test_a_broken_step_is_not_read(folder, said):
  flip(largest(folder / '3'))
  before = files(folder)
  assert read(folder)[2] == 2 and files(folder) == before
  assert len(said()) == 1 and said()[0].endswith('; step 2 is used instead')
  with pytest.raises(CheckpointError, match=r'sha256 .* Steps there: 1, 2, 3\.'):
    read(folder, step=3)


@pytest.mark.parametrize(
  'when, gone',
  [('before', (1, 2, 3)), ('before', (3,)), ('amid', (1, 2, 3)), ('amid', (3,)), ('after', (3,))],
)
def test_who_reads_while_training_goes_on_takes_the_newest_again(
  folder, tmp_path, monkeypatch, said, when, gone
):
  """Step 4 comes and what is read goes: before its seal is read, amid that, or after."""
  four = filled(tmp_path / 'other', 4) / '4'
  held, real = [], {'before': seal.read, 'amid': seal._sizes, 'after': seal.check}[when]

  def train(*args):
    if when == 'after':
      found = real(*args)
    if not held:
      held.append(shutil.copytree(four, folder / '4'))
      for step in gone:
        shutil.rmtree(folder / str(step))
      if when == 'amid':
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(args[0]))
    return found if when == 'after' else real(*args)

  monkeypatch.setattr(seal, real.__name__, train)
  assert read(folder, iter(['ema']))[2] == 4 and held and said() == []


def test_what_vanishes_while_it_is_read_is_broken(folder, monkeypatch):
  real = seal.os.walk

  def walk(top):
    for found in real(top):
      shutil.rmtree(folder / '3', ignore_errors=True)
      yield found

  monkeypatch.setattr(seal.os, 'walk', walk)
  with pytest.raises(seal.Broken, match=r'3/\S+ cannot be read \(No such file or directory\)'):
    seal.read(folder / '3')


@pytest.mark.parametrize(
  'call, message',
  [
    (lambda f: read(f / 'no'), 'there is no checkpoint'),
    (lambda f: read(f, step=9), r'9/manifest.json is missing. Steps there: 1, 2, 3\.'),
    (lambda f: read(f, ('ema', 'momentum')), "no 'momentum', but collections, ema, opt, params"),
    (lambda f: Checkpoints(f, keep=0), 'keep=0'),
  ],
)
def test_what_is_not_there_is_said_in_a_line(three, call, message):
  with pytest.raises(CheckpointError, match=message) as caught:
    call(three)
  assert '\n' not in str(caught.value)


# A disk that is full, and a place that cannot be written.


def test_a_place_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(CheckpointError, match=r'file/c: cannot be written \(Not a directory\)'):
    Checkpoints(tmp_path / 'file' / 'c')


def full(*_, **__):
  raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_that_may_not_be_written(folder, monkeypatch):
  before = files(folder)

  def refuse(*_, **__):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

  monkeypatch.setattr(os, 'open', refuse)  # root may write anywhere
  with pytest.raises(
    CheckpointError, match=r'checkpoints: cannot be written \(Permission denied\)'
  ):
    Checkpoints(folder)
  monkeypatch.undo()
  assert files(folder) == before


@pytest.mark.parametrize('where', ['seal', 'folder'])
def test_a_full_disk_is_a_line_and_the_step_before_stays(folder, monkeypatch, where):
  with Checkpoints(folder) as checkpoints:
    checkpoints.restore(abstract())
    with monkeypatch.context() as patched:
      if where == 'seal':
        patched.setattr(seal.whole.os, 'fsync', full)
      else:
        patched.setattr('os.mkdir', full)
      with pytest.raises(CheckpointError, match=r'4: the .* \(No space left on device\)') as caught:
        checkpoints.save(4, made(0), {}, {})
        checkpoints.settle()
    assert '\n' not in str(caught.value) and steps.numbers(checkpoints.folder) == [1, 2, 3]
  with Checkpoints(folder) as checkpoints:
    assert checkpoints.restore(abstract()).step == 3
    checkpoints.save(4, made(0), {}, {})
    checkpoints.settle()
    assert steps.numbers(checkpoints.folder) == [2, 3, 4]


def test_an_error_of_the_save_before_comes_with_the_next(tmp_path, monkeypatch):
  monkeypatch.setattr(seal, 'close', full)
  with pytest.raises(CheckpointError, match='/1: the checkpoint could not be saved'):
    with Checkpoints(tmp_path) as checkpoints:
      checkpoints.save(1, made(0), {}, {})
      checkpoints.save(2, made(0), {}, {})


def test_a_save_that_failed_can_be_tried_again(tmp_path, monkeypatch):
  with Checkpoints(tmp_path) as checkpoints:
    for where, name in ((seal, 'close'), (seal.whole.os, 'fsync')):
      with monkeypatch.context() as patched:
        patched.setattr(where, name, full)
        checkpoints.save(1, made(0), {}, {})
        with pytest.raises(CheckpointError, match='No space left'):
          checkpoints.settle()
    checkpoints.save(1, made(0), {}, {})
    checkpoints.settle()
    assert steps.numbers(checkpoints.folder) == [1]
    assert bits(checkpoints.restore(abstract()).state) == bits(made(0))


def test_an_error_of_the_training_is_told_before_one_of_its_last_save(
  tmp_path, monkeypatch, caplog
):
  with pytest.raises(KeyError, match='training'):
    with Checkpoints(tmp_path) as checkpoints:
      monkeypatch.setattr(seal, 'close', full)
      checkpoints.save(1, made(0), {}, {})
      raise KeyError('training')
  assert [r.levelname for r in caplog.records if r.name == 'zsi_jax'] == ['ERROR']


@pytest.mark.parametrize(
  'error, advice',
  [
    (RuntimeError('DEADLINE_EXCEEDED: Barrier timed out'), r'timed out\); .* whole\. Run again'),
    (ConnectionResetError(errno.ECONNRESET, 'Reset by peer'), r'peer\); .* whole\. Run again'),
    (OSError(errno.EDQUOT, 'Quota exceeded'), r'exceeded\); .* Make room .* and run again'),
  ],
)
def test_what_to_do_depends_on_what_failed(tmp_path, monkeypatch, error, advice):
  def fail(*_):
    raise error

  with pytest.raises(CheckpointError, match=advice):
    with Checkpoints(tmp_path) as checkpoints:
      monkeypatch.setattr(seal, 'close', fail)
      checkpoints.save(1, made(0), {}, {})


def test_what_is_no_json_is_said(tmp_path):
  with pytest.raises(CheckpointError, match='1: .*JSON serializable'):
    with Checkpoints(tmp_path) as checkpoints:
      checkpoints.save(1, made(0), {'x': object()}, {})
