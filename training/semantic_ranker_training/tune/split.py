"""Puts each document on one side, for good: learnt from, watched while learning, or tested on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semantic_ranker._files import write_atomically
from semantic_ranker_training.data.duplicates import normalized
from semantic_ranker_training.tune.passages import NATURAL, Corpus, Question

SIDES = ("train", "val", "test")
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
FEWEST_UNITS = 8
"""Folders of fewer documents, copies counted once, are split by section."""
_GLUED = 0.5  # share of the smaller document that another one repeats, from which both stay together


@dataclass(frozen=True, slots=True)
class Split:
    """Which unit, a document or a section of one, is on which side.

    Attributes:
        side: ``train``, ``val`` or ``test`` of each unit; a unit that joins two sides is ``none``.
        by_section: Whether sections were split, for want of documents.
        passages: Side of each passage of the corpus; one that documents of two sides share is ``none``.
    """

    side: Mapping[str, str]
    by_section: bool
    passages: Mapping[str, str]

    def of(self, passage: str) -> str:
        """Return the side of a passage."""
        return self.passages.get(passage, "none")

    def questions(self, corpus: Corpus, side: str) -> list[Question]:
        """Return the questions that are on one side with all that they come from."""
        found = []
        for question in corpus.questions:
            sides = {self.of(answer) for answer in question.answers}
            if not self.by_section:
                sides |= {self.side.get(name, "none") for name in (question.document, question.other) if name}
            if sides == {side}:
                found.append(question)
        return found


def split_corpus(corpus: Corpus, record: Path, seed: int) -> Split:
    """Split a folder; a unit that was split before keeps its side.

    The side of a new unit is drawn by its name and the seed. Units of which one repeats half of the other stay
    together, on the side of the one that was there first.

    Args:
        corpus: What is split.
        record: File that remembers the sides.
        seed: Of the draw.
    """
    by_section = len(_components(_members(corpus, by_section=False))) < FEWEST_UNITS
    known = _remembered(record, seed, by_section=by_section)
    members = _members(corpus, by_section=by_section)
    side: dict[str, str] = {}
    for together in _components(members):
        before = {known[unit] for unit in together if unit in known} - {"none"}
        if len(before) > 1:
            # A new unit that joins two sides would carry the one into the other.
            side.update({unit: known.get(unit, "none") for unit in together})
        else:
            chosen = before.pop() if before else _drawn(min(together), seed)
            side.update(dict.fromkeys(together, chosen))
    if not known:
        _fill(side, corpus, seed, by_section=by_section)
    content = {"seed": seed, "by_section": by_section, "side": {**known, **side}}
    write_atomically(record, json.dumps(content, ensure_ascii=True, indent=0))
    return Split(side, by_section, _passages(corpus, side, by_section=by_section))


def unit_of(passage: str, *, by_section: bool) -> str:
    """Return the unit of a passage's id."""
    document, _, place = passage.rpartition("#")
    return f"{document}#{place.partition('.')[0]}" if by_section else document


def distinct_questions(questions: Sequence[Question], most_answers: int = 8) -> list[Question]:
    """Return each question once; one with several answers names none, and is left out."""
    answers: dict[str, set[str]] = {}
    for question in questions:
        answers.setdefault(normalized(question.text), set()).add(question.answers[0])
    found: dict[str, Question] = {}
    for question in sorted(questions, key=lambda of: NATURAL.index(of.kind)):
        text = normalized(question.text)
        if len(answers[text]) == 1 and len(question.answers) <= most_answers:
            found.setdefault(text, question)
    order = {id(question): place for place, question in enumerate(questions)}
    return sorted(found.values(), key=lambda question: order[id(question)])


def _remembered(record: Path, seed: int, *, by_section: bool) -> dict[str, str]:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        same = content["seed"] == seed and content["by_section"] == by_section
        return dict(content["side"]) if same else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _members(corpus: Corpus, *, by_section: bool) -> dict[str, set[str]]:
    """Return the passages of each unit, repeated ones by the name of the first."""
    members: dict[str, set[str]] = {}
    for passage, first in corpus.same_as.items():
        members.setdefault(unit_of(passage, by_section=by_section), set()).add(first)
    return members


def _passages(corpus: Corpus, side: Mapping[str, str], *, by_section: bool) -> dict[str, str]:
    sides: dict[str, set[str]] = {}
    for passage, first in corpus.same_as.items():
        sides.setdefault(first, set()).add(side.get(unit_of(passage, by_section=by_section), "none"))
    return {passage: (of - {"none"}).pop() if len(of - {"none"}) == 1 else "none" for passage, of in sides.items()}


def _components(members: Mapping[str, set[str]]) -> list[list[str]]:
    owners: dict[str, list[str]] = {}
    for unit, passages in members.items():
        for passage in passages:
            owners.setdefault(passage, []).append(unit)
    shared: Counter[tuple[str, str]] = Counter()
    for units in owners.values():
        for other in units[1:]:  # what many documents repeat joins each to the first only, which keeps this linear
            shared[units[0], other] += 1
    parent = {unit: unit for unit in members}

    def root(unit: str) -> str:
        while parent[unit] != unit:
            parent[unit] = parent[parent[unit]]
            unit = parent[unit]
        return unit

    for (one, other), count in shared.items():
        if count >= _GLUED * min(len(members[one]), len(members[other])):
            low, high = sorted((root(one), root(other)))
            parent[high] = low
    found: dict[str, list[str]] = {}
    for unit in members:
        found.setdefault(root(unit), []).append(unit)
    return list(found.values())


def _place(unit: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}/{unit}".encode("utf-8", "replace")).digest()[:8], "big") / 2**64


def _drawn(unit: str, seed: int) -> str:
    place = _place(unit, seed)
    return "test" if place < TEST_SHARE else "val" if place < TEST_SHARE + VALIDATION_SHARE else "train"


def _fill(side: dict[str, str], corpus: Corpus, seed: int, *, by_section: bool) -> None:
    """Move units, in the order of the draw, until tested and watched sides have their share of the questions."""
    weight: Counter[str] = Counter()
    for question in corpus.questions:
        weight[unit_of(question.answers[0], by_section=by_section)] += 1
    total = sum(weight.values())
    for name, share in (("test", TEST_SHARE), ("val", VALIDATION_SHARE)):
        has = sum(count for unit, count in weight.items() if side.get(unit) == name)
        for unit in sorted((unit for unit in weight if side.get(unit) == "train"), key=lambda unit: _place(unit, seed)):
            if has >= 0.75 * share * total:
                break
            if weight[unit] <= 2 * share * total or not has:
                side[unit] = name
                has += weight[unit]
