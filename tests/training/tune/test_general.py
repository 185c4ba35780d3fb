"""What training is mixed with, and what nothing may be lost on."""

from semantic_ranker_training.tune.general import built_in_guard, general_groups


def test_the_guard_is_judged_and_shares_nothing_with_what_is_learnt_from():
    guard, learnt = built_in_guard(queries=40), general_groups(60, 13)
    assert len(guard.queries) == len(guard.qrels) == 40
    assert all(document in guard.corpus for of in guard.qrels.values() for document in of)
    assert len(guard.corpus) > 300
    assert len(learnt) > 30
    assert not {group.query.lower() for group in learnt} & {query.lower() for query in guard.queries.values()}
    assert not {text for group in learnt for text in group.texts} & set(guard.corpus.values())
    assert general_groups(60, 13) == learnt
