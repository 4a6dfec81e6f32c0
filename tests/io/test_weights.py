"""Names and layouts: golden checkpoints go in and come back bit for bit, misfits do not go in."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from tests.io import made
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.nets import Encoder, Spectral, UNet

GOLDEN = Path(__file__).parents[1] / 'golden'
NETS = {
  'unet': UNet(width=32, mults=(1, 1, 1), blocks=1, attend=(4,), heads=2),
  'unet_cond': UNet(
    width=32, mults=(1, 1), blocks=1, attend=(2,), head_width=16, new_order=True, updown=True,
    labels=3,
  ),
  'encoder': Encoder(size=16, width=64, mults=(1, 1, 1), blocks=1, attend=(4,), classes=10),
}  # fmt: skip
RNG = np.random.default_rng(0)


def abstract(net, size=16):
  cond = (jnp.zeros(1, int),) if getattr(net, 'labels', None) else ()
  x, t = jnp.zeros((1, size, size, 3)), jnp.zeros(1)
  return jax.eval_shape(net.init, jax.random.key(0), x, t, *cond)


def drawn(tree):
  """Numbers for an abstract tree, in the layout of a file."""
  return {k: RNG.normal(size=s.shape).astype('f4') for k, s in weights.slots(tree).items()}


SMALL = UNet(width=32, mults=(1,), blocks=1, attend=())
TREE = abstract(SMALL)
ARRAYS = drawn(TREE)


def refused(arrays, *words: str, tree=TREE) -> str:
  with pytest.raises(WeightsError) as info:
    weights.fill(tree, arrays, file='some/w.pt')
  text = str(info.value)
  for word in ('some/w.pt', *words):
    assert word in text, (word, text)
  return text


def same(found, want):
  assert set(found) == set(want)
  for key in want:
    assert found[key].dtype == want[key].dtype, key
    assert found[key].shape == want[key].shape and found[key].tobytes() == want[key].tobytes(), key


@pytest.mark.parametrize('name', NETS)
def test_golden_checkpoints_round_trip_bit_for_bit(name):
  arrays, _ = weights.read(GOLDEN / f'{name}.pt')
  tree = abstract(NETS[name])
  variables = weights.fill(tree, arrays)
  assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, tree)
  assert jax.tree.structure(variables) == jax.tree.structure(tree)
  same(weights.empty(variables), arrays)
  same(weights.empty(jax.tree.map(jnp.asarray, variables)), arrays)


def test_pt_and_safetensors_hold_the_same():
  found, facts = weights.read(GOLDEN / 'unet.safetensors')
  same(found, weights.read(GOLDEN / 'unet.pt')[0])
  assert facts == {'format': 'safetensors', 'notes': [], 'header': None}


def test_layouts():
  tree = abstract(NETS['encoder'])
  variables = weights.fill(tree, arrays := drawn(tree))['params']
  conv = variables['input_blocks.1.0']['in_layers.2']['kernel']
  assert np.array_equal(conv[2, 0], arrays['input_blocks.1.0.in_layers.2.weight'][:, :, 2, 0].T)
  qkv = variables['input_blocks.5.1']['qkv']['kernel']
  assert np.array_equal(qkv[0], arrays['input_blocks.5.1.qkv.weight'][..., 0].T)
  dense = variables['time_embed.0']['kernel']
  assert np.array_equal(dense, arrays['time_embed.0.weight'].T)
  where = variables['out.2']['positional_embedding']
  assert np.array_equal(where, arrays['out.2.positional_embedding'].T)
  assert all(leaf.flags.c_contiguous and leaf.flags.owndata for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize('how', [Spectral.peer(), Spectral()])
def test_spectral_norm_round_trips(how):
  net = Encoder(size=8, width=32, mults=(1, 2), blocks=1, attend=(), head_width=32, classes=3,
                spectral=how)  # fmt: skip
  tree = abstract(net, size=8)
  arrays = drawn(tree)
  place = 'input_blocks.1.0.in_layers.2.parametrizations.'
  rows = arrays[f'{place}weight.original'].shape
  assert arrays[f'{place}weight.0._u'].shape == rows[:1]
  assert arrays[f'{place}weight.0._v'].shape == (np.prod(rows[1:]),)
  assert ('time_embed.0.parametrizations.weight.original' in arrays) == (how.reading == 'peer')
  assert (f'{place}bias.original' in arrays) == (how.reading == 'peer')
  assert 'out.2.qkv_proj.weight' in arrays and 'out.0.weight' in arrays
  variables = weights.fill(tree, arrays)
  assert jax.tree.structure(variables) == jax.tree.structure(tree)
  kernel = variables['params']['input_blocks.1.0']['in_layers.2']['kernel']
  assert np.array_equal(kernel.transpose(3, 2, 0, 1), arrays[f'{place}weight.original'])
  same(weights.empty(variables), arrays)
  other = Spectral() if how.reading == 'peer' else Spectral.peer()
  swapped, plain = net.clone(spectral=other), net.clone(spectral=None)
  give = f'give spectral={how.reading!r}'
  refused(arrays, 'not in the network', f'the network {other.reading!r}', give,
          tree=abstract(swapped, 8))  # fmt: skip
  refused(arrays, 'the network None', give, tree=abstract(plain, 8))
  refused(drawn(abstract(plain, 8)), 'missing', 'give spectral=None', tree=tree)


def test_misfits_are_named_all_at_once_and_nothing_is_loaded():
  key = 'out.2.weight'
  less = {k: a for k, a in ARRAYS.items() if k != key}
  refused(less, f'1 missing: {key} [6, 32, 3, 3]', 'nothing was loaded')
  refused(ARRAYS | {'x.y': np.zeros(3)}, '1 not in the network: x.y [3]')
  refused(ARRAYS | {key: np.zeros((3, 32, 3, 3))}, key, 'expected [6, 32, 3, 3]',
          'found [3, 32, 3, 3]', "PyTorch's layout")  # fmt: skip
  refused(ARRAYS | {key: np.zeros((3, 3, 32, 6))}, 'expected [6, 32, 3, 3], found [3, 3, 32, 6]')
  text = refused(less | {'x': np.zeros(3), 'out.2.bias': np.zeros(2)}, 'missing', 'not in', 'shape')
  assert text.count('\n') == 4
  assert len(refused({}, f'{len(ARRAYS)} missing', f'and {len(ARRAYS) - 3} more')) < 600


def test_constants_of_a_network_may_be_in_the_file():
  table = np.arange(6.0).reshape(1, 2, 3)
  tree = TREE | {'constants': {'pos_embed': table}}
  assert set(weights.fill(tree, ARRAYS)) == {'params'}
  whole = ARRAYS | {'pos_embed': table.astype('f4')}
  variables = weights.fill(tree, whole)
  assert set(variables) == {'params'}
  assert set(weights.empty(variables | {'constants': tree['constants']})) == set(whole)
  refused(whole, 'not in the network: pos_embed [1, 2, 3]')
  refused(ARRAYS | {'pos_embed': table + 1}, 'pos_embed is a constant', tree=tree)
  refused(ARRAYS | {'pos_embed': table[0]}, 'expected [1, 2, 3]', 'found [2, 3]', tree=tree)


def test_dtypes_and_numbers():
  key = 'out.0.weight'
  for dtype in (np.float16, ml_dtypes.bfloat16, np.float64):
    variables = weights.fill(TREE, ARRAYS | {key: ARRAYS[key].astype(dtype)})
    got = variables['params']['out.0']['scale']
    assert got.dtype == np.float32
    assert np.array_equal(got, ARRAYS[key].astype(dtype).astype('f4'))
  for dtype in (np.int64, np.uint8, bool):
    refused(ARRAYS | {key: np.ones(32, dtype)}, key, np.dtype(dtype).name, 'floats were expected')
  for number in (np.nan, np.inf, -np.inf, 1e300):
    bad = ARRAYS[key].astype('f8')
    bad[3] = number
    refused(ARRAYS | {key: bad}, key, 'NaN or infinite')


def test_the_first_logits():
  arrays = drawn(abstract(NETS['encoder']))
  cut = weights.slice_head(arrays, 2)
  for leaf in ('weight', 'bias'):
    assert np.array_equal(cut[f'out.2.c_proj.{leaf}'], arrays[f'out.2.c_proj.{leaf}'][:2])
  assert all(cut[k] is arrays[k] for k in arrays if 'c_proj' not in k)
  weights.fill(abstract(NETS['encoder'].clone(classes=2)), cut)
  with pytest.raises(WeightsError, match=r'w.pt: classes=11 .* 10 rows'):
    weights.slice_head(arrays, 11, file='w.pt')
  with pytest.raises(WeightsError, match='classes=0'):
    weights.slice_head(arrays, 0)
  with pytest.raises(WeightsError, match="no classifier's weights"):
    weights.slice_head(ARRAYS, 2)
  refused(arrays, 'expected [2, 64, 1], found [10, 64, 1]', 'classes=K',
          tree=abstract(NETS['encoder'].clone(classes=2)))  # fmt: skip


def test_nests_and_prefixes(tmp_path):
  at = made.storage('0', 'f4', 2)
  one, two = made.tensor(at, (1,)), made.tensor(at, (1,), offset=1)

  def read(entries, part=None):
    blocks = {'0': struct.pack('<2f', 1, 2)}
    path = made.save_zip(tmp_path / 'w.pt', made.program(made.table(entries)), blocks)
    arrays, facts = weights.read(path, part)
    return {k: float(a[0]) for k, a in arrays.items()}, facts['notes']

  table = made.table
  assert read({'state_dict': table({'w': one})}) == ({'w': 1}, ["took the part 'state_dict'"])
  assert read({'module.w': one, 'module.b': two}) == (
    {'w': 1, 'b': 2},
    ["removed the prefix 'module.'"],
  )
  assert read({'module.w': one, 'b': two}) == ({'module.w': 1, 'b': 2}, [])
  assert read({'module.model.w': one})[0] == {'w': 1}
  both = {'model': table({'w': one}), 'ema': table({'w': two}), 'step': made.number(3)}
  assert read(both) == ({'w': 2}, ["took the part 'ema', not 'model'"])
  assert read(both, 'model') == ({'w': 1}, ["took the part 'model', not 'ema'"])
  assert read({'opt': table({'w': one})}, 'opt')[0] == {'w': 1}
  assert read({'w': one, 'epoch': made.number(3)}) == (
    {'w': 1},
    ['ignored what is no tensor: epoch'],
  )
  with pytest.raises(WeightsError, match="no part 'best' but the entries model, ema, step"):
    read(both, 'best')
  with pytest.raises(WeightsError, match='no dict of tensors but the entries epoch'):
    read({'epoch': made.number(3)})
  with pytest.raises(WeightsError, match='no dict of tensors but a value of type list'):
    weights.read(made.save_zip(tmp_path / 'w.pt', made.program(b']'), {}))


def test_written_files_read_back(tmp_path):
  path = tmp_path / 'w.safetensors'
  arrays = dict(
    turned=RNG.normal(size=(3, 4)).astype('f4').T,
    half=np.ones(3, ml_dtypes.bfloat16),
    scalar=np.float32(3).reshape(()),
  )
  weights.write(path, arrays, {'architecture': {'mults': (1, 2)}})
  found, facts = weights.read(path)
  same(found, arrays)
  assert facts['header'] == {'architecture': {'mults': [1, 2]}}
  assert os.listdir(tmp_path) == ['w.safetensors']
  before = path.read_bytes()
  with pytest.raises(Exception):  # noqa: B017 - whatever the library raises for a dtype it lacks
    weights.write(path, {'a': np.array(['x'])}, {})
  assert path.read_bytes() == before and os.listdir(tmp_path) == ['w.safetensors']


def test_damaged_safetensors(tmp_path):
  whole = (GOLDEN / 'unet.safetensors').read_bytes()
  path = tmp_path / 'w.safetensors'

  def header(value, data=bytes(8)):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack('<Q', len(text)) + text + data

  ok = {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}
  for bad in (
    whole[:4], whole[:100], whole[:-1], whole + b'x',
    header(b'nonsense'), header(b'{nonsense}'), header([1]), header({'a': 3}),
    header({'a': ok | {'data_offsets': [0, 80]}}), header({'a': ok | {'data_offsets': [8, 0]}}),
    header({'a': ok | {'shape': [3]}}), header({'a': ok, 'b': ok}),
    header({'a': ok | {'dtype': '?'}}),
    header({'a': ok | {'dtype': 'F8_E4M3', 'shape': [8]}}), header({'a': ok}, bytes(4)),
    header({'a': ok, '__metadata__': {'zsi_jax': '{'}}),
    header({'a': ok, '__metadata__': {'zsi_jax': '[]'}}), struct.pack('<Q', 2**60) + b'{}',
  ):  # fmt: skip
    path.write_bytes(bad)
    with pytest.raises(WeightsError, match='w.safetensors: .*[.]$') as info:
      weights.read(path)
    assert 'sha256' in str(info.value)
  path.write_bytes(header({}, b''))
  with pytest.raises(WeightsError, match='holds no tensors'):
    weights.read(path)
  path.write_bytes(header({'a': ok} | {'__metadata__': {}}))
  assert weights.read(path)[0]['a'].tolist() == [0, 0]
  path.write_bytes((GOLDEN / 'unet.pt').read_bytes())  # the content decides, not the name
  assert len(weights.read(path)[0]) == 164
