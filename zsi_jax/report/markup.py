"""HTML by construction: a text is escaped where it enters a tag, unless a tag made it."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

VOID = {'br', 'img', 'link', 'meta'}


class Html(str):
  """Text that is HTML already."""

  __slots__ = ()


def text(value: Any) -> Html:
  """HTML as it is; anything else escaped; None is nothing."""
  if isinstance(value, Html):
    return value
  return Html('' if value is None else html.escape(str(value)))


def join(parts: Iterable[Any], between: str = '') -> Html:
  return Html(between.join(map(text, parts)))


def tag(name: str, /, *inside: Any, **attributes: Any) -> Html:
  """An element; `class_` is class, `stroke_width` stroke-width, and None is not written."""
  said = ''.join(
    f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
    for key, value in attributes.items()
    if value is not None
  )
  if name in VOID:
    return Html(f'<{name}{said}>')
  return Html(f'<{name}{said}>{join(inside)}</{name}>')
