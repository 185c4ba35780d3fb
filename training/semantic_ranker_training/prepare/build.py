"""From documents, or from pairs that are there, to ``train.json``, ``val.json``, ``test_eval.json`` and a manifest."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from semantic_ranker._files import StrPath, write_atomically
from semantic_ranker._version import __version__
from semantic_ranker.errors import DataFormatError
from semantic_ranker_training.data.groups import read_groups
from semantic_ranker_training.data.lines import Reading
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.data.splits import LeakageReport, leakage, split_groups
from semantic_ranker_training.hard_negatives import HardNegativeMiner, MiningConfig
from semantic_ranker_training.prepare import filters
from semantic_ranker_training.prepare.config import PrepareConfig
from semantic_ranker_training.prepare.documents import Inputs, read_documents
from semantic_ranker_training.prepare.generators import generated_pairs, open_generator
from semantic_ranker_training.prepare.strategies import Context, Pair, document_passages, make_pairs
from semantic_ranker_training.prepare.text import document_frequencies, words

_T = TypeVar("_T")

MANIFEST = "manifest.json"
_SAME = 0.75  # share of the words of the shorter of two passages, from which they are versions of one
_NAMES = ("train.json", "val.json", "test_eval.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What was written.

    Attributes:
        files: Path of each file by its name, the manifest among them.
        sizes: Pairs, or queries, in each.
        made: Pairs made by each strategy.
        kept: Of these, how many are left.
        dropped: Pairs left out, by filter.
        leakage: What the parts share.
        skipped: Broken lines and files that were left out.
    """

    files: dict[str, Path]
    sizes: dict[str, int]
    made: dict[str, int]
    kept: dict[str, int]
    dropped: dict[str, int]
    leakage: LeakageReport
    skipped: int = 0


@dataclass(slots=True)
class _Made:
    groups: list[Group]
    document: dict[tuple[str, str], str]
    inputs: Inputs = field(default_factory=Inputs)
    made: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    pool: list[tuple[str, str]] = field(default_factory=list)  # id of the document, passage


def prepare_documents(
    documents: StrPath, out: StrPath, config: PrepareConfig | None = None, *, reading: Reading | None = None
) -> Prepared:
    """Make training data of documents: pairs by structure, filtered, split, with negatives if wanted.

    Args:
        documents: Folder or file, see `read_documents`.
        out: Folder for the files; files of their names are replaced.
        config: How.
        reading: Policy for broken lines and files.

    Raises:
        InvalidInputError: The documents cannot be read, or give no pairs.
        StorageError: A file cannot be written.
    """
    config, reading = config or PrepareConfig(), reading or Reading()
    made = _make(documents, config, reading)
    if not made.groups:
        raise DataFormatError(
            f"Expected pairs from {documents}, got none: {sum(made.made.values())} were made, and dropped as "
            f"{dict(made.dropped)}. More text, a higher max_overlap or no consistency filter may help.",
            str(documents),
        )
    return _publish(made, Path(out), config, reading)


def prepare_pairs(
    pairs: StrPath, out: StrPath, config: PrepareConfig | None = None, *, reading: Reading | None = None
) -> Prepared:
    """Split pairs that are there, such as a CSV file of ``query, positive, negative``, and add negatives if wanted.

    Args:
        pairs: File that `read_groups` reads.
        out: Folder for the files; files of their names are replaced.
        config: How; strategies and filters do not apply.
        reading: Policy for broken lines.

    Raises:
        InvalidInputError: The file cannot be read or split.
        StorageError: A file cannot be written.
    """
    config, reading = config or PrepareConfig(), reading or Reading()
    groups = list(read_groups(pairs, reading=reading, gather=True))
    made = _Made(_sampled(groups, config), {})
    made.inputs.sha256[Path(pairs).name] = _digest(Path(pairs).read_bytes()) if Path(pairs).is_file() else ""
    made.made["given"] = len(groups)
    made.pool = [("", text) for group in made.groups for text in group.texts]
    return _publish(made, Path(out), config, reading)


def _make(source: StrPath, config: PrepareConfig, reading: Reading) -> _Made:
    inputs = Inputs()
    documents = list(read_documents(source, reading=reading, inputs=inputs))
    texts = {document.id: document_passages(document, config.passage_words) for document in documents}
    frequencies = document_frequencies(text for of in texts.values() for text in of)
    context = Context(frequencies=frequencies, most_words=config.passage_words, seed=config.seed)
    pairs = [pair for document in documents for pair in make_pairs(document, config.strategies, context)]
    if config.generator is not None:
        given = [(key, text) for key, of in texts.items() for text in of]
        pairs += generated_pairs(open_generator(config.generator), given)
    made = _Made([], {}, inputs, Counter(pair.strategy for pair in pairs))
    kept = _filtered(pairs, config, made.dropped)
    kept = _sampled(kept, config)
    made.groups = [Group(pair.query, (pair.positive,), (1.0,), source=pair.strategy) for pair in kept]
    made.document = {(pair.query, pair.positive): pair.document for pair in kept}
    made.pool = [(key, text) for key, of in texts.items() for text in of]
    return made


def _filtered(pairs: Sequence[Pair], config: PrepareConfig, dropped: Counter[str]) -> list[Pair]:
    kept = filters.without_leaks(pairs, dropped)
    kept = filters.distinct(kept, dropped)
    kept = filters.not_literal(kept, config.max_overlap, dropped)
    if config.consistency is not None and kept:
        kept = filters.consistent(kept, config.consistency, dropped, embedder=config.embedder, language=config.language)
    return kept


def _sampled(items: list[_T], config: PrepareConfig) -> list[_T]:
    if config.num_pairs is None or len(items) <= config.num_pairs:
        return items
    rows = sorted(random.Random(config.seed).sample(range(len(items)), config.num_pairs))
    return [items[row] for row in rows]


def _publish(made: _Made, out: Path, config: PrepareConfig, reading: Reading) -> Prepared:
    parts, report = _parts(made, config)
    if len(parts) == 3:
        parts[2] = _one_version(parts[2], made)
    parts = [_with_negatives(part, made, config) for part in parts]
    report = replace(leakage(parts), components=report.components, dropped_negatives=report.dropped_negatives)
    contents: dict[str, Any] = {name: _rows(part) for name, part in zip(_NAMES, parts, strict=False)}
    if len(parts) == 3:
        contents[_NAMES[2]] = _evaluation(parts, made)
    texts = {name: json.dumps(content, ensure_ascii=False, indent=2) + "\n" for name, content in contents.items()}
    sizes = {name: len(part) for name, part in zip(_NAMES, parts, strict=False)}
    kept = dict(sorted(Counter(group.source or "given" for part in parts for group in part).items()))
    prepared = Prepared(
        files={name: out / name for name in (*texts, MANIFEST)},
        sizes=sizes,
        made=dict(made.made),
        kept=kept,
        dropped=dict(made.dropped),
        leakage=report,
        skipped=reading.skipped,
    )
    manifest = _manifest(prepared, made, config, texts)
    for name, text in {**texts, MANIFEST: manifest}.items():
        write_atomically(out / name, _utf8(text))
    return prepared


def _parts(made: _Made, config: PrepareConfig) -> tuple[list[list[Group]], LeakageReport]:
    if config.split is None:
        return [made.groups], leakage([made.groups], near_duplicate=None)
    documents = made.document
    split = split_groups(
        made.groups,
        config.split,
        seed=config.seed,
        # Passages of one document stay together: they repeat each other.
        together=(lambda group: documents[group.query, group.texts[0]]) if documents else None,
    )
    return list(split.parts), split.report


def _with_negatives(part: list[Group], made: _Made, config: PrepareConfig) -> list[Group]:
    """Give negatives to the groups that have none, mined among the texts of the part."""
    bare = [group for group in part if not group.negatives]
    texts = list(dict.fromkeys(text for group in part for text in group.texts))
    if not config.negatives or not bare or len(texts) < 2:
        return part
    rows = {text: row for row, text in enumerate(texts)}
    dense = config.embedder is not None
    mining = MiningConfig(
        negatives=config.negatives,
        retrievers=("bm25", "dense") if dense else ("bm25",),
        score_ratio=0.95 if dense else None,
        language=config.language,
        seed=config.seed,
    )
    miner = HardNegativeMiner(config.embedder, config=mining)
    siblings = _siblings(part, made)
    # Another version of the same passage answers the query too.
    relevant = [
        dict.fromkeys(other for text in group.positives for other in (text, *siblings.get(text, ()))) for group in bare
    ]
    mined = miner.mine_groups([group.query for group in bare], texts, [[rows[text] for text in of] for of in relevant])
    found = {id(group): new for group, new in zip(bare, mined, strict=True)}
    return [_extended(group, found[id(group)]) if id(group) in found else group for group in part]


def _extended(group: Group, mined: Group) -> Group:
    texts = group.texts + mined.negatives
    return Group(group.query, texts, (*group.labels, *(0.0,) * len(mined.negatives)), source=group.source)


def _rows(part: Iterable[Group]) -> list[dict[str, Any]]:
    """Return the guides' rows: ``negative`` for one, ``negatives`` for several."""
    rows = []
    for group in part:
        for positive in group.positives:
            row: dict[str, Any] = {"query": group.query, "positive": positive}
            if len(group.negatives) == 1:
                row["negative"] = group.negatives[0]
            elif group.negatives:
                row["negatives"] = list(group.negatives)
            rows.append({**row, "source": group.source} if group.source else row)
    return rows


def _evaluation(parts: Sequence[Sequence[Group]], made: _Made) -> dict[str, Any]:
    """Return queries, and a corpus that also has the other passages: the positives alone would be too easy.

    Passages of the documents of the test part are in it as positives only, because unedited they hold the queries.
    """
    positives: dict[str, list[str]] = {}
    for group in parts[2]:
        positives.setdefault(group.query, []).extend(group.positives)
    own = list(dict.fromkeys(text for of in positives.values() for text in of))
    tested = {made.document[group.query, text] for group in parts[2] for text in group.positives if made.document}
    corpus = list(
        dict.fromkeys([*own, *(text for document, text in made.pool if not document or document not in tested)])
    )
    rows = {text: row for row, text in enumerate(corpus)}
    relevance = [sorted({rows[text] for text in of}) for of in positives.values()]
    return {"corpus": corpus, "queries": list(positives), "relevance": relevance}


def _one_version(part: list[Group], made: _Made) -> list[Group]:
    """Keep one query for each passage: another version of the passage would hold its query, and answer it too."""
    siblings = _siblings(part, made)
    taken: set[str] = set()
    kept = []
    for group in part:
        same = {other for text in group.positives for other in siblings.get(text, ())}
        if same & taken:
            made.dropped["another_version_in_test"] += 1
            continue
        kept.append(group)
        taken.update(group.positives)
    return kept


def _siblings(part: Sequence[Group], made: _Made) -> dict[str, list[str]]:
    """Return for each positive those that were made of the same words of the same document."""
    of_document: dict[str, dict[str, frozenset[str]]] = {}
    for group in part:
        for text in group.positives:
            if made.document:
                of_document.setdefault(made.document[group.query, text], {})[text] = frozenset(words(text))
    found: dict[str, list[str]] = {}
    for texts in of_document.values():
        for text, own in texts.items():
            same = [other for other, of in texts.items() if len(own & of) >= _SAME * min(len(own), len(of))]
            found.setdefault(text, []).extend(same)
    return found


def _manifest(prepared: Prepared, made: _Made, config: PrepareConfig, texts: dict[str, str]) -> str:
    content = {
        "schema_version": 1,
        "kind": "training-data",
        "made_by": f"semantic-ranker {__version__}",
        "options": config.to_dict(),
        "inputs": made.inputs.sha256,
        "ignored_files": made.inputs.ignored,
        "skipped": prepared.skipped,
        "made": prepared.made,
        "dropped": prepared.dropped,
        "kept": prepared.kept,
        "leakage": prepared.leakage.to_dict(),
        "files": {name: {"sha256": _digest(_utf8(text)), "rows": prepared.sizes[name]} for name, text in texts.items()},
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _utf8(text: str) -> bytes:
    # A document may hold half of a character pair, which no file can.
    return text.encode("utf-8", "replace")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
