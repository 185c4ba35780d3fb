"""From a text to the tokens of one model input, cut so that no text can cost more than the model reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.errors import ModelLoadError
from semantic_ranker.tokenization import CHARACTERS_PER_TOKEN, EncodedPair, _head, _open

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Bounds on what is tokenised at a time: a hundred thousand texts must not need a hundred thousand encodings.
_CHUNK_TEXTS = 512
_CHUNK_CHARACTERS = 2_000_000


class TextTokenizer:
    """Builds model inputs from single texts; threads may share it.

    Args:
        content: Bytes of a ``tokenizer.json``.
        max_length: Tokens of one input, specials included.
        lower_case: Whether texts are lower-cased first.

    Attributes:
        max_length: As given.
        truncated: Texts so far of which something was left out.

    Raises:
        ModelLoadError: The file is damaged, or has more special tokens than ``max_length``.
    """

    def __init__(self, content: bytes, *, max_length: int, lower_case: bool = False) -> None:
        self._tokenizer = _open(content)
        self._lower_case = lower_case
        self._before, self._after = _template(self._tokenizer)
        self._room = max_length - len(self._before) - len(self._after)
        if self._room < 1:
            raise ModelLoadError(
                f"Expected max_length above the {max_length - self._room} special tokens of the model, "
                f"got {max_length}."
            )
        self.max_length = max_length
        self.truncated = 0
        self._lock = threading.Lock()

    def chunks(self, texts: Sequence[str]) -> Iterator[list[EncodedPair]]:
        """Yield the inputs of the texts in order, in lists of bounded size."""
        start, characters = 0, 0
        limit = self.max_length * CHARACTERS_PER_TOKEN
        for index, text in enumerate(texts):
            characters += min(len(text), limit)
            if index + 1 - start == _CHUNK_TEXTS or characters >= _CHUNK_CHARACTERS:
                yield self._encode(texts[start : index + 1])
                start, characters = index + 1, 0
        if start < len(texts):
            yield self._encode(texts[start:])

    def _encode(self, texts: Sequence[str]) -> list[EncodedPair]:
        heads = [_head(text, self.max_length * CHARACTERS_PER_TOKEN) for text in texts]
        words = [head.text.lower() if self._lower_case else head.text for head in heads]
        encodings = self._tokenizer.encode_batch_fast(words, add_special_tokens=False)
        inputs = [self._input(encoding.ids, cut=head.cut) for encoding, head in zip(encodings, heads, strict=True)]
        with self._lock:
            self.truncated += sum(item.truncated for item in inputs)
        return inputs

    def _input(self, ids: list[int], *, cut: bool) -> EncodedPair:
        kept = np.asarray([*self._before, *ids[: self._room], *self._after], np.int64)
        return EncodedPair(kept, np.zeros(len(kept), np.int64), None, cut or len(ids) > self._room)


def _template(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Read the special tokens around a text off a probe, so that any family's are honoured."""
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    full = tokenizer.encode("a").ids
    if not bare:
        raise ModelLoadError("The tokenizer gives no token for 'a': its vocabulary is damaged.")
    start = next((at for at in range(len(full)) if full[at : at + len(bare)] == bare), None)
    if start is None:
        raise ModelLoadError("The tokenizer does not keep a text's tokens together: it cannot be used here.")
    return full[:start], full[start + len(bare) :]
