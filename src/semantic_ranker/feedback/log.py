"""The feedback log on disk: JSON Lines, only ever appended to, rotated by size, readable after any crash."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from semantic_ranker._files import append_line, locked, sync_path
from semantic_ranker.errors import InvalidInputError, StorageError
from semantic_ranker.feedback.reading import OnError, Reading, parts_of
from semantic_ranker.feedback.records import SCHEMA, Interaction, Review, stamp

_MAX_BYTES = 64 * 2**20


class FeedbackLog:
    """A log of interactions that threads and processes may write and read at once.

    An interaction is one line, written at once and synced. A review that comes later is a line of its own and counts
    in the place of the interaction's. A full file is renamed to ``NAME.000001.SUFFIX`` and so on. A line that a crash
    cut short is left out by readers, and counted.

    Args:
        path: The file that is written to, such as ``feedback.jsonl``; nothing is created before the first record.
        max_bytes: Size at which the file is rotated.
        keep: How many rotated parts to keep, the oldest are deleted; None keeps all.
        redact: Takes personal data out of a text; query and answer go through it before anything is written.
        sync: Whether a record is on the disk when `append` returns; off is faster, and a power cut may cost records.

    Raises:
        InvalidInputError: An option is out of range.

    Example:
        >>> import tempfile
        >>> log = FeedbackLog(f"{tempfile.mkdtemp()}/feedback.jsonl")
        >>> _ = log.append(Interaction(query="how do I reset my password", intent="access"))
        >>> [found.intent for found in log.read()]
        ['access']
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = _MAX_BYTES,
        keep: int | None = None,
        redact: Callable[[str], str] | None = None,
        sync: bool = True,
    ) -> None:
        self.path = Path(path)
        if max_bytes < 1 or (keep is not None and keep < 0):
            raise InvalidInputError(f"Expected max_bytes above 0 and keep of 0 or more, got {max_bytes} and {keep}.")
        if redact is not None and not callable(redact):
            raise InvalidInputError(f"Expected redact to be a function of a str, got {type(redact).__name__}.")
        self._max_bytes, self._keep, self._redact, self._sync = max_bytes, keep, redact, sync

    def append(self, interaction: Interaction) -> Interaction:
        """Write one interaction.

        Returns:
            What was written, after redaction.

        Raises:
            InvalidInputError: It is no `Interaction`, or the redact hook failed; nothing is written.
            StorageError: The file cannot be written.
        """
        if not isinstance(interaction, Interaction):
            raise InvalidInputError(f"Expected an Interaction, got {type(interaction).__name__}.")
        kept = replace(interaction, query=self._redacted(interaction.query), answer=self._redacted(interaction.answer))
        self._write(kept.to_json())
        return kept

    def review(self, interaction_id: str, review: Review) -> None:
        """Write what was said of an earlier interaction; the last review of an interaction counts.

        Args:
            interaction_id: Of the interaction.
            review: What was said.

        Raises:
            InvalidInputError: An argument is of another kind.
            StorageError: The file cannot be written.
        """
        if not isinstance(interaction_id, str) or not interaction_id or not isinstance(review, Review):
            raise InvalidInputError("Expected the id of an interaction and a Review, got something else.")
        record = {"schema": SCHEMA, "kind": "review", "id": interaction_id, "time": stamp(datetime.now(UTC))}
        self._write(json.dumps({**record, "review": review.to_dict()}, separators=(",", ":")))

    def read(
        self, *, since: datetime | None = None, until: datetime | None = None, on_error: OnError = "raise"
    ) -> Reading:
        """Return the interactions, oldest part first, as an iterable that reads as it goes.

        Args:
            since: Leaves out what happened before.
            until: Leaves out what happened at this time or later.
            on_error: What a damaged line does: ``raise``, or ``skip`` it and count it.

        Raises:
            InvalidInputError: An option is not one of these, or a time has no zone.
        """
        for time in (since, until):
            if time is not None and time.tzinfo is None:
                raise InvalidInputError(f"Expected times with a time zone, got {time!r}.")
        if on_error not in ("raise", "skip"):
            raise InvalidInputError(f"Expected on_error 'raise' or 'skip', got {on_error!r}.")
        return Reading(self.path, since, until, on_error)

    def __iter__(self) -> Iterator[Interaction]:
        return iter(self.read())

    def parts(self) -> list[Path]:
        """Return the rotated parts, oldest first, without the file that is written to."""
        return parts_of(self.path)

    def _redacted(self, text: str) -> str:
        if self._redact is None or not text:
            return text
        try:
            redacted = self._redact(text)
        except Exception as error:
            # Without its message, which may hold the text.
            raise InvalidInputError(
                f"The redact hook failed with {type(error).__name__}; nothing was written."
            ) from None
        if not isinstance(redacted, str):
            raise InvalidInputError(f"Expected the redact hook to return a str, got {type(redacted).__name__}.")
        return redacted

    def _write(self, line: str) -> None:
        self._rotate_before(len(line) + 1)
        append_line(self.path, line, sync=self._sync)

    def _rotate_before(self, size: int) -> None:
        if not self._is_full(size):
            return
        with locked(self.path.with_name(f"{self.path.name}.lock")):
            if not self._is_full(size):
                return  # another process was first
            parts = self.parts()
            number = int(parts[-1].stem.rpartition(".")[2]) + 1 if parts else 1
            target = self.path.with_name(f"{self.path.stem}.{number:06d}{self.path.suffix}")
            try:
                os.rename(self.path, target)
                for old in [*parts, target][: -self._keep or None] if self._keep is not None else []:
                    old.unlink()
                sync_path(self.path.absolute().parent)
            except OSError as error:
                raise StorageError(f"Cannot rotate {str(self.path)!r}: {error.strerror}.") from error

    def _is_full(self, size: int) -> bool:
        try:
            present = self.path.stat().st_size
        except OSError:
            return False
        return present > 0 and present + size > self._max_bytes
