"""A value as an annotation has it: what is typed on a command line becomes an argument."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any


def fitted(value: Any, hint: Any) -> Any:
  """The value; an int may become a float, a list a tuple, nothing else: a TypeError."""
  origin, inner = typing.get_origin(hint), typing.get_args(hint)
  if hint is Any or hint is object:
    return value
  if origin in (types.UnionType, typing.Union):
    for one in inner:
      try:
        return fitted(value, one)
      except TypeError:
        continue
  elif tuple in (hint, origin) or origin is collections.abc.Sequence:
    if isinstance(value, tuple | list):  # text is a sequence of texts, and not meant
      each = inner if origin is tuple and ... not in inner else (inner or (Any,))[:1] * len(value)
      if len(each) == len(value):
        return tuple(map(fitted, value, each))
  elif hint is float and type(value) is int:
    return float(value)
  elif type(value) is hint:
    return value
  raise TypeError(f'{value!r} is no {said(hint)}')


def optional(hint: Any) -> bool:
  """Whether None fits."""
  return type(None) in typing.get_args(hint)


def said(hint: Any) -> str:
  """`int | None`, `Sequence[str]`."""
  return inspect.formatannotation(hint).replace('collections.abc.', '')


def arguments(make: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
  """name -> (annotation, default or `inspect.Parameter.empty`) of all that has a name."""
  plain = make.func if isinstance(make, functools.partial) else make
  hints, kinds = typing.get_type_hints(plain), inspect.Parameter
  found = inspect.signature(make).parameters.values()
  named = [p for p in found if p.kind in (kinds.KEYWORD_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
  return {p.name: (hints.get(p.name, Any), p.default) for p in named}
