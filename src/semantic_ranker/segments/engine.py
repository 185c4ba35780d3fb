"""An open model that encodes query and passage each alone; strings in, one score with its span a text out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from semantic_ranker._engine import Scored, best_window, checked_length, digest, scoring_pool, text_chunks
from semantic_ranker._machine import default_threads
from semantic_ranker.backends.onnx import open_session
from semantic_ranker.cascade.selection import CascadeSettings, cascade_of
from semantic_ranker.errors import ModelLoadError, NonFiniteScoreError
from semantic_ranker.model_folder import SEGMENT_HEAD
from semantic_ranker.segments.head import InteractionHead
from semantic_ranker.segments.states import EncodedPassage, EncodedQuery, StateCache, Windows
from semantic_ranker.segments.store import PassageStore, blocks
from semantic_ranker.tokenization import EncodedPair, PairTokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from semantic_ranker._arguments import Options
    from semantic_ranker._files import StrPath
    from semantic_ranker._settings import ModelSettings
    from semantic_ranker.model_folder import ModelFolder

_OUTPUTS = ["tokens", "pooled", "importance"]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class SegmentBackend:
    """Runs the graph of one side; safe to call from several threads.

    Args:
        path: The ``.onnx`` file, for messages.
        precision: What it holds.
        content: Its bytes.

    Raises:
        ModelLoadError: The file is damaged or no such graph.
    """

    name = "onnx"

    def __init__(self, path: Path, precision: str, content: bytes) -> None:
        self.precision = precision
        self._session = open_session(path, content)
        found = [node.name for node in self._session.get_inputs()], [node.name for node in self._session.get_outputs()]
        if found != (["input_ids"], _OUTPUTS):
            raise ModelLoadError(
                f"Expected a graph from input_ids to {', '.join(_OUTPUTS)} in {path.name}, got {found[0]} to "
                f"{found[1]}: export the model again."
            )

    def encode(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return the states of one side: tokens (length, hidden), pooled (hidden,) and importance (length,)."""
        tokens, pooled, importance = self._session.run(_OUTPUTS, {"input_ids": ids[None]})
        return tokens[0], pooled[0], importance[0]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class SegmentEngine:
    """What is expensive to build and safe to share between threads.

    Attributes:
        settings: How the model wants to be scored.
        tokenizer: From strings to model inputs.
        backend: From the tokens of one side to its states.
        head: From the states of both sides to logits.
        fingerprint: Sha256 of weights, head, tokenizer and settings.
        max_length: Tokens of one side, specials included.
        cache: States of the passages used last.
        store: States that were computed before, or None.
        cascade: See `semantic_ranker._engine.Scorer`.
    """

    settings: ModelSettings
    tokenizer: PairTokenizer = field(repr=False)
    backend: SegmentBackend
    head: InteractionHead = field(repr=False)
    fingerprint: str
    max_length: int
    cache: StateCache = field(repr=False)
    store: PassageStore | None = field(default=None, repr=False)
    cascade: CascadeSettings | None = None

    @classmethod
    def load(cls, folder: ModelFolder, options: Options) -> SegmentEngine:
        """Open what ``options`` ask for.

        Raises:
            ModelLoadError: The folder is damaged or does not hold it.
            InvalidInputError: ``max_length`` is more than the model can read.
        """
        settings, max_length = folder.settings, checked_length(folder.settings, options)
        if (found := folder.segment_weights(options.stored)) is None:
            raise ModelLoadError(f"Expected a segment graph in {str(folder.path)!r}, found none.")
        weights, head, words = folder.read(found[0]), folder.read(SEGMENT_HEAD), folder.read("tokenizer.json")
        tokenizer = PairTokenizer(
            words.content, layout="segments", max_length=max_length, max_query_tokens=settings.max_query_tokens
        )
        parts = [weights.sha256, head.sha256, words.sha256, folder.config.sha256, "segments", str(max_length)]
        fingerprint = digest([*parts, str(settings.max_query_tokens)])
        return cls(
            settings,
            tokenizer,
            SegmentBackend(weights.path, found[1], weights.content),
            InteractionHead.read(head.content),
            fingerprint,
            max_length,
            StateCache(options.cache_bytes),
            None if options.states is None else PassageStore.open(options.states, fingerprint),
            cascade_of(folder.manifest),
        )

    def precompute(
        self, texts: Iterable[str], path: StrPath, options: Options, *, prune: bool = False, block: int = 1000
    ) -> Iterator[int]:
        """Write the states of texts that a folder lacks; see `CrossEncoder.precompute`.

        Args:
            texts: Strings.
            path: The folder.
            options: How long texts are read, and on how many threads.
            prune: Whether texts that were not given now are deleted, when all is written.
            block: Texts of a shard.

        Yields:
            How many of each block's texts are done: what was yielded is on the disk.
        """
        store = PassageStore.create(path, self.fingerprint)
        given: set[bytes] = set()
        for group in blocks(texts, block):
            keys = {_key(text, options.long_text): text for text in group}
            missing = {key: text for key, text in keys.items() if key not in store}
            if missing:
                store.write(list(self._encoded(missing, options).items()))
            if prune:
                given.update(keys)
            yield len(group)
        if prune:
            store.prune(given)

    def score(self, queries: Sequence[str], texts: Sequence[Sequence[str]], options: Options) -> list[list[Scored]]:
        """Return one `Scored` a text, in the order of the texts of each query."""
        questions = self._queries(queries, options)
        flat = [(row, text) for row, group in enumerate(texts) for text in group]
        scored: list[Scored] = []
        for chunk in text_chunks(flat, self.tokenizer.max_characters):
            scored += self._chunk([questions[row] for row, _ in chunk], [text for _, text in chunk], options)
        found = iter(scored)
        return [list(islice(found, len(group))) for group in texts]

    def _queries(self, queries: Sequence[str], options: Options) -> list[EncodedQuery]:
        tokens = self.tokenizer.queries(queries)
        return _mapped(self._query, tokens, options)

    def _query(self, ids: NDArray[np.int64]) -> EncodedQuery:
        tokens, pooled, importance = self.backend.encode(self.tokenizer.side(ids))
        _check(pooled, "query")
        return EncodedQuery(ids, tokens[1:-1], pooled, importance[1:-1])

    def _chunk(self, queries: Sequence[EncodedQuery], texts: Sequence[str], options: Options) -> list[Scored]:
        keys = [_key(text, options.long_text) for text in texts]
        windows = self._texts(dict(zip(keys, texts, strict=True)), options)
        rows_of: dict[int, list[int]] = {}
        for row, query in enumerate(queries):
            rows_of.setdefault(id(query), []).append(row)
        scored: dict[int, Scored] = {}
        for rows in rows_of.values():
            passages = [passage for row in rows for passage in windows[keys[row]]]
            logits = iter(self.head.score(queries[rows[0]], passages).tolist())
            for row in rows:
                group = windows[keys[row]]
                scored[row] = best_window(group, [next(logits) for _ in group])
        return [scored[row] for row in range(len(texts))]

    def _texts(self, texts: dict[bytes, str], options: Options) -> dict[bytes, Windows]:
        """Return the states of texts, from the cache, from the store, or encoded now."""
        found = self.cache.get(texts)
        if self.store is not None:
            found |= self.store.get(key for key in texts if key not in found)
        fresh = self._encoded({key: text for key, text in texts.items() if key not in found}, options)
        self.cache.put(fresh.items())
        return found | fresh

    def _encoded(self, texts: dict[bytes, str], options: Options) -> dict[bytes, Windows]:
        missing = list(texts)
        pieces = self.tokenizer.alone([texts[key] for key in missing], windows=options.long_text == "windows")
        flat = [piece for group in pieces for piece in group]
        # Longest first, so that the threads finish together.
        order = sorted(range(len(flat)), key=lambda row: -len(flat[row].input_ids))
        encoded = dict(zip(order, _mapped(self._passage, [flat[row] for row in order], options), strict=True))
        passages = iter(encoded[row] for row in range(len(flat)))
        return {key: tuple(islice(passages, len(group))) for key, group in zip(missing, pieces, strict=True)}

    def _passage(self, piece: EncodedPair) -> EncodedPassage:
        tokens, pooled, _ = self.backend.encode(piece.input_ids)
        _check(pooled, "text")
        return EncodedPassage.of(piece, tokens, pooled)


def _mapped(run: Callable[[_Item], _Result], items: Sequence[_Item], options: Options) -> list[_Result]:
    threads = min(options.threads or default_threads(), len(items))
    return list(scoring_pool(options.threads or default_threads()).map(run, items) if threads > 1 else map(run, items))


def _key(text: str, long_text: str) -> bytes:
    content = hashlib.blake2b(long_text.encode(), digest_size=16)
    content.update(text.encode("utf-8", "surrogatepass"))
    return content.digest()


def _check(pooled: NDArray[Any], side: str) -> None:
    """Refuse states that would hide as a rank: rounding to int8 turns NaN into a number."""
    if not np.isfinite(pooled).all():
        raise NonFiniteScoreError(
            f"Expected finite states of a {side}, got NaN or infinity: the model or its export is damaged; export it "
            "again."
        )
