"""A headless Chromium by its DevTools protocol, over two pipes: no driver and no port is needed.

Messages are JSON, each ended by a zero byte; the browser reads file descriptor 3 and writes 4.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
FLAGS = (
  *('--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run'),
  *('--disable-extensions', '--disable-background-networking', '--disable-component-update'),
  *('--disable-sync', '--mute-audio', '--hide-scrollbars', '--force-device-scale-factor=1'),
  # No name has an address: what a page asks of another machine fails, and is told.
  '--host-resolver-rules=MAP * ~NOTFOUND',
)
SECONDS = 60.0


class BrowserError(RuntimeError):
  """The browser is not there, or does not answer."""


def executable() -> str:
  """$CHROMIUM, or the first that is installed."""
  said = os.environ.get('CHROMIUM')
  found = shutil.which(said) if said else next(filter(None, map(shutil.which, NAMES)), None)
  if found is None:
    raise BrowserError(
      f'no browser: {said or ", ".join(NAMES)} is not there; .ci/chromium installs one on Debian, '
      'or CHROMIUM=path/to/it names yours'
    )
  return found


class Browser:
  """One page at a time; `seen` are the events since the last one was opened."""

  def __init__(self, reads: int, writes: int) -> None:
    self._reads, self._writes = reads, writes
    self._buffer, self._number = b'', 0
    self.seen: list[dict[str, Any]] = []
    self._session: str | None = None
    target = self.ask('Target.createTarget', url='about:blank')['targetId']
    attached = self.ask('Target.attachToTarget', targetId=target, flatten=True)
    self._session = attached['sessionId']
    for domain in ('Page', 'Runtime', 'Network', 'Log'):
      self.ask(f'{domain}.enable')

  def ask(self, method: str, /, **parameters: Any) -> dict[str, Any]:
    """The answer to one command; events that come before it are kept."""
    self._number += 1
    told = {'id': self._number, 'method': method, 'params': parameters}
    told |= {'sessionId': self._session} if self._session else {}
    os.write(self._writes, json.dumps(told).encode() + b'\0')
    until = time.monotonic() + SECONDS
    while True:
      said = self._message(until)
      if said.get('id') == self._number:
        if 'error' in said:
          raise BrowserError(f'{method}: {said["error"]}')
        return said['result']

  def wait(self, event: str) -> dict[str, Any]:
    until = time.monotonic() + SECONDS
    while not (found := [e for e in self.seen if e.get('method') == event]):
      self._message(until)
    return found[0]

  def _message(self, until: float) -> dict[str, Any]:
    while b'\0' not in self._buffer:
      if not select.select([self._reads], [], [], max(0.0, until - time.monotonic()))[0]:
        raise BrowserError(f'the browser does not answer within {SECONDS:.0f} s')
      if not (data := os.read(self._reads, 1 << 20)):
        raise BrowserError('the browser is gone')
      self._buffer += data
    line, self._buffer = self._buffer.split(b'\0', 1)
    said: dict[str, Any] = json.loads(line)
    if 'method' in said:
      self.seen.append(said)
    return said

  def open(self, page: Path, width: int, dark: bool = False) -> None:
    """The page at this width, loaded and decoded."""
    self.ask('Page.navigate', url='about:blank')
    scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}
    self.ask('Emulation.setEmulatedMedia', features=[scheme])
    size = {'width': width, 'height': 900, 'deviceScaleFactor': 1, 'mobile': False}
    self.ask('Emulation.setDeviceMetricsOverride', **size)
    self.wait('Page.loadEventFired')
    self.seen.clear()
    self.ask('Page.navigate', url=page.resolve().as_uri())
    self.wait('Page.loadEventFired')

  def value(self, script: str) -> Any:
    """Of a JavaScript expression, awaited."""
    said = self.ask('Runtime.evaluate', expression=script, awaitPromise=True, returnByValue=True)
    if 'exceptionDetails' in said:
      raise BrowserError(f'{script}: {said["exceptionDetails"]}')
    return said['result'].get('value')

  def picture(self, path: Path) -> None:
    """All of the page as a PNG."""
    told = self.ask('Page.captureScreenshot', format='png', captureBeyondViewport=True)
    path.write_bytes(base64.b64decode(told['data']))


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
  """Started for the block, and ended with all of its processes."""
  with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
    to_it, ours = os.pipe()
    theirs, from_it = os.pipe()
    # Descriptors 3 and 4 may be among the four: first far away, then to their places.
    shell = f'exec 18<&{to_it} 19>&{from_it}; exec 3<&18 4>&19 18<&- 19>&-; exec "$@"'
    process = subprocess.Popen(
      ['bash', '-c', shell, 'bash', executable(), *FLAGS, '--remote-debugging-pipe',
       f'--user-data-dir={home}', 'about:blank'],
      pass_fds=(to_it, from_it), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ, 'HOME': home},
    )  # fmt: skip
    os.close(to_it)
    os.close(from_it)
    try:
      yield Browser(theirs, ours)
    finally:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
      process.wait()
      os.close(theirs)
      os.close(ours)
