"""How numbers were measured: runs are compared only where their protocols say the same.

A protocol is a flat mapping, {'size': 32, 'bins': 100, 'judge_b': <digest>, 'features/inception':
…}. A key is about all metrics, unless a part of a metric's name is its last part: 'judge_b' is
about 'judge_b/l2', 'features/inception' about 'fid/inception'.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

Protocol = Mapping[str, Any]


class ProtocolError(ValueError):
  """Numbers of two protocols: names both, and the keys in which they differ."""


def differences(
  a: Protocol, b: Protocol, taken: tuple[Collection[str], Collection[str]] = ((), ())
) -> list[str]:
  """Keys with two values; and those that one lacks, unless it took no such metric.

  `taken` are the names of the metrics of each.
  """
  wrong = []
  for key in sorted({*a, *b}):
    if key in a and key in b:
      differ = _plain(a[key]) != _plain(b[key])
    else:
      measures = [_about(key, names) for names in taken]
      differ = all(measures) or not any(measures)
    if differ:
      wrong.append(key)
  return wrong


def agree(protocols: Mapping[str, Protocol], taken: Mapping[str, Collection[str]]) -> None:
  """A ProtocolError with both protocols, unless each is that of the others.

  Each pair is compared: a key that the first one lacks may be what two others differ in.
  """
  names = list(protocols)
  for i, one in enumerate(names):
    for other in names[i + 1 :]:
      a, b = protocols[one], protocols[other]
      if wrong := differences(a, b, (taken[one], taken[other])):
        said = '; '.join(f'{key}: {_said(a, key)} against {_said(b, key)}' for key in wrong)
        raise ProtocolError(
          f'{one} and {other} were not measured in the same way ({said}), so their numbers are not '
          f'compared. {one}: {_plain(a)}. {other}: {_plain(b)}'
        )


def _about(key: str, metrics: Collection[str]) -> bool:
  return any(key.rsplit('/')[-1] in name.split('/') for name in metrics)


def _said(protocol: Protocol, key: str) -> str:
  return _plain(protocol[key]) if key in protocol else 'not said'


def _plain(value: Any) -> str:
  """One writing for tuples and lists; numbers by value."""
  if isinstance(value, float) and value.is_integer():
    value = int(value)
  return json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
