"""tfds data sets in array_record without TensorFlow: features, shards and their metadata."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zsi_jax.data import png
from zsi_jax.data.errors import DataError
from zsi_jax.data.record import Field, Record

SPLIT, VERSION = 'train', '1.0.0'
SHARD_BYTES = 64 << 20


def need() -> Any:
  """tensorflow_datasets, where array_record is there too; else a DataError."""
  try:
    _array_record()
    return importlib.import_module('tensorflow_datasets')
  except ImportError as error:
    raise DataError(
      f'array_record data sets need tensorflow-datasets and array_record ({error}). Install them, '
      'or keep the data set in one file: zsi_jax.data.memory.write_npz, Npz.'
    ) from None


def _array_record() -> Any:
  return importlib.import_module('array_record.python.array_record_module')


def features(fields: Mapping[str, Field]) -> Any:
  """The tfds features of the fields: images as PNG, arrays and float64 as their bytes."""
  made = need().features

  def one(field: Field) -> Any:
    if field.kind == 'image':
      return made.Image(shape=field.shape, encoding_format='png')
    if field.dtype == 'str':
      return made.Text()
    # tf.Example keeps floats in 32 bits, and long lists of numbers one by one.
    plain = field.shape == () and field.dtype != 'float64'
    return made.Tensor(
      shape=field.shape, dtype=np.dtype(field.dtype), encoding='none' if plain else 'bytes'
    )

  return made.FeaturesDict({name: one(field) for name, field in fields.items()})


class Writer:
  """Records in the order of `add`, into shards of a directory that nobody else sees yet."""

  def __init__(
    self, directory: Path, name: str, fields: Mapping[str, Field], shard_bytes: int = SHARD_BYTES
  ) -> None:
    need()
    from tensorflow_datasets.core import example_serializer
    from tensorflow_datasets.proto import tf_example_pb2

    self.directory, self.name, self.fields, self.shard_bytes = directory, name, fields, shard_bytes
    self.features = features(fields)
    self.serializer = example_serializer.ExampleSerializer(self.features.get_serialized_info())
    self._parse = tf_example_pb2.Example.FromString
    self.lengths: list[int] = []
    self.bytes = 0
    self._open: Any = None
    self._room = 0

  def add(self, record: Record) -> None:
    images = {n: png.encode(record[n]) for n, f in self.fields.items() if f.kind == 'image'}
    data = self.serializer.serialize_example(self.features.encode_example({**record, **images}))
    # Entries in the order of their names, not of this process's hashes: the same bytes each time.
    data = self._parse(data).SerializeToString(deterministic=True)
    try:
      if self._open is None or self._room < len(data):
        self._close()
        self._open, self._room = self._start(), self.shard_bytes
        self.lengths.append(0)
      self._open.write(data)
    except RuntimeError as error:  # array_record has no other
      raise OSError(str(error)) from None
    self.lengths[-1] += 1
    self.bytes += len(data)
    self._room -= len(data)

  def _start(self) -> Any:
    path = self.directory / f'{len(self.lengths):05d}'
    # group_size:1 is what random access wants; a PNG does not get smaller.
    return _array_record().ArrayRecordWriter(str(path), 'group_size:1,uncompressed')

  def _close(self) -> None:
    if self._open is not None:
      self._open.close()
      self._open = None

  def finish(self, digest: str) -> dict[str, int]:
    """Close, write what tfds reads, and give the records by shard."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import dataset_info, naming

    try:
      self._close()
    except RuntimeError as error:
      raise OSError(str(error)) from None
    names = naming.ShardedFileTemplate(
      data_dir=self.directory, dataset_name=self.name, split=SPLIT, filetype_suffix='array_record'
    )
    shards = {}
    for i, records in enumerate(self.lengths):
      path = Path(names.sharded_filepath(shard_index=i, num_shards=len(self.lengths)))
      (self.directory / f'{i:05d}').rename(path)
      shards[path.name] = records
    info = dataset_info.DatasetInfo(
      builder=dataset_info.DatasetIdentity(
        name=self.name,
        config_name=digest,
        version=tfds.core.Version(VERSION),
        data_dir=str(self.directory),
        module_name='',
      ),
      features=self.features,
      disable_shuffling=True,
    )
    info.set_file_format('array_record')
    split = tfds.core.SplitInfo(
      name=SPLIT, shard_lengths=self.lengths, num_bytes=self.bytes, filename_template=names
    )
    info.set_splits(tfds.core.splits.SplitDict([split]))
    info.write_to_directory(self.directory)
    return shards


class Reader:
  """The tfds data source of a directory; of a record only what is asked for is decoded."""

  def __init__(self, directory: Path, fields: Mapping[str, Field]) -> None:
    tfds = need()
    from tensorflow_datasets.proto import tf_example_pb2

    builder = tfds.builder_from_directory(str(directory))
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    self.fields = fields
    self.lengths = list(builder.info.splits[SPLIT].shard_lengths)
    self._records = builder.as_data_source(SPLIT, deserialize_method=raw)
    self._parse = tf_example_pb2.Example.FromString

  def read(self, index: int, names: Iterable[str]) -> Record:
    """Entries of a record as they were written."""
    found = self._parse(self._records[index]).features.feature
    return {name: _value(found[name], self.fields[name]) for name in names}


def _value(feature: Any, field: Field) -> Any:
  """Our own decoder: tfds takes the pixels from whichever of OpenCV and Pillow is there."""
  if feature.WhichOneof('kind') == 'bytes_list':
    (data,) = feature.bytes_list.value
    if field.kind == 'image':
      return png.decode(data, field.shape)
    if field.dtype == 'str':
      return data.decode()
    return np.frombuffer(data, field.dtype).reshape(field.shape)[()]
  (number,) = (
    feature.float_list if np.dtype(field.dtype).kind == 'f' else feature.int64_list
  ).value
  return np.dtype(field.dtype).type(number)
