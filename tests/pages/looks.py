"""What is wrong with a page, as a browser sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.pages.browser import Browser

WIDTHS = 1280, 390  # a desk, a phone
# Pictures of <img> and of SVG's <image>; what is drawn beyond the window counts, too.
BROKEN = """(async () => {
  const svg = [...document.querySelectorAll('svg image')].map(found => {
    const image = new Image();
    image.src = found.getAttribute('href');
    return image;
  });
  const every = [...document.images, ...svg];
  await Promise.all(every.map(image => image.decode().catch(() => null)));
  return every.filter(image => !image.naturalWidth).map(image => image.src.slice(0, 80));
})()"""
WIDE = """[...document.querySelectorAll('body *')].filter(found => {
  const box = found.getBoundingClientRect();
  const scrolls = found.parentElement.closest('.wide, pre');
  return !scrolls && box.width && (box.right > innerWidth + 1 || box.left < -1);
}).map(found => found.tagName.toLowerCase() + '.' + (found.className.baseVal ?? found.className))"""


def wrong(browser: Browser, page: Path, width: int, dark: bool = False) -> list[str]:
  """Errors of the console, pictures that do not load, what is too wide, what leaves the page."""
  browser.open(page, width, dark)
  broken = browser.value(BROKEN)
  beyond = browser.value('document.documentElement.scrollWidth - innerWidth')
  found = [f'a picture does not load: {source}' for source in broken]
  found += [f'{beyond} pixels wider than {width}'] if beyond > 0 else []
  found += [f'{what} is wider than {width}' for what in browser.value(WIDE)]
  return found + [text for event in browser.seen if (text := said(event, page))]


def said(event: dict[str, Any], page: Path) -> str | None:
  told = event['params']
  match event['method']:
    case 'Runtime.exceptionThrown':
      return f'a script fails: {told["exceptionDetails"]["text"]}'
    case 'Runtime.consoleAPICalled' if told['type'] in ('error', 'assert', 'warning'):
      return f'the console has an {told["type"]}: {told["args"]}'
    case 'Log.entryAdded' if told['entry']['level'] in ('error', 'warning'):
      return f'the console has an {told["entry"]["level"]}: {told["entry"]["text"]}'
    case 'Network.requestWillBeSent':
      url = told['request']['url']
      if url.split('#')[0] != page.resolve().as_uri() and not url.startswith('data:'):
        return f'it asks for {url}'
  return None
