"""Our event files in TensorBoard's own hands: it finds what was written, and nothing twice."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing import (
  plugin_event_accumulator,
  plugin_event_multiplexer,
)
from tensorboard.compat.proto import event_pb2
from tensorboard.util import tensor_util

from zsi_jax.io import events
from zsi_jax.io.events import Events
from zsi_jax.io.metrics import Metrics


def read(folder):
  found = plugin_event_accumulator.EventAccumulator(str(folder), size_guidance={'tensors': 0})
  found.Reload()
  return found


def scalars(folder, tag):
  """TensorBoard turns scalars into tensors on the way in."""
  return [
    (e.step, float(tensor_util.make_ndarray(e.tensor_proto))) for e in read(folder).Tensors(tag)
  ]


def test_messages_are_those_of_its_protobuf():
  picture = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
  values = [events.scalar('loss', 0.25), events.image('x', picture), events.text('y', 'words ü')]
  event = event_pb2.Event.FromString(events.event(2**40, 1.5, values=values))
  assert (event.step, event.wall_time) == (2**40, 1.5)
  scalar, image, text = event.summary.value
  assert (scalar.tag, scalar.simple_value) == ('loss', 0.25)
  assert (image.image.height, image.image.width, image.image.colorspace) == (2, 4, 3)
  assert Image.open(io.BytesIO(image.image.encoded_image_string)).tobytes() == picture.tobytes()
  assert text.metadata.plugin_data.plugin_name == 'text'
  assert tensor_util.make_ndarray(text.tensor).tolist() == ['words ü'.encode()]
  for made in (
    events.event(3, 1.5, version=b'brain.Event:2'),
    events.event(3, 1.5, start=True),
    events.event(3, 1.5, values=values),
  ):
    again = event_pb2.Event.FromString(made)
    assert event_pb2.Event.FromString(again.SerializeToString()) == again
  assert event_pb2.Event.FromString(events.event(3, 1.0, start=True)).session_log.status == 1


def test_a_folder_of_metrics(tmp_path):
  picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
  with Metrics(tmp_path) as metrics:
    metrics.resume(0)
    for step in (10, 20):
      metrics.write(step, {'loss': 1 / step, 'nan': float('nan')})
    metrics.image(20, 'samples', picture)
  found = read(tmp_path / 'tb')
  assert found.file_version == 2
  assert scalars(tmp_path / 'tb', 'loss') == [(10, pytest.approx(0.1)), (20, pytest.approx(0.05))]
  assert np.isnan(scalars(tmp_path / 'tb', 'nan')[0][1])
  (image,) = found.Tensors('samples')
  width, height, png = tensor_util.make_ndarray(image.tensor_proto)
  assert (image.step, width, height) == (20, b'4', b'4')
  assert Image.open(io.BytesIO(png)).tobytes() == picture.tobytes()


def test_a_resumed_run_replaces_what_a_killed_one_wrote_beyond(tmp_path):
  for resumed, value in ((0, 1.0), (20, 2.0)):
    metrics = Metrics(tmp_path)
    metrics.resume(resumed)
    for step in range(resumed + 10, 60, 10):
      metrics.write(step, {'loss': value})
    path = max((tmp_path / 'tb').iterdir())
    path.write_bytes(path.read_bytes()[:-9])  # killed amid the record of step 50
  assert scalars(tmp_path / 'tb', 'loss') == [(10, 1), (20, 1), (30, 2), (40, 2)]


def test_runs_beside_each_other(tmp_path):
  """What `tensorboard --logdir workdir` shows."""
  for role in ('denoiser', 'classifier'):
    writer = Events(tmp_path / role / 'tb')
    writer.scalars(1, {'loss': 1.0})
    writer.text(1, 'config', 'a: 1')
  found = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
  found.Reload()
  assert set(found.Runs()) == {'denoiser/tb', 'classifier/tb'}
  assert found.SummaryMetadata('denoiser/tb', 'config').plugin_data.plugin_name == 'text'
