"""Near duplicates are found in linear time; splits share no query and no document; leaks are counted."""

import random
import time

import numpy as np
import pytest

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.data import (
    DataPreprocessor,
    Group,
    MSMARCODataLoader,
    Triple,
    leakage,
    msmarco,
    near_duplicate_clusters,
    split_groups,
    trec,
    write_groups,
)
from semantic_ranker_training.data.duplicates import DuplicateChecker, containment, jaccard, normalized, shingles
from semantic_ranker_training.data.synthetic import synthetic_groups

WORDS = [f"word{n}" for n in range(3000)]


def text_of(seed, length=60):
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def test_near_duplicates_get_the_first_ones_row():
    text = text_of(1)
    changed = text.split()
    changed[30] = "another"
    texts = [text, text_of(2), text.upper() + "!", " ".join(changed), text_of(3), " ".join(text.split()[:30])]
    assert near_duplicate_clusters(texts).tolist() == [0, 1, 0, 0, 4, 5]
    assert near_duplicate_clusters(texts, threshold=1.0).tolist() == [0, 1, 0, 3, 4, 5]
    with pytest.raises(InvalidInputError, match="threshold"):
        near_duplicate_clusters(texts, threshold=0)


def test_near_duplicates_agree_with_all_pairs():
    generator = random.Random(0)
    texts = []
    for seed in range(60):
        base = text_of(seed).split()
        for _ in range(3):
            for place in generator.sample(range(len(base)), generator.choice([0, 1, 2, 20])):
                base[place] = generator.choice(WORDS)
            texts.append(" ".join(base))
    clusters = near_duplicate_clusters(texts, 0.8)
    own = [shingles(text) for text in texts]
    for row, cluster in enumerate(clusters):
        first = next(
            (other for other in range(row) if clusters[other] == other and jaccard(own[row], own[other]) >= 0.8), row
        )
        assert cluster == first


def test_ten_thousand_copies_take_linear_time():
    texts = [f"{text_of(5, 30)} {n % 7}" for n in range(4000)]
    started = time.process_time()
    assert set(near_duplicate_clusters(texts)) == {0}
    assert time.process_time() - started < 60  # all pairs would be eight million comparisons


def test_texts_without_words_and_of_other_scripts():
    assert near_duplicate_clusters(
        ["!!!", "???", "", "", "東京は日本の首都です", "東京は日本の首都です。"]
    ).tolist() == [0, 1, 2, 2, 4, 4]
    assert normalized("¡Hola, Mundo!") == "hola mundo"
    assert normalized("!!!") == "!!!"
    assert shingles("a b").dtype == np.uint32
    assert len(shingles("x " * 300_000)) == 1


def test_a_checker_finds_equal_contained_and_changed_texts():
    text = text_of(1)
    checker = DuplicateChecker([text])
    assert checker.reason(text.title() + ".") == "duplicate"
    assert checker.reason(" ".join(text.split()[:30])) == "near_duplicate"
    assert checker.reason(text_of(2)) == ""
    assert checker.reason(" ".join(text.split()[:5])) == ""  # too short to tell
    checker.add(text_of(2))
    assert checker.reason(text_of(2)) == "duplicate"
    assert DuplicateChecker([text], None).reason(" ".join(text.split()[:30])) == ""
    assert containment(shingles(text), shingles(" ".join(text.split()[:30]))) == 1.0


def pairs(count):
    return [Group(f"query number {n}", (text_of(n),), (1.0,)) for n in range(count)]


def test_a_split_has_the_wanted_sizes_and_is_repeatable():
    groups = pairs(100)
    split = split_groups(groups, (0.8, 0.1, 0.1), seed=3)
    assert split.report.sizes == (80, 10, 10)
    assert split.report.clean
    assert sorted(group.query for part in split.parts for group in part) == sorted(group.query for group in groups)
    assert split_groups(groups, (8, 1, 1), seed=3) == split
    assert split_groups(groups, (0.8, 0.1, 0.1), seed=4).parts != split.parts


def test_groups_that_share_a_query_a_positive_or_a_near_duplicate_stay_together():
    chain = [
        Group("same question?", (text_of("a"),), (1.0,)),
        Group("Same question", (text_of("b"),), (1.0,)),
        Group("other", (text_of("b").upper(),), (1.0,)),
        Group("third", (text_of("b") + " more",), (1.0,)),
    ]
    groups = pairs(36) + chain
    for seed in range(5):
        split = split_groups(groups, (0.5, 0.5), seed=seed)
        assert [sum(group in part for group in chain) for part in split.parts] in ([4, 0], [0, 4])
        assert split.report.clean
        assert split.report.components[:2] == (4, 1)
    loose = split_groups(groups, (0.5, 0.5), near_duplicate=None)
    assert sum(loose.report.components[:2]) == 4
    together = split_groups(pairs(40), (0.5, 0.5), together=lambda group: int(group.query.split()[-1]) % 4)
    assert together.report.components == (10, 10, 10, 10)


def test_a_random_split_of_the_same_groups_leaks_and_the_report_says_so():
    groups = [Group(f"query {n}", (text_of(n // 2),), (1.0,)) for n in range(40)]
    report = leakage([groups[0::2], groups[1::2]])
    assert report.positives == {"train/val": 20}
    assert report.texts == {"train/val": 20}
    assert report.near_duplicates == {"train/val": 20}
    assert not report.clean
    assert "20 positives" in str(report)
    assert report.to_dict()["shared_positives"] == {"train/val": 20}
    assert leakage([groups[:2], groups[2:], [], []], near_duplicate=None).queries.keys() >= {"train/3", "test/3"}


def test_negatives_that_a_later_part_holds_are_taken_out_of_the_earlier_one():
    groups = [
        Group(
            f"query {n}", (text_of(n), text_of((n + 1) % 30)), (1.0, 0.0), (1.0, 0.5), "", ({"row": n}, {"row": n + 1})
        )
        for n in range(30)
    ]
    split = split_groups(groups, (0.6, 0.2, 0.2))
    assert split.report.clean
    assert split.report.dropped_negatives > 0
    assert all(
        len(g.texts) == len(g.labels) == len(g.scores) == len(g.provenance) for part in split.parts for g in part
    )


def test_a_split_that_cannot_be_is_refused():
    with pytest.raises(InvalidInputError, match="at least 3 groups"):
        split_groups(pairs(2))
    with pytest.raises(InvalidInputError, match=r"at least 2 .* \(the largest has 5 of 5"):
        split_groups([Group("q", (text_of(n),), (1.0,)) for n in range(5)], (0.5, 0.5))
    for ratios in ((), (1, 0), (0.5, float("nan"))):
        with pytest.raises(InvalidInputError, match="ratios"):
            split_groups(pairs(9), ratios)
    assert split_groups(pairs(3), (0.98, 0.01, 0.01)).report.sizes == (1, 1, 1)


def test_the_guides_loader_reads_local_files(tmp_path):
    groups = synthetic_groups(60)
    msmarco.write_collection(tmp_path / "collection.tsv", {str(n): group.texts[0] for n, group in enumerate(groups)})
    msmarco.write_collection(tmp_path / "queries.train.tsv", {str(n): group.query for n, group in enumerate(groups)})
    trec.write_qrels(tmp_path / "qrels.train.tsv", {str(n): {str(n): 1} for n in range(60)})
    loader = MSMARCODataLoader(tmp_path)
    train, val, test = loader.load_and_split(train_ratio=0.7, val_ratio=0.15, test_ratio=0.15)
    assert (len(train), len(val), len(test)) == (42, 9, 9)
    assert loader.leakage.clean
    assert {sample["query"] for sample in train} < {group.query for group in groups}
    assert sum(map(len, MSMARCODataLoader(tmp_path).load_and_split(max_samples=20))) == 20


def test_held_out_lists_are_in_the_first_stages_order():
    with pytest.warns(UserWarning, match="MADE-UP DATA"):
        _, val, test = MSMARCODataLoader().load_and_split(max_samples=100)
    assert all(sample["labels"].count(1) == 1 for sample in val + test)
    assert max(len(sample["documents"]) for sample in val + test) > 2
    # In the seed the positive came first, so that a scorer that says nothing scored 1.
    assert any(sample["labels"][0] == 0 for sample in val + test)


def test_the_environment_names_the_data(tmp_path, monkeypatch):
    write_groups(tmp_path / "g.jsonl", synthetic_groups(30))
    monkeypatch.setenv("SEMANTIC_RANKER_MSMARCO", str(tmp_path / "g.jsonl"))
    assert sum(map(len, MSMARCODataLoader().load_and_split())) == 30
    monkeypatch.delenv("SEMANTIC_RANKER_MSMARCO")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "msmarco").mkdir()
    with pytest.raises(InvalidInputError, match=r"queries|qrels|corpus"):
        MSMARCODataLoader().load_and_split()


def test_a_hub_data_set_is_loaded_and_split(tmp_path):
    write_groups(tmp_path / "train.jsonl", synthetic_groups(30), form="labelled")
    assert sum(map(len, MSMARCODataLoader(dataset=str(tmp_path)).load_and_split())) == 30


def test_triples_never_have_a_relevant_text_as_negative():
    data = [{"query": f"q {n % 5}", "documents": [f"text {n}"], "labels": [1]} for n in range(20)]
    triples = DataPreprocessor().create_triples(data, negative_sampling="random", num_negatives=3)
    relevant = {(sample["query"], sample["documents"][0]) for sample in data}
    assert len(triples) == 60
    assert not [triple for triple in triples if (triple.query, triple.negative) in relevant]
    assert triples == DataPreprocessor().create_triples(data, num_negatives=3)
    assert triples != DataPreprocessor(seed=1).create_triples(data, num_negatives=3)
    assert len(set(triples)) == len(triples)


def test_own_negatives_come_first_and_white_space_is_squeezed():
    data = [("a  b", "p\n1", "n"), ("c", "p2", "m")]
    assert DataPreprocessor().create_triples(data) == [Triple("a b", "p 1", "n"), Triple("c", "p2", "m")]
    assert DataPreprocessor(normalize_text=False).create_triples(data)[0] == Triple("a  b", "p\n1", "n")
    assert len(DataPreprocessor().create_triples(data, num_negatives=3)) == 6


def test_triples_that_cannot_be_made_are_refused():
    with pytest.raises(InvalidInputError, match="draw negatives"):
        DataPreprocessor().create_triples([("q", "p")])
    with pytest.raises(InvalidInputError, match="none"):
        DataPreprocessor().create_triples([])
    for options in ({"negative_sampling": "easy"}, {"num_negatives": 0}):
        with pytest.raises(InvalidInputError, match="negative_sampling"):
            DataPreprocessor().create_triples([("q", "p", "n")], **options)


def test_statistics_and_balance(bert_folder):
    triples = DataPreprocessor().create_triples(synthetic_groups(20), num_negatives=4)
    preprocessor = DataPreprocessor(tokenizer_name=str(bert_folder), max_length=20)
    assert len(preprocessor.balance_dataset(triples, balance_ratio=1.0)) == 20
    found = preprocessor.get_statistics(triples)
    assert (found["triples"], found["queries"], found["documents"]) == (80.0, 20.0, 20.0)
    assert found["truncated"] == 1.0
    long = DataPreprocessor(tokenizer_name=str(bert_folder), max_length=512)
    assert long.get_statistics(triples)["truncated"] == 0.0
    assert "truncated" not in DataPreprocessor().get_statistics(triples)
    with pytest.raises(InvalidInputError, match="got none"):
        preprocessor.get_statistics([])
    with pytest.raises(InvalidInputError, match="Cannot open the tokenizer"):
        DataPreprocessor(tokenizer_name="nobody/nothing").get_statistics(triples)
