"""Reads the elements of a JSON list one by one, with bounded memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

from semantic_ranker._files import StrPath
from semantic_ranker.errors import DataFormatError
from semantic_ranker_training.data.lines import Reading, open_binary

_CHUNK = 1 << 16
_SPACE = " \t\r\n"


def read_array(path: StrPath, reading: Reading) -> Iterator[tuple[int, Any]]:
    """Give each element of a file that holds one JSON list, with the number of the line that it begins on.

    Args:
        path: UTF-8, with or without a byte order mark, gzipped or not.
        reading: Bounds the size of an element.

    Raises:
        DataFormatError: The file is no JSON list; nothing after broken JSON can be read, so the policy has no say.
    """
    with open_binary(path) as file:
        yield from _Scanner(path, file, reading.max_line_bytes).elements()


class _Scanner:
    def __init__(self, path: StrPath, file: IO[bytes], limit: int) -> None:
        self._path, self._file, self._limit = path, file, limit
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._line, self._ended = "", 1, False

    def elements(self) -> Iterator[tuple[int, Any]]:
        if self._next() != "[":
            raise self._bad("a JSON list, such as [{...}, {...}]")
        self._drop(1)
        first = True
        while (mark := self._next()) != "]":
            if not first:
                if mark != ",":
                    raise self._bad("',' or ']' after an element of the list")
                self._drop(1)
                self._next()
            first = False
            yield self._line, self._element()
        self._drop(1)
        if self._next():
            raise self._bad("nothing after the list")

    def _element(self) -> Any:
        while True:
            try:
                element, end = json.JSONDecoder().raw_decode(self._text)
            except json.JSONDecodeError as error:
                if self._ended or len(self._text) > self._limit:
                    raise self._bad(f"a JSON value of at most {self._limit} characters ({error.msg})") from error
            except RecursionError as error:
                raise self._bad("JSON that is nested less deeply") from error
            else:
                # A number at the end of the buffer may go on.
                if end < len(self._text) or self._ended:
                    self._drop(end)
                    return element
            self._fill(len(self._text))

    def _next(self) -> str:
        """Return the next character that is no space, without taking it; empty at the end."""
        while True:
            stripped = self._text.lstrip(_SPACE)
            self._drop(len(self._text) - len(stripped))
            if self._text or self._ended:
                return self._text[:1]
            self._fill()

    def _fill(self, at_least: int = 0) -> None:
        # Doubling keeps the time for an element that is longer than the buffer linear.
        try:
            chunk = self._file.read(max(_CHUNK, at_least))
            self._text += self._decode.decode(chunk, final=not chunk)
        except (UnicodeDecodeError, EOFError, OSError) as error:
            raise self._bad(f"a readable UTF-8 file ({error})") from error
        self._ended = not chunk

    def _drop(self, count: int) -> None:
        self._line += self._text.count("\n", 0, count)
        self._text = self._text[count:]

    def _bad(self, expected: str) -> DataFormatError:
        shown = repr(self._text[:40]) if self._text else "the end of the file"
        message = f"{self._path}:{self._line}: expected {expected}, got {shown}."
        return DataFormatError(message, str(self._path), self._line)
