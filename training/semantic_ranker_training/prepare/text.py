"""Sentences, words and key phrases of a text, and the removal of a query from its passage."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from semantic_ranker_training.data.duplicates import normalized

_SENTENCE = re.compile(
    r"(?<=[.!?\u3002\uff01\uff1f])[\"')\]]*\s+(?=[\"'(\[\u00bf\u00a1]?[A-Z0-9\u00c0-\u024f\u0400-\u04ff\u3040-\u9fff])|\n{2,}"
)
_WORD = re.compile(r"[^\W_]+(?:['\u2019.-][^\W_]+)*")
_STOP = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do", "does", "for",
    "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "may", "more", "most",
    "must", "no", "not", "of", "on", "or", "our", "shall", "should", "so", "such", "than", "that", "the",
    "their", "them", "then", "there", "these", "they", "this", "those", "to", "was", "we", "were", "what",
    "when", "where", "which", "while", "who", "why", "will", "with", "would", "you", "your", "el", "la", "los",
    "las", "un", "una", "de", "del", "que", "y", "en", "por", "con", "para", "es", "son", "se", "su", "al",
    "lo", "como", "más", "o", "si",
))  # fmt: skip


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, white space squeezed; paragraphs end sentences."""
    return [sentence for part in _SENTENCE.split(text) if (sentence := " ".join(part.split()))]


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, with inner apostrophes, dots and hyphens kept."""
    return _WORD.findall(text.casefold())


def passages(text: str, most_words: int) -> list[str]:
    """Return a text as passages of whole sentences, each of at most so many words unless one sentence is longer."""
    found: list[str] = []
    current: list[str] = []
    count = 0
    for sentence in sentences(text):
        length = len(sentence.split())
        if current and count + length > most_words:
            found.append(" ".join(current))
            current, count = [], 0
        current.append(sentence)
        count += length
    return [*found, " ".join(current)] if current else found


def without(text: str, query: str) -> str:
    """Return a text without any run of the query's words, whatever case and marks are between them."""
    run = [re.escape(word) for word in normalized(query).split()]
    if not run:
        return text
    pattern = re.compile(r"(?<![^\W_])" + r"[\W_]+".join(run) + r"(?![^\W_])[:.?!]*", re.IGNORECASE)
    previous = None
    while previous != text:  # taking one run out may join the ends of another
        previous, text = text, " ".join(pattern.sub(" ", text).split())
    return text.lstrip(" .,;:!?-\u2013\u2014")


def leaks(query: str, passage: str) -> bool:
    """Tell whether the query's words stand in the passage as one run."""
    return f" {normalized(query)} " in f" {normalized(passage)} "


def overlap(query: str, passage: str) -> float:
    """Return the share of the query's distinct words, stop words aside, that the passage has: 0 to 1."""
    own = {word for word in words(query) if word not in _STOP} or set(words(query))
    return len(own & set(words(passage))) / len(own) if own else 0.0


def document_frequencies(texts: Iterable[str]) -> Counter[str]:
    """Return in how many texts each word occurs; ``""`` counts the texts."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(words(text)))
        counts[""] += 1
    return counts


def key_phrases(text: str, frequencies: Mapping[str, int], most: int = 3) -> list[str]:
    """Return the phrases of one to three words with the highest sum of tf-idf that do not overlap, best first.

    Args:
        text: A passage.
        frequencies: Of `document_frequencies`.
        most: How many phrases.
    """
    tokens = words(text)
    counts = Counter(tokens)
    total = max(frequencies.get("", 1), 1)

    def weight(word: str) -> float:
        if word in _STOP or len(word) < 3 or word.isdigit():
            return 0.0
        return (1 + math.log(counts[word])) * math.log(1 + total / (1 + frequencies.get(word, 0)))

    scored: dict[str, float] = {}
    for size in (1, 2, 3):
        for start in range(len(tokens) - size + 1):
            run = tokens[start : start + size]
            if weight(run[0]) and weight(run[-1]):
                # Longer phrases win by less than their length: a sum alone would always take three words.
                scored.setdefault(" ".join(run), sum(map(weight, run)) / size**0.7)
    chosen: list[str] = []
    used: set[str] = set()
    for phrase in sorted(scored, key=lambda found: (-scored[found], found)):
        if len(chosen) == most:
            break
        if not used & set(phrase.split()):
            chosen.append(phrase)
            used |= set(phrase.split())
    return chosen
