"""Texts that stand in for queries where no queries are known: short sentences of the documents themselves."""

from __future__ import annotations

import random
from collections.abc import Sequence

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.prepare.text import sentences

COUNT = 500
_MOST_WORDS = 20
_LEAST_WORDS = 3


def pseudo_queries(documents: Sequence[str], count: int = COUNT, *, seed: int = 0) -> list[str]:
    """Return the first sentence, or title, of some documents, cut to 20 words.

    Args:
        documents: Texts.
        count: How many at most.
        seed: Of the choice.

    Raises:
        InvalidInputError: No document has a sentence of three words.
    """
    order = list(range(len(documents)))
    random.Random(seed).shuffle(order)
    found = [first for place in order if (first := _first(documents[place]))][:count]
    if not found:
        raise InvalidInputError("Expected documents with a sentence of three words or more, got none.")
    return found


def _first(document: str) -> str:
    for line in document.split("\n"):
        for sentence in sentences(line):
            words = sentence.split()
            if len(words) >= _LEAST_WORDS:
                return " ".join(words[:_MOST_WORDS])
    return ""
