"""An open model, shared by all `CrossEncoder` objects of a process that ask for the same one.

Strings in, one score with its span a text out. It neither checks arguments nor sorts.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

import numpy as np

from semantic_ranker._machine import default_threads
from semantic_ranker.backends import open_backend
from semantic_ranker.cascade.selection import CascadeSettings, cascade_of
from semantic_ranker.conversion.first_load import with_graphs
from semantic_ranker.errors import InvalidInputError, ScoreCountError
from semantic_ranker.model_folder import SEGMENT_HEAD, ModelFolder, resolve
from semantic_ranker.segments.store import state_of
from semantic_ranker.tokenization import EncodedPair, PairTokenizer, pad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker._arguments import Options
    from semantic_ranker._settings import ModelSettings
    from semantic_ranker.backends import Backend, Runtime
    from semantic_ranker.segments.engine import SegmentEngine

# Bounds on what is tokenised at a time: a hundred thousand texts must not need a hundred thousand encodings.
_CHUNK_TEXTS = 1024
_CHUNK_CHARACTERS = 2_000_000
# A GPU is idle with one pair at a time; a padded batch of so many tokens takes some 100 MB there.
_GPU_TOKENS = 16_384


@dataclass(frozen=True, slots=True)
class Scored:
    """The model's word on one text; fields as in `RankedText`."""

    logit: float
    truncated: bool
    span: tuple[int, int] | None


class Scorer(Protocol):
    """What a `CrossEncoder` needs of an open model; `semantic_ranker.testing` has another one."""

    @property
    def settings(self) -> ModelSettings:
        """How the model wants to be scored."""

    @property
    def backend(self) -> Runtime:
        """What runs it."""

    @property
    def fingerprint(self) -> str:
        """Sha256 of weights, tokenizer and settings."""

    @property
    def max_length(self) -> int:
        """Tokens of one input."""

    @property
    def cascade(self) -> CascadeSettings | None:
        """How far the model's first pass is trusted; None where none was fitted."""

    def score(self, queries: Sequence[str], texts: Sequence[Sequence[str]], options: Options) -> list[list[Scored]]:
        """Return one `Scored` a text, in the order of the texts of each query."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Engine:
    """What is expensive to build and safe to share between threads.

    Attributes:
        settings: How the model wants to be scored.
        tokenizer: From strings to model inputs.
        backend: From model inputs to logits.
        fingerprint: Sha256 of weights, tokenizer and settings.
        max_length: Tokens of one input.
        cascade: See `Scorer`.
    """

    settings: ModelSettings
    tokenizer: PairTokenizer = field(repr=False)
    backend: Backend
    fingerprint: str
    max_length: int
    cascade: CascadeSettings | None = None

    @classmethod
    def load(cls, folder: ModelFolder, options: Options) -> Engine:
        """Open what ``options`` ask for.

        Raises:
            ModelLoadError: The folder does not hold it, or it is damaged.
            InvalidInputError: ``max_length`` is more than the model can read.
        """
        settings = folder.settings
        max_length = checked_length(settings, options)
        backend, weights = open_backend(folder, options.precision, options.backend, options.device)
        file = folder.read("tokenizer.json")
        tokenizer = PairTokenizer(
            file.content,
            layout=settings.layout,
            max_length=max_length,
            max_query_tokens=settings.max_query_tokens,
        )
        parts = [weights, file.sha256, folder.config.sha256, backend.name]
        parts += [settings.layout, str(max_length), str(settings.max_query_tokens)]
        return cls(settings, tokenizer, backend, digest(parts), max_length, cascade_of(folder.manifest))

    def score(self, queries: Sequence[str], texts: Sequence[Sequence[str]], options: Options) -> list[list[Scored]]:
        """Return one `Scored` a text, in the order of the texts of each query.

        Raises:
            ScoreCountError: The backend gave another number of logits than inputs.
        """
        heads = self.tokenizer.queries(queries)
        flat = [(row, text) for row, group in enumerate(texts) for text in group]
        scored: list[Scored] = []
        for chunk in text_chunks(flat, self.tokenizer.max_characters):
            scored.extend(self._score_chunk([heads[row] for row, _ in chunk], [text for _, text in chunk], options))
        found = iter(scored)
        return [list(islice(found, len(group))) for group in texts]

    def _score_chunk(
        self, queries: Sequence[NDArray[np.int64]], texts: Sequence[str], options: Options
    ) -> list[Scored]:
        windows = self.tokenizer.pairs(queries, texts, windows=options.long_text == "windows")
        logits = iter(self._run([pair for pairs in windows for pair in pairs], options).tolist())
        return [best_window(pairs, [next(logits) for _ in pairs]) for pairs in windows]

    def _run(self, pairs: Sequence[EncodedPair], options: Options) -> NDArray[np.float32]:
        """Return the logits of encoded pairs, float32 (n,), longest first so that the threads finish together."""
        budget = options.token_budget or (_GPU_TOKENS if options.device == "cuda" else None)
        batches = _batches([len(pair.input_ids) for pair in pairs], budget)

        def run(rows: Sequence[int]) -> NDArray[np.float32]:
            output = self.backend.run(*pad([pairs[row] for row in rows]))
            if output.shape != (len(rows),):
                raise ScoreCountError(
                    f"Expected {len(rows)} logits from the {self.backend.name} backend, got shape {output.shape}: "
                    "the model or its export is damaged; export it again."
                )
            return output

        threads = 1 if self.backend.name == "torch" else options.threads or default_threads()
        mapped = scoring_pool(threads).map(run, batches) if min(threads, len(batches)) > 1 else map(run, batches)
        logits = np.empty(len(pairs), dtype=np.float32)
        for rows, output in zip(batches, mapped, strict=True):
            logits[rows] = output
        return logits


def checked_length(settings: ModelSettings, options: Options) -> int:
    """Return the tokens of one input that are to be read.

    Raises:
        InvalidInputError: ``max_length`` is more than the model can read.
    """
    max_length = options.max_length or settings.max_length
    if max_length > settings.length_limit:
        raise InvalidInputError(
            f"Expected max_length of at most {settings.length_limit}, which is what {settings.name} can read, "
            f"got {max_length}."
        )
    return max_length


_engines: WeakValueDictionary[Any, Engine | SegmentEngine] = WeakValueDictionary()
_locks: dict[Any, threading.Lock] = {}


@functools.cache
def scoring_pool(threads: int) -> ThreadPoolExecutor:
    """Return the process's scoring threads; shared, so that calls side by side do not ask for more than the cores."""
    return ThreadPoolExecutor(threads, thread_name_prefix="semantic-ranker-run")


def _forget_threads() -> None:
    scoring_pool.cache_clear()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    # A forked child inherits the pool but none of its threads, and locks that nobody will release.
    os.register_at_fork(after_in_child=_forget_threads)


def open_engine(options: Options) -> Engine | SegmentEngine:
    """Return the open model that the options ask for, loading it if no other `CrossEncoder` holds it.

    Raises:
        ModelLoadError: The model is absent, damaged or refused.
    """
    path = resolve(options.model, options.stored)
    if not _in_torch(options):
        path = with_graphs(path, options.stored)
    states = options.states and state_of(options.states)
    weights = options.precision, options.backend, options.device
    key = (_state_of(path), weights, options.max_length, options.cache_bytes, states)
    with _locks.setdefault(key, threading.Lock()):
        engine = _engines.get(key)
        if engine is None:
            engine = _engines[key] = _load(ModelFolder.open(path), options)
        return engine


def _in_torch(options: Options) -> bool:
    return options.backend == "torch" or options.device == "cuda"


def _load(folder: ModelFolder, options: Options) -> Engine | SegmentEngine:
    if not _in_torch(options) and folder.segment_weights(options.stored):
        from semantic_ranker.segments.engine import SegmentEngine

        return SegmentEngine.load(folder, options)
    if options.states is not None:
        raise InvalidInputError(
            f"Expected states=None for {folder.settings.name}, got {options.states!r}: it reads query and text "
            "together, so nothing of a text can be computed before."
        )
    return Engine.load(folder, options)


def _state_of(folder: Path) -> tuple[Any, ...]:
    """Return where a folder is and when its files were last written: a model that was trained again is another one."""
    names = (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "semantic_ranker.json",
        "model.safetensors",
        SEGMENT_HEAD,
    )
    files = [folder / name for name in names] + sorted(folder.glob("*.onnx")) + sorted(folder.glob("onnx/*.onnx"))
    states = [(file.name, file.stat()) for file in files if file.is_file()]
    return (str(folder.resolve()), *((name, state.st_size, state.st_mtime_ns, state.st_ino) for name, state in states))


def text_chunks(flat: Sequence[tuple[int, str]], max_characters: int) -> Iterator[list[tuple[int, str]]]:
    chunk: list[tuple[int, str]] = []
    characters = 0
    for item in flat:
        chunk.append(item)
        characters += min(len(item[1]), max_characters)
        if len(chunk) == _CHUNK_TEXTS or characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _batches(lengths: Sequence[int], token_budget: int | None) -> list[list[int]]:
    """Return the rows of each run, longest first; without a budget, each row alone."""
    longest_first = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    if token_budget is None:
        return [[row] for row in longest_first]
    batches: list[list[int]] = []
    for row in longest_first:
        # The first row of a batch is its longest, so it alone decides the padded size.
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= token_budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


class Window(Protocol):
    """One input that a text gave."""

    @property
    def span(self) -> tuple[int, int] | None:
        """Character range of the text."""

    @property
    def truncated(self) -> bool:
        """Whether part of the text is in no window."""


def best_window(windows: Sequence[Window], logits: Sequence[float]) -> Scored:
    """Return what the best window says of its text; NaN wins, so that it shows."""
    # max() compares NaN as it comes; one bad window must show, not hide behind a good one.
    winner = next((index for index, logit in enumerate(logits) if logit != logit), None)
    if winner is None:
        winner = max(range(len(logits)), key=logits.__getitem__)
    return Scored(logits[winner], windows[winner].truncated, windows[winner].span)


def digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
