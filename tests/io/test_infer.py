"""Architectures are read off names and shapes: what a network has is what is inferred."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest

from tests.io.test_weights import GOLDEN, NETS
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.infer import infer, kind
from zsi_jax.nets import DiT, Encoder, Spectral, UNet

PEER = UNet()
ADM64 = UNet(width=192, attend=(2, 4, 8), head_width=64, new_order=True, updown=True, labels=1000)
ADM256 = UNet(width=256, mults=(1, 1, 2, 2, 4, 4), blocks=2, attend=(8, 16, 32), head_width=64,
              updown=True, labels=1000)  # fmt: skip
ADM512 = UNet(width=256, mults=(0.5, 1, 1, 2, 2, 4, 4), blocks=2, attend=(16, 32, 64),
              head_width=64, updown=True, labels=1000)  # fmt: skip
UNETS = [
  (PEER, 64),
  (UNet(attend=(2, 4, 8)), 64),
  (UNet(mults=(1, 1, 2, 3, 4), attend=(8, 16)), 128),
  (UNet(labels=3, out=3, scale_shift=False), 64),
  (UNet(width=64, mults=(1,), attend=()), None),
  (UNet(width=32, mults=(1, 1, 1), blocks=2, attend=(1, 4), updown=True), None),
  (UNet(width=64, mults=(1.5, 2.5), blocks=1, attend=(), spectral=Spectral.peer()), None),
  (ADM64, 64),
  (ADM256, 256),
  (ADM512, 512),
]
PEER_NORMED = Encoder(width=64, attend=(8,), classes=2, spectral=Spectral.peer())
ENCODERS = [
  Encoder(),
  PEER_NORMED,
  Encoder(width=32, attend=(), head_width=32, blocks=1, spectral=Spectral()),
  Encoder(width=64, attend=(8,)),
  Encoder(width=32, attend=(), head_width=32),
  Encoder(size=128, mults=(1, 1, 2, 3, 4), attend=(4, 8, 16)),
  Encoder(blocks=4),
  Encoder(size=256, mults=(1, 1, 2, 2, 4, 4), attend=(8, 16, 32)),
  Encoder(size=32, mults=(1, 2, 2), attend=(2, 4), updown=False, scale_shift=False, classes=10),
]
SHAPELESS = ('heads', 'head_width', 'new_order', 'dropout', 'spectral', 'remat', 'dtype')


@functools.cache
def shapes(net, size):
  cond = (jnp.zeros(1, int),) if getattr(net, 'labels', None) else ()
  x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  tree = jax.eval_shape(net.init, jax.random.key(0), x, jnp.zeros(1), *cond)
  return weights.slots(tree)


def small(net):
  """A U-Net's shapes do not depend on the image."""
  return 2 ** (len(net.mults) - 1)


def fields(net, but=SHAPELESS):
  own = [f.name for f in dataclasses.fields(net) if f.name not in (*but, 'parent', 'name')]
  return {name: getattr(net, name) for name in own}


def agree(net, found):
  want = fields(net)
  assert {k: found[k] for k in want} == want
  assert found['spectral'] == (net.spectral and net.spectral.reading)
  assert found['channels'] == 3


@pytest.mark.parametrize('net, size', UNETS)
def test_unets(net, size):
  found = infer(shapes(net, small(net)))
  agree(net, found)
  assert found['net'] == 'unet' and found['size'] == size and 'size' in found['assumed']


@pytest.mark.parametrize('net', ENCODERS)
def test_encoders(net):
  found = infer(shapes(net, net.size))
  agree(net, found)
  assert found['net'] == 'encoder' and 'size' not in found['assumed']
  assert ('lipschitz' in found) == (found['spectral'] == 'peer')


@pytest.mark.parametrize('name', ['S/2', 'B/4', 'L/8', 'XL/4'])
@pytest.mark.parametrize('labels', [None, 11])
def test_dits(name, labels):
  net = DiT.variant(name, size=32, labels=labels).clone(depth=2)
  found = infer(shapes(net, 32), size=32)
  assert {k: found[k] for k in fields(net, ('dtype',))} == fields(net, ('dtype',))
  assert found['net'] == kind(shapes(net, 32)) == 'dit' and set(found['assumed']) == {
    'heads',
    'schedule',
    'T',
  }
  table = {'pos_embed': jax.ShapeDtypeStruct((1, (32 // net.patch) ** 2, net.width), 'float32')}
  found = infer(shapes(net, 32) | table)
  assert found['size'] == 32 and 'size' not in found['assumed']


@pytest.mark.parametrize('name', NETS)
def test_golden(name):
  arrays, _ = weights.read(GOLDEN / f'{name}.pt')
  agree(NETS[name], infer(arrays))


@pytest.mark.parametrize(
  'net, schedule, steps',
  [(PEER, 'cosine', 4000), (ADM64, 'cosine', 1000), (ADM256, 'linear', 1000)],
)
def test_what_shapes_cannot_tell_is_as_published_and_listed(net, schedule, steps):
  found = infer(shapes(net, small(net)))
  assert all(found[k] == getattr(net, k) for k in SHAPELESS[:3])
  assert (found['schedule'], found['T']) == (schedule, steps)
  assert set(found['assumed']) == {*SHAPELESS[:5], 'schedule', 'T', 'size'}


def test_options_win_over_the_header_and_the_header_over_defaults():
  keys = shapes(NETS['unet'], 16)
  header = {
    'architecture': {'heads': 2, 'size': 32, 'width': 32, 'mults': [1, 1, 1]},
    'process': {'T': 500},
    'assumed': ['heads'],
  }
  found = infer(keys, header=header, size=16, schedule='linear')
  assert (found['heads'], found['size'], found['T'], found['schedule']) == (2, 16, 500, 'linear')
  with pytest.raises(WeightsError, match='header says width=999, its weights width=32'):
    infer(keys, header={'architecture': {'width': 999}})
  assert set(found['assumed']) == {'heads', 'head_width', 'new_order', 'dropout', 'spectral'}
  assert infer(keys, header={'architecture': 3, 'process': [1], 'assumed': 7})['heads'] == 4
  assert infer(keys, width=32, mults=[1, 1, 1], net='unet', attend=[4])['width'] == 32


@pytest.mark.parametrize(
  'options, words',
  [
    ({'width': 64}, 'width=64 .* width=32'),
    ({'mults': (1, 2)}, r'mults=\(1, 2\) .* mults=\(1, 1, 1\)'),
    ({'attend': (8,)}, r'attend=\(8,\) .* attend=\(4,\)'),
    ({'labels': 3}, 'labels=3 .* labels=None'),
    ({'updown': True}, 'updown=True .* updown=False'),
    ({'net': 'encoder'}, "net='encoder' .* 'unet'"),
    ({'head': 4}, "no option 'head'; there are net, width, .*heads"),
    ({'classes': 4}, "no option 'classes'"),
    ({'heads': 'four'}, "heads='four' is no heads; an example is heads=4"),
    ({'heads': 0}, 'heads=0'),
    ({'heads': True}, 'heads=True'),
    ({'heads': None}, 'heads=None'),
    ({'spectral': 'theirs'}, "spectral='theirs' .* spectral='peer'"),
    ({'schedule': 3}, 'schedule=3'),
    ({'new_order': 1}, 'new_order=1'),
    ({'dropout': float('nan')}, 'dropout=nan'),
    ({'size': 1.5}, 'size=1.5'),
    ({'header': {'process': {'T': 'x'}}}, "T='x'"),
  ],
)
def test_contradictions_name_both(options, words):
  with pytest.raises(WeightsError, match=f'^w.pt: {words}'):
    infer(shapes(NETS['unet'], 16), file='w.pt', **options)


def test_an_encoder_is_not_a_unet():
  with pytest.raises(WeightsError, match="net='unet' was asked.* of 'encoder'"):
    infer(shapes(NETS['encoder'], 16), net='unet')
  with pytest.raises(WeightsError, match="spectral=None was asked.* spectral='peer'"):
    infer(shapes(PEER_NORMED, 64), spectral=None)
  with pytest.raises(WeightsError, match='size=32 was asked.* size=64'):
    infer(shapes(Encoder(), 64), size=32)


def test_levels_that_shapes_leave_open():
  """Six input blocks of one width are 3 × (1 + 1) or 2 × (2 + 1): an option tells."""
  net = Encoder(size=16, width=32, mults=(1, 1, 1), blocks=1, attend=(), head_width=32)
  keys = shapes(net, 16)
  with pytest.raises(WeightsError, match='blocks=1 .* or blocks=2 .* give the option blocks'):
    infer(keys)
  agree(net, infer(keys, blocks=1))
  assert infer(keys, blocks=2)['mults'] == (1, 1)
  assert infer(keys, size=16)['blocks'] == 1
  agree(net, infer(keys, mults=(1, 1, 1)))
  with pytest.raises(WeightsError, match='give the option blocks'):
    infer(keys, blocks=3)


def test_unknown_architectures():
  class A:
    def __init__(self, *shape):
      self.shape = shape

  def refused(keys, *words):
    with pytest.raises(WeightsError) as info:
      infer(keys, file='w.pt')
    for word in ('w.pt', 'unet', 'encoder', 'dit', *words):
      assert word in str(info.value), info.value

  refused(
    {'down_blocks.0.w': A(3), 'b': A(), 'c': A(), 'd': A()}, 'diffusers', 'down_blocks.0.w [3]'
  )
  refused({'conv_stem.weight': A(32, 3, 3, 3)}, 'EfficientNet', 'conv_stem.weight [32, 3, 3, 3]')
  whole = shapes(NETS['encoder'], 16)
  refused({k: a for k, a in whole.items() if 'positional' not in k}, 'another pool than attention')
  refused({k: a for k, a in whole.items() if 'input_blocks.1' not in k}, 'do not form levels')
  more = {f'input_blocks.{i}.1.qkv.weight': A() for i in (1, 4)}
  refused(whole | more, 'do not form levels')
  refused(whole | {'time_embed.0.weight': A(3)}, 'rank')
  refused(whole | {'out.2.positional_embedding': A(64)}, 'rank')
  with pytest.raises(WeightsError, match='11 tokens'):
    infer(whole | {'out.2.positional_embedding': A(64, 12)})
  refused({k: a for k, a in whole.items() if 'c_proj' not in k}, 'out.2.c_proj.weight')
