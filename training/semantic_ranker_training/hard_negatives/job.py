"""Mines a file or folder of pairs into a file of groups, with a report beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from semantic_ranker._files import StrPath, write_atomically
from semantic_ranker._version import __version__
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.data.beir import read_corpus_rows
from semantic_ranker_training.data.groups import read_groups
from semantic_ranker_training.data.lines import Reading
from semantic_ranker_training.hard_negatives.miner import HardNegativeMiner


def mine_pairs(
    pairs: StrPath,
    out: StrPath,
    *,
    miner: HardNegativeMiner,
    corpus: StrPath | None = None,
    reading: Reading | None = None,
) -> dict[str, Any]:
    """Mine negatives for the queries of a file, among its own texts and those of a corpus.

    Beside ``out`` a report is written, ``OUT.report.json``: configuration, counts by filter and retriever, hashes.

    Args:
        pairs: File or folder that `read_groups` reads; negatives that it names are documents like any other.
        out: JSON Lines file to write.
        miner: How.
        corpus: JSON Lines with ``_id``, ``text`` and perhaps ``title``; None takes that of a BEIR folder.
        reading: Policy for broken lines.

    Returns:
        The report.

    Raises:
        InvalidInputError: The input cannot be read, or ``out`` is the input.
        StorageError: ``out`` cannot be written.
    """
    reading = reading or Reading()
    if Path(out).resolve() == Path(pairs).resolve():
        raise InvalidInputError(f"Expected another file to write than the input, got {str(out)!r} for both.")
    groups = list(read_groups(pairs, reading=reading, gather=True))
    documents = dict.fromkeys(text for group in groups for text in group.texts)
    if found := _corpus(Path(pairs), corpus):
        documents.update(dict.fromkeys(text for _, text in read_corpus_rows(found, reading=reading) if text.strip()))
    rows = {text: row for row, text in enumerate(documents)}
    positives = [[rows[text] for text in group.positives] for group in groups]
    miner.mine_file([group.query for group in groups], list(rows), positives, out)
    report = {
        "schema_version": 1,
        "kind": "mined-negatives",
        "made_by": f"semantic-ranker {__version__}",
        "queries": len(groups),
        "documents": len(rows),
        "config": miner.config.to_dict(),
        "counts": dict(sorted(miner.counts.items())),
        "skipped": reading.skipped,
        "problems": reading.problems,
        "sha256": hashlib.sha256(Path(out).read_bytes()).hexdigest(),
    }
    write_atomically(f"{out}.report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return report


def _corpus(pairs: Path, corpus: StrPath | None) -> Path | None:
    if corpus is not None:
        return Path(corpus)
    return next((path for name in ("corpus.jsonl", "corpus.jsonl.gz") if (path := pairs / name).is_file()), None)
