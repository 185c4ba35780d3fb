"""What benchmarks/isotropy.py measures on, and vectors of the base that are computed once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semantic_ranker import Embedder
from semantic_ranker.collections import load_beir
from semantic_ranker_training.config import SourceConfig
from semantic_ranker_training.pairs import load_source
from semantic_ranker_training.prepare import filters
from semantic_ranker_training.prepare.documents import read_documents
from semantic_ranker_training.prepare.strategies import Context, make_pairs

COLLECTIONS = ("cacm", "cosqa", "nfcorpus", "scifact")
PROBES = {"docs-18f-handbook": 2000, "docs-fastapi-en": 2000}
"""Folders of documentation, and the most sections of each."""
SOURCES = {"squad-dev-en": "qa-en.jsonl.gz", "squadshifts-new-wiki": "qa-en.jsonl.gz"}
PASSAGES = 2000
HELD_OUT, TRAINED = 500, 1500
MODEL = "all-MiniLM-L6-v2"
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Task:
    """Queries and documents with judgments; ids sorted, so that rows of vectors keep their order."""

    name: str
    documents: dict[str, str] = field(repr=False)
    queries: dict[str, str] = field(repr=False)
    qrels: dict[str, dict[str, int]] = field(repr=False)

    @property
    def digest(self) -> str:
        """Sha256 of all texts, which the kept vectors carry."""
        content = json.dumps([list(self.documents.items()), list(self.queries.items())])
        return hashlib.sha256(content.encode()).hexdigest()


def collection(folder: Path, split: str = "test") -> Task:
    """Return a whole collection."""
    found = load_beir(folder, split)
    name = folder.name if split == "test" else f"{folder.name}.{split}"
    judged = sorted(query for query, grades in found.qrels.items() if any(grade > 0 for grade in grades.values()))
    qrels = {query: dict(found.qrels[query]) for query in judged}
    queries = {query: found.queries[query] for query in judged}
    return Task(name, dict(sorted(found.corpus.items())), queries, qrels)


def probe(folder: Path) -> Task:
    """Return headings as queries and the sections below them, without the heading, as documents."""
    documents = list(read_documents(folder))
    context = Context(frequencies={})
    pairs = [pair for document in documents for pair in make_pairs(document, ["heading", "faq"], context)]
    kept = filters.distinct(pairs, Counter())
    texts = sorted({pair.positive for pair in kept})
    random.Random(0).shuffle(texts)
    chosen = set(texts[: PROBES[folder.name]])
    kept = [pair for pair in kept if pair.positive in chosen]
    texts = sorted(chosen)
    ids = {text: f"d{row:05}" for row, text in enumerate(texts)}
    queries = sorted({pair.query for pair in kept})
    names = {text: f"q{row:05}" for row, text in enumerate(queries)}
    qrels: dict[str, dict[str, int]] = {name: {} for name in names.values()}
    for pair in kept:
        qrels[names[pair.query]][ids[pair.positive]] = 1
    return Task(
        folder.name,
        {name: text for text, name in ids.items()},
        {name: text for text, name in names.items()},
        qrels,
    )


def training(data: Path, name: str) -> tuple[Task, Task]:
    """Return pairs of a source as (training, development), with no passage in both."""
    config = SourceConfig(file=SOURCES[name], source=name, passages=PASSAGES, queries=20_000)
    source = load_source(config, data, seed=0)
    held = len(source.passages) // 4  # a tail of the sorted passages, so that texts on one subject stay together
    first = len(source.passages) - held
    parts = []
    for part, rows, count in (("train", range(first), TRAINED), ("dev", range(first, len(source.passages)), HELD_OUT)):
        pairs = [place for place, row in enumerate(source.positives) if row in rows][:count]
        used = range(len(source.passages)) if part == "dev" else sorted({source.positives[place] for place in pairs})
        documents = {f"d{row:05}": source.passages[row] for row in used}
        queries = {f"q{place:05}": source.queries[place] for place in pairs}
        qrels = {f"q{place:05}": {f"d{source.positives[place]:05}": 1} for place in pairs}
        parts.append(Task(f"{name}.{part}", documents, queries, qrels))
    return parts[0], parts[1]


def vectors(task: Task, embedder: Embedder, work: Path) -> tuple[Vectors, Vectors]:
    """Return vectors of (queries, documents) in the order of the task's ids, from ``work`` where they are kept."""
    return (
        _kept(list(task.queries.values()), embedder, work / "vectors"),
        _kept(list(task.documents.values()), embedder, work / "vectors"),
    )


def _kept(texts: list[str], embedder: Embedder, folder: Path) -> Vectors:
    digest = hashlib.sha256(json.dumps([embedder.space.fingerprint, texts]).encode()).hexdigest()[:24]
    path = folder / f"{digest}.npy"
    if path.is_file():
        found: Vectors = np.load(path, allow_pickle=False)
        return found
    parts = []
    for start in range(0, len(texts), 200):
        parts.append(embedder.embed_documents(texts[start : start + 200]))
        print(f"\r{digest}: {start + len(parts[-1])} of {len(texts)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    found = np.concatenate(parts)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.save(file, found)
    os.replace(temporary, path)
    return found
