"""Feature networks of others from the user's files: Inception (FID, KID) and LPIPS (diversity).

Nothing is downloaded and nothing stands in for a missing file: without one there is no such metric.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.evaluate import given
from zsi_jax.evaluate.errors import MetricError
from zsi_jax.evaluate.judge import cut
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.nets.inception import Inception
from zsi_jax.nets.perceptual import ALEX, LPIPS, TRUNKS, VGG

NAMES = 'pt_inception-2015-12-05-6726825d.pth', 'weights-inception-2015-12-05-6726825d.pth'
BYTES = 95_628_359
SHA256 = '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2'
VARIABLE, ROOM = 'ZSI_INCEPTION_WEIGHTS', 'ZSI_WEIGHTS_DIR'
LPIPS_VARIABLE = 'ZSI_LPIPS_WEIGHTS'
LPIPS_SHA256 = (  # torchvision's trunks, as their names tell it, and the heads of version 0.1
  '7be5be79',
  '397923af',
  'df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0',
  'a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868',
)
BATCH = 32


@dataclasses.dataclass(frozen=True)
class Source:
  """Where weights come from; `digest` is of the numbers, however they were packed."""

  files: tuple[str, ...]
  digest: str
  verified: bool

  def __str__(self) -> str:
    return self.digest[:16] + ('' if self.verified else ' unverified')


@dataclasses.dataclass(frozen=True)
class Extractor:
  """`features` of Inception; its `name` and `source` belong into the protocol."""

  net: Inception
  variables: Mapping[str, Any]
  source: Source
  batch: int = BATCH

  @property
  def name(self) -> str:
    return 'inception' + ('' if self.net.variant == 'tf1' else f'-{self.net.variant}')

  @cached_property
  def apply(self) -> Callable[[np.ndarray], Any]:
    def pooled(variables: Any, x: jax.Array) -> Any:
      out: Any = self.net.apply(variables, x)
      return out.pooled

    return partial(jax.jit(pooled), jax.device_put(self.variables))

  def features(self, images: Any) -> np.ndarray:
    """uint8 [N, H, W, 3] -> float32 [N, 2048], in batches of one size."""
    x = coloured(images, 'Inception')
    return np.concatenate([
      np.asarray(self.apply(part))[:n] for part, n in cut(x, self.batch)
    ])  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Perceptual:
  """LPIPS of pairs of images: what `diversity.mean_lpips` asks."""

  net: LPIPS
  variables: Mapping[str, Any]
  source: Source
  batch: int = BATCH

  @property
  def name(self) -> str:
    return f'lpips-{self.net.trunk}'

  @cached_property
  def apply(self) -> Callable[[np.ndarray], Any]:
    def apart(variables: Any, pair: jax.Array) -> Any:
      x, y = jnp.moveaxis(pair.astype(jnp.float32) / 127.5 - 1, 1, 0)
      return self.net.apply(variables, x, y)

    return partial(jax.jit(apart), jax.device_put(self.variables))

  def __call__(self, x: Any, y: Any) -> np.ndarray:
    """uint8 [N, H, W, 3] twice -> float32 [N]."""
    x, y = coloured(x, 'LPIPS'), coloured(y, 'LPIPS')
    if x.shape != y.shape:
      raise MetricError(f'LPIPS compares images one by one, not {x.shape} with {y.shape}')
    least = TRUNKS[self.net.trunk][2]
    if min(x.shape[1:3]) < least:
      raise MetricError(f'{self.name} takes images of {least} pixels or more, not {x.shape[1:3]}')
    pairs = np.stack([x, y], axis=1)
    return np.concatenate([
      np.asarray(self.apply(part))[:n] for part, n in cut(pairs, self.batch)
    ])  # fmt: skip


def inception(
  path: str | Path | None = None, *, variant: str = 'tf1', allow_unverified: bool = False
) -> Extractor:
  """From a file: the one named, $ZSI_INCEPTION_WEIGHTS, or what lies in the torch-hub cache."""
  found = inception_file(path)
  digest = _verified(found, allow_unverified)
  arrays, _ = weights.read(found)
  arrays = {k: a for k, a in arrays.items() if not k.endswith('.num_batches_tracked')}
  net = Inception(variant)
  tree = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3), jnp.uint8))
  variables = weights.fill(tree, arrays, file=found)
  return Extractor(net, variables, Source((str(found),), digest_of(variables), digest == SHA256))


def inception_file(path: str | Path | None = None) -> Path:
  """The file that `inception` would read; quick, so that its absence is said before sampling."""
  named = _named(path, VARIABLE)
  places = [named] if named else list(_usual())
  file = next((place.path for place in places if place.path.is_file()), None)
  if file is None:
    raise _missing(places)
  return file


class Place(NamedTuple):
  path: Path
  why: str


def _named(path: str | Path | None, variable: str) -> Place | None:
  """The one place that a user has named: no other is looked at."""
  if path is not None:
    return Place(Path(path).expanduser(), 'named by the config')
  value = os.environ.get(variable)
  return Place(Path(value).expanduser(), f'named by ${variable}') if value else None


def _usual() -> Iterator[Place]:
  if room := os.environ.get(ROOM):
    yield Place(Path(room).expanduser() / NAMES[0], f'${ROOM}')
  cache = os.environ.get('TORCH_HOME') or Path(
    os.environ.get('XDG_CACHE_HOME') or '~/.cache', 'torch'
  )
  for name in NAMES:
    path = Path(cache, 'hub', 'checkpoints', name).expanduser()
    yield Place(path, "torch hub's cache")


def _missing(places: Sequence[Place]) -> WeightsError:
  looked = '; '.join(f'{place.path} ({place.why})' for place in places)
  return WeightsError(
    f'FID and KID need the Inception weights {NAMES[0]} ({BYTES:,} bytes, sha256 {SHA256}); looked '
    f'for: {looked}. Nothing is downloaded: put the file that pytorch-fid or torch-fidelity uses '
    f'there, or name it by the config or ${VARIABLE}; or ask for no FID.'
  )


def _verified(file: Path, allow: bool) -> str:
  digest = weights.sha256(file)
  if digest != SHA256 and not allow:
    raise WeightsError(
      f'{file}: not the Inception weights of FID: expected {BYTES:,} bytes, sha256 {SHA256}; found '
      f'{file.stat().st_size:,} bytes, sha256 {digest}. Copy the right file again; other weights '
      'are taken by allow_unverified=True, and what they measure is stamped "unverified".'
    )
  return digest


def lpips(path: str | Path | Sequence[str | Path] | None = None) -> Perceptual:
  """From a trunk and its heads: two files, or one of the whole; else $ZSI_LPIPS_WEIGHTS.

  Several files in one string are joined by `os.pathsep`. The trunk is that of the file.
  """
  told = path or os.environ.get(LPIPS_VARIABLE)
  if not told:
    raise WeightsError(
      "LPIPS needs a trunk (torchvision's AlexNet or VGG16) and the heads of the lpips package "
      f'(weights/v0.1/alex.pth or vgg.pth). Nothing is downloaded: name both files as '
      f'trunk.pth{os.pathsep}alex.pth, or one of all weights, by the config or ${LPIPS_VARIABLE}.'
    )
  files = told.split(os.pathsep) if isinstance(told, str) else told
  paths = [Path(f).expanduser() for f in ([files] if isinstance(files, Path) else files)]
  arrays: dict[str, np.ndarray] = {}
  for file in paths:
    more = _published(weights.read(file)[0])
    if twice := sorted(set(arrays) & set(more)):
      raise WeightsError(f'{file}: {weights.first(twice)} stand in another of the files, too')
    arrays |= more
  shown = ', '.join(map(str, paths))
  for part, what in (
    ('net.', 'trunk (AlexNet or VGG16)'),
    ('lin', 'heads (lin0.model.1.weight, …)'),
  ):
    if not any(key.startswith(part) for key in arrays):
      raise WeightsError(f'{shown}: there is no {what}; name the file that has it beside this one')
  net = LPIPS('vgg' if 'net.slice1.2.weight' in arrays else 'alex')
  image = jnp.zeros((1, 32, 32, 3))
  tree = dict(jax.eval_shape(net.init, jax.random.key(0), image, image))
  known = (str.startswith(weights.sha256(f), LPIPS_SHA256) for f in paths)
  variables = weights.fill(tree | {'constants': net.constants()}, arrays, file=shown)
  source = Source(tuple(map(str, paths)), digest_of(variables), all(known))
  return Perceptual(net, variables, source)


def _published(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """By the names of the lpips package: torchvision numbers the layers of a trunk alone."""
  vgg = 'features.2.weight' in arrays
  parts = {layer[1]: layer[0] for layer in (VGG if vgg else ALEX) if layer is not None}
  found = {}
  for key, array in arrays.items():
    if key.startswith(('classifier.', 'lins.')):  # not of the trunk; the heads once more
      continue
    if match := re.fullmatch(r'features\.(\d+)\.(weight|bias)', key):
      key = f'net.slice{parts.get(int(match[1]), 0)}.{match[1]}.{match[2]}'
    found[key] = array
  return found


def digest_of(variables: Mapping[str, Any]) -> str:
  """sha256 of names, shapes and numbers."""
  total = hashlib.sha256()
  for key, array in sorted(weights.empty(variables).items()):
    total.update(f'{key} {array.shape} '.encode())
    total.update(array.tobytes())
  return total.hexdigest()


def coloured(images: Any, what: str) -> np.ndarray:
  found = given.images(images)
  if found.shape[3] != 3:
    raise MetricError(f'{what} takes images of three channels, not {list(found.shape)}')
  return found
