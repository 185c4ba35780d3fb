"""Golden tests: every metric equals trec_eval's, query by query."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_ranker import evaluate

CUTOFFS = (1, 3, 5, 10, 20, 100)
TREC_EVAL = (
    {"nDCG": "ndcg", "RR": "recip_rank", "AP": "map"}
    | {f"nDCG@{k}": f"ndcg_cut_{k}" for k in CUTOFFS}
    | {f"AP@{k}": f"map_cut_{k}" for k in CUTOFFS}
    | {f"P@{k}": f"P_{k}" for k in CUTOFFS}
    | {f"Recall@{k}": f"recall_{k}" for k in CUTOFFS}
    | {f"Success@{k}": f"success_{k}" for k in CUTOFFS}
)
_CUT = ",".join(map(str, CUTOFFS))
MEASURES = {
    "ndcg",
    "recip_rank",
    "map",
    *(f"{name}.{_CUT}" for name in ("ndcg_cut", "map_cut", "P", "recall", "success")),
}
MEASURED = [*TREC_EVAL, *(f"RR@{k}" for k in CUTOFFS), *(f"Judged@{k}" for k in CUTOFFS)]
IDS = [f"d{number:02d}" for number in range(25)]

grades = st.dictionaries(st.sampled_from(IDS), st.integers(-1, 4), min_size=1, max_size=20)
untied = st.permutations(IDS).flatmap(
    lambda ids: st.integers(1, 25).map(lambda count: {d: -float(rank) for rank, d in enumerate(ids[:count])})
)


def theirs(qrels, run):
    return pytrec_eval.RelevanceEvaluator(qrels, MEASURES).evaluate(run)


def collection(seed, queries=40, depth=150):
    rng = np.random.default_rng(seed)
    ids = [f"doc{number}" for number in range(400)]
    qrels = {
        f"q{n}": {str(d): int(rng.integers(0, 4)) for d in rng.choice(ids, rng.integers(1, 60), replace=False)}
        for n in range(queries)
    }
    run = {
        f"q{n}": dict(zip(rng.permutation(ids)[:depth].tolist(), rng.permutation(np.arange(float(depth))), strict=True))
        for n in range(queries)
    }
    return run, qrels


@pytest.mark.parametrize("seed", range(4))
def test_every_metric_equals_trec_evals_query_by_query(seed):
    run, qrels = collection(seed)
    expected, found = theirs(qrels, run), evaluate(run, qrels, list(TREC_EVAL))
    for name, their_name in TREC_EVAL.items():
        for qid in qrels:
            assert found.per_query[name][qid] == pytest.approx(expected[qid][their_name], abs=1e-9), (name, qid)
        assert found.mean[name] == pytest.approx(np.mean([expected[q][their_name] for q in qrels]), abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(run=untied, judged=grades)
def test_any_judgments_and_any_depth_agree_with_trec_eval(run, judged):
    qrels = {"q": {document: max(grade, 0) for document, grade in judged.items()}}
    expected, found = theirs(qrels, {"q": run})["q"], evaluate({"q": run}, {"q": judged}, MEASURED)
    for name, their_name in TREC_EVAL.items():
        assert found.mean[name] == pytest.approx(expected[their_name], abs=1e-9), name
    ranked = sorted(run, key=lambda document: -run[document])
    first = next((rank for rank, d in enumerate(ranked, start=1) if qrels["q"].get(d, 0) > 0), None)
    for k in CUTOFFS:
        assert found.mean[f"RR@{k}"] == (1 / first if first is not None and first <= k else 0)
        judged_above = sum(document in judged for document in ranked[:k])
        assert found.mean[f"Judged@{k}"] == pytest.approx(judged_above / min(k, len(ranked)))


@settings(deadline=None, max_examples=60)
@given(run=untied, judged=grades, data=st.data())
def test_moving_a_relevant_document_up_never_lowers_a_metric(run, judged, data):
    ranked = sorted(run, key=lambda document: -run[document])
    place = data.draw(st.integers(0, len(ranked) - 1))
    above = data.draw(st.integers(0, place))
    # The one that goes up is relevant, those that it passes are not.
    qrels = {"q": {d: g for d, g in judged.items() if d not in ranked[above:place]} | {ranked[place]: 3}}
    moved = ranked.copy()
    moved.insert(above, moved.pop(place))
    before = evaluate({"q": run}, qrels, MEASURED).mean
    after = evaluate({"q": {d: -float(rank) for rank, d in enumerate(moved)}}, qrels, MEASURED).mean
    names = [name for name in MEASURED if not name.startswith("Judged")]
    assert all(after[name] >= before[name] - 1e-12 for name in names)


@settings(deadline=None, max_examples=30)
@given(run=untied, judged=grades, order=st.permutations(range(4)))
def test_the_order_of_queries_changes_nothing(run, judged, order):
    qids = [f"q{number}" for number in range(4)]
    runs = dict(zip(qids, [run, {}, dict(list(run.items())[:2]), run], strict=True))
    qrels = dict.fromkeys(qids, judged)
    shuffled = [qids[place] for place in order]
    found = evaluate({qid: runs[qid] for qid in shuffled}, {qid: qrels[qid] for qid in shuffled}, MEASURED)
    expected = evaluate(runs, qrels, MEASURED)
    assert found.per_query == expected.per_query
    assert found.mean == pytest.approx(expected.mean)


def test_ties_are_placed_by_id_and_not_by_trec_evals_reverse_order():
    run, qrels = {"q": {"a": 1.0, "b": 1.0, "c": 1.0}}, {"q": {"a": 1}}
    assert evaluate(run, qrels, "RR").mean == {"RR": 1.0}
    assert theirs(qrels, run)["q"]["recip_rank"] == pytest.approx(1 / 3)


def test_more_queries_than_are_measured_at_once():
    count = 12_000
    run = {
        f"q{n}": {"hit" if place == n % 3 else f"x{place}": -float(place) for place in range(3)} for n in range(count)
    }
    found = evaluate(run, {qid: {"hit": 1} for qid in run}, "RR")
    assert found.mean["RR"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert found.per_query["RR"]["q11999"] == pytest.approx(1 / 3)
