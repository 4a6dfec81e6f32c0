"""Names to networks and models: what a weights file says, and the classes it stands for."""

from __future__ import annotations

import dataclasses
import functools
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from zsi_jax.build import checkpoints
from zsi_jax.build.keys import near
from zsi_jax.core import (
  Classifier,
  Denoiser,
  Process,
  cosine,
  linear,
  sample,
  sample_by,
  scaled_linear,
)
from zsi_jax.io import convert as conversion
from zsi_jax.io import weights
from zsi_jax.io.errors import WeightsError
from zsi_jax.io.images import grid
from zsi_jax.io.infer import infer, kind
from zsi_jax.nets import DDPM, DiT, Encoder, Spectral, UNet, collect

NETS: dict[str, Any] = {'unet': UNet, 'encoder': Encoder, 'dit': DiT, 'ddpm': DDPM}
SCHEDULES: dict[str, Callable[[int], np.ndarray]] = {
  'cosine': cosine,
  'linear': linear,
  'scaled_linear': scaled_linear,
}
DTYPES = 'float32', 'bfloat16', 'float16'
STEPS = 250  # what the papers sample with
SHIPPED = Path(__file__).parents[1] / 'weights'  # a folder for each model that comes with us


@dataclasses.dataclass(frozen=True, repr=False)
class Model:
  """What a notebook draws with: `sample(keys, m.process, m.denoiser, guidance, shape=m.shape)`."""

  denoiser: Denoiser | None
  classifier: dict[str, Classifier]
  process: Process
  shape: tuple[int, int, int]
  config: dict[str, Any]  # by part: its architecture, process and source

  def __repr__(self) -> str:
    parts = ', '.join(f'{k}: {v.net.classes} classes' for k, v in self.classifier.items())
    return f'Model({self.denoiser}, classifier={{{parts}}}, {self.process}, shape={self.shape})'


def keys(seed: Any, n: int, first: Any = 0) -> jax.Array:
  """n typed keys, one for each example from the `first` on; keys(seed, m) begins keys(seed, n)."""
  return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), first + jnp.arange(n))


def betas(schedule: str, T: int) -> np.ndarray:
  if schedule not in SCHEDULES:
    raise ValueError(f'schedule is one of {tuple(SCHEDULES)}, not {schedule!r}')
  return SCHEDULES[schedule](T)


def network(found: Mapping[str, Any]) -> Any:
  """The module of an inferred architecture."""
  module = NETS[found['net']]
  fields = {f.name for f in dataclasses.fields(module)} - {'parent', 'name'}
  given = {k: v for k, v in found.items() if k in fields}
  given |= {'dtype': jnp.dtype(given['dtype'])} if 'dtype' in given else {}
  match found.get('spectral'):
    case 'peer':
      given['spectral'] = Spectral.peer(found.get('lipschitz', 0.5))
    case 'paper':
      given['spectral'] = Spectral()
  return module(**given)


def side(found: Mapping[str, Any]) -> tuple[int, int, int]:
  """(H, W, C) of the images of an architecture."""
  if not found.get('size'):
    raise WeightsError(
      f'the image size of a {found["net"]} with mults={found["mults"]} is not known: say size=64'
    )
  return found['size'], found['size'], found.get('channels', 3)


def abstract(found: Mapping[str, Any]) -> Any:
  """Shapes of an architecture's variables, and its constants; nothing is allocated."""
  try:
    return shapes(found)
  except WeightsError:
    raise
  except (ValueError, TypeError) as error:
    raise WeightsError(f'these weights and options make no {found["net"]}: {error}') from None


def shapes(found: Mapping[str, Any]) -> Any:
  betas(*chain(found))
  net = network(found)
  step = 2 ** (len(found.get('mults', ())) - 1) if found['net'] != 'dit' else found['patch']
  if found.get('size') and found['size'] % step:
    raise WeightsError(f'size={found["size"]} is no multiple of {step}, as this network needs')
  # A U-Net has the same weights at any size; the smallest one is quick to trace.
  size = step if found['net'] in ('unet', 'ddpm') else found['size']
  image = jax.ShapeDtypeStruct((1, size, size, found.get('channels', 3)), jnp.float32)
  t = jax.ShapeDtypeStruct((1,), jnp.float32)
  cond = (jax.ShapeDtypeStruct((1,), int),) if found.get('labels') else ()
  tree = dict(jax.eval_shape(net.init, jax.random.key(0), image, t, *cond))
  return tree | ({'constants': net.constants()} if hasattr(net, 'constants') else {})


def convert(src: str | Path, dst: str | Path, *, force: bool = False, **options: Any) -> str:
  """Weights from PyTorch, or a network of a workdir, to safetensors that know their network.

  Returns what their header says, to read.
  """
  src = Path(src).expanduser()
  if src.is_dir():
    return exported(src, Path(dst), force, **options)
  if taken := {'check', 'file', 'header', 'arrays'} & set(options):
    raise WeightsError(f'{taken.pop()!r} is no option: heads, T, schedule, size, classes, ... are')
  told = conversion.convert(src, dst, force=force, check=abstract, **options)
  lines = [f'{dst}: {told["kind"]}']
  lines += [f'  {k} = {v}' for k, v in (told['architecture'] | told['process']).items()]
  if told['assumed']:
    assumed = ', '.join(told['assumed'])
    lines.append(f'  assumed, since no weight tells: {assumed} (say key=value to change one)')
  return '\n'.join([*lines, *(f'  note: {note}' for note in told['notes'])])


def exported(src: Path, dst: Path, force: bool, dtype: str | None = None, **options: Any) -> str:
  """The newest checkpoint of workdir/<role> as weights with published names; `dtype` narrows."""
  if options:
    raise WeightsError(
      f'{src}: {next(iter(options))} is no option here, where checkpoints tell all of the network: '
      f'dtype is, one of {", ".join(DTYPES)}'
    )
  if dtype not in (None, *DTYPES):
    raise WeightsError(f'dtype={dtype!r} is none of {", ".join(DTYPES)}')
  found_here = checkpoints.roles(src)
  if len(found_here) != 1:
    roles = ' and '.join(f.name for f in found_here) or 'no checkpoints'
    raise WeightsError(f'{src}: it has {roles}; name one network, such as {src / "denoiser"}')
  conversion.writable(src, dst, force)
  _, found, variables = checkpoints.read(found_here[0])
  told, source = found.pop('trained'), found.pop('source')
  header = {key: told[key] for key in ('kind', 'name', 'architecture', 'process', 'config')}
  header |= {'assumed': [], 'notes': [], 'source': source, 'stamp': told['stamp']}
  weights.write(dst, weights.empty(checkpoints.arrays(variables, dtype)), header)
  return f'{dst}: {told["kind"]} {told["name"]}, step {source["step"]}, {dst.stat().st_size} bytes'


def load(
  *paths: str | Path, steps: int | None = None, null: int | None = None, **options: Any
) -> Model:
  """A denoiser and any number of classifiers: weights files, a folder of them, or a workdir.

  `load('circles32')` is a model that is shipped. A classifier is called by the name of its file, or
  as its config says. `options` (heads, T, schedule, classes, size, ...)
  say what a PyTorch file cannot, or change what may be changed (dtype); each goes to the files that
  know it. `null` is the label row of "no condition".
  """
  if not paths:
    raise ValueError("load needs a weights file: zsi.load('unet.safetensors', 'smile.safetensors')")
  return assemble(parts(paths, options), steps, null)


Part = tuple[dict[str, Any], Any, Path]  # architecture, variables, where they lie


def parts(paths: Sequence[str | Path], options: Mapping[str, Any]) -> dict[str, Part]:
  """The networks of files, folders of files, workdirs and shipped models, by name."""
  found: dict[str, Part] = {}
  unknown, files = set(options), []
  for place in map(place_of, paths):
    if not place.exists() and place.name == str(place) and not place.suffix:
      shipped = sorted(p.name for p in SHIPPED.iterdir() if p.is_dir())
      raise WeightsError(
        f'{place}: there is no such file in {Path.cwd()}, and no model is shipped by that name'
        f'{near(place.name, shipped)}'
      )
    for file in checkpoints.roles(place) or listed(place):
      files.append(file)
      if file.is_dir():
        name, architecture, variables = checkpoints.read(file)
      else:
        architecture, variables, used = read(file, options)
        unknown -= used
        name = 'denoiser' if architecture['net'] != 'encoder' else file.stem
      if name in found:
        raise WeightsError(
          f'{file}: there is a {name} already, from {found[name][2]}; load one at a time'
        )
      found[name] = architecture, variables, file
  if unknown:
    names = [file.name for file in files]
    raise ValueError(f'no file of {names} knows the option {sorted(unknown)[0]!r}')
  return found


def place_of(path: str | Path) -> Path:
  """The path, or the folder of a model that is shipped under this name."""
  place = Path(path).expanduser()
  if not place.exists() and not place.suffix and (SHIPPED / str(path)).is_dir():
    return SHIPPED / str(path)
  return place


def assemble(parts: Mapping[str, Any], steps: int | None, null: int | None) -> Model:
  """A model whose parts share their process and image shape; the denoiser, if any, says which."""
  found, _, file = parts.get('denoiser') or next(iter(parts.values()))
  denoiser, classifiers = None, {}
  for name, (own, variables, other) in parts.items():
    for what, of in {'process': chain, 'image shape': side}.items():
      if of(found) != of(own):
        raise WeightsError(
          f'{file} has {what} {of(found)}, {other} has {of(own)}: they cannot guide each other'
        )
    if name == 'denoiser':
      labels = own.get('labels') or 0
      if null is not None and not 0 <= null < labels:
        raise WeightsError(f'{other} has {labels} label rows: null={null} is none of them')
      guessed = 'learned' if own['out'] == 2 * side(own)[2] else 'small'
      denoiser = Denoiser(
        variables,
        network(own),
        own.get('null') if null is None else null,
        predicts=own.get('predicts', 'eps'),
        variance=own.get('variance', guessed),
      )
    else:
      net = network(own)
      classifiers[name] = Classifier(variables, np.zeros(net.classes), net, name=name)
  schedule, T = chain(found)
  process = Process.make(betas(schedule, T), min(STEPS, T) if steps is None else steps)
  config = {
    name: {'source': {'sha256': weights.sha256(other)}, **own, 'file': other.name}
    if other.is_file()
    else {**own, 'file': other.name}
    for name, (own, _, other) in parts.items()
  }
  return Model(denoiser, classifiers, process, side(found), config)


def chain(found: Mapping[str, Any]) -> tuple[str, int]:
  return found['schedule'], found['T']


def read(file: Path, options: Mapping[str, Any]) -> tuple[dict[str, Any], Any, set[str]]:
  """(architecture, variables, the options that this file knows)."""
  arrays, facts = weights.read(file)
  header = facts['header']
  fields = {f.name for f in dataclasses.fields(NETS[kind(arrays, file=file)])}
  fields |= {'net', 'schedule', 'T', 'size', 'lipschitz'}
  known = {k: v for k, v in options.items() if k in fields}
  if (K := known.pop('classes', None)) is not None:
    arrays = weights.slice_head(arrays, K, file=file)
    header = header and {**header, 'architecture': header['architecture'] | {'classes': K}}
  dtype = known.pop('dtype', jnp.float32)
  found = infer(arrays, file=file, header=header, **known)
  guessed = [k for k in found['assumed'] if k in vital(found)]
  if guessed and 'assumed' not in (header or {}):  # whoever converted a file was told
    said = ', '.join(f'{k}={found[k]!r}' for k in guessed)
    warnings.warn(f'{file.name} does not tell {said}: assumed; say so, or otherwise', stacklevel=3)
  said = (header or {}).get('architecture', {})
  found |= {k: said[k] for k in ('predicts', 'variance', 'null') if k in said}
  variables = fit(found, arrays, file)
  variables.pop('constants', None)
  return found | {'dtype': dtype}, jax.tree.map(jnp.asarray, variables), fields | set(known)


def vital(found: Mapping[str, Any]) -> set[str]:
  """Options without which the same weights compute something else."""
  return {'schedule', 'T'} | ({'heads'} if found.get('head_width') is None else set())


def fit(found: Mapping[str, Any], arrays: Mapping[str, np.ndarray], file: Path) -> Any:
  try:
    return weights.fill(abstract(found), arrays, file=file)
  except WeightsError as error:
    text = str(error)
    raise (error if str(file) in text else WeightsError(f'{file}: {text}')) from None


def listed(path: Path) -> list[Path]:
  if not path.is_dir():
    return [path]
  files = sorted(path.glob('*.safetensors'))
  if not files:
    raise WeightsError(
      f'{path}: no *.safetensors here, nor checkpoints; zsi convert SRC DST makes them of '
      'PyTorch files, zsi run trains them'
    )
  return files


def normalised(part: Any, how: Spectral, key: jax.Array) -> Any:
  """A denoiser or classifier under spectral norm at sampling only; `key` starts its u and v."""
  params = part.variables['params']
  variables = {'params': params, 'spectral': collect(how, params, key)}
  return part.replace(net=part.net.clone(spectral=how), variables=variables)


def draw(
  m: Model,
  n: int = 16,
  guidance: Any = None,
  solver: Any = None,
  *,
  seed: int = 0,
  given: Any = None,
  progress: bool = False,
) -> jax.Array:
  """n images of a model in [-1, 1]: `sample` with what the model knows, from keys(seed, n)."""
  if m.denoiser is None:
    raise ValueError(f'this model has classifiers only ({list(m.classifier)}): load a denoiser too')
  args = keys(seed, operator.index(n)), m.process, m.denoiser, guidance, solver
  if not progress:
    images: jax.Array = sample(*args, shape=m.shape, given=given)
    return images
  every = max(2, len(m.process) // 20)
  return last(sample_by(every, *args, shape=m.shape, given=given, progress=True))


def last(items: Iterator[Any]) -> Any:
  return functools.reduce(lambda _, item: item, items)


def show(images: Any, columns: int | None = None) -> Image.Image:
  """Images [N, H, W, C] in [-1, 1] as one picture, which a notebook displays."""
  return grid(images, columns)
