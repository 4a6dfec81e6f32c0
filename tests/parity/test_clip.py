"""CLIP and its tokenizer against transformers, and a TorchScript file of PyTorch itself.

Weights, merges and texts are random: what is compared is the arithmetic.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from zsi_jax.build.clip import clip
from zsi_jax.io import tokens, weights
from zsi_jax.nets.clip import Clip

NET = Clip(
  embed=48, size=32, patch=8, width=128, depth=4, text_width=64, text_depth=3, vocabulary=520,
  length=11,
)  # fmt: skip
X = np.random.default_rng(0).standard_normal((3, 32, 32, 3)).astype(np.float32)
IDS = np.random.default_rng(1).integers(0, 519, (4, 11), np.int32)
IDS[range(4), [3, 10, 1, 6]] = 519


@pytest.fixture(scope='module')
def twin():
  """transformers' model, every number drawn, its text ending where OpenAI's ends."""
  shared = {'hidden_act': 'quick_gelu'}
  config = CLIPConfig(
    projection_dim=48,
    vision_config=shared | {
      'hidden_size': 128, 'intermediate_size': 512, 'num_hidden_layers': 4,
      'num_attention_heads': 2, 'image_size': 32, 'patch_size': 8,
    },
    text_config=shared | {
      'hidden_size': 64, 'intermediate_size': 256, 'num_hidden_layers': 3,
      'num_attention_heads': 1, 'vocab_size': 520, 'max_position_embeddings': 11,
      'bos_token_id': 518, 'eos_token_id': 519, 'pad_token_id': 0,
    },
  )  # fmt: skip
  torch.manual_seed(0)
  net = CLIPModel(config).eval()
  with torch.no_grad():
    for name, p in net.named_parameters():
      spread = p.shape[-1] ** -0.5 if p.ndim == 2 and 'embedding' not in name else 0.2
      p.copy_(spread * torch.randn(p.shape) + (1 if 'norm' in name and p.ndim == 1 else 0))
    net.logit_scale.fill_(2.0)
  return net


@pytest.fixture(scope='module')
def ours(twin, tmp_path_factory):
  path = tmp_path_factory.mktemp('clip') / 'model.safetensors'
  twin.save_pretrained(path.parent)
  return clip(path)


def near(found, want):
  want = want.detach().numpy()
  assert want.std() > 0.05 and want.reshape(len(want), -1).std(0).max() > 0.02
  np.testing.assert_allclose(found, want, rtol=0, atol=1e-4 * want.std())


def test_both_towers_tokens_and_cosines(twin, ours):
  assert ours.net == NET
  x, ids = torch.from_numpy(X).permute(0, 3, 1, 2), torch.from_numpy(IDS).long()
  asked = functools.partial(ours.net.apply, ours.variables)
  with torch.no_grad():
    want = twin(input_ids=ids, pixel_values=x, output_hidden_states=True)
    image = twin.visual_projection(twin.vision_model(x).pooler_output)
    text = twin.text_projection(twin.text_model(ids).pooler_output)
  near(asked(X, method='image'), image)
  near(asked(IDS, method='text'), text)
  near(asked(X, IDS), want.logits_per_image)
  for block in range(4):  # entry 0 is what enters the blocks
    tokens = want.vision_model_output.hidden_states[block + 1][:, 1:]
    near(asked(X, block, method='tokens'), tokens)


class Layer(nn.Module):
  def __init__(self, width, heads, causal):
    super().__init__()
    self.attn = nn.MultiheadAttention(width, heads)
    self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
    self.mlp = nn.Module()
    self.mlp.c_fc, self.mlp.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
    self.attn_mask = torch.full((11, 11), -torch.inf).triu(1) if causal else None

  def forward(self, x):
    h = self.ln_1(x)
    x = x + self.attn(h, h, h, need_weights=False, attn_mask=self.attn_mask)[0]
    h = self.mlp.c_fc(self.ln_2(x))
    return x + self.mlp.c_proj(h * torch.sigmoid(1.702 * h))


def tower(width, depth, causal):
  top = nn.Module()
  top.resblocks = nn.Sequential(*(Layer(width, width // 64, causal) for _ in range(depth)))
  return top


class Published(nn.Module):
  """OpenAI's names, layouts and counts; every parameter drawn."""

  def __init__(self):
    super().__init__()
    self.visual, v = nn.Module(), NET.width
    self.visual.conv1 = nn.Conv2d(3, v, 8, 8, bias=False)
    self.visual.class_embedding = nn.Parameter(torch.empty(v))
    self.visual.positional_embedding = nn.Parameter(torch.empty(17, v))
    self.visual.ln_pre, self.visual.ln_post = nn.LayerNorm(v), nn.LayerNorm(v)
    self.visual.transformer = tower(v, NET.depth, False)
    self.visual.proj = nn.Parameter(torch.empty(v, NET.embed))
    t = NET.text_width
    self.transformer = tower(t, NET.text_depth, True)
    self.token_embedding = nn.Embedding(NET.vocabulary, t)
    self.positional_embedding = nn.Parameter(torch.empty(NET.length, t))
    self.ln_final = nn.LayerNorm(t)
    self.text_projection = nn.Parameter(torch.empty(t, NET.embed))
    self.logit_scale = nn.Parameter(torch.empty(()))
    for name, count in (('input_resolution', 32), ('context_length', 11), ('vocab_size', 520)):
      self.register_buffer(name, torch.tensor(count))
    with torch.no_grad():
      for name, p in self.named_parameters():
        spread = p[0].numel() ** -0.5 if p.ndim > 1 else 0.2
        p.copy_(spread * torch.randn(p.shape) + (1 if '.ln' in name and 'weight' in name else 0))

  def forward(self, x, ids):
    v = self.visual
    h = v.conv1(x).flatten(2).transpose(1, 2)
    h = torch.cat([v.class_embedding.expand(len(x), 1, -1), h], 1) + v.positional_embedding
    h = v.transformer.resblocks(v.ln_pre(h).transpose(0, 1))
    image = v.ln_post(h[0]) @ v.proj
    h = self.token_embedding(ids) + self.positional_embedding
    h = self.ln_final(self.transformer.resblocks(h.transpose(0, 1)).transpose(0, 1))
    text = h[torch.arange(len(ids)), ids.argmax(1)] @ self.text_projection
    return image, text


@pytest.mark.filterwarnings('ignore')  # PyTorch deprecates TorchScript
@pytest.mark.parametrize('kind', ['traced', 'traced in half', 'state dict'])
def test_files_with_published_names(kind, tmp_path):
  torch.manual_seed(0)
  net, path = Published().eval(), tmp_path / 'ViT.pt'
  x, ids = torch.from_numpy(X).permute(0, 3, 1, 2), torch.from_numpy(IDS).long()
  if kind == 'state dict':
    torch.save(net.state_dict(), path)
  else:
    with torch.no_grad():
      traced = torch.jit.trace(net, (x, ids))
      (traced.half() if 'half' in kind else traced).save(path)
  ours = clip(path)
  assert ours.net == NET and ours.name == 'clip-other'
  kept = weights.empty(ours.variables)
  with torch.no_grad():
    (net.half().float() if 'half' in kind else net).eval()
    image, text = net(x, ids)
  for name, p in net.named_parameters():
    np.testing.assert_array_equal(kept[name], p.detach().numpy())
  assert len(kept) == len(list(net.parameters()))
  near(ours.net.apply(ours.variables, X, method='image'), image)
  near(ours.net.apply(ours.variables, IDS, method='text'), text)


LETTERS = list(4 * 'abcdéжi' + 'e1٣²ⅧßЖ中-!?\'"_#🙂 \t\n\u0301\u00a0')


def drawn(seed):
  rng = np.random.default_rng(seed)
  return [''.join(rng.choice(LETTERS, rng.integers(0, 40))) for _ in range(300)]


def learnt(texts, count):
  """The merges of the pair that is most frequent, again and again."""
  split = [[tokens.LETTERS[b] for b in word.encode()]
           for text in texts for word in tokens.words(tokens.cleaned(text))]  # fmt: skip
  split = [[*word[:-1], word[-1] + '</w>'] for word in split]
  merges = []
  while len(merges) < count:
    pairs = collections.Counter(pair for word in split for pair in itertools.pairwise(word))
    merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
    for word in split:
      at = 0
      while at < len(word) - 1:
        if (word[at], word[at + 1]) == merges[-1]:
          word[at : at + 2] = [''.join(merges[-1])]
        at += 1
  return merges


@pytest.fixture(scope='module')
def vocabulary(tmp_path_factory):
  """One vocabulary: read by us from its files, and theirs."""
  merges, folder = learnt(drawn(0), 150), tmp_path_factory.mktemp('vocabulary')
  lines = ['#version: 0.2', *map(' '.join, merges)]
  (folder / 'merges.txt').write_text('\n'.join(lines) + '\n')
  entries = len(tokens.BYTES) + len(merges) + 2
  plain = tokens.read(folder / 'merges.txt', entries)
  (folder / 'vocab.json').write_text(json.dumps(plain.ids))
  return tokens.read(folder, entries), CLIPTokenizer(plain.ids, merges)


def test_the_tokenizer(vocabulary):
  """transformers' resolves no HTML and keeps curly quotes: texts without them."""
  ours, theirs = vocabulary
  texts = [*drawn(1), "It's 12 DON'T we'll", '<|endoftext|>ab<|startoftext|>c', '1!' * 50]
  wanted = theirs(texts)['input_ids']
  for text, want in zip(texts, wanted, strict=True):
    assert [ours.ids[tokens.START], *ours.encode(text), ours.ids[tokens.END]] == want, text
  assert len({i for want in wanted for i in want if 512 <= i < 662}) > 120  # most of the merges
  rows = theirs(texts, padding='max_length', max_length=77, truncation=True)['input_ids']
  assert max(map(len, wanted)) > 77
  for mine, row, want in zip(ours(texts, truncate=True), rows, wanted, strict=True):
    n = min(len(want), 77)
    assert mine[:n].tolist() == row[:n] and not mine[n:].any()


def test_text_after_its_end_does_not_count(ours):
  """transformers fills up with the end, OpenAI with 0: the embeddings are the same."""
  filled = np.where(np.arange(11) > IDS.argmax(1)[:, None], 519, IDS)
  a, b = (ours.net.apply(ours.variables, jnp.asarray(i), method='text') for i in (IDS, filled))
  np.testing.assert_allclose(a, b, atol=1e-6)
