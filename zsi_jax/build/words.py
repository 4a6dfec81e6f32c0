"""What is typed, as Python values."""

from __future__ import annotations

import ast
from typing import Any


def pair(text: str) -> tuple[str, Any]:
  """`key=value`, the value a Python literal or else a plain word: (1, 2, 3), 1e-4, None, cosine."""
  key, equals, value = text.partition('=')
  if not (equals and value and all(map(str.isidentifier, key.split('.')))):
    raise ValueError(f'{text!r} is not key=value, as in heads=4 schedule=cosine')
  try:
    return key, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    if set(value) & set('()[]{}\'",'):
      raise ValueError(f'the value of {text!r} is no Python literal') from None
    return key, value
