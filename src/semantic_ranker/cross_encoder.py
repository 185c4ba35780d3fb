"""The reranker: a query and texts in, logits or an order out. Knows strings only; documents are the adapters' matter."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from semantic_ranker._machine import default_threads
from semantic_ranker.errors import InvalidInputError, ScoreCountError
from semantic_ranker.model_folder import ModelFolder, Precision, resolve
from semantic_ranker.ranking import RankedText, check_finite, check_top_k, order
from semantic_ranker.tokenization import EncodedPair, PairTokenizer, pad

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from semantic_ranker.backends import Backend

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Scored:
    logit: float
    truncated: bool
    span: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _Engine:
    """An open model: what is expensive to build and safe to share between threads."""

    folder: ModelFolder
    tokenizer: PairTokenizer
    backend: Backend
    fingerprint: str
    max_length: int


class CrossEncoder:
    """Scores how well texts answer a query.

    The model is opened at the first use. Instances are thread-safe, and pickle as settings, without weights.

    Args:
        model: A model folder, a hub id (extra ``hub``), or None for the bundled English model.
        precision: Weights to open; ``auto`` takes int8 where there is one.
        backend: ``auto`` is ONNX; ``torch`` (extra ``torch``) reads safetensors.
        max_length: Tokens of query and text together; None is the model's own limit.
        threads: Pairs scored side by side; None is one a core, at most 8.
        token_budget: None scores one unpadded pair a run (fastest on a CPU, and a score never depends on its batch
            mates); a number makes padded batches of up to that many tokens.
        activation: What `predict` returns: raw logits (``identity``) or relevance (``sigmoid``); None is the model's.
        long_text: Longer texts are cut (``truncate``), or scored in windows with a quarter of overlap, of which the best counts.
        on_error: What a text that is not a string does: ``raise``, or ``skip`` it with one warning.

    Raises:
        InvalidInputError: An option is not one of these.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        precision: Precision = "auto",
        backend: Literal["auto", "onnx", "torch"] = "auto",
        max_length: int | None = None,
        threads: int | None = None,
        token_budget: int | None = None,
        activation: Literal["identity", "sigmoid"] | None = None,
        long_text: Literal["truncate", "windows"] = "truncate",
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        _check_choice("precision", precision, ("auto", "fp32", "fp16", "int8"))
        _check_choice("backend", backend, ("auto", "onnx", "torch"))
        _check_choice("activation", activation, (None, "identity", "sigmoid"))
        _check_choice("long_text", long_text, ("truncate", "windows"))
        _check_choice("on_error", on_error, ("raise", "skip"))
        _check_count("max_length", max_length, 8)
        _check_count("threads", threads, 1)
        _check_count("token_budget", token_budget, 8)
        self._settings: dict[str, Any] = {
            "model": None if model is None else os.fspath(model),
            "precision": precision,
            "backend": backend,
            "max_length": max_length,
            "threads": threads,
            "token_budget": token_budget,
            "activation": activation,
            "long_text": long_text,
            "on_error": on_error,
        }
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._engine: _Engine | None = None
        self._pool: ThreadPoolExecutor | None = None

    # -- scoring ----------------------------------------------------------------------------------------------

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return raw logits in input order.

        Args:
            query: The question.
            texts: The candidates; none at all is fine.

        Returns:
            float32 (n,). Under ``on_error="skip"`` a text that is not a string has -inf.

        Raises:
            InvalidInputError: The query or a text is not a string; ``.index`` says which.
            NonFiniteScoreError: The model gave NaN or infinity.
            ModelLoadError: The model cannot be opened.
        """
        return self.score_many([query], [texts])[0]

    def score_many(self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Return `score` of each query with its own texts, working across the queries.

        Raises:
            InvalidInputError: Another number of queries than of lists, or a bad query or text.
        """
        _check_sequence("queries", queries)
        _check_sequence("texts_per_query", texts_per_query)
        if len(queries) != len(texts_per_query):
            raise InvalidInputError(f"Expected one list of texts a query ({len(queries)}), got {len(texts_per_query)}.")
        scored = self._score(list(queries), [list(_check_sequence("texts", texts)) for texts in texts_per_query])
        return [
            np.asarray([-np.inf if item is None else item.logit for item in group], dtype=np.float32)
            for group in scored
        ]

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return one score a ``(query, text)`` pair, after the model's activation.

        Returns:
            float32 (n,): logits for ``identity``, relevance in [0, 1] for ``sigmoid``.

        Raises:
            InvalidInputError: A pair is not two strings.
        """
        _check_sequence("pairs", pairs)
        groups: dict[str, list[int]] = {}
        for index, pair in enumerate(pairs):
            if isinstance(pair, str) or len(pair) != 2:
                raise InvalidInputError(
                    f"Expected a (query, text) pair at index {index}, got {type(pair).__name__}.", index
                )
            if not isinstance(pair[0], str):
                raise InvalidInputError(f"Expected a str query at index {index}, got {type(pair[0]).__name__}.", index)
            groups.setdefault(pair[0], []).append(index)
        logits = np.empty(len(pairs), dtype=np.float32)
        try:
            found = self.score_many(
                list(groups), [[pairs[index][1] for index in members] for members in groups.values()]
            )
        except InvalidInputError:
            _check_texts([pair[1] for pair in pairs])  # names the caller's index instead of the group's
            raise
        for members, values in zip(groups.values(), found, strict=True):
            logits[members] = values
        if not len(pairs) or self.activation == "identity":
            return logits
        return self.relevance(logits).astype(np.float32)

    def rank(self, query: str, documents: Sequence[str], top_k: int | None = None) -> list[RankedText]:
        """Return the texts, best first; ties keep their input order.

        Args:
            query: The question.
            documents: The candidates; none at all gives [].
            top_k: How many to keep; None keeps all, more than there are keeps all.

        Raises:
            InvalidInputError: ``top_k`` is 0, negative or no int; the query or a text is not a string.
            NonFiniteScoreError: The model gave NaN or infinity.
        """
        top_k = check_top_k(top_k)
        texts = list(_check_sequence("documents", documents))
        scored = self._score([query], [texts])[0]
        kept = [(index, item) for index, item in enumerate(scored) if item is not None]
        if not kept:
            return []
        logits = np.asarray([item.logit for _, item in kept], dtype=np.float32)
        relevance = self.relevance(logits)
        return [
            RankedText(
                index=kept[position][0],
                text=texts[kept[position][0]],
                logit=float(logits[position]),
                relevance_score=float(relevance[position]),
                truncated=kept[position][1].truncated,
                span=kept[position][1].span,
            )
            for position in order(logits, top_k)
        ]

    def relevance(self, logits: NDArray[np.float32] | Sequence[float]) -> NDArray[np.float64]:
        """Return calibrated relevance, ``sigmoid(scale * logit + bias)`` with the model folder's calibration.

        Args:
            logits: Any shape.

        Returns:
            float64 of the same shape, in [0, 1]; computed in float64 so that large logits stay apart.
        """
        folder = self._open().folder
        x = folder.scale * np.asarray(logits, dtype=np.float64) + folder.bias
        # Two forms, each where the other would overflow.
        small = np.exp(-np.abs(x))
        result: NDArray[np.float64] = np.where(x >= 0, 1.0 / (1.0 + small), small / (1.0 + small))
        return result

    def _score(self, queries: list[str], texts: list[list[str]]) -> list[list[_Scored | None]]:
        for index, query in enumerate(queries):
            if not isinstance(query, str):
                raise InvalidInputError(f"Expected the query to be a str, got {type(query).__name__}.", index)
        skipped = [self._bad_texts(group) for group in texts]
        good = [[text for text in group if isinstance(text, str)] for group in texts]
        if not any(good):
            return [[None] * len(group) for group in texts]
        windows = self._settings["long_text"] == "windows"
        encoded = self._open().tokenizer.encode(queries, good, windows=windows)
        flat = [pair for group in encoded for pairs in group for pair in pairs]
        logits = iter(self._run(flat))
        results: list[list[_Scored | None]] = []
        for group, bad in zip(encoded, skipped, strict=True):
            scores = iter([_best(pairs, logits) for pairs in group])
            results.append([None if index in bad else next(scores) for index in range(len(group) + len(bad))])
        return results

    def _bad_texts(self, texts: list[str]) -> set[int]:
        if self._settings["on_error"] == "raise":
            _check_texts(texts)
            return set()
        bad = {index for index, text in enumerate(texts) if not isinstance(text, str)}
        if bad:
            logger.warning(
                "Left out %d of %d texts that are not strings, at %s", len(bad), len(texts), sorted(bad)[:20]
            )
        return bad

    def _run(self, pairs: list[EncodedPair]) -> NDArray[np.float32]:
        """Return the logits of encoded pairs, float32 (n,), longest first so that the threads finish together."""
        backend = self._open().backend
        batches = _batches(pairs, self._settings["token_budget"])
        pool = self._threads(len(batches))
        run: Callable[[list[int]], NDArray[np.float32]] = lambda rows: backend.run(*pad([pairs[row] for row in rows]))
        outputs = list(pool.map(run, batches)) if pool else [run(batch) for batch in batches]
        logits = np.empty(len(pairs), dtype=np.float32)
        for rows, output in zip(batches, outputs, strict=True):
            if output.shape != (len(rows),):
                raise ScoreCountError(
                    f"Expected {len(rows)} logits from the {backend.name} backend, got shape {output.shape}."
                )
            logits[rows] = output
        check_finite(logits)
        return logits

    # -- the open model ---------------------------------------------------------------------------------------

    def _open(self) -> _Engine:
        engine = self._engine
        if engine is None:
            with self._lock:
                engine = self._engine = self._engine or self._load()
        return engine

    def _load(self) -> _Engine:
        folder = ModelFolder.open(resolve(self._settings["model"]))
        backend, weights = self._backend(folder)
        asked = self._settings["max_length"]
        max_length = min(asked, folder.max_length) if asked else folder.max_length
        tokenizer = PairTokenizer(
            folder.verify("tokenizer.json"),
            layout=folder.layout,
            max_length=max_length,
            max_query_tokens=folder.max_query_tokens,
        )
        return _Engine(folder, tokenizer, backend, folder.fingerprint(weights), max_length)

    def _backend(self, folder: ModelFolder) -> tuple[Backend, Path]:
        if self._settings["backend"] == "torch":
            from semantic_ranker._extras import requires_extra

            with requires_extra("torch"):
                from semantic_ranker.backends.torch import TorchBackend
            if self._settings["precision"] not in ("auto", "fp32"):
                raise InvalidInputError(
                    f"Expected precision 'fp32' with backend='torch', got {self._settings['precision']!r}."
                )
            weights = folder.verify("model.safetensors")
            return TorchBackend(folder.path), weights
        from semantic_ranker.backends.onnx import OnnxBackend

        weights, precision = folder.weights(self._settings["precision"])
        return OnnxBackend(weights, precision=precision), weights

    def _threads(self, jobs: int) -> ThreadPoolExecutor | None:
        threads = self._settings["threads"] or default_threads()
        if jobs < 2 or threads < 2 or self._settings["backend"] == "torch":
            return None
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(threads, thread_name_prefix="semantic-ranker-run")
            return self._pool

    @property
    def model_name(self) -> str:
        """Name of the model, from its folder."""
        return self._open().folder.name

    @property
    def fingerprint(self) -> str:
        """Sha256 over everything that decides a score; equal fingerprints give equal scores."""
        return self._open().fingerprint

    @property
    def precision(self) -> str:
        """Precision of the open weights: ``fp32``, ``fp16`` or ``int8``."""
        return self._open().backend.precision

    @property
    def backend_name(self) -> str:
        """``onnx`` or ``torch``."""
        return self._open().backend.name

    @property
    def max_length(self) -> int:
        """Tokens of one input, query, text and specials together."""
        return self._open().max_length

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that the model was made for (ISO 639-1), empty when unknown."""
        return self._open().folder.languages

    @property
    def activation(self) -> Literal["identity", "sigmoid"]:
        """What `predict` applies to logits."""
        chosen: Literal["identity", "sigmoid"] = self._settings["activation"] or self._open().folder.activation
        return chosen

    def close(self) -> None:
        """Free the weights and threads; the next call opens them again."""
        with self._lock:
            pool, self._pool, self._engine = self._pool, None, None
        if pool:
            pool.shutdown(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return dict(self._settings)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._settings = dict(state)
        self._reset()

    def __repr__(self) -> str:
        changed = {
            key: value for key, value in self._settings.items() if value not in (None, "auto", "truncate", "raise")
        }
        return f"CrossEncoder({', '.join(f'{key}={value!r}' for key, value in changed.items())})"


def _best(pairs: list[EncodedPair], logits: Any) -> _Scored:
    scores = [float(next(logits)) for _ in pairs]
    winner = max(range(len(pairs)), key=scores.__getitem__)
    return _Scored(scores[winner], pairs[winner].truncated, pairs[winner].span)


def _batches(pairs: list[EncodedPair], token_budget: int | None) -> list[list[int]]:
    lengths = [len(pair.input_ids) for pair in pairs]
    longest_first = sorted(range(len(pairs)), key=lengths.__getitem__, reverse=True)
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


def _check_texts(texts: Sequence[object]) -> None:
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInputError(
                f"Expected a str at index {index}, got {type(text).__name__}: pass the text itself, or use on_error='skip'.",
                index,
            )


def _check_sequence(name: str, value: Any) -> Any:
    if (
        isinstance(value, (str, bytes))
        or not hasattr(value, "__len__")
        or not hasattr(value, "__getitem__")
        or isinstance(value, dict)
    ):
        raise InvalidInputError(f"Expected {name} to be a list, got {type(value).__name__}.")
    return value


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise InvalidInputError(f"Expected {name} to be one of {', '.join(map(repr, choices))}, got {value!r}.")


def _check_count(name: str, value: object, least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise InvalidInputError(f"Expected {name} to be None or an int of {least} or more, got {value!r}.")
