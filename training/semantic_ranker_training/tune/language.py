"""Which language documents are written in, and which stemmer that means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.languages import foreign_language
from semantic_ranker_training.terms import SNOWBALL

_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Language:
    """A language of documents.

    Attributes:
        code: ISO 639-1.
        stemmer: Snowball's name; ``english`` where there is no stemmer of the language.
        known: Whether there is one.
    """

    code: str
    stemmer: str
    known: bool = True

    @classmethod
    def named(cls, name: str) -> Language:
        """Return the language of a code or of a Snowball name.

        Raises:
            InvalidInputError: It is neither.
        """
        wanted = name.strip().lower()
        for code, stemmer in SNOWBALL.items():
            if wanted in (code, stemmer):
                return cls(code, stemmer)
        raise InvalidInputError(f"Expected a language out of {', '.join(SNOWBALL)}, or its English name, got {name!r}.")


def language_of(texts: Sequence[str]) -> Language:
    """Return the language that most of the texts are written in; English unless another is sure.

    Args:
        texts: Passages; 200 of them, evenly spread, are looked at.
    """
    step = max(1, len(texts) // _LOOKED_AT)
    seen = [foreign_language(text, ("en",)) for text in texts[::step][:_LOOKED_AT]]
    foreign = Counter(code for code in seen if code is not None)
    if 2 * foreign.total() <= len(seen):
        return Language("en", "english")
    code = foreign.most_common(1)[0][0]
    return Language(code, SNOWBALL.get(code, "english"), code in SNOWBALL)
