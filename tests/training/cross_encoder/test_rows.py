"""Rows of a run: checks of the data, borrowed negatives, sampling, curriculum."""

import pytest

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.cross_encoder.rows import Schedule, check_groups, even_groups, with_borrowed
from semantic_ranker_training.data import Group


def test_an_empty_data_set_is_refused():
    with pytest.raises(InvalidInputError, match="got an empty data set"):
        check_groups([], "listnet")


def test_one_class_only_is_refused():
    with pytest.raises(InvalidInputError, match="got relevant ones only"):
        check_groups([Group("q", ("a",), (1.0,))], "bce")


def test_a_query_without_a_positive_is_refused_by_its_number():
    with pytest.raises(InvalidInputError, match="got none for query 1") as error:
        check_groups([Group("q", ("a", "b"), (1.0, 0.0)), Group("r", ("a",), (0.0,))], "bce")
    assert error.value.index == 1


def test_labels_out_of_range_are_refused_where_the_loss_cannot_use_them():
    graded = [Group("q", ("a", "b"), (3.0, 0.0))]
    with pytest.raises(InvalidInputError, match=r"Expected labels from 0 to 1 for 'bce', got 3.0 in query 0"):
        check_groups(graded, "bce")
    check_groups(graded, "lambda")


def test_a_positive_that_is_its_own_negative_is_refused():
    with pytest.raises(InvalidInputError, match="listed as positive and as negative"):
        Group("q", ("a", "a"), (1.0, 0.0))


def test_a_teacher_is_asked_for_where_scores_are_missing():
    with pytest.raises(InvalidInputError, match="Expected a teacher's scores for 'distil_listnet'"):
        check_groups([Group("q", ("a", "b"), (1.0, 0.0))], "distil_listnet")


def test_borrowed_negatives_are_never_relevant_to_the_query():
    groups = [Group("q", ("a",), (1.0,)), Group("q", ("b",), (1.0,)), Group("r", ("c", "d"), (1.0, 0.0))]
    filled = with_borrowed(groups, 3, seed=0)
    assert set(filled[0].texts) == {"a", "c", "d"}
    assert filled[0].labels == (1.0, 0.0, 0.0)
    assert len(set(filled[2].texts)) == 3
    assert with_borrowed(groups, 3, seed=0) == filled


def test_columns_need_as_many_negatives_in_every_row(quick):
    few = [Group("q", ("a", "b"), (1.0, 0.0))]
    with pytest.raises(InvalidInputError, match="Expected 3 negatives a query for 'mnrl' with group_size 4, got 1"):
        even_groups(few, quick(loss_function="mnrl"))
    assert even_groups(few, quick(loss_function="lambda")) == few


def test_every_epoch_has_every_query_once_in_another_order(toy_groups, quick):
    rows = list(Schedule(toy_groups, quick(num_epochs=2)).rows())
    first, second = ([row["query"] for row in rows[at : at + len(toy_groups)]] for at in (0, len(toy_groups)))
    assert sorted(first) == sorted(second) == sorted(group.query for group in toy_groups)
    assert first != second


def test_pairs_carry_labels_and_mse_takes_scores_where_there_are_any(quick):
    groups = [Group("q", ("a", "b"), (1.0, 0.0), (2.5, -1.0))]
    of = {
        name: {row["document"]: row["label"] for row in Schedule(groups, quick(loss_function=name)).rows()}
        for name in ("bce", "mse")
    }
    assert of == {"bce": {"a": 1.0, "b": 0.0}, "mse": {"a": 2.5, "b": -1.0}}


def test_the_temperature_divides_a_teachers_scores(quick):
    groups = [Group("q", ("a", "b"), (1.0, 0.0), (4.0, 2.0))]
    row = next(Schedule(groups, quick(loss_function="distil_listnet", teacher_temperature=2.0)).rows())
    assert dict(zip(row["documents"], row["labels"], strict=True)) == {"a": 2.0, "b": 1.0}


def test_a_curriculum_begins_with_easy_negatives(quick):
    texts = ("red car", *(f"blue {'red car ' * step}" for step in range(8)))
    groups = [Group(f"red car {row}", texts, (1.0, *[0.0] * 8), tuple(range(9))) for row in range(30)]
    config = quick(curriculum=True, group_size=3, num_epochs=4)
    hardness = [max(texts.index(text) for text in row["documents"]) for row in Schedule(groups, config).rows()]
    assert max(hardness[:20]) <= 2
    assert max(hardness[-30:]) == 8


def test_negatives_weigh_as_much_as_positives_in_bce(toy_groups, quick):
    assert Schedule(toy_groups, quick(loss_function="bce")).pos_weight() == 3.0
