"""Stored term weights and match classes of a vocabulary: what the lexical features of the head start from."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.languages import stop_word_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

STOP_WORDS = frozenset(
    """
    a about above after again all am an and any are as at be because been before being below between
    both but by can could did do does doing down during each few for from further had has have having he
    her here hers him his how i if in into is it its itself just me more most my no nor not now of off
    on once only or other our out over own same she should so some such than that the their them then
    there these they this those through to too under until up very was we were what when where which
    while who whom why will with would you your ? . , ! ; : ' " ( ) - /
    """.split()  # noqa: SIM905  (a hundred quoted words would be harder to read)
)


SNOWBALL = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian",
    "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch",
    "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "sv": "swedish",
    "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
"""Stemmer by ISO 639-1 code."""
_WORD_START = "\u2581"


def term_weights(tokenizer: Tokenizer, texts: Sequence[str], *stemmers: str) -> NDArray[np.float32]:
    """Return Lucene's idf, ``ln(1 + (N - n + 0.5) / (n + 0.5))``, of every token, 0 for stop words.

    Args:
        tokenizer: Without truncation or padding.
        texts: The collection to count in.
        stemmers: Snowball's names of languages whose stop words count for nothing, beside the English ones.

    Returns:
        float32 (vocabulary,).
    """
    vocabulary = tokenizer.get_vocab()
    frequency = np.zeros(len(vocabulary))
    for encoding in tokenizer.encode_batch([text[:4000] for text in texts], add_special_tokens=False):
        frequency[list(set(encoding.ids))] += 1
    weights = np.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
    stop = STOP_WORDS.union(*map(stop_words, stemmers))
    weights[[row for token, row in vocabulary.items() if _word(token) in stop]] = 0.0
    if _WORD_START in vocabulary:
        weights[vocabulary[_WORD_START]] = 0.0
    return weights.astype(np.float32)


def stop_words(stemmer: str) -> frozenset[str]:
    """Return the stop words of a language, if bm25s has a list; none for English, which has one of its own here."""
    return frozenset() if stemmer == "english" else frozenset(stop_word_lists().get(f"STOPWORDS_{stemmer.upper()}", ()))


def match_ids(tokenizer: Tokenizer, *stemmers: str) -> NDArray[np.int64]:
    """Return a class for every token such that whole words with one stem share it: int64 (vocabulary,).

    Pieces of SentencePiece (``\u2581word``) count as whole words, as those of WordPiece without ``##`` do, and case is
    ignored.

    Args:
        tokenizer: Of the model.
        stemmers: Snowball's names, each applied to what the one before left; none is ``english``.
    """
    import Stemmer

    stem = [Stemmer.Stemmer(name).stemWord for name in stemmers or ("english",)]
    vocabulary = tokenizer.get_vocab()
    pieces = _WORD_START in vocabulary
    classes = np.arange(len(vocabulary))
    first: dict[str, int] = {}
    for token, row in sorted(vocabulary.items(), key=lambda item: item[1]):
        if token.startswith(_WORD_START) is pieces and (word := _word(token)).isalpha():
            classes[row] = first.setdefault(functools.reduce(lambda left, each: each(left), stem, word), row)
    return classes


def _word(token: str) -> str:
    return token.removeprefix(_WORD_START).lower()
