"""The pages that a run leaves, in a real browser: wide and narrow, light and dark."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from tests.pages import looks
from tests.pages.browser import browser as started
from tests.report import made
from zsi_jax.stages.report import pages

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = sorted((ROOT / 'docs' / 'results').glob('**/index.html'))


@pytest.fixture(scope='module')
def browser():
  with started() as found:
    yield found


@pytest.fixture(scope='module')
def pages_made(tmp_path_factory):
  """A page with every figure, one with next to nothing, and one that compares two runs."""
  folder = tmp_path_factory.mktemp('pages')
  one, two = made.write(folder / 'one'), made.write(folder / 'two', zero_shot=False)
  long = 'x' * 300
  bare = made.write(
    folder / 'bare', title=long, about=long, command=long, figures=[], sets={}, warnings=[long],
    headline=[], tables=[], paper={}, protocol={long: long},
  )  # fmt: skip
  return {
    'one': pages([str(one)]),
    'bare': pages([str(bare)]),
    'both': pages([str(one), str(two)], str(folder / 'both')),
  }


@pytest.mark.parametrize('width', looks.WIDTHS)
@pytest.mark.parametrize('dark', [False, True], ids=['light', 'dark'])
@pytest.mark.parametrize('name', ['one', 'bare', 'both'])
def test_a_page_that_is_made(browser, pages_made, name, dark, width):
  page = Path(pages_made[name])
  assert looks.wrong(browser, page, width, dark) == []
  ground = browser.value('getComputedStyle(document.body).backgroundColor')
  assert (sum(map(int, ground[4:-1].split(','))) < 200) == dark


def test_it_is_the_page(browser, pages_made):
  """A title with tags in it is a text, and every figure is there."""
  browser.open(Path(pages_made['one']), 1280)
  assert browser.value("document.querySelector('h1').textContent") == made.TITLE
  assert browser.value("document.querySelectorAll('figure').length") == len(made.figures())
  assert browser.value("document.querySelectorAll('svg.chart > title').length") == 8
  assert browser.value('document.scripts.length') == 0


@pytest.mark.parametrize('width', looks.WIDTHS)
@pytest.mark.parametrize('page', PUBLISHED, ids=lambda p: p.parent.name)
def test_a_page_that_is_published(browser, page, width):
  assert looks.wrong(browser, page, width) == []


def png() -> str:
  stream = io.BytesIO()
  Image.new('RGB', (4, 4)).save(stream, 'PNG')
  return f'data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}'


BAD = {
  'a script that throws': ('<script>nowhere()</script>', 'a script fails'),
  'an error in the console': ('<script>console.error(1)</script>', 'the console has an error'),
  'a picture that is gone': ('<img src="gone.png">', 'does not load'),
  'a picture that is torn': (f'<img src="{png()[:60]}">', 'does not load'),
  'a picture of a figure': ('<svg><image href="data:image/png;base64,AA"/></svg>', 'not load'),
  'too wide': ('<div style="width: 1300px">wide</div>', 'wider than 1280'),
  'hidden and too wide': (
    '<div style="overflow: hidden"><p style="width: 1300px">cut off</p></div>', 'p. is wider'),
  'a style from elsewhere': ('<link rel="stylesheet" href="x.css">', 'x.css'),
  'a font from another machine': (
    '<style>@font-face {font-family: f; src: url(https://a.example/f.woff)} p {font-family: f}'
    '</style><p>a', 'a.example'),
}  # fmt: skip


@pytest.mark.parametrize('name', BAD)
def test_a_bad_page_is_found(browser, tmp_path, name):
  body, said = BAD[name]
  page = tmp_path / 'index.html'
  page.write_text(f'<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">{body}')
  found = looks.wrong(browser, page, 1280)
  assert any(said in line for line in found), found


def test_a_good_page_is_not_blamed(browser, tmp_path):
  page = tmp_path / 'index.html'
  page.write_text(f'<!doctype html><meta charset="utf-8"><title>a</title><img src="{png()}">')
  assert looks.wrong(browser, page, 390) == []
