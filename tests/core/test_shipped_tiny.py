"""The smaller bundled model: found by its name, half the size, and nearly the order of the whole one."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from semantic_ranker import CrossEncoder, ModelLoadError
from semantic_ranker.model_folder import BUNDLED, TINY

QUESTIONS = {
    "how do I reset my password": "To change a forgotten password, open Settings and choose Security.",
    "when is rent due": "Tenants pay on the first working day of each month.",
    "why do leaves turn yellow": "In autumn chlorophyll breaks down, and the colour of carotenoids shows.",
    "sort a list in python": "sorted(items, key=...) returns a new list; list.sort() works in place.",
    "what does the pancreas do": "It makes insulin, which lowers blood sugar, and enzymes for digestion.",
    "fastest land animal": "A cheetah reaches about 100 kilometres an hour over short distances.",
}
TEXTS = [*QUESTIONS.values(), "The cafeteria opens at noon.", "Cats sleep most of the day.", "Gates close at ten."]


@pytest.fixture(scope="module")
def tiny():
    with CrossEncoder("reranker-en-tiny") as opened:
        yield opened


def test_its_name_opens_it(tiny):
    assert (tiny.model_name, tiny.precision, tiny.languages) == ("reranker-en-tiny", "int8", ("en",))
    with CrossEncoder("reranker-en") as named, CrossEncoder() as default:
        assert named.fingerprint == default.fingerprint != tiny.fingerprint


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reranker-en-tiny").mkdir()
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        CrossEncoder("reranker-en-tiny").score("a", ["b"])


def test_a_name_that_is_nearly_right_is_told_the_right_one():
    with pytest.raises(ModelLoadError, match="'reranker-en-tiny'"):
        CrossEncoder("reranker-tiny").score("a", ["b"])


def test_it_is_half_as_large():
    sizes = [sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) for folder in (TINY, BUNDLED)]
    assert sizes[0] < 14_000_000 < sizes[1]


def test_it_answers_and_orders_nearly_like_the_whole_one(tiny):
    agreement = []
    with CrossEncoder() as whole:
        for question, answer in QUESTIONS.items():
            assert tiny.rank(question, TEXTS, top_k=1)[0].text == answer
            agreement.append(kendalltau(tiny.score(question, TEXTS), whole.score(question, TEXTS)).statistic)
    assert np.mean(agreement) > 0.6


def test_its_cascade_finds_the_same_first_text():
    many = [f"{text} Note {number}." for number in range(10) for text in TEXTS[6:]] + TEXTS
    with CrossEncoder("reranker-en-tiny", mode="cascade") as quick:
        for question, answer in QUESTIONS.items():
            assert quick.rank(question, many, top_k=3)[0].text == answer
