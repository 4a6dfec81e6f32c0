"""What stages would refuse, said before the first network takes its hours."""

from __future__ import annotations

from pathlib import Path

from ml_collections import ConfigDict

from zsi_jax.build import models, sampling, trained
from zsi_jax.build.keys import ROLES, ConfigError
from zsi_jax.stages import prepare, sample, training


def foresee(config: ConfigDict, workdir: Path) -> None:
  """A ConfigError for what does not fit the records, the devices, or what is there already.

  Nothing is allocated and no byte of a checkpoint's arrays is read.
  """
  sample.checked(config)
  for role in ROLES:
    if training.there(config, workdir, role) is None:
      pipeline = prepare.pipeline(config, workdir, role)
      pipeline.check()
      training.planned(config, workdir, role, pipeline)
  networks(config, workdir)


def networks(config: ConfigDict, workdir: Path) -> None:
  """What `sample` will find: those that will be trained here, or others that are there."""
  own, rows = config.sample, sampling.weights(config)
  if own.denoiser is None:
    trained.fits(own.steps, config.process.T)
  if rows is not None and not own.classifiers:
    classes = config.classifier.net.classes or training.labels(workdir, 'classifier')
    sampling.fits(rows, {config.classifier.name: classes})
  others = [own.denoiser] * (own.denoiser is not None)
  others += own.classifiers if rows is not None else ()
  for path in others:
    place = models.place_of(path)
    if workdir.absolute() in place.absolute().parents:
      continue  # it may not be trained yet
    if not place.exists():
      raise ConfigError(f'sample: {place}: there is nothing to draw with')
    if own.denoiser is None:
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
