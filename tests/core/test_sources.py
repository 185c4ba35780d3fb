"""A passage is known by its document: scores are drawn to its best passage, and how far is fitted."""

import numpy as np
import pytest

from semantic_ranker import CrossEncoder
from semantic_ranker.errors import EvaluationError, InvalidInputError
from semantic_ranker.evaluation import evaluate
from semantic_ranker.source_weight import WEIGHTS, fit_source_weight
from semantic_ranker.sources import drawn_run, drawn_to_sources
from semantic_ranker.testing import FakeCrossEncoder

TEXTS = ["cats sleep", "birds sing", "dogs bark", "cats and dogs play", "water boils"]
LOGITS = dict(zip(TEXTS, [2.0, 1.9, 1.0, 4.0, -3.0], strict=True))
SOURCES = ["b.md", "c.md", "a.md", "a.md", None]


def encoder(**options):
    return FakeCrossEncoder(lambda query, text: LOGITS[text], **options)


def collection(drawn, queries=40, seed=0):
    """A run in which the answer's document holds a better passage, and the answer's own score says less."""
    random = np.random.default_rng(seed)
    run, qrels, sources = {}, {}, {f"d{number}": f"doc{number // 4}" for number in range(40)}
    for query in range(queries):
        answer = int(random.integers(0, 40))
        scores = random.standard_normal(40)
        best = 4 * (answer // 4) + (answer + 1) % 4
        scores[answer] += 1.0
        scores[best] += 6.0 if drawn else 0.0
        run[f"q{query}"] = {f"d{number}": float(score) for number, score in enumerate(scores)}
        qrels[f"q{query}"] = {f"d{answer}": 1}
    return run, sources, qrels


def test_a_score_moves_towards_the_best_of_its_document_and_the_best_stays():
    own = np.array([2.0, 1.9, 1.0, 4.0, -3.0], np.float32)
    drawn = drawn_to_sources(own, SOURCES, 0.5)
    assert drawn.dtype == np.float32
    assert drawn.tolist() == pytest.approx([2.0, 1.9, 2.5, 4.0, -3.0])
    assert drawn[3] == own[3]
    assert drawn_to_sources(own, SOURCES, 0.0).tolist() == own.tolist()
    assert drawn_to_sources(own, ["one.pdf"] * 5, 0.4).argsort().tolist() == own.argsort().tolist()
    assert drawn_to_sources(own, [None] * 5, 1.0).tolist() == own.tolist()
    assert drawn_to_sources(np.empty(0, np.float32), [], 0.5).shape == (0,)


def test_rank_goes_by_documents_only_where_both_are_said():
    assert [hit.text for hit in encoder(source_weight=0.5).rank("?", TEXTS)][:2] == ["cats and dogs play", "cats sleep"]
    by_document = encoder(source_weight=0.5).rank("?", TEXTS, sources=SOURCES)
    assert [hit.text for hit in by_document][:3] == ["cats and dogs play", "dogs bark", "cats sleep"]
    assert by_document[1].logit == 1.0, "the model's own word"
    assert by_document[1].relevance_score == pytest.approx(1 / (1 + np.exp(-2.5)))
    alone = encoder().rank("?", TEXTS, sources=SOURCES)
    assert [hit.index for hit in alone] == [3, 0, 1, 2, 4]
    assert [hit.index for hit in encoder(source_weight=0.5).rank("?", TEXTS, 2, sources=SOURCES)] == [3, 2]
    assert encoder(source_weight=0.5).rank("?", [], sources=[]) == []


def test_texts_that_are_skipped_keep_sources_in_step():
    texts, sources = [*TEXTS[:2], None, *TEXTS[2:]], [*SOURCES[:2], "x.md", *SOURCES[2:]]
    found = encoder(source_weight=0.5, on_error="skip").rank("?", texts, sources=sources)
    assert [hit.index for hit in found] == [4, 3, 0, 1, 5]


@pytest.mark.parametrize(
    ("sources", "said"),
    [(["a.md"], r"one source a text \(5\), got 1"), ("abcde", "got a string"), ([["a.md"]] * 5, "at 0, got list")],
)
def test_sources_that_do_not_belong_to_the_texts_are_refused(sources, said):
    with pytest.raises(InvalidInputError, match=said):
        encoder().rank("?", TEXTS, sources=sources)


@pytest.mark.parametrize("weight", [-0.1, 1.1, True, "0.4", float("nan")])
def test_weights_that_are_no_share_are_refused(weight):
    with pytest.raises(InvalidInputError, match="source_weight to be None or a number from 0 to 1"):
        CrossEncoder(source_weight=weight)


def test_a_cascade_does_not_leave_out_what_its_document_brings_to_the_top():
    texts = ["Cats sleep all day.", "Open Settings to change a forgotten password.", "It takes two minutes."]
    texts += [f"Password rules of city {number}." for number in range(40)]
    sources = ["cats.md", "reset.md", "reset.md", *(f"{number}.md" for number in range(40))]
    question = "how do I reset my password"
    found = [
        [hit.index for hit in CrossEncoder(mode=mode, source_weight=0.5).rank(question, texts, 3, sources=sources)]
        for mode in ("full", "cascade")
    ]
    assert found[0] == found[1]
    assert CrossEncoder().source_weight == 0.0


def test_the_weight_follows_what_documents_say():
    run, sources, qrels = collection(drawn=True)
    found = fit_source_weight(run, sources, qrels)
    assert found.weight >= 0.3
    assert found.by_weight.keys() == set(WEIGHTS)
    before = evaluate(run, qrels, ["nDCG@10"]).mean["nDCG@10"]
    assert found.by_weight[0.0] == pytest.approx(before)
    assert found.mean > before + 0.1
    after = evaluate(drawn_run(run, sources, found.weight), qrels, ["nDCG@10"]).mean["nDCG@10"]
    assert after == pytest.approx(found.mean)
    assert found.to_dict()["by_weight"].keys() == {"0", "0.1", "0.2", "0.3", "0.4", "0.5"}


def test_where_documents_say_nothing_the_weight_is_none():
    run, _, qrels = collection(drawn=True)
    assert fit_source_weight(run, {}, qrels).weight == 0.0
    assert fit_source_weight(run, dict.fromkeys((f"d{n}" for n in range(40)), "one.pdf"), qrels).weight == 0.0


def test_too_little_to_fit_on_is_refused():
    run, sources, qrels = collection(drawn=True, queries=9)
    with pytest.raises(EvaluationError, match="at least 10 judged queries to fit a source weight"):
        fit_source_weight(run, sources, qrels)
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        fit_source_weight(run, sources, qrels, weights=[2.0])
