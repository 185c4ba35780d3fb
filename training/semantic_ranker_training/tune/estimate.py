"""What a run will cost, before it starts: rough, from the number of passages and a short measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from semantic_ranker.collections import load_beir
from semantic_ranker.model_folder import BUNDLED
from semantic_ranker_training.tune.base import Base
from semantic_ranker_training.tune.data import Data
from semantic_ranker_training.tune.embedder import MOST_ENCODED, PooledEmbedder, foreign_seconds, searches_itself
from semantic_ranker_training.tune.fit import FitSettings
from semantic_ranker_training.tune.measure import GUARD_DEPTH
from semantic_ranker_training.tune.options import TuneOptions

_SAMPLE = 16
_LEARNT_PER_ENCODED = 3.5  # forward and backward against one pass in int8, a text
_BUILT_IN = (1195, 467.0)  # passages of the built-in guard, and their characters
_READ_CHARACTERS = 2500  # of a passage, about 512 tokens
_GUARD_SHARE, _FEWEST_GUARD = 0.2, 25  # of the budget for all guards; queries of each at least
_OF_WHAT_IS_LEFT = 0.8  # goes to guards, the rest is for errors of the estimate
_EXPORT_S = 70.0  # of the export alone: int8 is fitted to texts, and both graphs are checked
_RANKED_PER_ENCODED = 2.0  # states of every token, kept, against one vector of a passage
_PAIR_S = 0.0006  # to compare the states of a question and a passage
_FOREIGN_SHARE = 0.4  # of the budget, for a multilingual embedder at most
_PAIR_MODEL = 12.0  # what reading pairs costs more than encoding sides
_VECTOR_BYTES, _WEIGHT_BYTES = 1600, 91_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Seconds and bytes of a run.

    Attributes:
        before_s: Until learning starts.
        learning_s: Of learning, if the budget allows it all.
        after_s: Of export and proof.
        budget_s: The budget.
        disk_bytes: Of the work folder.
        documents: Documents.
        passages: Passages.
        tested: Held-out questions.
        guard_queries: Queries of each guard collection that there is surely time for.
        character_s: To encode a character of a passage.
        guards: Passages of each guard collection, and the characters of one that are read.
    """

    before_s: float
    learning_s: float
    after_s: float
    budget_s: float
    disk_bytes: float
    documents: int
    passages: int
    tested: int
    guard_queries: int
    character_s: float
    guards: tuple[tuple[int, float], ...]

    @property
    def total_s(self) -> float:
        """Of the whole run, within the budget."""
        rest = self.before_s + self.after_s
        return rest + max(0.0, min(self.learning_s, self.budget_s - rest))

    def to_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)

    def line(self) -> str:
        """Return a line for people."""
        text = (
            f"{self.documents} documents, {self.passages} passages, {self.tested} held-out questions: about "
            f"{_minutes(self.total_s)} (search {_minutes(self.before_s)}, learning at most "
            f"{_minutes(max(0.0, self.total_s - self.before_s - self.after_s))}, proof {_minutes(self.after_s)}) and "
            f"{self.disk_bytes / 1e6:.0f} MB of disk; budget {_minutes(self.budget_s)}"
        )
        if self.before_s + self.after_s > self.budget_s:
            text += ". That is too little for these documents: learning will be very short"
        return text


def estimate(data: Data, base: Base, options: TuneOptions, settings: FitSettings) -> Estimate:
    """Encode a few passages and reckon from that."""
    texts = [of.text for of in data.corpus.passages.values()]
    sample = texts[:: max(1, len(texts) // _SAMPLE)][:_SAMPLE]
    embedder = PooledEmbedder()
    embedder.embed_documents(sample[:1])
    started = time.monotonic()
    embedder.embed_documents(sample)
    second = (time.monotonic() - started) / len(sample)
    slow = _slowness(base)
    pairs = min(options.most_pairs, 4 * len(data.split.questions(data.corpus, "train")) + 400)
    learnt = settings.passes(pairs, base.ranks) * pairs / (1 - options.general)
    searched = second * len(texts) if len(texts) <= MOST_ENCODED else 0.002 * len(texts)
    if searches_itself(base, data.language.code, len(texts)):
        searched *= base.cost
    elif data.language.code != "en":
        searched = max(searched, min(foreign_seconds(len(texts)), _FOREIGN_SHARE * options.budget_s))
    a_character = second / float(np.mean([min(len(text), _READ_CHARACTERS) for text in sample]))
    guards = tuple(map(_size, options.guards)) or (_BUILT_IN,)
    asked = _affordable(options.guard_queries, guards, slow * a_character, _GUARD_SHARE * options.budget_s)

    def ranked(questions: int, times: float) -> float:
        candidates = 100 * questions
        return times * _RANKED_PER_ENCODED * second * min(len(texts), candidates) + _PAIR_S * candidates

    # The held-out questions are ranked by the bundled model, the tuned one, and a base that is another reranker;
    # calibration and fusion weight need the watched ones.
    models = [1.0, slow, *([slow] if base.ranks and base.folder != BUNDLED else [])]
    proved = sum(ranked(len(data.tested), times) for times in models) + ranked(len(data.watched), slow)
    return Estimate(
        before_s=searched + 0.03 * pairs + 0.002 * len(texts),
        learning_s=slow * learnt * second * _LEARNT_PER_ENCODED,
        after_s=_EXPORT_S * base.cost + proved + _guarded_s(asked, guards, slow * a_character),
        budget_s=options.budget_s,
        disk_bytes=_VECTOR_BYTES * len(texts) + 8 * _WEIGHT_BYTES + 3 * sum(map(len, texts)),
        documents=len(data.library.documents),
        passages=len(texts),
        tested=len(data.tested),
        guard_queries=asked,
        character_s=a_character,
        guards=guards,
    )


def guard_queries(ahead: Estimate, base: Base, options: TuneOptions, left_s: float) -> int:
    """Return how many queries of each guard collection are measured, once it is known what learning has left.

    Args:
        ahead: What was planned.
        base: What was tuned.
        options: The budget, and queries at most.
        left_s: Seconds of the budget that neither the run so far nor the planned proof takes.
    """
    room = _GUARD_SHARE * options.budget_s + _OF_WHAT_IS_LEFT * max(0.0, left_s)
    cost = _slowness(base) * ahead.character_s
    return max(ahead.guard_queries, _affordable(options.guard_queries, ahead.guards, cost, room))


def _affordable(most: int, guards: Sequence[tuple[int, float]], character_s: float, room_s: float) -> int:
    while most > _FEWEST_GUARD and _guarded_s(most, guards, character_s) > room_s:
        most -= 1
    return most


def _guarded_s(queries: int, guards: Sequence[tuple[int, float]], character_s: float) -> float:
    """Return the seconds that the base and the tuned model take for so many queries of each guard collection."""
    read = sum(_distinct(count, queries) * length for count, length in guards)
    return 2 * _RANKED_PER_ENCODED * character_s * read


def _slowness(base: Base) -> float:
    return base.cost * (1.0 if base.becomes == "interaction" else _PAIR_MODEL)


def _size(guard: Path) -> tuple[int, float]:
    """Return the passages of a collection, and how many characters of one are read."""
    texts = list(load_beir(guard).corpus.values())
    return len(texts), float(np.mean([min(len(text), _READ_CHARACTERS) for text in texts])) if texts else 0.0


def _distinct(passages: int, queries: int) -> float:
    """Return about how many passages are among the candidates of so many queries, were these drawn at random."""
    return passages * (1 - math.exp(-GUARD_DEPTH * queries / max(1, passages)))


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
