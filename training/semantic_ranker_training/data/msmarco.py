"""MS MARCO passage files: collection, queries, judgments, training triples with ids or with texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from semantic_ranker._files import StrPath
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker_training.data.beir import existing, joined
from semantic_ranker_training.data.lines import Reading, parsed, read_lines
from semantic_ranker_training.data.records import Record, Triple
from semantic_ranker_training.data.trec import read_qrels
from semantic_ranker_training.data.writing import write_rows

_COLLECTIONS = ("collection.tsv", "corpus.tsv", "passages.tsv")


def read_collection(path: StrPath, *, reading: Reading | None = None) -> Iterator[tuple[str, str]]:
    """Give id and text of each line ``id<TAB>text`` of a collection or a file of queries.

    Raises:
        DataFormatError: The file is absent or empty, or a line is broken.
    """
    reading = reading or Reading()
    yield from parsed(path, read_lines(path, reading), _id_and_text, reading)


def write_collection(path: StrPath, texts: Mapping[str, str] | Iterable[tuple[str, str]]) -> int:
    """Write ``id<TAB>text`` lines and return how many; tabs and line ends in a text become spaces."""
    return write_rows(path, texts.items() if isinstance(texts, Mapping) else texts)


def read_triples(path: StrPath, *, reading: Reading | None = None) -> Iterator[Triple]:
    """Give the lines ``query<TAB>positive<TAB>negative`` of ``triples.train.*.tsv``.

    Raises:
        DataFormatError: The file is absent or empty, or a line is broken.
    """
    reading = reading or Reading()
    yield from parsed(path, read_lines(path, reading), _triple, reading)


def write_triples(path: StrPath, triples: Iterable[Triple]) -> int:
    """Write ``query<TAB>positive<TAB>negative`` lines and return how many.

    Raises:
        InvalidInputError: A triple has no negative, which the format cannot say.
    """
    return write_rows(path, (_complete(triple) for triple in triples))


def read_triple_ids(
    path: StrPath, queries: Mapping[str, str], collection: Mapping[str, str], *, reading: Reading | None = None
) -> Iterator[Triple]:
    """Give the triples of ``qidpidtriples.*.tsv`` with their texts.

    Args:
        path: Lines ``query id<TAB>positive id<TAB>negative id``.
        queries: Text by query id.
        collection: Text by passage id.
        reading: Policy for broken lines and unknown ids.

    Raises:
        DataFormatError: The file is absent or empty, a line is broken, or an id has no text.
    """
    reading = reading or Reading()

    def with_texts(line: str) -> Triple:
        qid, positive, negative = _triple(line)
        for kind, ids, key in (
            ("query", queries, qid),
            ("passage", collection, positive),
            ("passage", collection, negative),
        ):
            if key not in ids:
                raise InvalidInputError(f"expected a text for {kind} {key!r}, got none.")
        return Triple(queries[qid], collection[positive], collection[str(negative)])

    yield from parsed(path, read_lines(path, reading), with_texts, reading)


def write_triple_ids(path: StrPath, triples: Iterable[tuple[str, str, str]]) -> int:
    """Write ``query id<TAB>positive id<TAB>negative id`` lines and return how many."""
    return write_rows(path, triples)


def is_msmarco(folder: Path) -> bool:
    """Tell whether a folder has the files of MS MARCO."""
    return any(_find(folder, name) for name in _COLLECTIONS)


def read_msmarco(folder: StrPath, split: str = "train", *, reading: Reading | None = None) -> Iterator[Record]:
    """Give the judged pairs of a folder: ``collection.tsv``, ``queries.<split>.tsv``, ``qrels.<split>.tsv``.

    The names of TREC DL's files are found too (``queries.tsv``, ``qrels.tsv``, ``*<split>*queries*`` and so on). Only
    judged passages are held in memory.

    Raises:
        DataFormatError: A file is absent or broken, or a judged id has no text.
    """
    reading = reading or Reading()
    base = Path(folder)
    qrels = read_qrels(_file(base, "qrels", split), reading=reading)
    wanted = {document for grades in qrels.values() for document in grades}
    queries = {
        key: text for key, text in read_collection(_file(base, "queries", split), reading=reading) if key in qrels
    }
    found = next((path for name in _COLLECTIONS if (path := _find(base, name))), None)
    collection = read_collection(found or existing(base / _COLLECTIONS[0]), reading=reading)
    texts = {key: text for key, text in collection if key in wanted}
    yield from joined(base, queries, texts, qrels, reading)


def _file(base: Path, kind: str, split: str) -> Path:
    for name in (f"{kind}.{split}.tsv", f"{kind}.tsv", f"{kind}.{split}.txt", f"{kind}.txt"):
        if found := _find(base, name):
            return found
    fitting = sorted(path for path in base.glob("*") if kind in path.name and split in path.name)
    # TREC calls its queries topics, and its judgments 2019qrels-pass.txt.
    other = sorted(
        path for path in base.glob("*") if kind in path.name or (kind == "queries" and "topics" in path.name)
    )
    if len(fitting) == 1 or (not fitting and len(other) == 1):
        return (fitting or other)[0]
    there = ", ".join(path.name for path in fitting or other) or "none"
    raise DataFormatError(f"Expected {kind}.{split}.tsv in {base}, got no such file; alike: {there}.", str(base))


def _find(base: Path, name: str) -> Path | None:
    return next((path for path in (base / name, base / f"{name}.gz") if path.is_file()), None)


def _id_and_text(line: str) -> tuple[str, str]:
    key, tab, text = line.partition("\t")
    if not tab or not key.strip() or not text.strip():
        raise InvalidInputError(f"expected 'id<TAB>text', got {line[:60]!r}.")
    return key.strip(), text.strip()


def _triple(line: str) -> Triple:
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) != 3 or not all(columns):
        raise InvalidInputError(f"expected three columns with content, parted by tabs, got {len(columns)}.")
    if columns[1] == columns[2]:
        raise InvalidInputError("expected another negative than the positive, got the same.")
    return Triple(*columns)


def _complete(triple: Triple) -> Triple:
    if triple.negative is None:
        raise InvalidInputError("Expected triples with a negative: three columns cannot leave it out.")
    return triple
