"""Whether a text is written in a language that a model was made for: cheap, and silent unless sure.

Words are counted against the stop words of each language (bm25s's lists), letters against Unicode scripts. A text
with too little evidence, such as a name, a formula or code, is never called foreign.
"""

from __future__ import annotations

import re
import runpy
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import islice

from semantic_ranker._extras import package_folder

_LISTS = {
    "en": "STOPWORDS_EN_PLUS",
    "es": "STOPWORDS_SPANISH",
    "pt": "STOPWORDS_PORTUGUESE",
    "fr": "STOPWORDS_FRENCH",
    "it": "STOPWORDS_ITALIAN",
    "de": "STOPWORDS_GERMAN",
    "nl": "STOPWORDS_DUTCH",
    "da": "STOPWORDS_DANISH",
    "no": "STOPWORDS_NORWEGIAN",
    "sv": "STOPWORDS_SWEDISH",
    "tr": "STOPWORDS_TURKISH",
    "ru": "STOPWORDS_RUSSIAN",
}
# First and last code point of a script's letters, and the languages that use it, the most written one first.
_SCRIPTS = (
    (0x0370, 0x03FF, ("el",)),
    (0x0400, 0x052F, ("ru", "uk", "bg", "sr", "be", "mk")),
    (0x0590, 0x05FF, ("he", "yi")),
    (0x0600, 0x06FF, ("ar", "fa", "ur")),
    (0x0900, 0x097F, ("hi", "mr", "ne")),
    (0x0980, 0x09FF, ("bn",)),
    (0x0B80, 0x0BFF, ("ta",)),
    (0x0C00, 0x0C7F, ("te",)),
    (0x0E00, 0x0E7F, ("th",)),
    (0x10A0, 0x10FF, ("ka",)),
    (0x3040, 0x30FF, ("ja",)),
    (0x4E00, 0x9FFF, ("zh", "ja")),
    (0xAC00, 0xD7AF, ("ko",)),
)
_WORD = re.compile(r"[^\W\d_]+")
_READ = 600  # characters of a text that are looked at
_SAMPLE = 10  # texts of a list that are looked at
# A foreign language must have this many stop words more than twice those of the model's own languages, and more
# than this many different ones: names such as "Rio de la Plata" bring a few into any language.
_SURE = 2


def foreign_language(text: str, languages: Sequence[str]) -> str | None:
    """Return the language of a text if it is surely none of those given.

    Args:
        text: Anything; its beginning is looked at.
        languages: ISO 639-1 codes of what a model reads; none means that nothing is known, so nothing is foreign.

    Returns:
        ISO 639-1 code of the likeliest language, or None.
    """
    start = text[:_READ]
    if not languages or not (words := _WORD.findall(start.lower())):
        return None
    script = _script(start)
    known = set(languages) <= _LISTS.keys()
    if script is not None and not (known and "ru" in script):
        return None if set(script) & set(languages) else script[0]
    if not known:
        return None  # its words cannot be told from others
    hits = {language: [word for word in words if language in _stop_words().get(word, ())] for language in _LISTS}
    own = max(len(hits[language]) for language in languages)
    best = max((language for language in _LISTS if language not in languages), key=lambda language: len(hits[language]))
    if script is not None and not set(script) & set(languages):
        return script[0]
    return best if len(hits[best]) >= 2 * own + _SURE and len(set(hits[best])) > _SURE else None


def foreign_to(query: str, texts: Iterable[str], languages: Sequence[str]) -> str | None:
    """Return the language of a query, or of most of the texts, if it is surely none of those given.

    Args:
        query: The question.
        texts: The candidates; the first 10 are looked at.
        languages: As in `foreign_language`.

    Returns:
        ISO 639-1 code, or None.
    """
    if not languages:
        return None
    if (found := foreign_language(query, languages)) is not None:
        return found
    seen = [foreign_language(text, languages) for text in islice(texts, _SAMPLE)]
    foreign = Counter(language for language in seen if language is not None)
    return foreign.most_common(1)[0][0] if 2 * foreign.total() > len(seen) else None


def _script(text: str) -> tuple[str, ...] | None:
    """Return the languages of the script that half of the letters are written in, None for the Latin one."""
    letters = [ord(character) for character in text if character.isalpha()]
    counts = Counter(
        languages
        for letter in letters
        if letter >= 0x0370
        for first, last, languages in _SCRIPTS
        if first <= letter <= last
    )
    if not counts:
        return None
    script, _ = counts.most_common(1)[0]
    # Japanese mixes kana with the characters that Chinese is written in.
    if script == ("zh", "ja") and counts["ja",]:
        script = ("ja",)
    return script if 2 * counts.total() > len(letters) else None


@cache
def stop_word_lists() -> dict[str, Sequence[str]]:
    """Return bm25s's lists of stop words by their names there, such as ``STOPWORDS_SPANISH``."""
    # The file alone: importing its package takes longer than ranking 20 texts.
    return runpy.run_path(f"{package_folder('bm25s') or ''}/stopwords.py")


@cache
def _stop_words() -> dict[str, tuple[str, ...]]:
    """Return the languages of each stop word."""
    lists = stop_word_lists()
    found: dict[str, list[str]] = {}
    for language, name in _LISTS.items():
        for word in set(lists[name]):
            found.setdefault(word.lower(), []).append(language)
    return {word: tuple(languages) for word, languages in found.items()}
