"""Token ids of texts, word by word from a table of words already seen: the same ids, several times faster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_WORDS = 100_000
"""Words kept; a full table is begun anew."""
_LONGEST_WORD = 64
# Only these: what else counts as a space differs between Python and the tokenizer, which still splits at it.
_SPACES = str.maketrans("\n\t\r", "   ")


class WordTable:
    """Tokenises as the tokenizer does, and keeps what it gave for each word; threads may share it.

    BERT's normalizer and pre-tokenizer treat the parts between two spaces alone, so the ids of a text are those of its
    parts, one after the other. Any other tokenizer is asked for whole texts.

    Args:
        tokenizer: Without truncation and padding.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._by_word = _splits_at_spaces(tokenizer)
        self._known: dict[str, list[int]] = {}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, without special tokens."""
        if not self._by_word:
            return self._tokenize(texts)
        split = [text.translate(_SPACES).split(" ") for text in texts]
        table = self._table(set().union(*split))
        return [list(chain.from_iterable(map(table.__getitem__, words))) for words in split]

    def _table(self, words: set[str]) -> dict[str, list[int]]:
        known = self._known
        missing = list(words - known.keys())
        table = {word: known[word] for word in words & known.keys()}
        fresh = dict(zip(missing, self._tokenize(missing), strict=True))
        table.update(fresh)
        kept = {word: ids for word, ids in fresh.items() if len(word) <= _LONGEST_WORD}
        if len(known) + len(kept) > MOST_WORDS:
            # Replaced, never emptied: another thread may be reading it.
            self._known = known = {}
        if len(kept) <= MOST_WORDS:
            known.update(kept)
        return table

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _splits_at_spaces(tokenizer: Tokenizer) -> bool:
    parts = json.loads(tokenizer.to_str())
    kinds = [(parts.get(name) or {}).get("type") for name in ("normalizer", "pre_tokenizer", "model")]
    # Tokens added to the vocabulary are looked for in the whole text, across spaces.
    plain = all(added.get("special") for added in parts.get("added_tokens", []))
    return plain and tokenizer.encode_special_tokens and kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]
