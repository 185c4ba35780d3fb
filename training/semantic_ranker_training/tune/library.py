"""Reads a folder into documents with headed sections; a file that did not change is not read again."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from semantic_ranker._files import write_atomically
from semantic_ranker.documents import REASONS, Skipped, parse_document
from semantic_ranker.documents.document import Document as ReadDocument
from semantic_ranker.documents.encoding import decode
from semantic_ranker.documents.files import list_files, read_bytes
from semantic_ranker.documents.readers.registry import FORMATS, Refusal
from semantic_ranker.documents.reading import distinct_contents
from semantic_ranker.documents.sync import READER_VERSION
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker_training.pairs import function_pairs
from semantic_ranker_training.prepare.documents import Document
from semantic_ranker_training.prepare.markup import Section
from semantic_ranker_training.tune.links import Link, links_of
from semantic_ranker_training.tune.work import hashed

MAX_BYTES = 20_000_000
"""Larger files are left out: a person's document is smaller, and a reader of Markdown would need many minutes."""
_VERSION = 1  # changes when the same text gives other sections
_CODE = ".py"
_MOST_HEADING_WORDS, _LEAST_BODY_WORDS = 16, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """Documents of a folder.

    Attributes:
        documents: By their path below the folder, in order.
        links: Of each document.
        hashes: Of each file's bytes.
        skipped: What was left out, with the reason.
        read: Files that were read this time; the others were known.
    """

    documents: Mapping[str, Document]
    links: Mapping[str, tuple[Link, ...]]
    hashes: Mapping[str, str]
    skipped: tuple[Skipped, ...]
    read: int

    @property
    def reasons(self) -> dict[str, int]:
        """How many files were left out, by reason."""
        return dict(sorted(Counter(item.reason for item in self.skipped).items()))

    def notes(self) -> list[str]:
        """Return a line for each reason why files were left out, with an example; kinds that are never read aside."""
        first: dict[str, Skipped] = {}
        for item in self.skipped:
            first.setdefault(item.reason, item)
        return [
            f"left out {count} ({reason}: {REASONS[reason]}), such as {first[reason].source}"
            for reason, count in self.reasons.items()
            if reason not in ("hidden", "other kind")
        ]


def read_library(folder: Path, cache: Path, *, max_bytes: int = MAX_BYTES) -> Library:
    """Read a folder, or one file.

    Args:
        folder: Folder or file of documents and, for code, of Python files.
        cache: Folder in which what was read of each file is kept by the hash of its bytes.
        max_bytes: Larger files are left out.

    Raises:
        DataFormatError: There is nothing to read in it; the message says why.
        InvalidInputError: There is no such path.
    """
    files, skipped = list_files(folder)
    code = [item for item in skipped if item.reason == "other kind" and item.source.lower().endswith(_CODE)]
    skipped = [item for item in skipped if item not in code]
    contents = distinct_contents([*files, *((item.source, folder / item.source) for item in code)], skipped, max_bytes)
    documents, links, hashes, read = dict[str, Document](), dict[str, tuple[Link, ...]](), dict[str, str](), 0
    for source, (path, digest) in tqdm(contents.items(), desc="read documents", unit="file", disable=None, delay=1):
        kept = cache / digest[:2] / f"{hashed([digest, source, READER_VERSION, _VERSION])[:32]}.json"
        found = _kept(kept)
        if found is None:
            read += 1
            found = _parsed(path, source, max_bytes)
            write_atomically(kept, json.dumps(found, ensure_ascii=True))
        if "reason" in found:
            skipped.append(Skipped(source, found["reason"], found["detail"]))
            continue
        documents[source], links[source], hashes[source] = _document(found, source), _links(found), digest
    library = Library(
        documents=dict(sorted(documents.items())),
        links=links,
        hashes=dict(sorted(hashes.items())),
        skipped=tuple(sorted(skipped, key=lambda item: item.source)),
        read=read,
    )
    if not documents:
        raise DataFormatError(_nothing(folder, library), str(folder))
    return library


def _nothing(folder: Path, library: Library) -> str:
    reasons = "; ".join(f"{count} {reason} ({REASONS[reason]})" for reason, count in library.reasons.items())
    kinds = ", ".join([*FORMATS, _CODE])
    return f"Expected documents to read in {str(folder)!r} ({kinds}), found none: {reasons or 'there is no file'}."


def _parsed(path: Path, source: str, max_bytes: int) -> dict[str, Any]:
    try:
        data = read_bytes(path, max_bytes)
        if source.lower().endswith(_CODE):
            functions = list(function_pairs(path, random.Random(source)))
            return {"title": "", "sections": [], "functions": functions, "links": []}
        document = parse_document(data, source)
    except Refusal as refusal:
        return {"reason": refusal.reason, "detail": refusal.detail}
    except InvalidInputError as error:
        cause = error.__cause__
        reason = cause.reason if isinstance(cause, Refusal) else "damaged"
        return {"reason": reason, "detail": getattr(cause, "detail", "")}
    suffix = PurePosixPath(source).suffix.lower()
    decoded = None if suffix == ".pdf" else decode(data, markup=suffix in (".html", ".htm", ".xhtml"))
    return {
        "title": document.title,
        "sections": [(section.heading, section.level, section.body) for section in _sections(document)],
        "functions": [],
        "links": [asdict(link) for link in (links_of(decoded.text, suffix) if decoded else ())],
    }


def _sections(document: ReadDocument) -> list[Section]:
    """Return a document's text by heading; in one without headings, short lines before paragraphs count as such."""
    blocks = [(block.kind, block.level, document.text[block.start : block.end]) for block in document.blocks]
    marked = sum(kind == "heading" for kind, *_ in blocks)
    found: list[tuple[str, int, list[str]]] = [("", 0, [])]
    for place, (kind, level, text) in enumerate(blocks):
        after = blocks[place + 1] if place + 1 < len(blocks) else ("", 0, "")
        implied = marked < 2 and kind == after[0] == "paragraph" and _leads(text, after[2])
        if kind == "heading" or implied:
            found.append((" ".join(text.split()), level or 2, []))
        else:
            found[-1][2].append(text)
    return [Section(heading, level, "\n\n".join(body)) for heading, level, body in found if heading or body]


def _leads(line: str, after: str) -> bool:
    words = line.split()
    ends = line.rstrip()[-1:]
    short = 2 <= len(words) <= _MOST_HEADING_WORDS and "\n" not in line and (ends.isalnum() or ends in "?)")
    return short and len(after.split()) >= _LEAST_BODY_WORDS and after.rstrip()[-1:] in ".:!"


def _document(found: Mapping[str, Any], source: str) -> Document:
    return Document(
        id=source,
        title=found["title"],
        sections=tuple(Section(*section) for section in found["sections"]),
        functions=tuple((query, text) for query, text in found["functions"]),
    )


def _links(found: Mapping[str, Any]) -> tuple[Link, ...]:
    return tuple(Link(**link) for link in found["links"])


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content
