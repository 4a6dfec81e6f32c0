"""What PyTorch saves and what is read without it are the same bits, in both of its formats."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import torch

from tests.io import made
from zsi_jax.io import weights
from zsi_jax.io.convert import convert
from zsi_jax.io.errors import WeightsError

FORMS = {
  'zip': {},
  'stream': {'_use_new_zipfile_serialization': False},
  'protocol 4': {'pickle_protocol': 4},
}


def save(value, path, form):
  torch.save(value, path, **FORMS[form])
  return path


def bits(tensor):
  tensor = tensor.detach().contiguous()
  if tensor.dtype == torch.bfloat16:
    tensor = tensor.view(torch.int16)
  return tuple(tensor.shape), tensor.numpy().tobytes()


def tensors():
  torch.manual_seed(0)
  base = torch.randn(6, 8)
  return {
    'plain': torch.randn(3, 4, 2),
    'base': base,
    'row': base[2],
    'block': base[1:4, 2:7],
    'turned': base.T,
    'every second': base[::2, 1::3],
    'permuted': torch.randn(2, 3, 4, 5).permute(3, 1, 0, 2),
    'last': torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    'expanded': torch.randn(3, 1).expand(3, 5),
    'scalar': torch.tensor(2.5),
    'empty': torch.zeros(0, 3),
    'parameter': torch.nn.Parameter(torch.randn(3)),
    'frozen': torch.nn.Parameter(base[4], requires_grad=False),
    'half': torch.randn(5).half(),
    'bfloat16': torch.randn(5, 2).bfloat16().T,
    'double': torch.randn(4).double(),
    'long': torch.arange(4),
    'int': torch.arange(3, dtype=torch.int32),
    'short': torch.arange(3, dtype=torch.int16),
    'char': torch.arange(-2, 2, dtype=torch.int8),
    'byte': torch.arange(250, 255, dtype=torch.uint8),
    'bool': torch.tensor([True, False]),
  }


@pytest.mark.parametrize('form', FORMS)
def test_every_kind_of_tensor(tmp_path, form):
  want = tensors()
  found, facts = weights.read(save(want, tmp_path / 'w.pt', form))
  assert list(found) == list(want) and facts['notes'] == []
  for name, tensor in want.items():
    assert (found[name].shape, found[name].tobytes()) == bits(tensor), name
    assert str(found[name].dtype) == str(tensor.dtype).removeprefix('torch.'), name


@pytest.mark.parametrize('form', FORMS)
def test_a_module_and_its_optimizer(tmp_path, form):
  net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.GroupNorm(4, 8))
  net = torch.nn.DataParallel(net)
  optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
  net(torch.randn(1, 3, 5, 5)).sum().backward()
  optimizer.step()
  whole = {
    'state_dict': net.state_dict(),
    'opt': optimizer.state_dict(),
    'step': 3,
    'shape': torch.Size([2]),
  }
  found, facts = weights.read(save(whole, tmp_path / 'w.ckpt', form))
  want = net.module.state_dict()
  assert list(found) == list(want)
  assert all((found[k].shape, found[k].tobytes()) == bits(want[k]) for k in want)
  assert facts['notes'] == ["took the part 'state_dict'", "removed the prefix 'module.'"]


@pytest.mark.parametrize('form', FORMS)
def test_the_same_storage_is_read_once(tmp_path, form):
  base = torch.randn(1000)
  found, _ = weights.read(save({'a': base, 'b': base[10:], 'c': base}, tmp_path / 'w.pt', form))
  assert np.shares_memory(found['a'], found['b']) and np.shares_memory(found['a'], found['c'])


@pytest.mark.parametrize('form', FORMS)
def test_a_whole_module_is_refused(tmp_path, form):
  path = save(torch.nn.Linear(2, 2), tmp_path / 'w.pt', form)
  with pytest.raises(WeightsError, match='torch.nn.modules.linear.Linear.*Nothing was executed'):
    weights.read(path)


def test_big_endian(tmp_path):
  arrays = {'a': np.linspace(0, 1, 7).astype('>f4'), 'b': np.ones((2, 3), '>f4')}
  path = made.save_zip(tmp_path / 'w.pt', *made.plain(arrays), order=b'big')
  want, found = torch.load(path, weights_only=True), weights.read(path)[0]
  assert list(want) == list(found)
  assert all(
    np.array_equal(found[k], t.numpy()) and np.array_equal(found[k], arrays[k])
    for k, t in want.items()
  )


def test_pytorch_reads_the_hand_made_streams(tmp_path):
  """What the other tests assemble by hand is what PyTorch means."""
  view = b'(' + made.word('part') + made.number(2) + made.number(6) + b't'
  entries = {'w': made.tensor(made.storage('0', 'f4', 10, view), (2, 3))}
  blocks = {'0': np.arange(10, dtype='f4').tobytes()}
  path = made.save_stream(tmp_path / 'w.pt', made.program(made.table(entries)), blocks, {'0': 4})
  want, found = torch.load(path, weights_only=True)['w'], weights.read(path)[0]['w']
  assert np.array_equal(want.numpy(), found)


def test_spectral_norm_of_pytorch_has_the_names_of_the_paper_s_reading(tmp_path):
  layer = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Conv2d(3, 4, 3))
  found, _ = weights.read(save(layer.state_dict(), tmp_path / 'w.pt', 'zip'))
  assert set(found) == {
    'bias',
    *(f'parametrizations.weight.{k}' for k in ('original', '0._u', '0._v')),
  }
  assert weights.reading(f'x.{key}' for key in found) == 'paper'
  tree = {
    'params': {'x': {'kernel': np.zeros((3, 3, 3, 4)), 'bias': np.zeros(4)}},
    'spectral': {'x': {'u': np.zeros(4), 'v': np.zeros(27)}},
  }
  variables = weights.fill(tree, {f'x.{k}': a for k, a in found.items()})
  sigma = variables['spectral']['x']['u'] @ np.einsum(
    'hwio,ihw->o',
    variables['params']['x']['kernel'],
    variables['spectral']['x']['v'].reshape(3, 3, 3),
  )
  kernel = variables['params']['x']['kernel'].transpose(3, 2, 0, 1) / sigma
  layer.eval()
  assert np.allclose(kernel, layer.weight.detach().numpy(), rtol=1e-5)


def test_pytorch_reads_what_is_written(tmp_path):
  from safetensors.torch import load_file

  want = collections.OrderedDict((f'input_blocks.{k}', t) for k, t in tensors().items())
  found, _ = weights.read(save(want, tmp_path / 'w.pt', 'zip'))
  weights.write(tmp_path / 'w.safetensors', found, {})
  again = load_file(tmp_path / 'w.safetensors')
  assert set(again) == set(want)
  for key, tensor in want.items():
    assert again[key].dtype == tensor.dtype and bits(again[key]) == bits(tensor)


def test_the_golden_checkpoint_for_pytorch(tmp_path):
  from pathlib import Path

  from safetensors.torch import load_file

  src = Path(__file__).parents[1] / 'golden' / 'unet.pt'
  convert(src, tmp_path / 'unet.safetensors', size=16, heads=2)
  want, got = torch.load(src, weights_only=True), load_file(tmp_path / 'unet.safetensors')
  assert set(want) == set(got) and all(torch.equal(want[k], got[k]) for k in want)
