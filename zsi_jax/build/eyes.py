"""`eyes` of a config: small networks that guide faces, each in copies of which one may judge.

Some persons are held out, the same ones for all kinds and copies, and test what was learned of the
others; of those each copy has records that the other never sees. Where a data set knows no persons,
each record is one.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from zsi_jax.build import checkpoints, data, told, training
from zsi_jax.build.keys import ConfigError, near, plain
from zsi_jax.data import limits
from zsi_jax.data.chance import uniforms
from zsi_jax.data.pipeline import Pipeline
from zsi_jax.data.record import Source, table
from zsi_jax.data.support import everything
from zsi_jax.guide.energies import Eye
from zsi_jax.guide.twins import TwinLoss
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.stamp import stamp
from zsi_jax.nets.twins import SIZES, Embedder, Named, Parser, Pointer, Reader, Tower
from zsi_jax.train.job import Job

FIELDS = {
  'identity': 'person',
  'landmarks': 'landmarks',
  'segmentation': 'mask',
  'text': 'tokens',
  'feeling': 'feeling',
}
NETS: Mapping[str, Any] = {  # by the names that architectures have
  'embedder': Embedder,
  'pointer': Pointer,
  'parser': Parser,
  'reader': Reader,
  'tower': Tower,
}
TOLD = told.TESTED['eyes']
PEOPLE, RECORDS = 4, 5  # streams of chance
MOST = 2_000  # records of a test
NARROW = 16  # channels of a parser, at least


def roles(config: ConfigDict) -> list[str]:
  """'eyes/identity/guide', …: those that the config asks for; none where others are lent."""
  own = config.eyes
  for kind in own.kinds:
    if kind not in FIELDS:
      raise ConfigError(f'eyes.kinds: there is no {kind!r}{near(kind, FIELDS)}')
  for what, names in (('kinds', own.kinds), ('copies', own.copies)):
    if len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
      raise ConfigError(f'eyes.{what} = {names}: distinct names of folders')
  if config.sample.eyes is not None:
    return []
  return [f'eyes/{kind}/{copy}' for kind in own.kinds for copy in own.copies]


def home(config: ConfigDict, workdir: Path) -> Path:
  """The workdir whose eyes look: <home>/eyes/<kind>/<copy> is what `eye` takes."""
  own = config.sample.eyes
  return workdir if own is None else Path(own).expanduser()


class Parts(NamedTuple):
  """Numbers of records, in the order of chance."""

  learn: np.ndarray
  test: np.ndarray


class Plan(NamedTuple):
  """What an eye is made of."""

  kind: str
  source: Source
  parts: Parts
  who: np.ndarray  # the person on each record of the source
  found: dict[str, Any]  # the architecture
  pipeline: Pipeline

  @property
  def field(self) -> str:
    return FIELDS[self.kind]


def planned(config: ConfigDict, role: str, source: Source) -> Plan:
  """A ConfigError where the records are not what this kind learns from."""
  kind = role.split('/')[1]
  known = table(source)
  who = known['person'] if 'person' in known else np.arange(len(source))
  found = architecture(config, kind, source)
  cut = parts(config, role, who)
  learn = np.sort(cut.learn)
  names, label = np.unique(who[learn], return_inverse=True)
  if kind == 'identity':
    found['persons'] = len(names)
  pipeline = Pipeline(
    source,
    batch=data.batch(config, 'eyes'),
    seed=zlib.crc32(f'{config.seed}/{role}'.encode()),
    index=learn,
    label=label if kind == 'identity' else None,
    about=(FIELDS[kind],),
    keep=() if kind == 'identity' else (FIELDS[kind],),
    support=everything(),
    workers=config.data.workers,
  )
  return Plan(kind, source, cut, who, found, pipeline)


def architecture(config: ConfigDict, kind: str, source: Source) -> dict[str, Any]:
  """All that an eye is, as a checkpoint carries it, by the fields of the records."""
  name, fields = FIELDS[kind], source.fields
  height, width, channels = fields['image'].shape
  if height != width or height not in SIZES:
    raise ConfigError(f'eyes: the images are {height} x {width}; eyes have a side of {SIZES}')
  if name not in fields:
    raise ConfigError(
      f'eyes.kinds: the records of {source.name} have no {name!r}, which {kind} learns; '
      'data.source=portraits has'
    )
  field = fields[name]
  wanted: dict[str, tuple[str, bool, dict[str, Any]]] = {
    'identity': ('embedder', field.shape == (), {}),
    'landmarks': ('pointer', field.shape[1:] == (2,), {'points': field.shape[:1]}),
    'segmentation': ('parser', field.shape == (height, width, 1), {'classes': field.high}),
    'text': ('reader', len(field.shape) == 1, {'vocabulary': field.high}),
    'feeling': ('tower', field.shape == (), {'out': field.high}),
  }
  net, fits, more = wanted[kind]
  if not fits or None in more.values():
    raise ConfigError(f'eyes.kinds: {kind} cannot learn from {name!r} of shape {field.shape}')
  count = {k: v[0] if isinstance(v, tuple) else int(v) + 1 for k, v in more.items()}
  width = config.eyes.net.width
  if kind == 'segmentation':  # it works on whole images
    width = max(width // 2, NARROW)
  return {'net': net, 'size': height, 'channels': channels, 'width': width, **count}


def parts(config: ConfigDict, role: str, who: np.ndarray) -> Parts:
  """By chance that depends on the seed, and the number of a person or record, alone."""
  own, who = config.eyes, np.asarray(who)
  limits.real('eyes.holdout', own.holdout, 0, 1)
  _, kind, copy = role.split('/')
  k, n = list(own.copies).index(copy), len(own.copies)
  rank, order = ordered(int(config.seed), who.tobytes(), who.dtype.str)
  people = len(np.unique(who))
  count = round(own.holdout * people)
  held, learners = rank[order] < count, people - count
  first = np.searchsorted(rank[order], rank[order])  # place of each person's first record
  few = np.arange(len(order)) - first < max(2, MOST // max(count, 1))
  found = Parts(order[~held][k::n], order[held & few][:MOST])
  if not all(map(len, found)):
    raise ConfigError(
      f'{role}: {len(who)} records with eyes.holdout = {own.holdout:g} leave {len(found.learn)} '
      f'to learn and {len(found.test)} to test; each needs some'
    )
  shown = len(np.unique(who[found.test]))
  if kind == 'identity' and (
    min(learners, shown) < 2 or len(found.learn) < 2 * learners or len(found.test) == shown
  ):
    raise ConfigError(
      f'{role}: {len(who)} records show {people} persons, of whom {count} are held out: each '
      f'of the {n} copies needs two persons or more and two records or more of each; take other '
      'data.options.people'
    )
  return found


@functools.lru_cache(4)
def ordered(seed: int, who: bytes, dtype: str) -> tuple[np.ndarray, np.ndarray]:
  """(place of each record's person, records in their order), both by chance."""
  people, place = np.unique(np.frombuffer(who, dtype), return_inverse=True)
  rank = np.argsort(np.argsort(chance(seed, people, PEOPLE)))[place]
  return rank, np.lexsort((chance(seed, np.arange(len(place)), RECORDS), rank))


def chance(seed: int, numbers: np.ndarray, stream: int) -> np.ndarray:
  return np.array([uniforms(seed, int(i), 1, stream)[0] for i in numbers])


def network(found: Mapping[str, Any]) -> Any:
  """The module of an architecture that looks; a ValueError where it cannot be."""
  module = NETS[found['net']]
  fields = {f.name for f in dataclasses.fields(module)} - {'parent', 'name'}
  return module(**{k: v for k, v in found.items() if k in fields})


def taught(found: Mapping[str, Any]) -> tuple[Any, Callable[[jax.Array], Any]]:
  """(the module that is trained, key -> its variables): persons have weights that nobody asks."""
  net = network(found)
  net = Named(net, found['persons']) if 'persons' in found else net
  x = jnp.zeros((1, found['size'], found['size'], found['channels']))
  more = (jnp.zeros((1, 1), int),) if found['net'] == 'reader' else ()

  def init(key: jax.Array) -> Any:
    return net.init(key, x, *more)

  jax.eval_shape(init, jax.random.key(0))
  return net, init


def job(config: ConfigDict, role: str, plan: Plan) -> Job:
  """The training of one eye; nothing is allocated."""
  own = config.eyes
  try:
    net, init = taught(plan.found)
    loss = TwinLoss(net, plan.kind, own.blur, own.noise)
    pace = training.paced(own)
  except ValueError as error:
    raise ConfigError(f'eyes: {error}') from None
  return Job(
    role=role,
    init=init,
    loss=loss,
    grid_every=None,
    grid=None,
    batch=data.batch(config, 'eyes'),
    process=None,
    carried={
      'kind': 'eyes',
      'name': role,
      'architecture': plan.found,
      'process': {},
      'config': plain(config),
      'stamp': stamp(plain(config), seeds=config.seed, device=False),
    },
    **pace,
  )


def trained(folder: Path, method: str | None = None) -> tuple[Eye, str]:
  """(what looks, the digest of the weights) of the newest checkpoint in a folder.

  Of text it looks at images, or with method='words' at tokens [B, L]; of segmentation method
  'texture' is what it sees first.
  """
  _, found, variables = checkpoints.read(folder)
  try:
    net = network(found)
  except (KeyError, TypeError) as error:
    raise WeightsError(f'{folder}: its checkpoints are of no eye ({error!r:.200})') from None
  if 'persons' in found:
    variables = {'params': variables['params']['net']}
  how = (method or 'image') if found['net'] == 'reader' else method
  return Eye(variables, net, method=how), found['source']['sha256']


def eye(path: str | Path, method: str | None = None) -> Eye:
  """A finished eye from its folder, workdir/eyes/<kind>/<copy>: of the weights that were tested."""
  folder = Path(path).expanduser()
  said = facts(folder)
  found, digest = trained(folder, method)
  told.same(folder, 'eyes', digest, said)
  return found


def facts(path: str | Path) -> dict[str, Any]:
  """eye.json of a finished eye: its kind, how good it is, the digest of its weights."""
  folder = Path(path).expanduser()
  return told.needed(read(folder), folder, 'eyes')


def read(folder: Path) -> dict[str, Any] | None:
  """eye.json, or None where there is none."""
  return told.read(folder / TOLD, ('kind', 'tested', 'size'))
