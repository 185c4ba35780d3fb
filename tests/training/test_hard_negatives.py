"""Mined negatives are hard, not false, repeatable, with their provenance; a killed run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semantic_ranker.cli import main
from semantic_ranker.errors import InvalidInputError, ModelLoadError, NonFiniteScoreError, ScoreCountError
from semantic_ranker_training.data import Group, read_groups, write_beir, write_groups
from semantic_ranker_training.hard_negatives import HardNegativeMiner, MiningConfig, mine_pairs
from semantic_ranker_training.hard_negatives.dense import DenseIndex, SentenceTransformerEmbedder, as_embedder

WORDS = [f"w{n}" for n in range(300)]
GENERATOR = np.random.default_rng(0)
DOCUMENTS = [" ".join(GENERATOR.choice(WORDS, 40)) for _ in range(400)]
QUERIES = [" ".join(document.split()[5:11]) for document in DOCUMENTS[:120]]
POSITIVES = [[row] for row in range(120)]


class HashedWords:
    """A bag of hashed words: a real dense retriever without weights."""

    def __init__(self, dim=64):
        self.dim = dim
        self.texts = 0

    def embed_documents(self, texts):
        self.texts += len(texts)
        vectors = np.full((len(texts), self.dim), 1e-3, np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors[row, zlib.crc32(word.encode()) % self.dim] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    embed_queries = embed_documents


def miner(**options):
    return HardNegativeMiner(HashedWords(), config=MiningConfig(block=32, block_documents=150, **options))


def of_kind(group, kind):
    return [fact for fact in group.provenance if fact["kind"] == kind]


def test_a_group_has_positives_hard_and_random_negatives():
    mining = miner(negatives=8, random_share=0.25)
    groups = mining.mine_groups(QUERIES, DOCUMENTS, POSITIVES)
    assert [group.query for group in groups] == QUERIES
    for group, (row,) in zip(groups, POSITIVES, strict=True):
        assert group.texts[0] == DOCUMENTS[row]
        assert group.labels == (1.0,) + (0.0,) * 8
        assert (len(of_kind(group, "hard")), len(of_kind(group, "random"))) == (6, 2)
        assert [DOCUMENTS[fact["row"]] for fact in group.provenance] == list(group.texts)
    assert mining.counts["queries"] == 120
    assert mining.counts["hard"] == 720
    assert mining.counts["dropped_judged"] == 120
    assert mining.counts["short"] == 0


def test_the_same_seed_gives_the_same_groups_and_another_gives_others():
    first = miner().mine_groups(QUERIES[:40], DOCUMENTS, POSITIVES[:40])
    assert first == miner().mine_groups(QUERIES[:40], DOCUMENTS, POSITIVES[:40])
    assert first != miner(seed=1).mine_groups(QUERIES[:40], DOCUMENTS, POSITIVES[:40])


def test_candidates_as_close_as_the_positive_are_dropped():
    """The seed's miner took the top of the list as it was: false negatives first."""
    positive = " ".join(WORDS[:20])
    close = " ".join([*WORDS[:15], *WORDS[60:65]])
    far = " ".join([*WORDS[:3], *WORDS[100:117]])
    documents = [positive, close, far, *DOCUMENTS[:50]]
    query = " ".join(WORDS[:12])
    vectors = HashedWords(1024).embed_documents([query, positive, close, far])
    scores = vectors[1:] @ vectors[0]
    assert scores[1] > 0.95 * scores[0] > scores[2]
    config = MiningConfig(random_share=0.0, near_duplicate=None)
    mining = HardNegativeMiner(HashedWords(1024), config=config)
    (group,) = mining.mine_groups([query], documents, [[0]])
    assert close not in group.texts
    assert far in group.texts
    assert mining.counts["dropped_too_close"] >= 1
    assert all(fact["dense_score"] <= 0.95 * scores[0] + 1e-5 for fact in of_kind(group, "hard"))
    unfiltered = HardNegativeMiner(HashedWords(1024), config=replace(config, score_ratio=None))
    (kept,) = unfiltered.mine_groups([query], documents, [[0]])
    assert close in kept.negatives


def test_with_several_positives_the_lowest_score_counts():
    documents = [
        " ".join(WORDS[:10]),
        " ".join(WORDS[:4] + WORDS[50:70]),
        " ".join(WORDS[:6] + WORDS[80:84]),
        *DOCUMENTS[:40],
    ]
    query = " ".join(WORDS[:10])
    one = miner(random_share=0.0, near_duplicate=None).mine_groups([query], documents, [[0]])[0]
    both = miner(random_share=0.0, near_duplicate=None).mine_groups([query], documents, [[0, 1]])[0]
    assert documents[2] in one.negatives
    assert documents[2] not in both.negatives
    assert both.positives == (documents[0], documents[1])


def test_a_negative_score_of_the_positive_does_not_turn_the_rule_round():
    class Opposite(HashedWords):
        def embed_queries(self, texts):
            return -self.embed_documents(texts)

    config = MiningConfig(random_share=0.0, retrievers=("dense",))
    (group,) = HardNegativeMiner(Opposite(), config=config).mine_groups(QUERIES[:1], DOCUMENTS, [[0]])
    positive = of_kind(group, "positive")[0]["dense_score"]
    assert positive < 0
    assert all(fact["dense_score"] <= 1.05 * positive + 1e-5 for fact in of_kind(group, "hard"))


def test_repeats_of_the_positive_and_of_each_other_are_dropped():
    longer = DOCUMENTS[0] + " " + " ".join(WORDS[:10])
    documents = [*DOCUMENTS[:60], DOCUMENTS[0].upper() + "!", longer, DOCUMENTS[5] + " .", DOCUMENTS[5]]
    mining = miner(random_share=0.0, score_ratio=None, negatives=40, candidates=64)
    (group,) = mining.mine_groups(QUERIES[:1], documents, [[0]])
    assert not {documents[60], longer} & set(group.negatives)
    assert sum(text.startswith(DOCUMENTS[5]) for text in group.negatives) <= 1
    assert mining.counts["dropped_duplicate"] >= 1
    assert mining.counts["dropped_near_duplicate"] == 1


def test_positives_of_the_same_question_are_never_its_negatives():
    queries = [QUERIES[0], QUERIES[0].upper() + "?", *QUERIES[1:30]]
    positives = [[0], [7], *POSITIVES[1:30]]
    groups = miner(score_ratio=None).mine_groups(queries, DOCUMENTS, positives)
    assert set(groups[0].positives) == set(groups[1].positives) == {DOCUMENTS[0], DOCUMENTS[7]}


def test_the_rank_window_and_sampling():
    top = miner(random_share=0.0, first_rank=5, last_rank=20, negatives=4).mine_groups(
        QUERIES[:20], DOCUMENTS, POSITIVES[:20]
    )
    ranks = [[fact["rank"] for fact in of_kind(group, "hard")] for group in top]
    assert all(5 <= rank <= 20 for of in ranks for rank in of)
    assert all(of == sorted(of) for of in ranks)
    sampled = miner(random_share=0.0, first_rank=5, last_rank=20, negatives=4, pick="sample")
    drawn = [
        [fact["rank"] for fact in of_kind(g, "hard")]
        for g in sampled.mine_groups(QUERIES[:20], DOCUMENTS, POSITIVES[:20])
    ]
    assert all(5 <= rank <= 20 for of in drawn for rank in of)
    assert sum(map(sum, drawn)) > sum(map(sum, ranks))


def test_provenance_tells_who_found_a_negative_and_why_it_stayed():
    groups = miner(candidates=12).mine_groups(QUERIES[:30], DOCUMENTS, POSITIVES[:30])
    facts = [fact for group in groups for fact in of_kind(group, "hard")]
    assert all("bm25_rank" in fact or "dense_rank" in fact for fact in facts)
    assert {("bm25_rank" in fact, "dense_rank" in fact) for fact in facts} >= {(True, True), (False, True)}
    assert all(f"rank {fact['rank']} in 1-100, dense score at most" in fact["why"] for fact in facts)
    assert {fact["why"] for group in groups for fact in of_kind(group, "random")} == {"drawn from all documents"}
    assert {fact["why"] for group in groups for fact in of_kind(group, "positive")} == {"judged relevant"}
    vectors = HashedWords().embed_documents([QUERIES[0], *DOCUMENTS])
    order = np.argsort(-(vectors[1:] @ vectors[0]), kind="stable").tolist()
    for fact in of_kind(groups[0], "hard"):
        assert fact.get("dense_rank", order.index(fact["row"]) + 1) == order.index(fact["row"]) + 1
        assert fact["dense_score"] == pytest.approx(float(vectors[1 + fact["row"]] @ vectors[0]), abs=1e-4)


def test_blocks_do_not_change_the_result():
    small = HardNegativeMiner(HashedWords(), config=MiningConfig(block=7, block_documents=33))
    large = HardNegativeMiner(HashedWords(), config=MiningConfig(block=500, block_documents=5000))
    found = [mining.mine_groups(QUERIES[:60], DOCUMENTS, POSITIVES[:60]) for mining in (small, large)]
    assert found[0] == found[1]


def test_search_is_exact(tmp_path):
    index = DenseIndex(HashedWords(), DOCUMENTS, tmp_path, 37)
    vectors = index.embed(QUERIES[:10])
    rows, scores = index.search(vectors, 25)
    every = vectors @ HashedWords().embed_documents(DOCUMENTS).T
    for row in range(10):
        expected = np.sort(every[row])[::-1][:25]
        np.testing.assert_allclose(scores[row], expected, atol=2e-5)
        np.testing.assert_allclose(every[row][rows[row]], scores[row], atol=2e-5)
    np.testing.assert_allclose(index.scores(vectors[0], [3, 399, 40]), every[0][[3, 399, 40]], atol=2e-5)
    assert index.search(vectors, 1000)[0].shape == (10, 400)


def test_a_teacher_vetoes_what_it_puts_above_the_positive():
    banned = set(DOCUMENTS[1::3])

    class Teacher:
        def score_many(self, queries, texts):
            return [
                [2.0 if text in banned else 1.0 if text in DOCUMENTS[:120:3] else 0.5 for text in of] for of in texts
            ]

    rows = list(range(0, 120, 3))
    queries = [QUERIES[row] for row in rows]
    mining = HardNegativeMiner(HashedWords(), teacher=Teacher(), config=MiningConfig(random_share=0.0, block=32))
    groups = mining.mine_groups(queries, DOCUMENTS, [[row] for row in rows])
    assert mining.counts["dropped_teacher_veto"] > 0
    hard = [fact for group in groups for fact in of_kind(group, "hard")]
    assert not {DOCUMENTS[fact["row"]] for fact in hard} & banned
    assert all(len(group.scores) == len(group.texts) for group in groups)
    assert {fact["teacher_score"] for fact in hard} <= {0.5, 1.0}
    strict = HardNegativeMiner(HashedWords(), teacher=Teacher(), config=MiningConfig(random_share=0.0, veto_margin=0.2))
    again = strict.mine_groups(queries, DOCUMENTS, [[row] for row in rows])
    assert {fact["teacher_score"] for group in again for fact in of_kind(group, "hard")} == {0.5}


def test_teachers_of_pairs_and_functions_are_taken_and_bad_ones_refused():
    def scores(pairs):
        return [float(len(set(query.split()) & set(text.split()))) for query, text in pairs]

    class Pairs:
        predict = staticmethod(scores)

    found = [
        HardNegativeMiner(HashedWords(), teacher=teacher).mine_groups(QUERIES[:5], DOCUMENTS, POSITIVES[:5])
        for teacher in (Pairs(), scores)
    ]
    assert found[0] == found[1]
    for teacher, error in (
        (lambda pairs: [float("nan")] * len(pairs), NonFiniteScoreError),
        (lambda pairs: [1.0], ScoreCountError),
        ("name", InvalidInputError),
    ):
        with pytest.raises(error):
            HardNegativeMiner(HashedWords(), teacher=teacher).mine_groups(QUERIES[:5], DOCUMENTS, POSITIVES[:5])


def test_mine_as_the_guide_calls_it():
    mining = HardNegativeMiner(HashedWords())
    with pytest.warns(UserWarning, match="No positives are known"):
        found = mining.mine(QUERIES[:10], DOCUMENTS, top_k=10)
    assert list(found) == list(range(10))
    assert all(len(negatives) == 10 for negatives in found.values())
    # The best document stands in for the positive.
    assert sum(DOCUMENTS[row] in found[row] for row in range(10)) <= 2
    known = mining.mine(QUERIES[:10], DOCUMENTS, 10, positive_pairs=[(row, row) for row in range(10)])
    assert all(DOCUMENTS[row] not in known[row] for row in range(10))
    assert mining.counts["random"] == 0


def test_mine_from_dataset_gives_no_triple_twice():
    rows = [{"query": query, "positive": document} for query, document in zip(QUERIES, DOCUMENTS, strict=False)]
    triples = HardNegativeMiner(HashedWords()).mine_from_dataset([*rows, rows[0]], num_negatives=3)
    assert len(triples) == len(set(triples)) == 360
    assert all(triple.negative != triple.positive for triple in triples)


def test_lexical_mining_needs_no_model():
    config = MiningConfig(retrievers=("bm25",), score_ratio=None, random_share=0.0)
    groups = HardNegativeMiner(object(), config=config).mine_groups(QUERIES[:5], DOCUMENTS, POSITIVES[:5])
    assert all(
        "dense_score" not in fact and "bm25_score" in fact for group in groups for fact in of_kind(group, "hard")
    )


def test_few_documents_give_few_negatives_and_the_count_says_so():
    mining = miner(negatives=7)
    groups = mining.mine_groups(QUERIES[:2], DOCUMENTS[:4], [[0], [1]])
    assert all(len(group.negatives) <= 3 for group in groups)
    assert mining.counts["short"] == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.mine_groups(["q"], DOCUMENTS, [[]]),
        lambda m: m.mine_groups(["q"], DOCUMENTS, [[400]]),
        lambda m: m.mine_groups(["q"], DOCUMENTS, [[-1]]),
        lambda m: m.mine_groups(["q", "r"], DOCUMENTS, [[0]]),
        lambda m: m.mine_groups([], DOCUMENTS, []),
        lambda m: m.mine_groups(["q"], [], [[0]]),
        lambda m: m.mine_groups("q", DOCUMENTS, [[0]]),
        lambda m: m.mine_groups([3], DOCUMENTS, [[0]]),
        lambda m: m.mine_groups(["q"], ["", "a"], [[1]]),
        lambda m: m.mine(["q"], DOCUMENTS, positive_pairs=[(1, 0)]),
        lambda m: m.mine(["q"], DOCUMENTS, 0, positive_pairs=[(0, 0)]),
    ],
)
def test_bad_arguments_are_refused(call):
    with pytest.raises(InvalidInputError):
        call(miner())


@pytest.mark.parametrize(
    "options",
    [
        {"negatives": 0}, {"block": True}, {"random_share": 1.5}, {"first_rank": 5, "last_rank": 4}, {"retrievers": ()},
        {"retrievers": ("sparse",)}, {"score_ratio": 1.2}, {"near_duplicate": 0},
        {"retrievers": ("bm25",)}, {"pick": "best"},
    ],
)  # fmt: skip
def test_bad_settings_are_refused(options):
    with pytest.raises(InvalidInputError):
        MiningConfig(**options)


def test_embedders_that_break_their_word_are_refused():
    class Short(HashedWords):
        def embed_documents(self, texts):
            return super().embed_documents(texts)[:-1]

    class Broken(HashedWords):
        def embed_queries(self, texts):
            return super().embed_queries(texts) * np.float32("nan")

    for model, message in (
        (Short(), "vectors"),
        (Broken(), "finite"),
        (object(), "embed_queries"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            HardNegativeMiner(model).mine_groups(QUERIES[:3], DOCUMENTS[:10], POSITIVES[:3])


def test_a_model_that_is_not_there_is_said_so_at_once():
    with pytest.raises(ModelLoadError, match="nothere"):
        HardNegativeMiner("nothere").mine_groups(QUERIES[:3], DOCUMENTS[:10], POSITIVES[:3])


def test_sentence_transformers_models_are_taken_with_their_prompts():
    calls = []

    class Model:
        def encode(self, texts, **options):
            assert options["normalize_embeddings"]
            return HashedWords().embed_documents(texts)

        def encode_query(self, texts, **options):
            calls.append("query")
            return self.encode(texts, **options)

    model = as_embedder(Model())
    assert isinstance(model, SentenceTransformerEmbedder)
    np.testing.assert_array_equal(model.embed_queries(["w1 w2"]), model.embed_documents(["w1 w2"]))
    assert calls == ["query"]


SCRIPT = """
import sys, time
from tests_hard import HashedWords, QUERIES, DOCUMENTS, POSITIVES
from semantic_ranker_training.hard_negatives import HardNegativeMiner, MiningConfig
class Slow(HashedWords):
    def embed_queries(self, texts):
        time.sleep(float(sys.argv[2]))
        return self.embed_documents(texts)
config = MiningConfig(block=10, block_documents=100)
HardNegativeMiner(Slow(), config=config).mine_file(QUERIES, DOCUMENTS, POSITIVES, sys.argv[1])
"""


def test_a_run_that_was_killed_goes_on_and_writes_the_same_file(tmp_path):
    (tmp_path / "tests_hard.py").write_text(Path(__file__).read_text(encoding="utf-8"))
    (tmp_path / "job.py").write_text(SCRIPT)
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"

    def start(out, pause):
        return subprocess.Popen([sys.executable, "job.py", str(out), pause], cwd=tmp_path, stderr=subprocess.DEVNULL)

    assert start(whole, "0").wait() == 0
    process = start(killed, "0.5")
    folder = tmp_path / "killed.jsonl.partial"
    while len(list(folder.glob("block-*.jsonl"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not killed.exists()
    done = {path.name: path.stat().st_mtime_ns for path in folder.glob("block-*.jsonl")}
    assert 3 <= len(done) < 12
    model = HashedWords()
    mining = HardNegativeMiner(model, config=MiningConfig(block=10, block_documents=100))
    assert mining.mine_file(QUERIES, DOCUMENTS, POSITIVES, killed) == 120
    assert killed.read_bytes() == whole.read_bytes()
    assert not folder.exists()
    # Neither finished blocks nor the documents' vectors were computed again: what is new is one text and the rest.
    assert model.texts == 1 + 120 - 10 * len(done)
    assert mining.counts["queries"] == 120


def test_finished_blocks_of_another_job_are_thrown_away(tmp_path):
    out = tmp_path / "a.jsonl"
    folder = tmp_path / "a.jsonl.partial"
    folder.mkdir()
    (folder / "job.json").write_text("{}")
    (folder / "block-000000.jsonl").write_text("wrong\n")
    miner().mine_file(QUERIES[:40], DOCUMENTS, POSITIVES[:40], out, source="s")
    assert list(read_groups(out)) == [
        Group(g.query, g.texts, g.labels, source="s", provenance=g.provenance)
        for g in miner().mine_groups(QUERIES[:40], DOCUMENTS, POSITIVES[:40])
    ]


@pytest.fixture
def pairs(tmp_path):
    write_groups(
        tmp_path / "pairs.jsonl", [Group(query, (DOCUMENTS[row],), (1.0,)) for row, query in enumerate(QUERIES)]
    )
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": str(n), "text": text}) + "\n" for n, text in enumerate(DOCUMENTS))
    )
    return tmp_path


def test_a_file_is_mined_with_a_report(pairs):
    report = mine_pairs(pairs / "pairs.jsonl", pairs / "out.jsonl", miner=miner(), corpus=pairs / "corpus.jsonl")
    assert (report["queries"], report["documents"], report["skipped"]) == (120, 400, 0)
    assert json.loads((pairs / "out.jsonl.report.json").read_text()) == report
    assert report["counts"]["hard"] + report["counts"]["random"] == 840
    assert len(list(read_groups(pairs / "out.jsonl"))) == 120
    with pytest.raises(InvalidInputError, match="both"):
        mine_pairs(pairs / "pairs.jsonl", pairs / "pairs.jsonl", miner=miner())


def test_a_beir_folder_is_mined_in_its_own_corpus(pairs):
    records = [record for group in read_groups(pairs / "pairs.jsonl") for record in group.records()]
    write_beir(pairs / "beir", records, corpus={f"x{n}": text for n, text in enumerate(DOCUMENTS[120:])})
    assert mine_pairs(pairs / "beir", pairs / "out.jsonl", miner=miner())["documents"] == 400


def test_the_command_mines(pairs, capsys):
    arguments = ["mine", str(pairs / "pairs.jsonl"), str(pairs / "out.jsonl"), "--bm25-only", "--negatives", "4"]
    assert main([*arguments, "--corpus", str(pairs / "corpus.jsonl"), "--ranks", "2", "30", "--sample"]) == 0
    said = capsys.readouterr().out
    assert "120 queries: 360 hard and 120 random negatives" in said
    assert "found by bm25" in said
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 120


def test_the_command_says_what_is_wrong(pairs, capsys):
    with open(pairs / "pairs.jsonl", "a") as out:
        out.write("{broken\n")
    arguments = ["mine", str(pairs / "pairs.jsonl"), str(pairs / "out.jsonl"), "--bm25-only"]
    assert main(arguments) == 2
    assert "pairs.jsonl:121: expected a JSON object" in capsys.readouterr().err
    assert main([*arguments, "--on-error", "skip", "--negatives", "200"]) == 0
    said = capsys.readouterr().out
    assert "left out 1 broken lines" in said
    assert "fewer negatives than wanted" in said
    assert main(["mine", str(pairs / "none.jsonl"), "x"]) == 2
    assert "Cannot read" in capsys.readouterr().err


def test_the_bundled_reranker_can_be_the_teacher(tmp_path, capsys):
    texts = [
        "Paris is the capital of France.",
        "Berlin is the capital of Germany.",
        "Bread is baked from flour.",
        "Rome is old.",
    ]
    write_groups(
        tmp_path / "p.jsonl",
        [
            Group("capital of France", (texts[0],), (1.0,)),
            Group("how is bread made", (texts[2],), (1.0,)),
            Group("old city", (texts[3], texts[1]), (1.0, 0.0)),
        ],
    )
    arguments = ["mine", str(tmp_path / "p.jsonl"), str(tmp_path / "o.jsonl"), "--bm25-only", "--teacher", "bundled"]
    assert main([*arguments, "--negatives", "2"]) == 0
    groups = list(read_groups(tmp_path / "o.jsonl"))
    assert all(group.scores is not None and group.scores[0] == max(group.scores) for group in groups)
    assert "hard" in capsys.readouterr().out
