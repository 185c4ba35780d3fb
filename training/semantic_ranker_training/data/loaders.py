"""The guides' loaders: `MSMARCODataLoader` and `DataPreprocessor`, over files on this machine."""

from __future__ import annotations

import itertools
import os
import random
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from semantic_ranker import BM25Index
from semantic_ranker._files import StrPath
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.data.duplicates import normalized
from semantic_ranker_training.data.groups import read_groups
from semantic_ranker_training.data.hub import read_hub
from semantic_ranker_training.data.lines import Reading
from semantic_ranker_training.data.records import Group, Triple, as_groups
from semantic_ranker_training.data.splits import LeakageReport, split_groups
from semantic_ranker_training.data.synthetic import synthetic_groups

ENVIRONMENT = "SEMANTIC_RANKER_MSMARCO"
_PLACES = ("data/msmarco", "msmarco")


class Sample(TypedDict):
    """A query with candidates, as the guides' lists hold it and `RankerEvaluator` takes it."""

    query: str
    documents: list[str]
    labels: list[int]


class MSMARCODataLoader:
    """Loads judged queries and splits them by query and document.

    Args:
        data_dir: Folder with MS MARCO's or a BEIR data set's files, or one file that `read_groups` reads. None takes
            the environment variable ``SEMANTIC_RANKER_MSMARCO``, or ``data/msmarco`` or ``msmarco`` below the current
            folder; where none is there, small made-up data is used and a warning says so.
        dataset: Id of a data set on the Hugging Face hub, read instead, such as ``microsoft/ms_marco``.
        subset: Its configuration, such as ``v1.1``.
        seed: Of split and choice.

    Attributes:
        leakage: What the parts of the last split share.
    """

    def __init__(
        self,
        data_dir: StrPath | None = None,
        *,
        dataset: str | None = None,
        subset: str | None = None,
        seed: int = 42,
    ) -> None:
        self._data_dir, self._dataset, self._subset, self._seed = data_dir, dataset, subset, seed
        self.leakage: LeakageReport | None = None

    def load_and_split(
        self,
        max_samples: int | None = None,
        *,
        train_ratio: float = 0.8,
        val_ratio: float = 0.1,
        test_ratio: float = 0.1,
        candidates: int = 20,
    ) -> tuple[list[Sample], list[Sample], list[Sample]]:
        """Return training, validation and test samples that share no query and no document.

        Training samples hold the texts that the data name. Those of the other parts are lists as a first stage gives
        them: BM25's best of the part's documents, in its order, with judged texts that it missed at the end. Such a
        closed list is for watching a training; quality is measured with `evaluate` on a whole collection.

        Args:
            max_samples: Queries to read; None reads all.
            train_ratio: Share of the training part.
            val_ratio: Share of the validation part.
            test_ratio: Share of the test part.
            candidates: Length of the lists.

        Raises:
            InvalidInputError: The data cannot be read or split.
        """
        groups = list(itertools.islice(self._groups(), max_samples))
        split = split_groups(groups, (train_ratio, val_ratio, test_ratio), seed=self._seed)
        self.leakage = split.report
        train, val, test = split.parts
        return [_sample(group) for group in train], _lists(val, candidates), _lists(test, candidates)

    def _groups(self) -> Iterable[Group]:
        if self._dataset is not None:
            return read_hub(self._dataset, subset=self._subset, reading=Reading(on_error="skip"))
        found = self._data_dir or os.environ.get(ENVIRONMENT)
        places = [found] if found else [place for place in _PLACES if Path(place).is_dir()]
        if places:
            return read_groups(places[0], gather=True)
        warnings.warn(
            f"THESE ARE MADE-UP DATA: there are no files of MS MARCO here. Models trained on them are of no use. Give "
            f"MSMARCODataLoader(data_dir=...) or set {ENVIRONMENT}.",
            stacklevel=3,
        )
        return synthetic_groups(seed=self._seed)


class DataPreprocessor:
    """Makes training triples of samples.

    Args:
        tokenizer_name: Model folder or hub id whose tokenizer `get_statistics` counts with; training itself uses the
            tokenizer of the model that is trained.
        max_length: Tokens from which `get_statistics` counts a pair as cut.
        normalize_text: Whether runs of white space become one space.
        miner: A `HardNegativeMiner` for ``negative_sampling="hard"``; None mines with the bundled embedder.
        seed: Of random negatives.
    """

    def __init__(
        self,
        tokenizer_name: str | None = None,
        max_length: int = 512,
        *,
        normalize_text: bool = True,
        miner: Any = None,
        seed: int = 42,
    ) -> None:
        self._tokenizer_name, self._max_length = tokenizer_name, max_length
        self._normalize, self._miner, self._seed = normalize_text, miner, seed

    def create_triples(
        self,
        data: Iterable[Any],
        negative_sampling: Literal["random", "hard"] = "random",
        num_negatives: int = 1,
    ) -> list[Triple]:
        """Return triples, ``num_negatives`` for each positive of each query.

        Negatives that the data name come first; the rest is drawn at random from texts of other queries, or mined.
        A text that is relevant to the same query, or to one of the same words, never becomes its negative.

        Args:
            data: Samples in any form that `as_groups` takes.
            negative_sampling: Where further negatives come from.
            num_negatives: Negatives a positive.

        Raises:
            InvalidInputError: There are no samples, or too few texts to draw a negative from.
        """
        if negative_sampling not in ("random", "hard") or num_negatives < 1:
            raise InvalidInputError(
                "Expected negative_sampling 'random' or 'hard' and num_negatives of 1 or more, got "
                f"{negative_sampling!r} and {num_negatives!r}."
            )
        groups = [group for group in as_groups(data) if group.positives]
        pool = list(dict.fromkeys(text for group in groups for text in group.texts))
        further = (
            self._mined(groups, pool, num_negatives)
            if negative_sampling == "hard"
            else self._random(groups, pool, num_negatives)
        )
        triples = []
        for group, others in zip(groups, further, strict=True):
            negatives = [*group.negatives, *others][:num_negatives]
            if not negatives:
                raise InvalidInputError(f"Expected texts to draw negatives from, got {len(pool)} in all: add data.")
            triples += [
                Triple(*map(self._clean, (group.query, positive, text)))
                for positive in group.positives
                for text in negatives
            ]
        return triples

    def balance_dataset(self, triples: Sequence[Triple], balance_ratio: float = 1.0) -> list[Triple]:
        """Return at most ``balance_ratio`` triples for each query and positive, in order."""
        counts: dict[tuple[str, str], int] = {}
        kept = []
        for triple in triples:
            key = (triple.query, triple.positive)
            counts[key] = counts.get(key, 0) + 1
            if counts[key] <= max(1.0, balance_ratio):
                kept.append(triple)
        return kept

    def get_statistics(self, triples: Sequence[Triple]) -> dict[str, float]:
        """Return counts and mean lengths; with a tokenizer, also the share of pairs that ``max_length`` cuts.

        Raises:
            InvalidInputError: There are no triples, or the tokenizer cannot be opened.
        """
        if not triples:
            raise InvalidInputError("Expected triples to count, got none.")
        texts = [text for triple in triples for text in triple[1:] if text is not None]
        found = {
            "triples": float(len(triples)),
            "queries": float(len({triple.query for triple in triples})),
            "documents": float(len(set(texts))),
            "mean_query_words": sum(len(triple.query.split()) for triple in triples) / len(triples),
            "mean_document_words": sum(len(text.split()) for text in texts) / len(texts),
        }
        if self._tokenizer_name is not None:
            tokenize = _tokenizer(self._tokenizer_name)
            pairs = [(triple.query, text) for triple in triples for text in triple[1:] if text is not None]
            found["truncated"] = sum(tokenize(*pair) > self._max_length for pair in pairs) / len(pairs)
        return found

    def _clean(self, text: str) -> str:
        return " ".join(text.split()) if self._normalize else text

    def _random(self, groups: Sequence[Group], pool: Sequence[str], count: int) -> Iterable[list[str]]:
        relevant: dict[str, set[str]] = {}
        for group in groups:
            relevant.setdefault(normalized(group.query), set()).update(map(normalized, group.positives))
        for place, group in enumerate(groups):
            chooser = random.Random(f"{self._seed}/{place}")
            banned = relevant[normalized(group.query)] | set(map(normalized, group.texts))
            drawn = chooser.sample(pool, min(len(pool), count + len(banned) + 10))
            yield [text for text in drawn if normalized(text) not in banned][:count]

    def _mined(self, groups: Sequence[Group], pool: Sequence[str], count: int) -> Iterable[list[str]]:
        from semantic_ranker_training.hard_negatives import HardNegativeMiner

        rows = {text: row for row, text in enumerate(pool)}
        pairs = [(place, rows[text]) for place, group in enumerate(groups) for text in group.positives]
        mined = (self._miner or HardNegativeMiner()).mine(
            [group.query for group in groups], pool, count, positive_pairs=pairs
        )
        return [mined[place] for place in range(len(groups))]


def _sample(group: Group) -> Sample:
    return {"query": group.query, "documents": list(group.texts), "labels": [round(label) for label in group.labels]}


def _lists(groups: Sequence[Group], count: int) -> list[Sample]:
    documents = list(dict.fromkeys(text for group in groups for text in group.texts))
    index = BM25Index(documents)
    samples: list[Sample] = []
    for group in groups:
        labels = dict(zip(group.texts, map(round, group.labels), strict=True))
        found = [documents[row] for row, _ in index.search(group.query, count)]
        texts = list(dict.fromkeys([*found, *group.texts]))
        samples.append({"query": group.query, "documents": texts, "labels": [labels.get(text, 0) for text in texts]})
    return samples


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"Cannot open the tokenizer {name!r} ({type(error).__name__}): give a model folder, or tokenizer_name=None."
        ) from error
    return lambda query, text: len(tokenizer(query, text)["input_ids"])
