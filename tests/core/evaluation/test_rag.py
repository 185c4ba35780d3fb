from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_ranker import EvaluationError
from semantic_ranker.evaluation import Span, check_citations, context_figures, locate, mean_context_figures, redundancy
from semantic_ranker.evaluation.words import content_words, sentences, words

CONTEXT = [
    "To reset a forgotten password open Settings and choose Security. The link is valid for 24 hours.",
    "Lunch is served in the canteen at noon. Vegetarian meals cost 4.50 euros.",
]

spans = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.integers(1, 20)).map(
        lambda of: Span(of[0], of[1], of[1] + of[2])
    ),
    max_size=5,
)


def characters(of):
    return {(span.document, place) for span in of for place in range(span.start, span.end)}


def test_context_figures_worked_out_by_hand():
    found = context_figures(
        [Span("d", 0, 100), Span("d", 50, 150), Span("e", 0, 10)], [Span("d", 90, 140), Span("f", 0, 50)]
    )
    assert found.precision == pytest.approx(50 / 210)  # the 50 shared characters are paid for twice
    assert found.recall == pytest.approx(50 / 100)
    assert found.iou == pytest.approx(50 / (210 + 100 - 50))
    assert found.useful_passages == pytest.approx(1 / 3)  # the first holds a fifth of the span only
    assert found.found_spans == 0.5
    assert found.first_useful == 0.5


def test_a_passage_inside_a_judged_span_is_useful_and_a_perfect_context_is_perfect():
    inside = context_figures([Span("d", 10, 20)], [Span("d", 0, 100)])
    assert (inside.useful_passages, inside.found_spans, inside.precision, inside.recall) == (1, 0, 1, 0.1)
    perfect = context_figures([Span("d", 0, 9), Span("d", 9, 20)], [Span("d", 0, 20)])
    assert (perfect.precision, perfect.recall, perfect.iou, perfect.found_spans) == (1, 1, 1, 1)


def test_no_context_is_zero_and_means_are_over_queries():
    nothing = context_figures([], [Span("d", 0, 9)])
    assert set(nothing.to_dict().values()) == {0.0}
    whole = context_figures([Span("d", 0, 9)], [Span("d", 0, 9)])
    assert mean_context_figures([nothing, whole]).recall == 0.5


@settings(deadline=None)
@given(context=spans, judged=spans.filter(bool))
def test_precision_and_recall_count_characters(context, judged):
    found = context_figures(context, judged)
    both = characters(context) & characters(judged)
    assert found.recall == pytest.approx(len(both) / len(characters(judged)))
    paid = sum(span.end - span.start for span in context)
    assert found.precision == pytest.approx(len(both) / paid if paid else 0)
    assert found == context_figures(context, list(reversed(judged)))
    assert all(0 <= value <= 1 for value in found.to_dict().values())
    more = context_figures([*context, Span("a", 0, 60)], judged)
    assert more.recall >= found.recall


@pytest.mark.parametrize(
    "call",
    [
        lambda: context_figures([], []),
        lambda: context_figures([], [Span("d", 0, 1)], min_overlap=0),
        lambda: context_figures([], [Span("d", 0, 1)], min_overlap=1.1),
        lambda: Span("d", 5, 5),
        lambda: Span("d", -1, 5),
        lambda: mean_context_figures([]),
        lambda: redundancy(["a"], threshold=0),
        lambda: redundancy(["a"], shingle=0),
        lambda: redundancy(["a", "b"], vectors=[[1.0]]),
        lambda: redundancy(["a"], vectors=[[float("nan")]]),
        lambda: check_citations("x", "one text"),
        lambda: check_citations("x", ["a"], threshold=0),
    ],
)
def test_input_out_of_range_is_refused(call):
    with pytest.raises(EvaluationError, match="Expected"):
        call()


def test_passages_are_located_whatever_their_white_space():
    documents = {"x": "nothing", "y": "One two\n  three (four)."}
    assert locate("two three (four)", documents) == Span("y", 4, 22)
    assert locate("two four", documents) is None
    assert locate("  ", documents) is None


def test_near_duplicates_are_found_whichever_is_longer():
    long = "the quick brown fox jumps over the lazy dog near the river"
    found = redundancy(
        [long, "something else that is quite different indeed", "fox jumps over the lazy dog", long.upper()]
    )
    assert found.pairs == ((0, 2), (0, 3))
    assert found.near_duplicates == 0.5
    assert found.max_similarity == 1.0
    assert found.mean_similarity == pytest.approx(2 / 3)
    assert found.repeated > 0.4
    assert json.loads(json.dumps(found.to_dict()))["pairs"] == [[0, 2], [0, 3]]


def test_a_context_without_repetition_has_none():
    found = redundancy(CONTEXT)
    assert (found.near_duplicates, found.repeated, found.max_similarity, found.pairs) == (0, 0, 0, ())
    for passages in ([], [""], ["", ""], ["one"]):
        assert redundancy(passages).near_duplicates == 0
    assert redundancy(["one", "one"]).near_duplicates == 0.5


def test_vectors_find_paraphrases():
    passages = ["a feline sleeps all day long", "cats rest the whole day through"]
    assert redundancy(passages).max_similarity == 0
    found = redundancy(passages, vectors=[[1.0, 0.1], [1.0, 0.12]])
    assert found.pairs == ((0, 1),)
    assert redundancy(passages, vectors=[[0.0, 0.0], [1.0, 0.0]]).max_similarity == 0


def verdicts(answer, context=CONTEXT, **options):
    return [(of.label, of.exists, of.supported) for of in check_citations(answer, context, **options).citations]


def test_right_citations_are_right():
    answer = (
        "Open Settings and choose Security to reset your password [1]. "
        "The link is valid for 24 hours.[1] Lunch is served at noon. [2]"
    )
    found = check_citations(answer, CONTEXT)
    assert (found.existing, found.precision, found.coverage, found.uncited) == (1, 1, 1, ())
    assert [of.sentence for of in found.citations] == [0, 1, 2]
    assert found.sentences[0] == "Open Settings and choose Security to reset your password."
    assert json.loads(json.dumps(found.to_dict()))["citations"][0]["label"] == "1"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Lunch is served at noon [3].", [("3", False, False)]),  # no such passage
        ("Lunch is served at noon [0].", [("0", False, False)]),
        ("Lunch is served at noon [1].", [("1", True, False)]),  # the wrong passage
        ("The link is valid for 48 hours [1].", [("1", True, False)]),  # a wrong number
        ("Meals cost 4.50 euros [2].", [("2", True, True)]),
        ("Meals cost 4.60 euros [2].", [("2", True, False)]),
        (
            "Lunch is at noon and the password link is valid for 24 hours [1, 2].",
            [("1", True, True), ("2", True, True)],
        ),
        ("Lunch is served at noon [1][2].", [("1", True, False), ("2", True, True)]),
        ("Lunch is served at noon [1-2].", [("1", True, False), ("2", True, True)]),
        ("Lunch is served at noon [^2].", [("2", True, True)]),
        ("Lunch is served at noon [1-9999999].", [("1-9999999", False, False)]),
        ("See [the docs](http://example.org) and a[0] and `x[1]` [sic].", []),
        ("```\nLunch [1]\n```", []),
        ("[2]", [("2", True, False)]),
        ("", []),
    ],
)
def test_citations_are_judged_one_by_one(answer, expected):
    assert verdicts(answer) == expected


def test_named_sources_are_citations_and_asides_are_not():
    context = {"guide.md": "Reset the password in Settings.", "faq": "Lunch is at noon."}
    answer = "Reset the password in Settings [guide.md]. Lunch is at noon [faq]. Dogs bark [other.md]. Well [note]."
    found = check_citations(answer, context)
    assert [(of.label, of.exists, of.supported) for of in found.citations] == [
        ("guide.md", True, True),
        ("faq", True, True),
        ("other.md", False, False),
    ]
    assert found.uncited == (3,)
    assert found.coverage == 0.5


def test_an_answer_without_citations_is_uncovered():
    found = check_citations("Lunch is at noon. Cats sleep.", CONTEXT)
    assert (found.precision, found.existing, found.coverage, found.uncited) == (1, 1, 0, (0, 1))


def test_the_threshold_says_how_many_words_must_be_there():
    answer = "Lunch is served daily by friendly people at noon [2]."
    assert verdicts(answer, threshold=0.4)[0][2]
    assert not verdicts(answer, threshold=0.9)[0][2]


def test_sentences_end_at_their_marks_and_not_at_abbreviations():
    text = 'Dr. Smith came. "Why?" he asked, e.g. at 3.5 km.\n- first item\n- second item\n\nLast'
    assert sentences(text) == [
        "Dr. Smith came.",
        '"Why?"',
        "he asked, e.g. at 3.5 km.",
        "- first item",
        "- second item",
        "Last",
    ]
    assert sentences("東京は首都です[1]。次です。") == ["東京は首都です[1]。", "次です。"]
    assert words("It's 1,000.50 日本") == ["it", "s", "1,000.50", "日", "本"]
    assert content_words("The cats are sleeping") == content_words("cat sleeps")
