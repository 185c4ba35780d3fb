"""Counts the tokens of a text: with a model's tokenizer, or as a cheap estimate without any."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from semantic_ranker._files import StrPath
from semantic_ranker.errors import ModelLoadError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Count = Callable[[str], int]
"""Text to its number of tokens, without special tokens."""

_UNITS = re.compile(r"[^\W_]+|[^\w\s]|_")
_USUAL = 7  # characters of a word that a vocabulary of 30,000 mostly has whole
_MORE = 4  # characters of each further token of a longer word
_WIDE = re.compile("[\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a WordPiece or BPE vocabulary makes of a text; 0 for white space."""
    total = 0
    for unit in _UNITS.findall(text):
        length = len(unit)
        if unit[0] > "\u0e00" and _WIDE.match(unit):
            total += length
        else:
            total += 1 if length <= _USUAL else 1 + -(-(length - _USUAL) // _MORE)
    return total


def token_counter(tokenizer: StrPath | Tokenizer) -> Count:
    """Return a counter that uses a model's tokenizer.

    Args:
        tokenizer: A ``tokenizer.json``, or the open tokenizer, which is copied.

    Raises:
        ModelLoadError: The file cannot be opened.
    """
    from tokenizers import Tokenizer

    try:
        given = tokenizer if isinstance(tokenizer, Tokenizer) else Tokenizer.from_file(str(tokenizer))
        own = Tokenizer.from_str(given.to_str())
    except Exception as error:  # the Rust library raises bare Exception
        raise ModelLoadError(f"Cannot open a tokenizer in {str(tokenizer)!r} ({error}).") from error
    own.no_padding()
    own.no_truncation()
    own.encode_special_tokens = True
    return lambda text: len(own.encode(text, add_special_tokens=False).ids)
