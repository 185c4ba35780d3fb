"""BEIR folders as training data, read with bounded memory: only judged documents are held."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from semantic_ranker._files import StrPath
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker_training.data.lines import Reading, parsed, read_lines
from semantic_ranker_training.data.records import Record
from semantic_ranker_training.data.trec import read_qrels
from semantic_ranker_training.data.writing import atomic_lines, write_rows


def read_beir(folder: StrPath, split: str = "train", *, reading: Reading | None = None) -> Iterator[Record]:
    """Give the judged pairs of a BEIR folder, pairs of a query together.

    Args:
        folder: With ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``, each plain or ``.gz``.
        split: Which judgments.
        reading: Policy for broken lines and for judgments whose query or document is absent.

    Raises:
        DataFormatError: A file is absent or broken.
    """
    reading = reading or Reading()
    base = Path(folder)
    qrels = read_qrels(existing(base / "qrels" / f"{split}.tsv"), reading=reading)
    wanted = {document for grades in qrels.values() for document in grades}
    queries = dict(_texts(existing(base / "queries.jsonl"), set(qrels), reading))
    texts = dict(_texts(existing(base / "corpus.jsonl"), wanted, reading))
    yield from joined(base, queries, texts, qrels, reading)


def write_beir(
    folder: StrPath, records: Iterable[Record], *, split: str = "train", corpus: Mapping[str, str] | None = None
) -> int:
    """Write judged pairs as a BEIR folder, and return how many.

    Args:
        folder: Where to; files of these names are replaced.
        records: The pairs; ids that are empty are made from the texts.
        split: Name of the judgments.
        corpus: Further documents by id.

    Raises:
        InvalidInputError: A label is no whole number, or an id stands for two texts.
        StorageError: A file cannot be written.
    """
    queries: dict[str, str] = {}
    documents: dict[str, str] = dict(corpus or {})
    judged: dict[tuple[str, str], int] = {}
    for record in records:
        if record.label != int(record.label):
            raise InvalidInputError(f"Expected whole numbers as labels for a BEIR folder, got {record.label}.")
        qid = record.query_id or text_id("q", record.query)
        did = record.document_id or text_id("d", record.document)
        for ids, key, text in ((queries, qid, record.query), (documents, did, record.document)):
            if ids.setdefault(key, text) != text:
                raise InvalidInputError(f"Expected one text an id, got two for {key!r}.")
        judged[qid, did] = int(record.label)
    base = Path(folder)
    _write_texts(base / "corpus.jsonl", documents, {"title": ""})
    _write_texts(base / "queries.jsonl", queries, {})
    header = [("query-id", "corpus-id", "score")]
    write_rows(base / "qrels" / f"{split}.tsv", [*header, *((qid, did, grade) for (qid, did), grade in judged.items())])
    return len(judged)


def joined(
    where: StrPath,
    queries: Mapping[str, str],
    texts: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    reading: Reading,
) -> Iterator[Record]:
    """Give judged pairs with their texts; one whose text is absent counts as broken."""
    source = Path(where).name
    given = 0
    for qid, grades in qrels.items():
        for did, grade in grades.items():
            query, document = queries.get(qid, ""), texts.get(did, "")
            if not query.strip() or not document.strip():
                lacking = f"query {qid!r}" if not query.strip() else f"document {did!r}"
                reading.broken(where, 0, f"expected a text for the judged {lacking}, got none.")
                continue
            given += 1
            # TREC judges spam below 0: it is not relevant.
            yield Record(
                query=query, document=document, label=float(max(grade, 0)), query_id=qid, document_id=did, source=source
            )
    if not given:
        raise DataFormatError(f"Expected judged pairs with texts in {where}, got none.", str(where))


def existing(path: Path) -> Path:
    """Return a file or its gzipped form.

    Raises:
        DataFormatError: There is neither.
    """
    for found in (path, path.with_name(path.name + ".gz")):
        if found.is_file():
            return found
    there = sorted(entry.name for entry in path.parent.iterdir())[:10] if path.parent.is_dir() else []
    raise DataFormatError(
        f"Expected a file at {path} or {path.name}.gz, got none; there: {', '.join(there) or 'nothing'}.", str(path)
    )


def text_id(prefix: str, text: str) -> str:
    """Return an id that depends on the text alone."""
    return f"{prefix}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"


def read_corpus_rows(path: StrPath, *, reading: Reading | None = None) -> Iterator[tuple[str, str]]:
    """Give id and text of each line of a BEIR ``corpus.jsonl`` or ``queries.jsonl``; a title stands before the text.

    Raises:
        DataFormatError: The file is absent or a line is broken.
    """
    reading = reading or Reading()
    yield from parsed(path, read_lines(path, reading), _id_and_text, reading)


def _texts(path: Path, wanted: set[str], reading: Reading) -> Iterator[tuple[str, str]]:
    return ((key, text) for key, text in read_corpus_rows(path, reading=reading) if key in wanted)


def _id_and_text(line: str) -> tuple[str, str]:
    try:
        row: Any = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidInputError(f"expected a JSON object, got broken JSON ({error}).") from error
    key, text, title = (row.get(name) for name in ("_id", "text", "title")) if isinstance(row, dict) else (None,) * 3
    if not isinstance(key, str) or not isinstance(text, str):
        raise InvalidInputError("expected an object with the strings '_id' and 'text'.")
    return key, f"{title} {text}".strip() if isinstance(title, str) and title else text


def _write_texts(path: Path, texts: Mapping[str, str], extra: Mapping[str, str]) -> None:
    with atomic_lines(path) as write:
        for key, text in texts.items():
            write(json.dumps({"_id": key, **extra, "text": text}, ensure_ascii=False) + "\n")
