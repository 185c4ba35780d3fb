"""Stored term weights and match classes of a vocabulary: what the lexical features of the head start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

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


def term_weights(tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return Lucene's idf, ``ln(1 + (N - n + 0.5) / (n + 0.5))``, of every token, 0 for stop words.

    Args:
        tokenizer: Without truncation or padding.
        texts: The collection to count in.

    Returns:
        float32 (vocabulary,).
    """
    vocabulary = tokenizer.get_vocab()
    frequency = np.zeros(len(vocabulary))
    for encoding in tokenizer.encode_batch([text[:4000] for text in texts], add_special_tokens=False):
        frequency[list(set(encoding.ids))] += 1
    weights = np.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
    weights[[vocabulary[word] for word in STOP_WORDS if word in vocabulary]] = 0.0
    return weights.astype(np.float32)


def match_ids(tokenizer: Tokenizer, language: str = "english") -> NDArray[np.int64]:
    """Return a class for every token such that whole words with one stem share it: int64 (vocabulary,)."""
    import Stemmer

    stemmer = Stemmer.Stemmer(language)
    vocabulary = tokenizer.get_vocab()
    classes = np.arange(len(vocabulary))
    first: dict[str, int] = {}
    for token, row in sorted(vocabulary.items(), key=lambda item: item[1]):
        if token.isalpha():
            classes[row] = first.setdefault(stemmer.stemWord(token), row)
    return classes
