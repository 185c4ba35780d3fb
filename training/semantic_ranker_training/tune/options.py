"""What can be asked of `tune`: plain values, checked before anything is read."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semantic_ranker.errors import InvalidInputError

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, None: 60.0}
DEFAULT_BUDGET_S = 55 * 60.0
LEAST_BUDGET_S = 30.0
GIVEN = ("feedback", "judged", "asked", "generated")
"""Kinds of pairs of what the user gave, in order of preference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """Everything that decides a tuning run.

    Attributes:
        documents: Folder of documents, or one file.
        out: Model folder to write.
        queries: Real questions without judgments: a line each, or JSON Lines with ``text``; with ``qrels`` their ids.
        qrels: Judgments, ``query-id corpus-id score``; a corpus id is a document's path, or ``path#heading``.
        feedback: Log of a pipeline, as `semantic_ranker.feedback.FeedbackLog` writes it.
        teacher: Bigger cross-encoder, whatever `CrossEncoder` opens; it vetoes negatives and its scores are learnt.
        generator: ``module:function`` or the folder of a sequence-to-sequence model that writes queries.
        base: Model to start from: a reranker's or a bi-encoder's folder; None is the bundled reranker.
        guards: BEIR folders on which the tuned model must not lose; none takes a small built-in collection.
        language: ISO 639-1 code or Snowball name; None finds it out.
        budget_s: Seconds for one run of the command.
        seed: Of all random choices.
        ablate: Whether each ingredient that was given is also left out once, to show its gain.
        negatives: Negatives a query.
        negatives_from: ``hybrid``, ``bm25`` or ``random``.
        filters: Whether sentences and key phrases are left out that are too literal or that no search finds; generated
            questions like that always are.
        general: Share of a training step that comes from general pairs, so that the model does not forget.
        passage_tokens: Tokens of a passage while training.
        epochs: Passes over the pairs, at most; None takes the default.
        most_pairs: Pairs of the documents that are learnt from, at most.
        most_tested: Held-out queries that are measured, at most.
        guard_queries: Queries of each guard collection that are measured, at most.

    Raises:
        InvalidInputError: A value is out of range, or a path is not there.
    """

    documents: Path
    out: Path
    queries: Path | None = None
    qrels: Path | None = None
    feedback: Path | None = None
    teacher: str | None = None
    generator: str | None = None
    base: Path | None = None
    guards: tuple[Path, ...] = ()
    language: str | None = None
    budget_s: float = DEFAULT_BUDGET_S
    seed: int = 13
    ablate: bool = False
    negatives: int = 12
    negatives_from: str = "hybrid"
    filters: bool = False
    general: float = 0.25
    passage_tokens: int = 160
    epochs: float | None = None
    most_pairs: int = 6000
    most_tested: int = 500
    guard_queries: int = 200

    def __post_init__(self) -> None:
        if not self.budget_s >= LEAST_BUDGET_S:
            raise InvalidInputError(
                f"Expected a budget of {LEAST_BUDGET_S:g} seconds or more, such as 15m, got {self.budget_s:g} seconds."
            )
        if self.negatives_from not in ("hybrid", "bm25", "random"):
            raise InvalidInputError(f"Expected negatives of hybrid, bm25 or random, got {self.negatives_from!r}.")
        if not 0 <= self.general < 1:
            raise InvalidInputError(f"Expected a general share from 0 to below 1, got {self.general!r}.")
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            raise InvalidInputError(f"Expected epochs above 0, got {self.epochs!r}.")
        for name, least in (
            ("negatives", 1),
            ("passage_tokens", 16),
            ("most_pairs", 10),
            ("most_tested", 10),
            ("guard_queries", 10),
        ):
            if getattr(self, name) < least:
                raise InvalidInputError(f"Expected {name} of {least} or more, got {getattr(self, name)!r}.")
        if self.qrels is not None and self.queries is None:
            raise InvalidInputError("Expected --queries with --qrels: the judgments name queries by their ids.")
        for name in ("queries", "qrels", "feedback"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise InvalidInputError(f"Expected a file for --{name}, found none at {str(path)!r}.")
        for guard in self.guards:
            if not (guard / "corpus.jsonl").is_file():
                raise InvalidInputError(f"Expected a BEIR folder for --guard, found no corpus.jsonl in {str(guard)!r}.")
        _check_apart(self.documents, self.out)

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON types."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return content


def seconds(text: str) -> float:
    """Return the seconds of ``90s``, ``15m``, ``1h`` or ``15``, which are minutes.

    Raises:
        InvalidInputError: It is none of these.
    """
    found = _TIME.fullmatch(text.strip().lower())
    if not found:
        raise InvalidInputError(f"Expected a time such as 90s, 15m or 1h, got {text!r}.")
    return float(found.group(1)) * _SECONDS[found.group(2)]


def _check_apart(documents: Path, out: Path) -> None:
    source, target = documents.resolve(), out.resolve()
    if source.is_dir() and (target == source or source.is_relative_to(target)):
        raise InvalidInputError(
            f"Expected --out outside of the documents, got {str(out)!r}, which is or contains them."
        )
