"""From a query and a text to the tokens of one pair, truncated by us so that the query is never cut by the text."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.errors import ModelLoadError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

logger = logging.getLogger(__name__)

CHARACTERS_PER_TOKEN = 32
"""Texts are cut to this many characters a token before they are tokenised: 10 MB must cost milliseconds."""
_USUAL_CHARACTERS_PER_TOKEN = 8
# A text is cut between two words where one ends within this many characters; else its last tokens are not sure.
_LONGEST_WORD_CHARACTERS = 256
_LONGEST_WORD_TOKENS = 128
_WINDOW_OVERLAP = 0.25
_SIDE_SPECIALS = 2
_BOUNDS = (("[CLS]", "[SEP]"), ("<s>", "</s>"))
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """Tokens of one side of a pair.

    Attributes:
        ids: int64 (tokens,).
        encoding: The tokenizer's own record, for character offsets.
        start: Characters left out in front of the encoded part.
        cut: Whether characters were left out behind it.
        in_word: Whether they were cut off in the middle of a word.
    """

    ids: NDArray[np.int64]
    encoding: Encoding
    start: int
    cut: bool
    in_word: bool

    def begins_with(self, tokens: int) -> bool:
        """Whether the first ``tokens`` tokens are those that the whole text begins with."""
        return not self.cut or len(self.ids) >= tokens + self.in_word * _LONGEST_WORD_TOKENS

    def span(self, first: int, last: int) -> tuple[int, int] | None:
        """Return the characters in the caller's text of tokens ``first`` to ``last`` (exclusive); None for no token."""
        if first >= last:
            return None
        begin, end = self.encoding.token_to_chars(first), self.encoding.token_to_chars(last - 1)
        return (self.start + begin[0], self.start + end[1]) if begin and end else None


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One model input.

    Attributes:
        input_ids: int64 (length,).
        token_type_ids: int64 (length,).
        span: Character range of the text that was encoded, or None where nothing was.
        truncated: Whether part of the text was left out of this and all other windows.
    """

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    span: tuple[int, int] | None
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Head:
    """What is tokenised of a text; the fields are those of `TokenizedText`."""

    text: str
    start: int = 0
    cut: bool = False
    in_word: bool = False


@dataclass(frozen=True, slots=True)
class _Template:
    """Special tokens before, between and after the two sides, with their types, and the types of the two sides."""

    ids: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    types: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    side_types: tuple[int, int]


class PairTokenizer:
    """Builds model inputs from strings; its settings never change after construction, so threads may share it.

    Args:
        content: Bytes of a ``tokenizer.json``.
        layout: ``segments`` for ``[CLS] query [SEP] [CLS] text [SEP]``; ``pair`` for the tokenizer's own template.
        max_length: Tokens of one input, specials included.
        max_query_tokens: Tokens kept of a query; at most what leaves a quarter of the room for the text.

    Raises:
        ModelLoadError: The file is damaged or does not fit the layout.
    """

    def __init__(self, content: bytes, *, layout: str, max_length: int, max_query_tokens: int) -> None:
        self._tokenizer = _open(content)
        self._max_length = max_length
        self._template = _segments(self._tokenizer) if layout == "segments" else _template(self._tokenizer)
        self._specials = sum(len(part) for part in self._template.ids)
        room = max_length - self._specials
        self._max_query_tokens = max(1, min(max_query_tokens, room - max(1, room // 4)))
        self.max_characters = max_length * CHARACTERS_PER_TOKEN
        self._warned = False

    def queries(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return the kept tokens of each query, int64 (tokens,) each."""
        found = self._tokenize(texts, self._max_query_tokens)
        lost = sum(query.cut or len(query.ids) > self._max_query_tokens for query in found)
        if lost and not self._warned:
            self._warned = True
            logger.warning(
                "Cut %d of %d queries to %d tokens, the most that is read of a query; this is said once.",
                lost,
                len(found),
                self._max_query_tokens,
            )
        return [query.ids[: self._max_query_tokens] for query in found]

    def pairs(
        self, queries: Sequence[NDArray[np.int64]], texts: Sequence[str], *, windows: bool
    ) -> list[list[EncodedPair]]:
        """Return the inputs of each text with its query: one each, or several overlapping ones with ``windows``.

        Args:
            queries: Tokens of each text's query, as from `queries`.
            texts: As many texts.
            windows: Whether a text that is too long gives several inputs instead of being cut.
        """
        found = self._tokenize(texts, None if windows else self._max_length)
        return [self._windows(query, text, windows) for query, text in zip(queries, found, strict=True)]

    def alone(self, texts: Sequence[str], *, windows: bool) -> list[list[EncodedPair]]:
        """Return the inputs of each text without a query, ``[CLS] text [SEP]``, for models that encode each side alone.

        Args:
            texts: The texts.
            windows: Whether a text that is too long gives several inputs instead of being cut.
        """
        found = self._tokenize(texts, None if windows else self._max_length)
        return [
            [self._side(text, *piece) for piece in _pieces(text, self._max_length - _SIDE_SPECIALS, windows)]
            for text in found
        ]

    def side(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return ``[CLS] ids [SEP]``, int64 (tokens + 2,)."""
        return np.concatenate((self._template.ids[0], ids, self._template.ids[2]))

    def _side(self, text: TokenizedText, first: int, last: int, truncated: bool) -> EncodedPair:
        ids = self.side(text.ids[first:last])
        return EncodedPair(ids, np.zeros_like(ids), text.span(first, last), truncated)

    def _tokenize(self, texts: Sequence[str], tokens: int | None) -> list[TokenizedText]:
        """Tokenise enough of each text for ``tokens`` tokens, or all that the bound on characters allows for None."""
        # The same text is tokenised once: candidates repeat across the queries of a batch.
        unique = list(dict.fromkeys(texts))
        found = self._encode(unique, self.max_characters if tokens is None else tokens * _USUAL_CHARACTERS_PER_TOKEN)
        if tokens is not None:
            short = [text for text in unique if not found[text].begins_with(tokens)]
            found.update(self._encode(short, self.max_characters))
        return [found[text] for text in texts]

    def _encode(self, texts: Sequence[str], limit: int) -> dict[str, TokenizedText]:
        heads = [_head(text, limit) for text in texts]
        encodings = self._tokenizer.encode_batch([head.text for head in heads], add_special_tokens=False)
        return {
            text: TokenizedText(_array(encoding.ids), encoding, head.start, head.cut, head.in_word)
            for text, encoding, head in zip(texts, encodings, heads, strict=True)
        }

    def _windows(self, query: NDArray[np.int64], text: TokenizedText, windows: bool) -> list[EncodedPair]:
        pieces = _pieces(text, self._max_length - self._specials - len(query), windows)
        return [self._pair(query, text, first, last, truncated) for first, last, truncated in pieces]

    def _pair(
        self, query: NDArray[np.int64], text: TokenizedText, first: int, last: int, truncated: bool
    ) -> EncodedPair:
        before, between, after = self._template.ids
        ids = np.concatenate((before, query, between, text.ids[first:last], after))
        before, between, after = self._template.types
        query_type, text_type = self._template.side_types
        sides = np.full(len(query), query_type, np.int64), np.full(last - first, text_type, np.int64)
        types = np.concatenate((before, sides[0], between, sides[1], after))
        return EncodedPair(ids, types, text.span(first, last), truncated)


def _pieces(text: TokenizedText, room: int, windows: bool) -> list[tuple[int, int, bool]]:
    """Return first and last (exclusive) token of each input that a text gives, and whether part of it is left out."""
    count = len(text.ids)
    starts = [0]
    if windows and count > room:
        starts = [*range(0, count - room, max(1, int(room * (1.0 - _WINDOW_OVERLAP)))), count - room]
    truncated = text.cut or (count > room and not windows)
    return [(first, min(first + room, count), truncated) for first in starts]


def pad(pairs: Sequence[EncodedPair]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Stack inputs into ``input_ids, attention_mask, token_type_ids``, int64 (batch, longest), padded on the right."""
    shape = (len(pairs), max(len(pair.input_ids) for pair in pairs))
    ids, mask, types = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, pair in enumerate(pairs):
        length = len(pair.input_ids)
        ids[row, :length] = pair.input_ids
        mask[row, :length] = 1
        types[row, :length] = pair.token_type_ids
    return ids, mask, types


def _head(text: str, limit: int) -> _Head:
    if len(text) <= limit:
        return _Head(_valid(text))
    # Whitespace at the front would use up the characters without giving a token.
    head = text.lstrip()
    start = len(text) - len(head)
    head = head.rstrip()
    if len(head) <= limit:
        return _Head(_valid(head), start)
    head = head[:limit]
    nearest = limit - _LONGEST_WORD_CHARACTERS
    space = max(head.rfind(" ", max(0, nearest)), head.rfind("\n", max(0, nearest)))
    return _Head(_valid(head[:space] if space > 0 else head), start, cut=True, in_word=space <= 0)


def _valid(text: str) -> str:
    """Replace lone surrogates, which UTF-8 (and so the tokenizer) cannot hold, without moving a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text)
    return text


def _open(content: bytes) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # the Rust library raises bare Exception
        raise ModelLoadError(
            f"Cannot open tokenizer.json ({error}): copy, download or export the model again."
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # "[SEP]" in a document is text: it must not end the passage for the model.
    tokenizer.encode_special_tokens = True
    return tokenizer


def _segments(tokenizer: Tokenizer) -> _Template:
    first, last = bounds(tokenizer)
    ids = _array([first]), _array([last, first]), _array([last])
    return _Template(ids, (_array([0]), _array([0, 1]), _array([1])), (0, 1))


def _template(tokenizer: Tokenizer) -> _Template:
    """Read the tokenizer's own pair template off a probe, so that any family's is honoured."""
    sides = [tokenizer.encode(probe, add_special_tokens=False).ids for probe in ("a", "b")]
    if not all(sides):
        raise ModelLoadError("The tokenizer gives no token for 'a' or 'b': its vocabulary is damaged.")
    # `post_process` of two encodings loses which tokens are the first one's (tokenizers 0.23.3); `encode` does not.
    joined = tokenizer.encode("a", "b")
    query, text = joined.sequence_ids.index(0), joined.sequence_ids.index(1)
    bounds = [(0, query), (query + len(sides[0]), text), (text + len(sides[1]), len(joined.ids))]
    before, between, after = (_array(joined.ids[start:end]) for start, end in bounds)
    types = tuple(_array(joined.type_ids[start:end]) for start, end in bounds)
    return _Template(
        (before, between, after), (types[0], types[1], types[2]), (joined.type_ids[query], joined.type_ids[text])
    )


def bounds(tokenizer: Tokenizer) -> tuple[int, int]:
    """Return the tokens that a segment begins and ends with, by BERT's names or by XLM-R's.

    Raises:
        ModelLoadError: The vocabulary has neither.
    """
    for names in _BOUNDS:
        first, last = (tokenizer.token_to_id(name) for name in names)
        if first is not None and last is not None:
            return first, last
    raise ModelLoadError(
        f"Expected the tokens {' or '.join(map(' and '.join, _BOUNDS))} in the vocabulary, which begin and end a "
        "segment, found neither: it is another family's."
    )


def _array(values: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray(values, dtype=np.int64)
