"""The byte-pair tokenizer of CLIP, from the user's vocabulary file.

(1) text -> HTML entities resolved, NFC, straight quotes, single spaces, lower case
(2) -> words: 's 't 're 've 'm 'll 'd, runs of letters, single digits, runs of what is neither
(3) -> a word's UTF-8 bytes as letters of an alphabet, the last with </w>; then the pair of
    neighbours that stands first in the list of merges is joined, until none stands there
(4) ids: 256 bytes, those with </w>, one for each merge, start, end; a row: start, ids, end, 0 …

ftfy's repair of wrongly decoded text, which the published code runs before (1), is not here.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import html
import json
import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from zsi_jax.io.errors import WeightsError

ENTRIES, LENGTH = 49408, 77
START, END = '<|startoftext|>', '<|endoftext|>'
PRINTED = (*range(33, 127), *range(161, 173), *range(174, 256))  # bytes that are their own letters
OTHERS = [b for b in range(256) if b not in PRINTED]
LETTERS = {b: chr(b) for b in PRINTED} | {b: chr(256 + i) for i, b in enumerate(OTHERS)}
BYTES = [*LETTERS.values(), *(letter + '</w>' for letter in LETTERS.values())]
FIXED = re.compile(rf"{re.escape(START)}|{re.escape(END)}|'(?:s|t|re|ve|m|ll|d)")
RUNS = re.compile('L+|N|P+')  # over the kinds of characters: letter, number, other
QUOTES = str.maketrans('\u02bc\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f', "'" * 5 + '"' * 4)
FILE = 'bpe_simple_vocab_16e6.txt.gz of OpenAI, or the folder of vocab.json and merges.txt'
Pair = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Tokenizer:
  """Texts -> ids [B, length]."""

  ids: Mapping[str, int]
  ranks: Mapping[Pair, int]
  length: int = LENGTH

  @property
  def digest(self) -> str:
    """sha256 of what it knows, however it was packed."""
    known = [sorted(self.ids.items(), key=lambda item: item[1]), list(self.ranks)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()

  def __call__(self, texts: str | Sequence[str], truncate: bool = False) -> np.ndarray:
    """int32 [B, length]; a text that does not fit is refused, or cut where `truncate` is asked."""
    texts = [texts] if isinstance(texts, str) else list(texts)
    out = np.zeros((len(texts), self.length), np.int32)
    for row, text in zip(out, texts, strict=True):
      found = self.encode(text)
      if len(found) > self.length - 2 and not truncate:
        raise ValueError(
          f'the text {text[:60]!r} has {len(found)} tokens, {self.length - 2} fit: shorten it, or '
          'ask for truncate=True'
        )
      found = [self.ids[START], *found[: self.length - 2], self.ids[END]]
      row[: len(found)] = found
    return out

  def encode(self, text: str) -> list[int]:
    """The ids of a text, without start and end."""
    if not isinstance(text, str):
      raise ValueError(f'a text is a string, not {type(text).__name__}')
    return [self.ids[part] for word in words(cleaned(text)) for part in self._parts(word)]

  def _parts(self, word: str) -> list[str]:
    """(3)"""
    if word in (START, END):
      return [word]
    parts = [LETTERS[b] for b in word.encode()]
    parts[-1] += '</w>'
    while pairs := [p for p in zip(parts, parts[1:], strict=False) if p in self.ranks]:
      parts = _joined(parts, min(pairs, key=self.ranks.__getitem__))
    return parts


def _joined(parts: list[str], pair: Pair) -> list[str]:
  out: list[str] = []
  rest = iter(range(len(parts)))
  for i in rest:
    if tuple(parts[i : i + 2]) == pair:
      out.append(''.join(pair))
      next(rest)
    else:
      out.append(parts[i])
  return out


def cleaned(text: str) -> str:
  """(1)"""
  text = unicodedata.normalize('NFC', html.unescape(html.unescape(text)))
  text = text.translate(QUOTES)
  return re.sub(r'\s+', ' ', text).strip().lower()


def words(text: str) -> Iterator[str]:
  """(2)"""
  kinds = ''.join(map(_kind, text))
  at = 0
  while at < len(text):
    found = FIXED.match(text, at) or RUNS.match(kinds, at)
    if found:
      yield text[at : found.end()]
    at = found.end() if found else at + 1


def _kind(character: str) -> str:
  if character.isspace():
    return ' '
  category = unicodedata.category(character)[0]
  return category if category in 'LN' else 'P'


def read(path: str | Path, entries: int = ENTRIES, length: int = LENGTH) -> Tokenizer:
  """From OpenAI's list of merges (plain or gzip), or a folder of vocab.json and merges.txt."""
  path = Path(path).expanduser()
  if not path.exists():
    raise WeightsError(f'{path}: there is no such vocabulary; give {FILE}.')
  if path.name == 'vocab.json':
    path = path.parent
  listed = path / 'merges.txt' if path.is_dir() else path
  merges = _merges(listed, entries)
  known = [*BYTES, *map(''.join, merges), START, END]
  ids = _numbered(path / 'vocab.json', known) if path.is_dir() else _by_place(known)
  if len(ids) != entries or ids[END] != max(ids.values()):
    raise WeightsError(
      f'{path}: a vocabulary of {len(ids)} entries with {END} as {ids[END]}; expected {entries} '
      'with it as the last, where the network looks for the end.'
    )
  return Tokenizer(ids, {pair: rank for rank, pair in enumerate(merges)}, length)


def _by_place(known: list[str]) -> dict[str, int]:
  return {entry: i for i, entry in enumerate(known)}


def _text(file: Path) -> str:
  try:
    data = file.read_bytes()
    return (gzip.decompress(data) if data[:2] == b'\x1f\x8b' else data).decode()
  except FileNotFoundError:
    raise WeightsError(f'{file}: there is no such file; a vocabulary is {FILE}.') from None
  except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
    raise WeightsError(
      f'{file}: damaged, or no vocabulary ({error}); a vocabulary is {FILE}.'
    ) from None


def _merges(file: Path, entries: int) -> list[Pair]:
  """As many as the vocabulary needs; each joins what is known before it."""
  lines = _text(file).rstrip('\n').split('\n')
  start = 1 if '#version' in lines[0] else 0
  count = entries - len(BYTES) - 2
  merges: list[Pair] = []
  known = set(BYTES)
  for number, line in enumerate(lines[start : start + max(count, 0)], start + 1):
    pair = line.rstrip('\r').split(' ')
    if len(pair) != 2 or not known.issuperset(pair):
      raise WeightsError(
        f'{file}: line {number}, {line[:60]!r}, is no merge of two known parts: no list of merges. '
        f'A vocabulary is {FILE}.'
      )
    merges.append((pair[0], pair[1]))
    known.add(''.join(pair))
  if len(merges) != count:
    raise WeightsError(
      f'{file}: {len(merges)} merges, a vocabulary of {entries} entries has {count}: it belongs to '
      f'another network. A vocabulary is {FILE}.'
    )
  if merges and not any(pair[1].endswith('</w>') for pair in merges):
    raise WeightsError(
      f'{file}: no merge ends a word (</w>): the list of another tokenizer, such as GPT-2. A '
      f'vocabulary of CLIP is {FILE}.'
    )
  return merges


def _numbered(file: Path, known: list[str]) -> dict[str, int]:
  """The ids of vocab.json, which must have every entry that the merges make."""
  try:
    ids = json.loads(_text(file))
  except json.JSONDecodeError as error:
    raise WeightsError(f'{file}: no JSON ({error}); a vocabulary is {FILE}.') from None
  if not isinstance(ids, dict) or not all(type(i) is int for i in ids.values()):
    raise WeightsError(f'{file}: no table from entries to numbers; a vocabulary is {FILE}.')
  missing = [entry for entry in known if entry not in ids]
  if missing:
    raise WeightsError(
      f'{file}: {len(missing)} entries are missing, the first {missing[0]!r}: it does not belong '
      f'to the merges.txt beside it.'
    )
  return ids
