"""What int8 is fitted to: enough of it, of many kinds, and nothing that the gate then judges by."""

from semantic_ranker.conversion.fitting_texts import fitting_pairs, fitting_texts
from semantic_ranker.conversion.sample_pairs import built_in_pairs, built_in_texts


def test_texts_are_many_of_all_lengths_and_none_of_the_gate():
    texts = fitting_texts()
    assert len(set(texts)) == len(texts) == 48
    assert min(map(len, texts)) < 30
    assert max(map(len, texts)) > 500
    judged = {*built_in_texts(), *(text for pair in built_in_pairs() for text in pair)}
    assert not judged & set(texts)


def test_pairs_have_every_long_text_once_and_every_short_one_as_a_query():
    pairs = fitting_pairs()
    queries, texts = {query for query, _ in pairs}, [text for _, text in pairs]
    assert len(set(texts)) == len(texts)
    assert queries | set(texts) == set(fitting_texts())
    assert max(map(len, queries)) < min(map(len, texts))
