"""From a query and a text to the token arrays of one pair, truncated by us so that the query is never cut by the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.errors import ModelLoadError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

CHARACTERS_PER_TOKEN = 32
"""Texts are cut to this many characters a token before they are tokenised: 10 MB must cost milliseconds."""
_WINDOW_OVERLAP = 0.25


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One model input.

    Attributes:
        input_ids: int64 (length,).
        token_type_ids: int64 (length,).
        span: Character range of the text that was encoded, or None.
        truncated: Whether part of the text was left out of this and all other windows.
    """

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    span: tuple[int, int] | None
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Tokens:
    encoding: Encoding
    start: int  # characters stripped from the front
    cut: bool  # whether characters were cut off the end


class PairTokenizer:
    """Builds model inputs from strings; its settings never change after construction, so threads may share it.

    Args:
        path: A ``tokenizer.json``.
        layout: ``segments`` for ``[CLS] query [SEP] [CLS] text [SEP]``; ``pair`` for the tokenizer's own template.
        max_length: Tokens of one input, specials included.
        max_query_tokens: Tokens kept of a query; at most what leaves room for the text.

    Raises:
        ModelLoadError: The file is absent or damaged.
    """

    def __init__(self, path: str | Path, *, layout: str, max_length: int, max_query_tokens: int) -> None:
        self._tokenizer = _open(Path(path))
        self._max_length = max_length
        self._template = _segments(self._tokenizer, Path(path)) if layout == "segments" else _template(self._tokenizer)
        self._specials = sum(len(part) for part in self._template.ids)
        room = max_length - self._specials
        self._max_query_tokens = max(1, min(max_query_tokens, room - max(1, room // 4)))
        # Whitespace at the front would use up the character budget without giving a token.
        self._max_characters = max_length * CHARACTERS_PER_TOKEN

    def encode(
        self, queries: Sequence[str], texts: Sequence[Sequence[str]], *, windows: bool
    ) -> list[list[list[EncodedPair]]]:
        """Return the inputs of every text of every query: one each, or several overlapping ones with ``windows``."""
        flat = [text for group in texts for text in group]
        tokens = iter(self._tokens(flat))
        result = []
        for query, group in zip(self._tokens(queries), texts, strict=True):
            kept = query.encoding.ids[: self._max_query_tokens]
            result.append([self._pairs(kept, next(tokens), windows=windows) for _ in group])
        return result

    def _tokens(self, texts: Sequence[str]) -> list[_Tokens]:
        # The same text is tokenised once: candidates repeat across the queries of a batch.
        unique = list(dict.fromkeys(texts))
        prepared = []
        for text in unique:
            head = text.lstrip()
            prepared.append(
                (_valid(head[: self._max_characters]), len(text) - len(head), len(head) > self._max_characters)
            )
        encodings = self._tokenizer.encode_batch([text for text, _, _ in prepared], add_special_tokens=False)
        found = {
            text: _Tokens(encoding, start, cut)
            for text, encoding, (_, start, cut) in zip(unique, encodings, prepared, strict=True)
        }
        return [found[text] for text in texts]

    def _pairs(self, query: list[int], text: _Tokens, *, windows: bool) -> list[EncodedPair]:
        room = self._max_length - self._specials - len(query)
        count = len(text.encoding.ids)
        starts = [0]
        if windows and count > room:
            step = max(1, int(room * (1.0 - _WINDOW_OVERLAP)))
            starts = [*range(0, count - room, step), count - room]
        dropped = text.cut or (count > room and not windows)
        return [self._pair(query, text, first, min(first + room, count), dropped) for first in starts]

    def _pair(self, query: list[int], text: _Tokens, first: int, last: int, truncated: bool) -> EncodedPair:
        encoding = text.encoding
        offsets = encoding.offsets[first:last]
        span = (text.start + offsets[0][0], text.start + offsets[-1][1]) if offsets else None
        before, between, after = self._template.ids
        ids = [*before, *query, *between, *encoding.ids[first:last], *after]
        types = self._template.types(len(query), last - first)
        return EncodedPair(np.asarray(ids, np.int64), np.asarray(types, np.int64), span, truncated)


@dataclass(frozen=True, slots=True)
class _Template:
    """Special tokens before, between and after the two sides, and the token types of the five parts."""

    ids: tuple[list[int], list[int], list[int]]
    special_types: tuple[list[int], list[int], list[int]]
    side_types: tuple[int, int]

    def types(self, query: int, text: int) -> list[int]:
        before, between, after = self.special_types
        return [*before, *([self.side_types[0]] * query), *between, *([self.side_types[1]] * text), *after]


def _segments(tokenizer: Tokenizer, path: Path) -> _Template:
    first, last = (_token_id(tokenizer, token, path) for token in ("[CLS]", "[SEP]"))
    return _Template(([first], [last, first], [last]), ([0], [0, 1], [1]), (0, 1))


def _template(tokenizer: Tokenizer) -> _Template:
    """Read the tokenizer's own pair template off a probe, so that any family's is honoured."""
    sides = [tokenizer.encode(probe, add_special_tokens=False) for probe in ("a", "b")]
    if not all(side.ids for side in sides):
        raise ModelLoadError("The tokenizer gives no token for 'a' or 'b': its vocabulary is damaged.")
    # `post_process` of two encodings loses which tokens are the first one's (tokenizers 0.23.3); `encode` does not.
    joined = tokenizer.encode("a", "b")
    found = joined.sequence_ids
    query, text = found.index(0), found.index(1)
    bounds = [(0, query), (query + len(sides[0].ids), text), (text + len(sides[1].ids), len(found))]
    ids = [joined.ids[start:end] for start, end in bounds]
    types = [joined.type_ids[start:end] for start, end in bounds]
    return _Template(
        (ids[0], ids[1], ids[2]), (types[0], types[1], types[2]), (joined.type_ids[query], joined.type_ids[text])
    )


def _open(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises bare Exception
        state = "damaged" if path.is_file() else "absent"
        raise ModelLoadError(f"Cannot open {path.name} ({state}): {error}.") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # "[SEP]" in a document is text: it must not end the passage for the model.
    tokenizer.encode_special_tokens = True
    return tokenizer


def _token_id(tokenizer: Tokenizer, token: str, path: Path) -> int:
    found: int | None = tokenizer.token_to_id(token)
    if found is None:
        raise ModelLoadError(f"Expected the token {token} in {path.name}: layout 'segments' needs a BERT vocabulary.")
    return found


def _valid(text: str) -> str:
    """Replace lone surrogates, which UTF-8 (and so the tokenizer) cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def pad(pairs: Sequence[EncodedPair]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Stack inputs into ``input_ids, attention_mask, token_type_ids``, int64 (batch, longest), padded on the right."""
    longest = max(len(pair.input_ids) for pair in pairs)
    arrays: Any = np.zeros((3, len(pairs), longest), dtype=np.int64)
    for row, pair in enumerate(pairs):
        length = len(pair.input_ids)
        arrays[0, row, :length] = pair.input_ids
        arrays[1, row, :length] = 1
        arrays[2, row, :length] = pair.token_type_ids
    return arrays[0], arrays[1], arrays[2]
