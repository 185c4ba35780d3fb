"""Reads the documents that pairs are made of: files of a folder, or one document a line. Fetches nothing."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from semantic_ranker._files import StrPath
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker_training.data.lines import Reading, finish, read_lines, read_raw_lines
from semantic_ranker_training.pairs import function_pairs
from semantic_ranker_training.prepare.markup import Section, html_sections, markdown_sections, rst_sections

_PARSERS: dict[str, Callable[[str], list[Section]]] = {
    ".md": markdown_sections,
    ".markdown": markdown_sections,
    ".rst": rst_sections,
    ".html": html_sections,
    ".htm": html_sections,
    ".txt": lambda text: [Section("", 0, text.strip())],
}
SUFFIXES = (*_PARSERS, ".py", ".jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document, taken apart.

    Attributes:
        id: Its path below the folder, with ``#line`` for one of several in a file.
        title: Its title; empty when it says none.
        sections: Its text by heading.
        functions: ``(docstring's first sentence, function without it)`` of a Python file.
    """

    id: str
    title: str
    sections: tuple[Section, ...] = ()
    functions: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Inputs:
    """What was read.

    Attributes:
        sha256: Hash of each file by its path.
        ignored: Files of other kinds.
    """

    sha256: dict[str, str] = field(default_factory=dict)
    ignored: int = 0


def read_documents(
    path: StrPath, *, reading: Reading | None = None, inputs: Inputs | None = None
) -> Iterator[Document]:
    """Give the documents below a folder, in the order of their paths, or those of one file.

    In a folder each ``.txt``, ``.md``, ``.rst``, ``.html`` and ``.py`` file is one document, and each line of a
    ``.jsonl`` file (``text``, perhaps ``title`` and ``_id``). A ``.txt`` file that is given itself holds one document
    a line, as in the guides. Hidden files and folders and other kinds are left out.

    Args:
        path: The folder or file.
        reading: Policy for lines and files that are broken, such as ones that are not UTF-8.
        inputs: Filled with what was read.

    Raises:
        DataFormatError: There is no such path, a file is broken, or there are no documents.
    """
    reading, inputs = reading or Reading(), inputs or Inputs()
    base = Path(path)
    files = _files(base, inputs) if base.is_dir() else [base]
    given = 0
    for file in tqdm(files, desc="read documents", unit="file", disable=None, delay=2):
        name = file.relative_to(base).as_posix() if base.is_dir() else file.name
        inputs.sha256[name] = _sha256(file)
        for document in _of_file(file, name, reading, alone=not base.is_dir()):
            given += 1
            reading.rows += 1
            yield document
    finish(path, reading, given)


def _files(base: Path, inputs: Inputs) -> list[Path]:
    found = []
    for file in sorted(base.rglob("*")):
        if not file.is_file() or any(part.startswith(".") for part in file.relative_to(base).parts):
            continue
        if file.suffix.lower() in SUFFIXES:
            found.append(file)
        else:
            inputs.ignored += 1
    if not found:
        raise DataFormatError(f"Expected files that end in {', '.join(SUFFIXES)} in {base}, got none.", str(base))
    return found


def _of_file(file: Path, name: str, reading: Reading, *, alone: bool) -> Iterator[Document]:
    suffix = file.suffix.lower()
    if suffix == ".py":
        chooser = random.Random(name)  # of which functions keep the rest of their docstring
        yield Document(id=name, title="", functions=tuple(function_pairs(file, chooser)))
    elif suffix == ".jsonl":
        yield from _of_jsonl(file, name, reading)
    elif suffix == ".txt" and alone:
        for number, text in read_lines(file, reading):
            yield Document(id=f"{name}#{number}", title="", sections=(Section("", 0, text.strip()),))
    elif suffix in _PARSERS:
        yield from _whole(file, name, _PARSERS[suffix], reading)
    else:
        raise DataFormatError(f"Expected a file that ends in {', '.join(SUFFIXES)}, got {file.name!r}.", str(file))


def _whole(file: Path, name: str, parse: Callable[[str], list[Section]], reading: Reading) -> Iterator[Document]:
    skipped = reading.skipped
    text = "".join(line for _, line in read_raw_lines(file, reading)).replace("\r\n", "\n")
    # A file with a broken line would give a text with a hole in it.
    if reading.skipped > skipped or not text.strip():
        return
    sections = parse(text)
    title = next((section.heading for section in sections if section.heading), "")
    if sections:
        yield Document(id=name, title=title, sections=tuple(sections))


def _of_jsonl(file: Path, name: str, reading: Reading) -> Iterator[Document]:
    for number, line in read_lines(file, reading):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                raise InvalidInputError("expected an object with a string 'text'.")
        except (json.JSONDecodeError, RecursionError, InvalidInputError) as error:
            reading.broken(file, number, f"expected a JSON object with a string 'text' ({error}).")
            continue
        if row["text"].strip():
            title = row.get("title") if isinstance(row.get("title"), str) else ""
            yield Document(
                id=f"{name}#{row.get('_id', number)}",
                title=str(title).strip(),
                sections=(Section(str(title).strip(), 1 if title else 0, row["text"].strip()),),
            )


def _sha256(file: Path) -> str:
    try:
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataFormatError(f"Cannot read {str(file)!r}: {error.strerror}.", str(file)) from error
