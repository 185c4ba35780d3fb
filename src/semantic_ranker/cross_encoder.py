"""The reranker: a query and texts in, logits or an order out. Knows strings only; documents are the adapters' part."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from semantic_ranker._arguments import DEFAULT_CACHE_BYTES, Options, check_query, folder_of, items_of, pair_of, path_of
from semantic_ranker._engine import Scored, Scorer, open_engine
from semantic_ranker._results import ranked, unranked
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.languages import foreign_to
from semantic_ranker.ranking import RankedText, check_finite, check_top_k
from semantic_ranker.sources import check_sources

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from semantic_ranker.model_folder import Precision
    from semantic_ranker.score_cache import PairCache

logger = logging.getLogger(__name__)


class CrossEncoder:
    """Scores how well texts answer a query.

    The model is opened at the first use, and shared by all objects of a process that ask for the same one. Objects
    are thread-safe, and pickle as settings, without weights.

    Args:
        model: A model folder, a hub id (extra ``hub``), or None for the bundled English model.
        precision: Weights to open; ``auto`` takes int8 where there is one, else fp32.
        backend: ``auto`` is ONNX; ``torch`` (extra ``torch``) reads safetensors.
        max_length: Tokens of query, text and specials together; None is the model's own choice.
        threads: Pairs scored side by side; None is one a core, at most 8.
        token_budget: None scores one unpadded pair a run (fastest on a CPU, and a score never depends on its batch
            mates); a number makes padded batches of up to that many tokens.
        activation: What `predict` returns: raw logits (``identity``) or relevance (``sigmoid``); None is the model's.
        long_text: Longer texts are cut (``truncate``), or scored in windows with a quarter of overlap, of which the
            best counts (``windows``). In both cases a text is read up to ``32 * max_length`` characters.
        on_error: What a text that is not a string does: ``raise``, or ``skip`` it with one warning.
        other_languages: What `rank` does with a query, or with texts, in a language that the model was surely not made
            for (see `languages`): ``keep_order`` leaves the texts as they came, marked ``degraded``, because such a
            model would rank worse than the first stage did; ``score`` ranks them all the same.
        cache_bytes: Memory for what is known of the passages used last, shared by all objects of a process that open
            the same model. Models that encode passages alone, as the bundled one does, score a known passage in a
            fraction of a millisecond; others ignore it. A passage of 130 tokens takes 52 kB; 0 keeps none.
        states: Folder that `precompute` wrote with the same model and ``max_length``, or None. It is mapped, so
            processes share its memory; texts that it lacks are encoded when they come.
        mode: How `rank` finds the first ``top_k``: ``full`` scores all texts; ``cascade`` compares words and static
            vectors first, and scores only those that can still enter the top. What that loses was measured when the
            cascade was fitted, and stands in the model's manifest. Without ``top_k`` all texts are scored.
        score_cache: Keeps scores of pairs between calls, such as `semantic_ranker.cache.TieredCache` with
            ``codec="fp32"``; None keeps none.
        device: ``cuda`` runs safetensors with torch on a GPU, in padded batches of 16,384 tokens (see
            ``token_budget``), in fp16 where ``precision`` is ``auto``, or in fp32 or bf16.
        source_weight: Share of the best passage of the same document in a passage's score, 0 to 1, where `rank` is
            told the ``sources``: a passage that does not say what it is about is known by its neighbours. None is
            what the model was fitted with, 0 for the bundled ones (see `fit_source_weight`). A cascade is then not
            taken: it would leave out what only its document brings to the top.

    Raises:
        InvalidInputError: An option is not one of these.

    Example:
        >>> from semantic_ranker import CrossEncoder
        >>> texts = ["Cats sleep all day.", "To change a forgotten password, open Settings."]
        >>> CrossEncoder().rank("how do I reset my password", texts, top_k=1)[0].index
        1
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        precision: Precision | Literal["bf16"] = "auto",
        backend: Literal["auto", "onnx", "torch"] = "auto",
        max_length: int | None = None,
        threads: int | None = None,
        token_budget: int | None = None,
        activation: Literal["identity", "sigmoid"] | None = None,
        long_text: Literal["truncate", "windows"] = "truncate",
        on_error: Literal["raise", "skip"] = "raise",
        other_languages: Literal["keep_order", "score"] = "keep_order",
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        states: str | os.PathLike[str] | None = None,
        mode: Literal["full", "cascade"] = "full",
        score_cache: PairCache | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
        source_weight: float | None = None,
    ) -> None:
        self._options = Options(
            model=path_of(model),
            precision=precision,
            backend=backend,
            max_length=max_length,
            threads=threads,
            token_budget=token_budget,
            activation=activation,
            long_text=long_text,
            on_error=on_error,
            other_languages=other_languages,
            cache_bytes=cache_bytes,
            states=folder_of(states),
            mode=mode,
            device=device,
            source_weight=source_weight,
        )
        self._score_cache = None if score_cache is None else _checked_cache(score_cache)
        self._engine: Scorer | None = None

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return raw logits in input order.

        Args:
            query: The question.
            texts: The candidates; none at all is fine.

        Returns:
            float32 (n,). Under ``on_error="skip"`` a text that is not a string has -inf.

        Raises:
            InvalidInputError: The query or a text is not a string; ``.index`` says which text.
            NonFiniteScoreError: The model gave NaN or infinity.
            ModelLoadError: The model cannot be opened.
        """
        check_query(query)
        return _logits(self._score([query], [items_of("texts", texts)])[0])

    def score_many(self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Return `score` of each query with its own texts; texts that queries share are tokenised once.

        Args:
            queries: The questions.
            texts_per_query: As many lists of candidates.

        Returns:
            As many float32 (n_i,).

        Raises:
            InvalidInputError: There are not as many lists as queries, or a query or text is not a string.
            NonFiniteScoreError: The model gave NaN or infinity.
            ModelLoadError: The model cannot be opened.
        """
        questions = items_of("queries", queries)
        groups = [items_of("texts", texts) for texts in items_of("texts_per_query", texts_per_query)]
        if len(questions) != len(groups):
            raise InvalidInputError(f"Expected one list of texts a query ({len(questions)}), got {len(groups)}.")
        for index, query in enumerate(questions):
            check_query(query, index)
        return [_logits(group) for group in self._score(questions, groups)]

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return one score a ``(query, text)`` pair, after the activation.

        Args:
            pairs: Queries and texts; pairs of one query are best passed together.

        Returns:
            float32 (n,): logits for ``identity``, relevance in [0, 1] for ``sigmoid``.

        Raises:
            InvalidInputError: A pair is not two strings; ``.index`` says which.
            NonFiniteScoreError: The model gave NaN or infinity.
            ModelLoadError: The model cannot be opened.
        """
        checked = [pair_of(pair, index) for index, pair in enumerate(items_of("pairs", pairs))]
        if not checked:
            return np.empty(0, dtype=np.float32)
        skipped = self._skip([text for _, text in checked])
        members: dict[str, list[int]] = {}
        for index, (query, _) in enumerate(checked):
            if index not in skipped:
                members.setdefault(query, []).append(index)
        found = self._score(list(members), [[checked[index][1] for index in rows] for rows in members.values()])
        logits = np.full(len(checked), -np.inf, dtype=np.float32)
        for rows, group in zip(members.values(), found, strict=True):
            logits[rows] = _logits(group)
        return logits if self.activation == "identity" else self.relevance(logits).astype(np.float32)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        *,
        sources: Sequence[Hashable] | None = None,
    ) -> list[RankedText]:
        """Return the texts, best first; ties keep their input order.

        Args:
            query: The question.
            documents: The candidates; none at all gives [] without opening the model.
            top_k: How many to keep; None keeps all, more than there are keeps all.
            sources: The document that each text is a passage of, such as its path, None for one without. With a
                ``source_weight`` a text's score is then drawn towards that of the best text of its document; the
                first place stays what it is.

        Returns:
            The kept texts. Under ``on_error="skip"``, texts that are not strings are left out. In another language
            (see ``other_languages``) they keep their order, each with the reason in ``degraded``.

        Raises:
            InvalidInputError: ``top_k`` is 0, negative or no int; the query or a text is not a string; there are not
                as many sources as texts, or one is not hashable.
            NonFiniteScoreError: The model gave NaN or infinity.
            ModelLoadError: The model cannot be opened.
        """
        top_k = check_top_k(top_k)
        check_query(query)
        texts = items_of("documents", documents)
        if sources is not None:
            check_sources(sources, len(texts))
        if (language := self._foreign(query, texts)) is not None:
            return self._as_they_came(texts, top_k, f"language {language}")
        weight = self.source_weight if sources is not None and texts else 0.0
        # A cascade leaves out what its own score keeps from the top; its document's might not.
        quick = self._options.mode == "cascade" and not weight
        scored = self._cascade(query, texts, top_k) if quick and top_k else None
        found = enumerate(self._score([query], [texts])[0]) if scored is None else scored
        kept = [(index, item) for index, item in found if item is not None]
        return ranked(texts, kept, self.relevance, top_k, sources, weight)

    def _cascade(self, query: str, texts: list[str], top_k: int) -> list[tuple[int, Scored | None]] | None:
        """Return what the model says of the texts that can enter the top, in input order; None to score all."""
        skipped = self._skip(texts)
        rows = [index for index in range(len(texts)) if index not in skipped]
        if len(rows) <= top_k:
            return None
        from semantic_ranker.cascade.use import cascaded

        def score(chosen: Sequence[int]) -> list[Scored | None]:
            return self._score([query], [[texts[rows[place]] for place in chosen]])[0]

        found = cascaded(self._open(), query, [texts[row] for row in rows], top_k, score)
        return sorted((rows[place], item) for place, item in found.items())

    def _foreign(self, query: str, texts: list[str]) -> str | None:
        if not texts or self._options.other_languages == "score":
            return None
        return foreign_to(query, (text for text in texts if isinstance(text, str)), self.languages)

    def _as_they_came(self, texts: list[str], top_k: int | None, reason: str) -> list[RankedText]:
        skipped = self._skip(texts)
        logger.info("%d texts keep their order, unscored: %s, model for %s", len(texts), reason, self.languages)
        kept = [index for index in range(len(texts)) if index not in skipped]
        return unranked(texts, kept, self.relevance, top_k, reason)

    def precompute(
        self, texts: Iterable[str], path: str | os.PathLike[str], *, prune: bool = False, progress: bool = True
    ) -> int:
        """Write the states of texts, such as all passages of an index, to open later with ``states``.

        Only for models that encode passages alone, as the bundled one does. Texts that the folder has are left out, so
        a killed run continues, and a changed collection costs what changed. Each 1,000 texts are written together,
        all of them or none.

        Args:
            texts: Passages, best exactly as they will be ranked; an iterator is read bit by bit.
            path: Folder for the states, about 400 bytes a token.
            prune: Delete the states of texts that were not given now, so that nothing is left of a deleted document.
            progress: Whether a terminal shows a bar.

        Returns:
            How many texts the folder has now.

        Raises:
            InvalidInputError: The model reads query and text together, or a text is not a string.
            ModelLoadError: The folder holds another model's states, or is damaged.
            StorageError: The disk is full or refuses, or the folder has other content.
        """
        from semantic_ranker.segments.precompute import write_states

        return write_states(self._open(), texts, path, self._options, prune=prune, progress=progress)

    def relevance(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Return calibrated relevance, ``sigmoid(scale * logit + bias)`` with the model folder's calibration.

        Args:
            logits: Any shape.

        Returns:
            float64 of the same shape, in [0, 1]; computed in float64 so that large logits stay apart.
        """
        settings = self._open().settings
        x = settings.scale * np.asarray(logits, dtype=np.float64) + settings.bias
        # Two forms, each where the other would overflow.
        small = np.exp(-np.abs(x))
        result: NDArray[np.float64] = np.where(x >= 0, 1.0 / (1.0 + small), small / (1.0 + small))
        return result

    def _score(self, queries: list[str], groups: list[list[str]]) -> list[list[Scored | None]]:
        """Return what the model says of each text, None for a text that is left out."""
        skipped = [self._skip(texts) for texts in groups]
        good = [
            [text for index, text in enumerate(texts) if index not in bad]
            for texts, bad in zip(groups, skipped, strict=True)
        ]
        if not any(good):
            return [[None] * len(texts) for texts in groups]
        results: list[list[Scored | None]] = []
        for texts, bad, found in zip(groups, skipped, self._scored(queries, good), strict=True):
            scores = iter(found)
            results.append([None if index in bad else next(scores) for index in range(len(texts))])
            check_finite(np.asarray([item.logit if item else 0.0 for item in results[-1]], dtype=np.float32))
        return results

    def _scored(self, queries: list[str], groups: list[list[str]]) -> list[list[Scored]]:
        def compute(asked: list[str], texts: list[list[str]]) -> list[list[Scored]]:
            return self._open().score(asked, texts, self._options)

        if self._score_cache is None:
            return compute(queries, groups)
        from semantic_ranker.score_cache import cached_scores

        return cached_scores(self._score_cache, self.fingerprint, queries, groups, compute)

    def _skip(self, texts: Sequence[object]) -> AbstractSet[int]:
        """Return the positions of the texts to leave out, or raise for the first of them."""
        bad = [index for index, text in enumerate(texts) if not isinstance(text, str)]
        if bad and self._options.on_error == "raise":
            raise InvalidInputError(
                f"Expected a str at index {bad[0]}, got {type(texts[bad[0]]).__name__}: pass the text itself, or use "
                "on_error='skip'.",
                bad[0],
            )
        if bad:
            first = ", ".join(map(str, bad[:20]))
            logger.warning("Left out %d of %d texts that are not strings, at %s", len(bad), len(texts), first)
        return frozenset(bad)

    def _open(self) -> Scorer:
        if (engine := self._engine) is not None:
            return engine
        opened: Scorer = open_engine(self._options)
        self._engine = opened
        return opened

    @property
    def model_name(self) -> str:
        """Name of the model, from its folder."""
        return self._open().settings.name

    @property
    def fingerprint(self) -> str:
        """Sha256, in hex, over all that decides a score: weights, tokenizer, settings, and these options."""
        options = self._options
        parts = f"{self._open().fingerprint} {options.long_text} {options.token_budget}"
        return hashlib.sha256(parts.encode()).hexdigest()

    @property
    def precision(self) -> str:
        """Precision of the open weights: ``fp32``, ``fp16``, ``bf16`` or ``int8``."""
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
        return self._open().settings.languages

    @property
    def source_weight(self) -> float:
        """Share of the best passage of the same document in a passage's score, where `rank` is told the sources."""
        share = self._options.source_weight
        return self._open().settings.source_weight if share is None else float(share)

    @property
    def activation(self) -> Literal["identity", "sigmoid"]:
        """What `predict` applies to logits."""
        return self._options.activation or self._open().settings.activation

    def close(self) -> None:
        """Let go of the weights; they are freed when no other object uses them. The next call opens them again."""
        self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"_options": self._options, "_score_cache": self._score_cache, "_engine": None}

    def __repr__(self) -> str:
        return f"CrossEncoder({', '.join(f'{name}={value!r}' for name, value in self._options.changed().items())})"


def _checked_cache(cache: PairCache) -> PairCache | None:
    from semantic_ranker.score_cache import checked_cache

    return checked_cache(cache)


def _logits(scored: Sequence[Scored | None]) -> NDArray[np.float32]:
    return np.asarray([-np.inf if item is None else item.logit for item in scored], dtype=np.float32)
