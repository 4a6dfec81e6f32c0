"""What stages would refuse, said before the first network takes its hours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from zsi_jax.build import models, sampling, trained
from zsi_jax.build.keys import ROLES, ConfigError
from zsi_jax.stages import evaluate, eyes, given, judge, prepare, sample, training


def foresee(
  config: ConfigDict,
  workdir: Path,
  roles: Sequence[str] = ROLES,
  home: Path | None = None,
) -> None:
  """A ConfigError for what does not fit the records, the devices, or what is there already.

  Nothing is allocated and no byte of a checkpoint's arrays is read. `roles` are trained here;
  below `home` is what the same run trains.
  """
  sample.checked(config)
  for role in roles:
    if training.there(config, workdir, role) is None:
      pipeline = prepare.pipeline(config, workdir, role)
      pipeline.check()
      training.planned(config, workdir, role, pipeline)
  if home in (None, workdir):
    eyes.foresee(config, workdir)
    judge.foresee(config, workdir)
  networks(config, workdir, workdir if home is None else home)
  if config.sample.task != 'draw':
    given.records(config, workdir, config.sample.n)
  given.dial(config, workdir)
  evaluate.checked(config)


def networks(config: ConfigDict, workdir: Path, home: Path) -> None:
  """What `sample` will find: those that will be trained by this run, or others that are there."""
  own, guided = config.sample, sampling.guided(config)

  def ours(path: str) -> bool:  # it may not be trained yet
    place = models.place_of(path).absolute()
    return place == home.absolute() or home.absolute() in place.parents

  if own.denoiser is None or ours(own.denoiser):
    trained.fits(own.steps, config.process.T)
    labels = None
    if config.denoiser.drop is not None:
      labels = training.labels(config, workdir, 'denoiser') + 1
    sampling.mixture(config, labels, labels and labels - 1)
  if guided and all(map(ours, own.classifiers)):
    classes = config.classifier.net.classes or training.labels(config, workdir, 'classifier')
    names = [config.classifier.name + "'" * k for k in range(len(own.classifiers) or 1)]
    sampling.fits(config, dict.fromkeys(names, classes))
  others = [own.denoiser] * (own.denoiser is not None)
  others += own.classifiers if guided else ()
  for path in others:
    if ours(path):
      continue
    place = models.place_of(path)
    if not place.exists():
      raise ConfigError(f'sample: {place}: there is nothing to draw with')
    if own.denoiser is None or ours(own.denoiser):
      guides(config, workdir, str(place))


def guides(config: ConfigDict, workdir: Path, path: str) -> None:
  """A ConfigError where classifiers from elsewhere cannot guide the denoiser of this config."""
  here = {
    'process': (config.process.schedule, config.process.T),
    'image shape': prepare.pipeline(config, workdir, 'denoiser').source.fields['image'].shape,
  }
  for name, (found, _, file) in trained.found(path, 'classifier', read).items():
    there = {'process': models.chain(found), 'image shape': models.side(found)}
    if name != 'denoiser' and there != here:
      what = next(key for key in here if here[key] != there[key])
      raise ConfigError(
        f'sample: the denoiser of this config has {what} {here[what]}, {file} has {there[what]}: '
        'they cannot guide each other'
      )


def read(path: Path) -> dict[str, models.Part]:
  return models.parts([path], {})
