"""The table of docs/models.md on texts that are not English, from languages.json."""

from __future__ import annotations

from typing import Any

from table_parts import change, read, rows

_TITLES = {
    "BM25": "words alone, Spanish stems",
    "bundled, guarded": "the bundled reranker, as it is by default",
    "bundled, scored all the same": 'the bundled reranker, `other_languages="score"`',
    "multilingual-e5-small": "multilingual-e5-small, a bi-encoder, on the same candidates",
    "RRF": "words and multilingual-e5-small, by reciprocal ranks",
    "multilingual": "`reranker-multilingual`",
    "multilingual + BM25, fitted": "`reranker-multilingual` and words, weight fitted to judged queries",
}


def languages() -> str:
    found = read("languages")
    spanish = found["spanish"]

    def against_words(name: str) -> str:
        part = spanish["against BM25"].get(name)
        return change(part) if part else ""

    body = rows(
        ("order by", "nDCG@10", "against words alone"),
        (
            (title, f"{part['mean']:.3f} [{part['low']:.3f}, {part['high']:.3f}]", against_words(name))
            for name, title in _TITLES.items()
            if (part := spanish["systems"].get(name))
        ),
    )
    english = found["english"]
    held = sum(part["held back"] for part in english.values())
    return (
        f"{body}\n\n{spanish['queries']:,} questions of {spanish['collection']} over BM25's best 100; 95 % intervals. By "
        f"default {spanish['held back']:,} of them keep their order, marked `degraded`. {_gains(found)}"
        f"{_english(held, english)} `{found['command']}`"
    )


def _gains(found: dict[str, Any]) -> str:
    gains = found.get("gain", {})
    if not gains:
        return ""
    told = "; ".join(f"{_short(name)} {change(part)}" for name, part in gains.items())
    return f"In pairs: {told}. "


def _short(name: str) -> str:
    ours, theirs = name.split(" - ")
    who = "it and words" if ours.endswith("fitted") else "`reranker-multilingual`"
    return f"{who} against {'both by ranks' if theirs == 'RRF' else theirs}"


def _english(held: int, english: dict[str, Any]) -> str:
    queries = sum(part["queries"] for part in english.values())
    names = ", ".join(english)
    if not held:
        return f"Of {queries:,} English queries ({names}) none is held back, so English loses nothing."
    changes = "; ".join(
        f"{name} {part['held back']} of {part['queries']}, nDCG@10 {part['with - without']['difference']:+.4f}"
        for name, part in english.items()
        if part["held back"]
    )
    return f"Of {queries:,} English queries ({names}) {held} are held back: {changes}."
