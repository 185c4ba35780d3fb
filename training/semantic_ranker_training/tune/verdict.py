"""Whether the tuned model is better, in words that claim no more than was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from semantic_ranker.evaluation import Comparison
from semantic_ranker.evaluation.resampling import show_p

Outcome = Literal["better", "not shown", "worse"]
METRIC = "nDCG@10"
_ALPHA = 0.05
EXIT = {"better": 0, "not shown": 3, "worse": 4}
"""Exit status of the command by outcome; 1 and 2 are errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of it.

    Attributes:
        outcome: ``better``: on held-out queries, and nowhere surely worse. ``worse``: on held-out queries, or on a
            guard collection. ``not shown`` else.
        words: A few sentences.
        recommendation: What to use.
    """

    outcome: Outcome
    words: str
    recommendation: str

    @property
    def status(self) -> int:
        """Exit status of the command."""
        return EXIT[self.outcome]

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON types."""
        return {**asdict(self), "exit_status": self.status}


def judge(
    against_base: Comparison,
    against_search: Comparison,
    guards: Mapping[str, Comparison],
    *,
    base: str,
    model: str,
    asked: str,
) -> Verdict:
    """Judge a tuned model.

    Args:
        against_base: The base (A) and the tuned model (B) on held-out queries.
        against_search: The fused search without a reranker (A) and the tuned model (B).
        guards: The base (A) and the tuned model (B) on each guard collection.
        base: Name of the base.
        model: Path of the tuned model.
        asked: What the held-out queries are, such as ``section headings``.
    """
    own, search = against_base[METRIC], against_search[METRIC]
    lost = {name: of[METRIC] for name, of in guards.items() if of[METRIC].high < 0 and of[METRIC].p_value < _ALPHA}
    surely = own.p_value < _ALPHA
    if own.high < 0 and surely:
        outcome: Outcome = "worse"
    elif lost:
        outcome = "worse"
    else:
        outcome = "better" if own.low > 0 and surely else "not shown"
    words = [
        _difference(outcome, own, base)
        + f" on {len(own.per_query)} held-out queries ({asked}): {METRIC} {own.mean_a:.3f} to {own.mean_b:.3f}, "
        f"{own.won} queries won and {own.lost} lost."
    ]
    words.append(
        f"Against hybrid search without a reranker: {_points(search.difference)} "
        f"[{_points(search.low)}, {_points(search.high)}] points."
    )
    for name, of in lost.items():
        words.append(f"It lost {_points(of.difference)} [{_points(of.low)}, {_points(of.high)}] points on {name}.")
    if guards and not lost:
        words.append(f"No loss that is surely more than chance on {', '.join(guards)}.")
    return Verdict(outcome=outcome, words=" ".join(words), recommendation=_recommended(outcome, search, base, model))


def _difference(outcome: Outcome, own: Any, base: str) -> str:
    change = f"{_points(own.difference)} points [{_points(own.low)}, {_points(own.high)}], p {show_p(own.p_value)}"
    if outcome == "better":
        return f"Better than the {base} by {change},"
    if own.low > 0:
        return f"Better than the {base} here by {change}, but worse elsewhere,"
    return f"{'Worse than' if own.high < 0 else 'Not shown to be better than'} the {base} ({change})"


def _recommended(outcome: Outcome, search: Any, base: str, model: str) -> str:
    if outcome == "better":
        if search.high < 0:
            return "Use neither reranker on these documents: hybrid search alone (RRF) ranks surely better."
        return f'Use the tuned model: SemanticRerank(model="{model}").'
    kept = "SemanticRerank()" if base == "bundled reranker" else f'SemanticRerank(model="{base}")'
    if search.high < 0:
        return f"Keep the {base} ({kept}), or hybrid search without a reranker, which ranks surely better here."
    return f"Keep the {base}: {kept}. The tuned model is in {model}, should you want to look at it."


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
