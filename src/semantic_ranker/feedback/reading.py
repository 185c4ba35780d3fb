"""Reads a feedback log: part after part, leaving out and counting what a crash cut short."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

from semantic_ranker.errors import FeedbackLogError, InvalidInputError, StorageError
from semantic_ranker.feedback.records import Interaction, Review, check_schema, review_of

OnError = Literal["raise", "skip"]


@dataclass(slots=True)
class Reading:
    """Interactions of a log; iterate over it, then ask what was met. Each iteration reads the files anew.

    Attributes:
        path: The file that is written to; its rotated parts are read first.
        since: Leaves out what happened before.
        until: Leaves out what happened at this time or later.
        on_error: What a damaged line does.
        records: Interactions given by the last iteration.
        torn: Lines that a crash had cut short.
        damaged: Other lines that could not be read, under ``skip``.
    """

    path: Path
    since: datetime | None = None
    until: datetime | None = None
    on_error: OnError = "raise"
    records: int = field(default=0, init=False)
    torn: int = field(default=0, init=False)
    damaged: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[Interaction]:
        """Give the interactions.

        Raises:
            FeedbackLogError: A line is damaged, under ``raise``; the error says which.
            StorageError: There is no log, or it cannot be read.
        """
        self.records = self.torn = self.damaged = 0
        reviews = self._reviews()
        for path, number, line in self._lines():
            found = self._parsed(path, number, line)
            if found is None or not self._is_within(found.time):
                continue
            self.records += 1
            yield replace(found, review=reviews[found.id]) if found.id in reviews else found

    def _reviews(self) -> dict[str, Review]:
        # They come after what they review, so that they are read first; damaged ones are met again later.
        found: dict[str, Review] = {}
        for _, _, line in self._lines():
            if '"kind"' not in line:
                continue
            with suppress(ValueError, RecursionError):
                record = json.loads(line)
                if _is_review(record):
                    found.update([_late_review(record)])
        return found

    def _is_within(self, time: datetime) -> bool:
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)

    def _parsed(self, path: Path, number: int, line: str) -> Interaction | None:
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise InvalidInputError(f"Expected a JSON object, got {type(record).__name__}.")
            if _is_review(record):
                _late_review(record)
                return None
            return Interaction.of_record(record)
        except (ValueError, RecursionError) as error:
            self._note(error, path, number, line)
            return None

    def _note(self, error: Exception, path: Path, number: int, line: str) -> None:
        if not isinstance(error, InvalidInputError) and is_cut_short(line):
            self.torn += 1
        elif self.on_error == "skip":
            self.damaged += 1
        else:
            known = isinstance(error, InvalidInputError)
            reason = str(error) if known else f"Expected JSON, got another text ({error})."
            raise FeedbackLogError(
                f"{path}, line {number}: {reason} Correct the line, or skip damaged lines.", str(path), number
            ) from error

    def _lines(self) -> Iterator[tuple[Path, int, str]]:
        read: set[Path] = set()
        while True:
            for part in [part for part in parts_of(self.path) if part not in read]:
                read.add(part)
                if (stream := _open(part)) is not None:
                    yield from _numbered(part, stream)
            current = _open(self.path)
            # Rotated between the listing and the opening: what was opened may not be the next file.
            if all(part in read for part in parts_of(self.path)):
                break
            if current is not None:
                current.close()
        if current is not None:
            yield from _numbered(self.path, current)
        elif not read:
            raise StorageError(f"Expected a feedback log at {str(self.path)!r}, found none.")


def parts_of(log: Path) -> list[Path]:
    """Return the rotated parts of a log, oldest first.

    Raises:
        StorageError: Its folder cannot be read.
    """
    pattern = re.compile(re.escape(log.stem) + r"\.(\d{6,})" + re.escape(log.suffix))
    try:
        names = [match for name in os.listdir(log.parent) if (match := pattern.fullmatch(name))]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"Cannot read {str(log.parent)!r}: {error.strerror}.") from error
    return [log.with_name(match.group()) for match in sorted(names, key=lambda match: int(match.group(1)))]


def is_cut_short(line: str) -> bool:
    """Return whether a line is the beginning of a JSON object, or only the zeros that a power cut leaves."""
    depth, in_string, escaped = 0, False, False
    if not line.strip("\x00"):
        return True
    for character in line:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        else:
            depth += (character in "{[") - (character in "}]")
    return line.startswith("{") and (in_string or depth > 0)


def _is_review(record: Any) -> bool:
    return isinstance(record, dict) and record.get("kind") == "review"


def _late_review(record: dict[str, Any]) -> tuple[str, Review]:
    check_schema(record)
    if not isinstance(record.get("id"), str) or not isinstance(record.get("review"), dict):
        raise InvalidInputError("Expected a review with the id of its interaction, got another record.")
    return record["id"], review_of(record["review"])


def _open(path: Path) -> IO[bytes] | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None  # not written yet, or deleted by `keep` since it was listed
    except OSError as error:
        raise StorageError(f"Cannot read {str(path)!r}: {error.strerror}.") from error


def _numbered(path: Path, stream: IO[bytes]) -> Iterator[tuple[Path, int, str]]:
    with stream:
        for number, line in enumerate(stream, start=1):
            # A cut may fall inside a character; what is lost is told by the JSON around it.
            text = line.decode("utf-8", "replace").strip()
            if text:
                yield path, number, text
