"""The tokenizer: words, merges in their order, ids, and vocabularies that are none."""

from __future__ import annotations

import gzip
import json

import pytest

from zsi_jax.io import tokens
from zsi_jax.io.errors import WeightsError

MERGES = ['s m', 'i l', 'sm il', 'smil e</w>', 'a c', 'l e</w>', 'f ac', 'fac e</w>', 'i le</w>']
ENTRIES = 512 + len(MERGES) + 2
START, END = ENTRIES - 2, ENTRIES - 1
HEAD = '"bpe_simple_vocab_16e6.txt#version: 0.2'


def listed(path, merges=MERGES, head=(HEAD,)):
  path.write_text('\n'.join([*head, *merges]) + '\n')
  return path


@pytest.fixture
def ours(tmp_path):
  return tokens.read(listed(tmp_path / 'bpe.txt'), ENTRIES, 8)


def spelled(tokenizer, text):
  names = {i: name for name, i in tokenizer.ids.items()}
  return [names[i] for i in tokenizer.encode(text)]


def test_the_first_merge_of_the_list_goes_first(ours):
  assert spelled(ours, 'smile') == ['smile</w>']
  assert spelled(ours, 'mile') == ['m', 'il', 'e</w>']  # 'i l' comes before 'l e</w>'
  assert spelled(ours, 'le') == ['le</w>']
  assert spelled(ours, 'smsm') == ['sm', 's', 'm</w>']  # the last letter ends the word
  assert spelled(ours, 'ilil ilill') == ['il', 'i', 'l</w>', 'il', 'il', 'l</w>']
  assert spelled(ours, 'A  FACE,\tface!') == ['a</w>', 'face</w>', ',</w>', 'face</w>', '!</w>']


def test_ids_are_bytes_merges_start_and_end(ours):
  """'!' is byte 33 and the first letter; OpenAI's order of bytes, not their value."""
  assert ours('!a~').tolist() == [[START, 256, 320, 349, END, 0, 0, 0]]
  assert ours('smile face').tolist() == [[START, 515, 519, END, 0, 0, 0, 0]]
  assert ours(['é', '']).tolist() == [
    [START, 127, 358, END, 0, 0, 0, 0],  # C3 A9 of UTF-8
    [START, END, 0, 0, 0, 0, 0, 0],
  ]
  assert ours('').argmax(1) == [1]


def test_words():
  text = "it's 12x we'll ĝis!?... don't 'round é² Ⅷ_a <|endoftext|>b"
  assert list(tokens.words(text)) == [
    'it', "'s", '1', '2', 'x', 'we', "'ll", 'ĝis', '!?...', 'don', "'t", "'", 'round', 'é', '²',
    'Ⅷ', '_', 'a', '<|endoftext|>', 'b',
  ]  # fmt: skip


def test_cleaning():
  assert tokens.cleaned(' A&amp;amp;B\n\t“Æ’s”  e\u0301 ') == 'a&b "æ\'s" é'


def test_a_text_that_does_not_fit(ours):
  assert ours('a b c d e f').shape == (1, 8)
  with pytest.raises(ValueError, match="'a b c d e f g' has 7 tokens, 6 fit"):
    ours(['a', 'a b c d e f g'])
  cut = ours('a b c d e f g', truncate=True)
  assert cut.tolist() == ours('a b c d e f').tolist()
  with pytest.raises(ValueError, match='not bytes'):
    ours([b'a'])


def test_the_same_vocabulary_packed_otherwise(ours, tmp_path):
  listed(tmp_path / 'plain.txt', head=())
  (tmp_path / 'bpe.gz').write_bytes(gzip.compress((tmp_path / 'bpe.txt').read_bytes()))
  listed(tmp_path / 'merges.txt', head=('#version: 0.2',))
  (tmp_path / 'vocab.json').write_text(json.dumps(ours.ids))
  for name in ('plain.txt', 'bpe.gz', 'merges.txt', 'vocab.json', '.'):
    found = tokens.read(tmp_path / name, ENTRIES, 8)
    assert found == ours and found.digest == ours.digest
  longer = listed(tmp_path / 'longer.txt', [*MERGES, 'a c'])  # OpenAI's file has more than it uses
  assert tokens.read(longer, ENTRIES, 8) == ours
  other = tokens.read(listed(tmp_path / 'other.txt', [*MERGES[:-1], 's s']), ENTRIES, 8)
  assert other.digest != ours.digest


def refused(path, *words, entries=ENTRIES):
  with pytest.raises(WeightsError) as info:
    tokens.read(path, entries)
  for word in (str(path), *words, 'bpe_simple_vocab_16e6.txt.gz'):
    assert word in str(info.value)


def test_vocabularies_that_are_none(ours, tmp_path):
  refused(tmp_path / 'none.gz', 'no such')
  refused(tmp_path / 'bpe.txt', f'{len(MERGES)} merges', '48894', entries=49408)
  (tmp_path / 'cut.gz').write_bytes(gzip.compress(b'i l\n' * 99)[:-20])
  refused(tmp_path / 'cut.gz', 'damaged')
  (tmp_path / 'x.bin').write_bytes(b'\xff\xfe\x00')
  refused(tmp_path / 'x.bin', 'damaged, or no vocabulary')
  (tmp_path / 'page.txt').write_text('<html>\nlogin</html>\n')
  refused(tmp_path / 'page.txt', 'line 1', '<html>')
  refused(listed(tmp_path / 'early.txt', ['sm il', *MERGES]), 'line 2', "'sm il'")
  refused(listed(tmp_path / 'gpt2.txt', ['Ġ t', 'Ġt h'], ()), 'GPT-2', entries=516)
  (tmp_path / 'folder').mkdir()
  refused(tmp_path / 'folder', 'merges.txt')


def test_a_table_that_does_not_belong_to_its_merges(ours, tmp_path):
  listed(tmp_path / 'merges.txt')

  def table(ids, word):
    (tmp_path / 'vocab.json').write_text(ids if isinstance(ids, str) else json.dumps(ids))
    with pytest.raises(WeightsError, match=word) as info:
      tokens.read(tmp_path, ENTRIES)
    assert str(tmp_path) in str(info.value)

  table('{', 'no JSON')
  table([1], 'no table')
  table({'a': 'b'}, 'no table')
  table({k: i for k, i in ours.ids.items() if k != 'smil'}, "1 entries are missing.*'smil'")
  table({**ours.ids, 'more': 3}, f'{ENTRIES + 1} entries')
  table({**ours.ids, tokens.END: START, tokens.START: END}, 'the last')
