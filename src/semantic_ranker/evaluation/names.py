"""Spellings of metrics, and the one canonical name of each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from semantic_ranker.errors import EvaluationError

# Lower case, without spaces, dashes and underscores.
_SPELLINGS = {
    "ndcg": "nDCG",
    "rr": "RR",
    "mrr": "RR",
    "reciprocalrank": "RR",
    "ap": "AP",
    "map": "AP",
    "averageprecision": "AP",
    "p": "P",
    "precision": "P",
    "r": "Recall",
    "recall": "Recall",
    "success": "Success",
    "hit": "Success",
    "hits": "Success",
    "hitrate": "Success",
    "judged": "Judged",
    # What trec_eval calls them, without its cut-off.
    "ndcgcut": "nDCG",
    "mapcut": "AP",
    "reciprank": "RR",
}
_WHOLE_RANKING = ("nDCG", "RR", "AP")
_SHAPE = re.compile(r"([^@]+?)(?:@(.*))?")
# ``ndcg_at_10`` of MTEB, ``ndcg_cut_10`` and ``P_10`` of trec_eval.
_UNDERSCORED = re.compile(r"([A-Za-z_]+?)(?:_at)?_([0-9]+)")


def canonical_metric(name: str) -> str:
    """Return the canonical name of a metric, such as ``RR@10`` for ``mrr@10``.

    Known are nDCG, RR (MRR) and AP (MAP), with or without a cut-off, and P (precision), Recall (R), Success
    (hit rate) and Judged, which need one.

    Args:
        name: Any spelling; case, spaces, dashes and underscores do not matter. The names of trec_eval
            (``ndcg_cut_10``, ``recip_rank``) and of MTEB (``ndcg_at_10``) are understood as well.

    Raises:
        EvaluationError: The metric is unknown, or its cut-off is missing or not 1 or more.
    """
    shape = _shape(name.strip()) if isinstance(name, str) else None
    if shape is None:
        raise EvaluationError(f"Expected a metric such as 'nDCG@10', got {name!r}.")
    word, cutoff = shape.groups()
    family = _SPELLINGS.get(_bare(word))
    if family is None:
        raise EvaluationError(f"Expected a known metric, got {name!r}: did you mean {_nearest(word, cutoff)!r}?")
    if cutoff is None:
        if family not in _WHOLE_RANKING:
            raise EvaluationError(f"Expected a cut-off for {family}, such as '{family}@10', got {name!r}.")
        return family
    if not re.fullmatch(r"[0-9]+", cutoff) or int(cutoff) < 1:
        raise EvaluationError(f"Expected a cut-off of 1 or more, such as '{family}@10', got {name!r}.")
    return f"{family}@{int(cutoff)}"


def canonical_metrics(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the canonical names in the order asked for, each once.

    Raises:
        EvaluationError: None was asked for, or one is not understood.
    """
    found = tuple(dict.fromkeys(canonical_metric(name) for name in ([names] if isinstance(names, str) else names)))
    if not found:
        raise EvaluationError("Expected at least one metric, such as 'nDCG@10', got none.")
    return found


def _shape(name: str) -> re.Match[str] | None:
    return _UNDERSCORED.fullmatch(name) or _SHAPE.fullmatch(name)


def _bare(word: str) -> str:
    return re.sub(r"[\s_-]+", "", word).lower()


def _nearest(word: str, cutoff: str | None) -> str:
    close = difflib.get_close_matches(_bare(word), _SPELLINGS, n=1, cutoff=0.0)
    return f"{_SPELLINGS[close[0]]}@{cutoff if cutoff and cutoff.isdecimal() and int(cutoff) else 10}"
