"""How much is computed for a call, in runs and tokens: what a stopwatch cannot hold steady on a shared machine."""

import numpy as np

from semantic_ranker import CrossEncoder
from semantic_ranker._arguments import Options
from semantic_ranker._engine import Engine
from semantic_ranker._settings import ModelSettings
from semantic_ranker.backends.words import WordTable
from semantic_ranker.model_folder import BUNDLED
from semantic_ranker.testing import FakeBackend
from semantic_ranker.tokenization import PairTokenizer

QUERY = "how do I reset my password"
TEXTS = [f"Passage {number}: " + "a word and another " * number for number in range(12)]


def tokens_of(texts):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [len(encoded.ids) for encoded in tokenizer.encode_batch(texts)]


def test_each_side_is_read_once_and_unpadded(encoded):
    encoder = CrossEncoder(cache_bytes=1_000_000)
    encoder.rank(QUERY, [*TEXTS, *TEXTS[:3]])
    assert sorted(encoded) == sorted(tokens_of([QUERY, *TEXTS]))
    encoded.clear()
    encoder.rank("another question", TEXTS)
    assert encoded == tokens_of(["another question"]), "passages that are known are not read again"


def test_queries_that_share_passages_share_the_work(encoded):
    CrossEncoder(cache_bytes=0).score_many([QUERY, "another question"], [TEXTS, TEXTS])
    assert sum(encoded) == sum(tokens_of([QUERY, "another question", *TEXTS]))


def test_pairs_are_never_padded_on_a_cpu():
    shapes, padded = [], []

    class Counting(FakeBackend):
        def run(self, ids, mask, types):
            shapes.append(ids.shape)
            padded.append(not mask.all())
            return super().run(ids, mask, types)

    tokenizer = PairTokenizer(
        (BUNDLED / "tokenizer.json").read_bytes(), layout="pair", max_length=512, max_query_tokens=64
    )
    engine = Engine(ModelSettings(name="counted"), tokenizer, Counting(), "0", 512)
    engine.score([QUERY], [TEXTS], Options(threads=1))
    specials = 3
    expected = [length - 2 + tokens_of([QUERY])[0] - 2 + specials for length in tokens_of(TEXTS)]
    assert sorted(shape[1] for shape in shapes) == sorted(expected)
    assert [shape[0] for shape in shapes] == [1] * len(TEXTS)
    assert not any(padded)
    shapes.clear()
    engine.score([QUERY], [TEXTS], Options(threads=1, token_budget=200))
    assert len(shapes) < len(TEXTS)
    assert all(np.prod(shape) <= 200 for shape in shapes)


def test_words_are_tokenised_once():
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    table = WordTable(tokenizer)
    first = table.encode(TEXTS)
    asked = []
    table._tokenize = lambda texts: asked.extend(texts) or []
    assert table.encode(TEXTS) == first
    assert asked == []
