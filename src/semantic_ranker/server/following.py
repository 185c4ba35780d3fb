"""The pipeline of a folder as it is now: opened again when another process has saved it since."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from semantic_ranker.errors import SemanticRankerError
from semantic_ranker.indexes.folder import MANIFEST
from semantic_ranker.pipeline import RAGPipeline

logger = logging.getLogger(__name__)
_FILES = ("pipeline.json", f"index/{MANIFEST}")


class FollowedPipeline:
    """A function that returns the pipeline of a folder; models stay open between two states of it.

    While a new state cannot be opened, the old one answers, and the log says why.

    Args:
        path: Folder that `RAGPipeline.save` wrote.

    Raises:
        StorageError: There is none, or it is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._pipeline = RAGPipeline.load(path, read_only=True)

    def __call__(self) -> RAGPipeline:
        """Return the pipeline; threads that ask while one opens a new state get the old one."""
        if self._stamp() != self._seen and self._lock.acquire(blocking=False):
            try:
                self._open_again()
            finally:
                self._lock.release()
        return self._pipeline

    def _open_again(self) -> None:
        self._seen, old = self._stamp(), self._pipeline
        try:
            self._pipeline = RAGPipeline.load(
                self._path, retriever_model=old.index.embedder, reranker_model=old.retriever.reranker, read_only=True
            )
        except SemanticRankerError as error:
            logger.error("the index was not opened again: %s", error)
            return
        logger.info("the index was opened again: %d passages", len(self._pipeline.index))

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        found = []
        for name in _FILES:
            try:
                state = (self._path / name).stat()
            except OSError:
                continue
            found.append((state.st_ino, state.st_mtime_ns))
        return tuple(found)
