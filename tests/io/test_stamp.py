"""Stamps are JSON, tell configs apart, and need neither git nor an installed package."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime

import jax
import pytest

from zsi_jax.io import stamp as room
from zsi_jax.io.stamp import commit, digest, stamp


def test_stamp():
  facts = stamp({'a': (1, 2)}, seeds=range(3), batch=4)
  assert json.loads(json.dumps(facts)) == facts
  assert list(facts) == ['zsi_jax', 'commit', 'config', 'seeds', 'jax', 'jaxlib', 'device', 'batch',
                         'time']  # fmt: skip
  assert (facts['seeds'], facts['batch']) == ([0, 1, 2], 4)
  assert facts['jax'] == jax.__version__ and facts['device'] == jax.devices()[0].device_kind
  assert abs((datetime.now(UTC) - datetime.fromisoformat(facts['time'])).total_seconds()) < 60
  assert stamp(seeds=7, device=False)['device'] is None


def test_digest_is_of_the_content():
  assert digest({'a': 1, 'b': (1, 2)}) == digest({'b': [1, 2], 'a': 1}) != digest({'a': 1})
  assert re.fullmatch('[0-9a-f]{16}', digest({'a': object}))


def test_commit(tmp_path, monkeypatch):
  assert commit(tmp_path) is None
  (tmp_path / '.git').mkdir()  # no repository, or no git at all
  assert commit.__wrapped__(tmp_path) is None
  monkeypatch.setenv('PATH', str(tmp_path))
  assert commit.__wrapped__(room.ROOT) is None


@pytest.mark.skipif(shutil.which('git') is None, reason='needs git')
def test_commit_of_a_checkout(tmp_path):
  def git(*words):
    who = ('-c', 'user.name=a', '-c', 'user.email=a@b.c')
    done = subprocess.run(['git', '-C', tmp_path, *who, *words], capture_output=True, check=True)
    return done.stdout.decode().strip()

  git('init', '-q')
  (tmp_path / 'a').write_text('1')
  git('add', 'a')
  git('commit', '-qm', 'a')
  head = git('rev-parse', 'HEAD')
  assert commit.__wrapped__(tmp_path) == head
  (tmp_path / 'a').write_text('2')
  assert commit.__wrapped__(tmp_path) == f'{head}-dirty'
