"""CLIP from the user's files: OpenAI's archives, state dicts by its names, transformers' names.

Nothing is downloaded, nothing in a file is executed; sizes follow from the shapes in it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsi_jax.build.features import Source, coloured, digest_of
from zsi_jax.evaluate.judge import cut
from zsi_jax.guide.views import clip_view
from zsi_jax.io import tokens, weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.nets.clip import VARIANTS, Clip

SHA256 = (  # of OpenAI's files: B/32, B/16, L/14, L/14@336px
  '40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af',
  '5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f',
  'b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836',
  '3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02',
)
COUNTS = 'input_resolution', 'context_length', 'vocab_size'  # beside OpenAI's weights
BATCH = 32
LAYER = re.compile(r'encoder\.layers\.(\d+)\.(.*)')
SPLIT = re.compile(r'(.*)attn\.([qkv])_proj\.(weight|bias)')
NAMES = {  # transformers' -> OpenAI's, without tower and layer
  'embeddings.class_embedding': 'class_embedding',
  'embeddings.patch_embedding.weight': 'conv1.weight',
  'embeddings.position_embedding.weight': 'positional_embedding',
  'embeddings.token_embedding.weight': 'token_embedding.weight',
}
STEMS = {
  'pre_layrnorm': 'ln_pre',
  'post_layernorm': 'ln_post',
  'final_layer_norm': 'ln_final',
  'layer_norm1': 'ln_1',
  'layer_norm2': 'ln_2',
  'self_attn': 'attn',
  'mlp.fc1': 'mlp.c_fc',
  'mlp.fc2': 'mlp.c_proj',
}
WANTED = (
  'give the weights of a whole CLIP with a vision transformer, by the names of OpenAI or of '
  'transformers'
)


@dataclasses.dataclass(frozen=True)
class ClipModel:
  """A network with its weights; `tokenizer` where a vocabulary was given."""

  net: Clip
  variables: Mapping[str, Any]
  source: Source
  tokenizer: tokens.Tokenizer | None = None

  @property
  def name(self) -> str:
    known = (name for name in VARIANTS if Clip.variant(name) == self.net)
    return f'clip-{next(known, "other")}'

  @cached_property
  def _look(self) -> Callable[[np.ndarray], jax.Array]:
    def look(variables: Any, x: jax.Array) -> jax.Array:
      seen = clip_view(x.astype(jnp.float32) / 127.5 - 1, self.net.size)
      return jnp.asarray(self.net.apply(variables, seen, method='image'))

    return partial(jax.jit(look), self.variables)

  def features(self, images: Any) -> np.ndarray:
    """Embeddings of uint8 images [N, H, W, 3], float32 [N, D], not normalised."""
    x = coloured(images, 'CLIP')
    return np.concatenate([np.asarray(self._look(rows))[:n] for rows, n in cut(x, BATCH)])

  @cached_property
  def _embed(self) -> Callable[[np.ndarray], jax.Array]:
    return partial(jax.jit(partial(self.net.apply, method='text')), self.variables)

  def texts(self, prompts: str | Sequence[str], truncate: bool = False) -> np.ndarray:
    """Embeddings of texts, float32 [B, D], not normalised."""
    if self.tokenizer is None:
      raise ValueError(f'texts need a vocabulary: clip(…, vocabulary=…), {tokens.FILE}')
    return np.asarray(self._embed(self.tokenizer(prompts, truncate)))


def clip(path: str | Path, vocabulary: str | Path | None = None) -> ClipModel:
  """From a file of weights, and a vocabulary where texts are asked."""
  path = Path(path).expanduser()
  arrays, _ = weights.read(path)
  arrays = published(arrays, path)
  net = sized(arrays, path)
  tokenizer = tokens.read(vocabulary, net.vocabulary, net.length) if vocabulary else None
  image, ids = jnp.zeros((1, net.size, net.size, 3)), jnp.zeros((1, net.length), int)
  tree = jax.eval_shape(net.init, jax.random.key(0), image, ids)
  variables = weights.fill(tree, arrays, file=path)
  source = Source((str(path),), digest_of(variables), weights.sha256(path) in SHA256)
  return ClipModel(net, variables, source, tokenizer)


def published(arrays: Mapping[str, np.ndarray], file: Path) -> dict[str, np.ndarray]:
  """By OpenAI's names; without counts, masks and position ids, which are no weights."""
  arrays = {
    key: array
    for key, array in arrays.items()
    if key not in COUNTS and not key.endswith(('position_ids', 'attn_mask'))
  }
  if any(key.startswith(('vision_model.', 'text_model.')) for key in arrays):
    _quick(file)
    return _joined({_renamed(key): array for key, array in arrays.items()}, file)
  return arrays


def _renamed(key: str) -> str:
  tower, _, rest = key.partition('.')
  if tower not in ('vision_model', 'text_model'):
    return key
  prefix = 'visual.' if tower == 'vision_model' else ''
  if layer := LAYER.fullmatch(rest):
    prefix, rest = f'{prefix}transformer.resblocks.{layer[1]}.', layer[2]
  if rest in NAMES:
    return prefix + NAMES[rest]
  stem = next((stem for stem in STEMS if rest.startswith(f'{stem}.')), None)
  return prefix + (rest if stem is None else STEMS[stem] + rest.removeprefix(stem))


def _joined(arrays: dict[str, np.ndarray], file: Path) -> dict[str, np.ndarray]:
  """q, k and v as the rows of one projection; the last projections turned."""
  out: dict[str, np.ndarray] = {}
  parts: dict[str, dict[str, np.ndarray]] = {}
  for key, array in arrays.items():
    if match := SPLIT.fullmatch(key):
      parts.setdefault(f'{match[1]}attn.in_proj_{match[3]}', {})[match[2]] = array
    elif key in ('visual_projection.weight', 'text_projection.weight'):
      out[{'v': 'visual.proj', 't': 'text_projection'}[key[0]]] = array.T
    else:
      out[key] = array
  for key, found in parts.items():
    if set(found) != set('qkv') or len({a.shape for a in found.values()}) != 1:
      shapes = {f'{name}_proj': list(a.shape) for name, a in sorted(found.items())}
      raise WeightsError(
        f'{file}: {key} is made of q_proj, k_proj and v_proj of one shape, found {shapes}: {WANTED}'
      )
    out[key] = np.concatenate([found[name] for name in 'qkv'])
  return out


def _quick(file: Path) -> None:
  """The config beside transformers' weights may tell another activation: the shapes do not."""
  config = file.parent / 'config.json'
  if not config.is_file():
    return
  try:
    told = json.loads(config.read_text())
    towers = {name: dict(told.get(name) or {}) for name in ('vision_config', 'text_config')}
  except (ValueError, TypeError, AttributeError) as error:
    raise WeightsError(
      f'{config}: it lies beside {file.name}, and cannot be read: {error}'
    ) from None
  for name, tower in towers.items():
    if (found := tower.get('hidden_act', 'quick_gelu')) != 'quick_gelu':
      raise WeightsError(
        f'{file}: the {name} of {config} tells hidden_act={found!r}, and this CLIP computes '
        'quick_gelu: give weights of OpenAI'
      )


def sized(arrays: Mapping[str, np.ndarray], file: Path) -> Clip:
  """The network whose arrays these are, by their shapes; heads have 64 channels in every CLIP."""
  if any(key.startswith('visual.layer1.') for key in arrays):
    raise WeightsError(f'{file}: the image tower is a ResNet; {WANTED}')

  def shape(key: str, rank: int) -> tuple[int, ...]:
    if key not in arrays:
      raise WeightsError(f'{file}: there is no {key} (it has {weights.first(arrays)}); {WANTED}')
    if arrays[key].ndim != rank:
      raise WeightsError(
        f'{file}: {key} has the shape {list(arrays[key].shape)}, not one of {rank} sides; {WANTED}'
      )
    return arrays[key].shape

  def depth(tower: str) -> int:
    found = {
      int(match[1])
      for key in arrays
      if (match := re.match(rf'{tower}transformer\.resblocks\.(\d+)\.', key))
    }
    return max(found, default=-1) + 1

  width, _, patch, _ = shape('visual.conv1.weight', 4)
  places, _ = shape('visual.positional_embedding', 2)  # of the class and a square of patches
  embed = shape('visual.proj', 2)[1]
  vocabulary, text_width = shape('token_embedding.weight', 2)
  length, _ = shape('positional_embedding', 2)
  grid = math.isqrt(max(places - 1, 0))
  if grid**2 + 1 != places or width % 64 or text_width % 64:
    raise WeightsError(
      f'{file}: {places} positions in an image, widths {width} and {text_width}: expected a square '
      f'and one, and multiples of 64; {WANTED}'
    )
  return Clip(
    embed=embed, size=grid * patch, patch=patch, width=width, depth=depth(r'visual\.'),
    text_width=text_width, text_depth=depth(''), vocabulary=vocabulary, length=length,
  )  # fmt: skip
