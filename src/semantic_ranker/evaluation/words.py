"""Words and sentences of any language, found by their characters alone."""

from __future__ import annotations

import re

# Scripts that are written without spaces give a word a character; the others runs of letters and digits.
_SOLID = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_WORD = re.compile(rf"[{_SOLID}]|[^\W_{_SOLID}]+(?:[.,:/'\u2019-](?=\d)\d+)*", re.UNICODE)
# A sentence ends at its mark, after closing quotes, and takes along the citations that follow it.
_END = re.compile(
    r"(?:[.!?\u2026]+[\"'\u201d\u2019)]*(?:\s*\[[^\[\]\n]{1,80}\](?!\())*(?=\s|$)"
    r"|[\u3002\uff01\uff1f]+(?:\s*\[[^\[\]\n]{1,80}\](?!\())*)"
    r"|\n\s*\n|\n(?=\s*(?:[-*\u2022]|\d+[.)])\s)"
)
_ABBREVIATION = re.compile(r"(?:^|[\s(])(?:[A-Za-z]|e\.g|i\.e|cf|vs|etc|Dr|Mr|Mrs|Ms|No|Fig|approx|ca|p|pp)\.$")

# Function words say nothing about what a text is about.
_FUNCTION_WORDS = """
a an and are as at be been but by can could did do does for from had has have he her his how i if in into is it its may
might more most no nor of on or our she should so such than that the their them then there these they this those to was
we were what when where which while who whom why will with would you your also
al con de del el en es la las lo los o para pero por que se sin son su sus un una uno y como mas
"""
_COMMON = frozenset(_FUNCTION_WORDS.split())


def words(text: str) -> list[str]:
    """Return the words in lower case: runs of letters and digits, numbers with their inner marks whole."""
    return [found.lower() for found in _WORD.findall(text)]


def content_words(text: str) -> set[str]:
    """Return the different words that carry meaning, English endings cut off, function words left out."""
    import Stemmer

    stem = Stemmer.Stemmer("english")
    return {stem.stemWord(word) for word in words(text) if word not in _COMMON}


def sentences(text: str) -> list[str]:
    """Return the sentences, list items among them, each with the citations that directly follow it."""
    found: list[str] = []
    start = 0
    for mark in _END.finditer(text):
        if _ABBREVIATION.search(text[start : mark.end()]):
            continue
        found.append(text[start : mark.end()])
        start = mark.end()
    found.append(text[start:])
    return [sentence.strip() for sentence in found if sentence.strip()]
