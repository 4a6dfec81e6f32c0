"""The detector against drawings whose circles are known, and against what is no circle."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.evaluate.drawn import MORE_STYLES, NEGATIVES, STYLES, scene, shape
from zsi_jax.data.circles import Circles
from zsi_jax.evaluate import templates
from zsi_jax.evaluate.circles import find, shares

KINDS = (None, *NEGATIVES)
EVERY = STYLES + MORE_STYLES


def images(rng, n, scale=1.0, noise=None, contrast=None, colour=False, radii=(2, 3), styles=EVERY):
  """(float32 in [-1, 1], radii, centres); `scale` 1: noise and contrast are of [0, 1]."""
  made, rs, truth = [], [], []
  for i in range(n):
    r = int(rng.choice(radii))
    mask, centres = scene(rng, styles[i % len(styles)], r, i % 4, KINDS[i % 5])
    c = rng.uniform(0.5, 1) if contrast is None else contrast
    sigma = rng.uniform(0, 0.15) if noise is None else noise
    image = rng.uniform(0, 1 - c * scale) + c * scale * mask[..., None]
    image = image + rng.normal(0, sigma * scale, (64, 64, 3 if colour else 1))
    made.append(np.broadcast_to(image, (64, 64, 3)) * 2 - 1)
    rs.append(r)
    truth.append(centres)
  return np.array(made, np.float32), np.array(rs), truth


def score(found, truth):
  """(share of right numbers, largest distance of a centre where the number is right)."""
  right = found.number == [len(t) for t in truth]
  far = [0.0]
  for i in np.flatnonzero(right):
    got = np.stack([found.x[i], found.y[i]], axis=1)[: found.number[i]]
    far += [np.hypot(*(got - c).T).min() for c in truth[i]]
  return right.mean(), max(far)


@pytest.mark.parametrize(
  'n, scale, colour',
  [(3000, 1.0, False), (1000, 1.0, True), (1500, 0.5, False)],
  ids=['grey noise of [0, 1]', 'coloured noise', 'noise of [-1, 1]'],
)
def test_three_thousand_drawings(n, scale, colour):
  """Radii 2 and 3, 0 … 3 circles, a negative in four of five, noise ≤ .15, contrast ≥ .5."""
  given, r, truth = images(np.random.default_rng(3), n, scale, colour=colour)
  for radius in (2, 3):
    own = np.flatnonzero(r == radius)
    share, far = score(find(given[own], radius), [truth[i] for i in own])
    assert share >= 0.995 and far < 1


@pytest.mark.parametrize('r', [2, 3])
@pytest.mark.parametrize('style', MORE_STYLES)
def test_every_way_to_draw(style, r):
  """As the three thousand, of one style: without noise all of them, with it nearly all."""
  clean, _, truth = images(np.random.default_rng(1), 40, 1.0, 0.0, radii=(r,), styles=(style,))
  share, far = score(find(clean, r), truth)
  assert share == 1 and far < 0.75  # LINE_8 rounds its centres
  given, _, truth = images(np.random.default_rng(2), 200, radii=(r,), styles=(style,))
  share, far = score(find(given, r), truth)
  assert share >= 0.985 and far < 1


@pytest.mark.parametrize('line', [cv2.LINE_8, cv2.LINE_AA])
@pytest.mark.parametrize('r', [2, 3, 4])
def test_a_circle_of_cv2_is_one(line, r):
  canvas = cv2.circle(np.zeros((64, 64), np.uint8), (30, 21), r, 255, -1, line)
  found = find(canvas[None, ..., None], r)
  assert found.number == 1 and found.others == 0
  assert abs(found.x[0, 0] - 30) < 0.1 and abs(found.y[0, 0] - 21) < 0.1


def test_of_an_unknown_radius():
  given, r, truth = images(np.random.default_rng(4), 400)
  found = find(given, (2, 3))
  share, far = score(found, truth)
  assert share >= 0.985 and far < 1
  for radius in (2, 3):
    one = (r == radius) & (found.number == 1)
    assert abs(np.median(found.radius[one, 0]) - radius - 0.5) < 0.3


def test_the_worst_corner():
  """All of the noise with the least contrast, gray: 11 … 15 σ for a disc and 3.3 σ for a pixel."""
  given, r, truth = images(np.random.default_rng(5), 600, noise=0.15, contrast=0.5)
  for radius in (2, 3):
    own = np.flatnonzero(r == radius)
    share, far = score(find(given[own], radius), [truth[i] for i in own])
    assert share >= (0.94, 0.98)[radius - 2] and far < 1


def test_clipped_to_pixels_and_dark_on_bright():
  given, r, truth = images(np.random.default_rng(6), 300, radii=(2,), noise=0.1)
  pixels = np.clip(np.rint((given + 1) * 127.5), 0, 255).astype(np.uint8)
  for x in (pixels, 255 - pixels, -given, given[..., :1], given.astype(np.float64)):
    share, far = score(find(x, 2), truth)
    assert share >= 0.99 and far < 1


@pytest.mark.parametrize('source', [Circles(), Circles(size=32), Circles(radius=3)])
def test_the_data_set_is_read_back_exactly(source):
  rows = [source[i] for i in range(0, len(source), 3)]
  found = find(np.stack([row['image'] for row in rows]), source.radius)
  assert (found.number == 1).all() and not found.others.any()
  assert np.array_equal(found.x[:, 0], [row['x'] for row in rows])
  assert np.array_equal(found.y[:, 0], [row['y'] for row in rows])
  area = {2: 21, 3: 37}[source.radius]
  assert np.allclose(found.radius, np.sqrt(area / np.pi))


def test_the_squares_of_the_data_set_are_none():
  source = Circles(where='uniform', squares=True)
  found = find(np.stack([source[i]['image'] for i in range(3600, 7200, 7)]), 2)
  assert not found.number.any() and (found.others == 1).all()


@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('kind', NEGATIVES)
@pytest.mark.parametrize('r', [2, 3, 4])
def test_clean_negatives_are_other_things(style, kind, r):
  rng = np.random.default_rng(r)
  masks = np.stack([scene(rng, style, r, 0, kind)[0] for _ in range(60)])
  found = find(masks[..., None] * 2 - 1, r)
  assert found.number.sum() <= (1 if style == 'fat/' else 0)
  assert (found.others + found.number >= 1).all()


@pytest.mark.parametrize('r', [2, 3])
def test_clean_squares_of_twice_the_radius_are_no_exact_discs(r):
  y, x = np.mgrid[:64, :64]
  truth = np.random.default_rng(12).uniform(8, 55, (60, 2))
  truth[::2] = np.round(truth[::2])
  sides = [np.clip(r + 0.5 - abs(np.stack([x - a, y - b])), 0, 1).prod(axis=0) for a, b in truth]
  found = find(np.stack(sides)[..., None] * 2 - 1, r)
  assert not found.number.any() and (found.others == 1).all()


def test_shapes_that_nobody_asked_for():
  def drawing(draw):
    canvas = np.zeros((64, 64), np.uint8)
    draw(canvas)
    return canvas

  line = np.add.outer(np.arange(64), np.arange(64))
  things = {
    'bar': drawing(lambda c: cv2.rectangle(c, (10, 20), (14, 50), 255, -1)),
    'ring': drawing(lambda c: cv2.circle(c, (30, 30), 4, 255, 1)),
    'large disc': drawing(lambda c: cv2.circle(c, (30, 30), 9, 255, -1)),
    'ellipse': drawing(lambda c: cv2.ellipse(c, (30, 30), (7, 2), 0, 0, 360, 255, -1)),
    'plus': drawing(
      lambda c: [
        cv2.line(c, (25, 30), (35, 30), 255, 1),
        cv2.line(c, (30, 25), (30, 35), 255, 1),
      ]
    ),
    'half plane': (line > 60).astype(np.uint8) * 255,
    'checks': (line // 4 % 2).astype(np.uint8) * 255,
    'dot': drawing(lambda c: c.__setitem__((30, 30), 255)),
    'slope': np.broadcast_to(np.arange(64) * 4, (64, 64)).astype(np.uint8),
  }
  found = find(np.stack([*things.values()])[..., None], 2)
  assert dict(zip(things, found.number.tolist(), strict=True)) == dict.fromkeys(things, 0)


def test_a_disc_that_leaves_the_image_is_cut():
  """r = 2: whole from x = 2 on, and at 1 a column is missing."""
  masks = np.stack([shape('pil', 64, np.array([x, 30]), 2) for x in range(-2, 6)])
  found = find(masks[..., None] * 2 - 1, 2)
  assert found.number.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_subpixel_centres():
  rng = np.random.default_rng(8)
  truth = rng.uniform(8, 55, (300, 2))
  masks = np.stack([shape('fat/', 64, c, 3) for c in truth])
  found = find(masks[..., None] * 2 - 1, 3)
  assert (found.number == 1).all()
  assert np.abs(np.stack([found.x[:, 0], found.y[:, 0]], axis=1) - truth).max() < 0.2


def test_soft_discs_are_circles_and_soft_squares_are_not():
  """Small models draw softer than what they were trained on."""
  source = Circles(where='uniform', squares=True)
  rows = [source[i] for i in range(0, 7200, 48)]
  rng = np.random.default_rng(11)
  for blur, share in ((0.5, 0.97), (0.7, 0.97), (0.9, 0.95)):
    soft = [cv2.GaussianBlur(r['image'] / 255, (0, 0), blur) * 2 - 1 for r in rows]
    found = find(np.array(soft) + rng.normal(0, 0.04, (len(rows), 64, 64, 3)), 2)
    square = np.array([r['square'] for r in rows])
    assert (found.number[~square] == 1).mean() >= share
    assert not found.number[square].any()


@pytest.mark.parametrize('radius, least', [(2, 2), (2.5, 2), (3, 3)])
def test_templates_of_discs_lie_where_they_say(radius, least):
  bank = templates.bank(radius, least)
  discs = len(bank.places)
  dy, dx = np.nonzero(bank.window) - np.array([[len(bank.window) // 2]])
  assert np.allclose((bank.templates**2).sum(axis=0), 1, atol=1e-5)
  for k in (0, 60, 200, discs - 1, discs - 121, discs - 61):
    x, y, r = bank.places[k]
    shares = bank.templates[:, k] * bank.norms[k]
    inside = np.hypot(dx - x, dy - y) - r
    assert shares[inside < -1].min(initial=1) > 0.6 and shares[inside > 1].max(initial=0) < 0.3
  other = bank.templates[:, discs] * bank.norms[discs]  # a square of half a side of `least`
  far = np.maximum(abs(dx + 0.75), abs(dy + 0.75))
  assert np.allclose(other, np.clip(least + 0.5 - far, 0, 1))


def test_an_image_does_not_depend_on_its_neighbours():
  given, _, _ = images(np.random.default_rng(9), 60, radii=(2,))
  together = find(given, 2)
  for i in (0, 17, 59):
    alone = find(given[i : i + 1], 2)
    n = alone.number[0]
    assert n == together.number[i] and alone.others[0] == together.others[i]
    assert np.allclose(alone.x[0, :n], together.x[i, :n])
  none = find(given[:0], 2)
  assert none.number.shape == (0,) and none.x.shape == (0, 0)


def test_nothing_is_found_in_nothing():
  rng = np.random.default_rng(10)
  for given in (
    np.full((2, 64, 64, 3), 0.3, np.float32),
    np.zeros((2, 1, 1, 3), np.uint8),
    rng.integers(0, 256, (40, 64, 64, 3)).astype(np.uint8),
    rng.normal(0, 1, (40, 64, 64, 1)).clip(-3, 3),
    (rng.normal(0, 0.3, (40, 64, 64, 3)) - 1).clip(-1, 1),
  ):
    assert not find(given, 2).number.any() and not find(given, (2, 3)).number.any()


@pytest.mark.parametrize(
  'radius, contrast, says',
  [(1, 0.15, 'radius'), (6, 0.15, 'radius'), ((3, 2), 0.15, 'radius'), (2, 0, 'contrast')],
)
def test_wrong_parameters(radius, contrast, says):
  with pytest.raises(ValueError, match=says):
    find(np.zeros((1, 8, 8, 3), np.uint8), radius, contrast)


def test_shares_of_the_middle():
  image = Image.new('L', (64 * 5, 64))
  draw = ImageDraw.Draw(image)
  for x, y in ((30, 20), (64 + 5, 20), (128 + 58, 40), (192 + 20, 20), (192 + 40, 20)):
    draw.ellipse([x - 2, y - 2, x + 2, y + 2], fill=255)
  tiles = np.asarray(image).reshape(64, 5, 64).transpose(1, 0, 2)[..., None]
  got = shares(find(tiles, 2), 64)
  assert got._asdict() == {'middle': 0.2, 'sides': 0.4, 'none': 0.2, 'several': 0.2}
  borders = Circles()
  every = find(np.stack([borders[i]['image'] for i in range(0, 1200, 11)]), 2)
  assert shares(every, 64).sides == 1
  assert shares(find(tiles[4:], 2), 64).none == 1
  with pytest.raises(ValueError, match='one image'):
    shares(find(tiles[:0], 2), 64)
