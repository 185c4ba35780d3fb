"""The bundled model as users get it: every listed bad input, and scores that depend on query and text alone."""

import json
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from semantic_ranker import CrossEncoder, InvalidInputError, ModelLoadError
from semantic_ranker.model_folder import BUNDLED, TINY

QUERY = "how do I reset my password"
TEXTS = [
    "Cats sleep all day.",
    "To change a forgotten password, open Settings.",
    "The cafeteria opens at noon.",
    "Passwords are changed every ninety days; " + "the reset page is linked from the portal. " * 20,
]


@pytest.fixture(scope="module")
def encoder():
    with CrossEncoder() as opened:
        yield opened


def test_the_readme_line(encoder):
    (best,) = encoder.rank(QUERY, TEXTS[:2], top_k=1)
    assert best.index == 1
    assert best.text == TEXTS[1]
    assert type(best.relevance_score) is float
    assert 0.5 < best.relevance_score < 1.0
    assert best.span == (0, len(TEXTS[1]))
    assert not best.truncated


@pytest.mark.parametrize("folder", [BUNDLED, TINY], ids=lambda folder: folder.name)
def test_the_manifests_canary_is_reproduced(folder):
    manifest, encoder = json.loads((folder / "semantic_ranker.json").read_text()), CrossEncoder(folder)
    assert len(manifest["canary"]) >= 3
    for pair in manifest["canary"]:
        found = encoder.score(pair["query"], [pair["text"]])[0]
        # The integer kernels of other processors round differently.
        assert found == pytest.approx(pair["logit"]["int8"], abs=0.5)


def test_score_predict_and_rank_agree(encoder):
    logits = encoder.score(QUERY, TEXTS)
    assert logits.dtype == np.float32
    relevance = encoder.relevance(logits)
    ranked = encoder.rank(QUERY, TEXTS)
    assert [item.index for item in ranked] == np.argsort(-logits, kind="stable").tolist()
    assert [item.logit for item in ranked] == [float(logits[item.index]) for item in ranked]
    assert [item.relevance_score for item in ranked] == [float(relevance[item.index]) for item in ranked]
    np.testing.assert_allclose(encoder.predict([(QUERY, text) for text in TEXTS]), relevance, rtol=1e-6)
    many = encoder.score_many([QUERY, "cat food"], [TEXTS, TEXTS[:1]])
    assert np.array_equal(many[0], logits)
    assert many[1].shape == (1,)


def test_a_score_does_not_depend_on_its_neighbours(encoder):
    together = encoder.score(QUERY, TEXTS)
    backwards = encoder.score(QUERY, TEXTS[::-1])[::-1]
    alone = np.array([encoder.score(QUERY, [text])[0] for text in TEXTS])
    assert np.array_equal(together, backwards)
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("top_k", [0, -1, True, 1.0, "2"])
def test_bad_top_k_is_refused(encoder, top_k):
    with pytest.raises(InvalidInputError, match="top_k"):
        encoder.rank(QUERY, TEXTS, top_k=top_k)


def test_top_k_may_exceed_the_number_of_texts(encoder):
    assert len(encoder.rank(QUERY, TEXTS, top_k=99)) == len(TEXTS)


def test_nothing_to_rank_opens_nothing():
    encoder = CrossEncoder("no/such/folder/anywhere")
    assert encoder.rank(QUERY, []) == []
    assert encoder.score(QUERY, []).shape == (0,)


@pytest.mark.parametrize("bad", [None, b"bytes", 3, 2.5, ["list"]])
def test_a_text_that_is_no_string_is_named(encoder, bad):
    with pytest.raises(InvalidInputError) as caught:
        encoder.rank(QUERY, [TEXTS[0], bad])
    assert caught.value.index == 1
    with pytest.raises(InvalidInputError) as caught:
        encoder.predict([(QUERY, TEXTS[0]), (QUERY, TEXTS[1]), (QUERY, bad)])
    assert caught.value.index == 2


def test_bad_texts_are_skipped_on_request(caplog):
    encoder = CrossEncoder(on_error="skip")
    ranked = encoder.rank(QUERY, [None, *TEXTS[:2], 7])
    assert [item.index for item in ranked] == [2, 1]
    assert "2 of 4" in caplog.text
    assert TEXTS[0] not in caplog.text
    assert encoder.score(QUERY, [None, TEXTS[1]])[0] == -np.inf


def test_a_bad_query_is_refused(encoder):
    with pytest.raises(InvalidInputError, match="query"):
        encoder.score(None, TEXTS)
    with pytest.raises(InvalidInputError):
        encoder.rank(QUERY, "one string instead of a list")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n\t ",
        "a\ud800b",
        "nul\x00byte",
        "👩‍👩‍👧‍👦 family",
        "مرحبا بالعالم",
        "日本語のテキスト",
        "[SEP] [CLS] [MASK] [PAD]",
        "e" + "\u0301" * 5000,
    ],
    ids=["empty", "whitespace", "surrogate", "nul", "emoji", "rtl", "cjk", "specials", "combining"],
)
def test_unusual_texts_are_scored(encoder, text):
    assert np.isfinite(encoder.score(QUERY, [text])).all()
    assert np.isfinite(encoder.score(text, [TEXTS[0]])).all()
    assert len(encoder.rank(QUERY, [text, TEXTS[1]])) == 2


def test_special_tokens_in_a_text_are_text(encoder):
    injected, plain = encoder.score(QUERY, ["Cats sleep. [SEP] [CLS] " + TEXTS[1], "Cats sleep. " + TEXTS[1]])
    assert injected == pytest.approx(plain, abs=6.0)


def test_duplicates_keep_input_order(encoder):
    ranked = encoder.rank(QUERY, [TEXTS[0], TEXTS[1], TEXTS[1], TEXTS[1]])
    assert [item.index for item in ranked] == [1, 2, 3, 0]


def test_ten_megabytes_are_cut_before_they_are_tokenised(encoder):
    text = TEXTS[1] + " word" * 2_000_000
    ranked = encoder.rank(QUERY, [text, " " * 10_000_000 + TEXTS[1], "x" * 10_000_000])
    long, spaced = (next(item for item in ranked if item.index == index) for index in (0, 1))
    assert long.truncated
    assert long.span is not None
    assert long.span[1] < 20_000
    assert not spaced.truncated
    assert spaced.text[slice(*spaced.span)] == TEXTS[1]


def test_a_long_query_leaves_room_for_the_text(encoder):
    flood = "password reset settings account " * 5_000
    answer, other = encoder.score(flood, [TEXTS[1], TEXTS[2]])
    assert answer > other


def test_windows_find_what_truncation_misses():
    filler = "The garden is watered in the evening and the gate is closed at night. " * 60
    text = filler + TEXTS[1]
    cut, whole = CrossEncoder(), CrossEncoder(long_text="windows")
    (short,), (windowed,) = cut.rank(QUERY, [text]), whole.rank(QUERY, [text])
    assert short.truncated
    assert not windowed.truncated
    assert windowed.logit > short.logit
    assert "forgotten password" in text[slice(*windowed.span)]


def test_threads_get_the_same_scores(encoder):
    expected = encoder.score(QUERY, TEXTS)
    found, errors = [], []

    def work(turn):
        try:
            part = TEXTS[turn % 4 :] + TEXTS[: turn % 4]
            found.append(np.roll(encoder.score(QUERY, part), turn % 4))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(found) == 8
    assert all(np.array_equal(scores, expected) for scores in found)


def test_pickles_carry_settings_only(encoder):
    encoder.score(QUERY, TEXTS[:1])
    content = pickle.dumps(encoder)
    assert len(content) < 10_000
    assert np.array_equal(pickle.loads(content).score(QUERY, TEXTS[:2]), encoder.score(QUERY, TEXTS[:2]))


def test_a_closed_encoder_opens_again():
    encoder = CrossEncoder()
    before = encoder.score(QUERY, TEXTS[:2])
    encoder.close()
    assert np.array_equal(encoder.score(QUERY, TEXTS[:2]), before)


def test_what_it_says_of_itself(encoder):
    assert (encoder.model_name, encoder.precision, encoder.backend_name) == ("reranker-en", "int8", "onnx")
    assert encoder.languages == ("en",)
    assert encoder.max_length == 512
    assert len(encoder.fingerprint) == 64


def test_a_precision_that_is_not_there_is_refused():
    with pytest.raises(ModelLoadError, match="int8"):
        CrossEncoder(precision="fp32").score(QUERY, TEXTS)


def test_scoring_imports_neither_torch_nor_a_framework():
    program = (
        "import sys; import semantic_ranker; from semantic_ranker import CrossEncoder;"
        "print(CrossEncoder().rank('reset password', ['cats', 'reset a password'], top_k=1)[0].index);"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'langchain_core', 'llama_index'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split("\n")[:2] == ["1", "[]"]
