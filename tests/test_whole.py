"""Files appear whole: there is the old one, or the new one, and nothing else is left."""

from __future__ import annotations

import os

import pytest

from zsi_jax import whole


def test_the_old_one_or_the_new_one(tmp_path):
  path = tmp_path / 'deep' / 'a.bin'
  whole.write(path, b'old')
  with pytest.raises(RuntimeError), whole.opened(path) as stream:
    stream.write(b'half')
    stream.flush()
    assert path.read_bytes() == b'old'
    raise RuntimeError
  assert path.read_bytes() == b'old'
  whole.write(path, b'new')
  assert path.read_bytes() == b'new' and [*path.parent.iterdir()] == [path]


def test_it_is_on_the_disk_before_it_is_there(tmp_path, monkeypatch):
  path, done = tmp_path / 'a', []
  sync, replace = os.fsync, os.replace
  monkeypatch.setattr(whole.os, 'fsync', lambda n: (done.append(os.fstat(n).st_size), sync(n)))
  monkeypatch.setattr(whole.os, 'replace', lambda a, b: (done.append(b), replace(a, b)))
  whole.write(path, b'1234')
  assert done == [4, path] and path.read_bytes() == b'1234'


def test_errors_of_the_disk_are_the_callers(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  (tmp_path / 'folder').mkdir()
  for path in (tmp_path / 'file' / 'a', tmp_path / 'folder', tmp_path / ('n' * 300)):
    with pytest.raises(OSError):
      whole.write(path, b'')

  def fail(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(whole.os, 'fsync', fail)
  with pytest.raises(OSError, match='No space'):
    whole.write(tmp_path / 'file', b'new')
  assert (tmp_path / 'file').read_text() == ''
  assert sorted(p.name for p in tmp_path.iterdir()) == ['file', 'folder']


def test_the_mode_is_that_of_any_new_file(tmp_path):
  (tmp_path / 'a').write_text('')
  whole.write(tmp_path / 'b', b'')
  assert (tmp_path / 'a').stat().st_mode == (tmp_path / 'b').stat().st_mode


def test_of_two_at_once_the_last_one_stays(tmp_path):
  path = tmp_path / 'a'
  with whole.opened(path) as stream:
    stream.write(b'slow')
    whole.write(path, b'quick')
    assert path.read_bytes() == b'quick'
  assert path.read_bytes() == b'slow' and [*tmp_path.iterdir()] == [path]
