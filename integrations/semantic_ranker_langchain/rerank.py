"""`SemanticRerank`, the document compressor: translates LangChain's types, scores nothing itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager, Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, ensure_config
from pydantic import Field

from semantic_ranker._executor import run_in_scoring_thread
from semantic_ranker._shared import checked_count
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.ranking import RankedText
from semantic_ranker_langchain._settings import ModelSettings, PositiveCount

logger = logging.getLogger(__name__)

DEGRADED_KEY = "rerank_degraded"
"""Metadata key of documents that came back unscored: the error's name (`on_error="passthrough"`) or the language."""


class SemanticRerank(ModelSettings, BaseDocumentCompressor):
    """Reranks documents with a local cross-encoder; no server, no API key, no torch.

    Documents come back as copies, best first, with their id, type and metadata, and with the score in
    `metadata["relevance_score"]`: a plain float in [0, 1], which replaces an older one. Ties keep the order
    given. Instances are thread-safe, pickle without weights, and share one open model a process.

    To read one back from JSON, name the class and its namespace:
    `load(dumpd(rerank), allowed_objects=[SemanticRerank], valid_namespaces=["semantic_ranker_langchain"])`.

    Example:
        >>> from langchain_core.documents import Document
        >>> from semantic_ranker_langchain import SemanticRerank
        >>> docs = [Document("Cats sleep all day."), Document("To change a forgotten password, open Settings.")]
        >>> SemanticRerank(top_n=1).compress_documents(docs, "how do I reset my password")[0].page_content
        'To change a forgotten password, open Settings.'
    """

    top_n: PositiveCount | None = 3
    """How many documents to return; None is all of them."""
    score_threshold: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Documents below this relevance score are left out; may leave none."""
    score_key: str = "relevance_score"
    """Metadata key of the score."""
    metadata_fields: tuple[str, ...] = ()
    """Metadata that the model reads before the text, one value a line; absent and None values are left out."""
    other_languages: Literal["keep_order", "score"] = "keep_order"
    """In a language that the model was surely not made for: keep the order given, marked (the scores then say the
    place only), or score all the same."""
    mode: Literal["full", "cascade"] = "full"
    """`cascade` lets the model score only those texts that can still enter the first `top_n`."""
    on_error: Literal["raise", "passthrough"] = "raise"
    """When scoring fails: raise, or return the first `top_n` documents as they came, marked in the metadata."""
    source_weight: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Share of the best passage of the same source in a passage's score; None is what the model was fitted with
    (`semantic-ranker tune`), 0 for the bundled ones."""
    source_key: str = "source"
    """Metadata key that names a passage's source; loaders of LangChain write the file's path or URL there."""

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None, *, top_n: int | None = -1
    ) -> list[Document]:
        """Rerank documents for a query.

        Args:
            documents: Documents of the first stage, best first.
            query: What the user asked.
            callbacks: The caller's callbacks; the reranking appears below them as a run of its own.
            top_n: How many to return; -1 takes the field `top_n`, None returns all.

        Returns:
            At most `top_n` copies, best first. Empty input gives [] and opens no model.

        Raises:
            InvalidInputError: `top_n` is neither -1, None nor positive.
            SemanticRankerError: Scoring failed (see `semantic_ranker.errors`) and `on_error` is "raise".
        """
        manager = CallbackManager.configure(ensure_config({"callbacks": callbacks}).get("callbacks"))
        run = manager.on_chain_start(None, {"query": query, "documents": list(documents)}, name=self._run_name)
        try:
            reranked = self._reranked(documents, query, self._limit(top_n))
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end({"documents": reranked})
        return reranked

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None, *, top_n: int | None = -1
    ) -> list[Document]:
        """Do what `compress_documents` does on our own threads, so that the event loop stays free."""
        manager = AsyncCallbackManager.configure(ensure_config({"callbacks": callbacks}).get("callbacks"))
        inputs = {"query": query, "documents": list(documents)}
        run = await manager.on_chain_start(None, inputs, name=self._run_name)
        try:
            reranked = await run_in_scoring_thread(self._reranked, documents, query, self._limit(top_n))
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end({"documents": reranked})
        return reranked

    def rerank(
        self, documents: Sequence[str | Document | Mapping[str, Any]], query: str, *, top_n: int | None = -1
    ) -> list[dict[str, Any]]:
        """Rank texts and return places and scores only.

        Args:
            documents: Strings, Documents, or dicts with the text under "page_content" or "text".
            query: What the user asked.
            top_n: How many to return; -1 takes the field `top_n`, None returns all.

        Returns:
            `[{"index": int, "relevance_score": float}, ...]`, best first; index points into `documents`. Texts that
            keep their order (see `other_languages`) say so under "rerank_degraded"; their scores mean no more.

        Raises:
            InvalidInputError: `top_n` is neither -1, None nor positive, or an entry has no text.
            SemanticRankerError: Scoring failed; here it always raises, whatever `on_error` says.
        """
        given = [_as_document(entry, index) for index, entry in enumerate(documents)]
        ranked = self._ranked(given, query, self._limit(top_n))
        return [
            {"index": hit.index, "relevance_score": hit.relevance_score}
            | ({DEGRADED_KEY: hit.degraded} if hit.degraded else {})
            for hit in ranked
        ]

    def as_runnable(self) -> Runnable[dict[str, Any], list[Document]]:
        """Return a Runnable for chains: `{"query": str, "documents": [Document]}` in, reranked documents out."""

        def rerank(inputs: dict[str, Any], config: RunnableConfig) -> list[Document]:
            return self.compress_documents(inputs["documents"], inputs["query"], config.get("callbacks"))

        async def arerank(inputs: dict[str, Any], config: RunnableConfig) -> list[Document]:
            return await self.acompress_documents(inputs["documents"], inputs["query"], config.get("callbacks"))

        return RunnableLambda(rerank, arerank, name=self._run_name)

    @property
    def _run_name(self) -> str:
        return type(self).__name__

    def _limit(self, top_n: int | None) -> int | None:
        if top_n == -1:
            return self.top_n
        return None if top_n is None else checked_count("top_n", top_n)

    def _ranked(self, documents: Sequence[Document], query: str, top_n: int | None) -> list[RankedText]:
        if not documents:
            return []
        texts = [self._text(document) for document in documents]
        encoder = self._encoder(self.other_languages, self.mode, self.source_weight)
        ranked = encoder.rank(query, texts, top_n, sources=[self._source(document) for document in documents])
        least = self.score_threshold
        return ranked if least is None else [hit for hit in ranked if hit.degraded or hit.relevance_score >= least]

    def _reranked(self, documents: Sequence[Document], query: str, top_n: int | None) -> list[Document]:
        try:
            ranked = self._ranked(documents, query, top_n)
        except Exception as error:
            if self.on_error == "raise":
                raise
            logger.warning("Reranking %d documents failed; they keep their order: %s", len(documents), error)
            return [_copy(document, {DEGRADED_KEY: type(error).__name__}) for document in documents[:top_n]]
        return [_copy(documents[hit.index], self._notes(hit)) for hit in ranked]

    def _notes(self, hit: RankedText) -> dict[str, Any]:
        score = {self.score_key: hit.relevance_score}
        return {**score, DEGRADED_KEY: hit.degraded} if hit.degraded else score

    def _source(self, document: Document) -> str | None:
        value = document.metadata.get(self.source_key)
        return None if value is None or value == "" else str(value)

    def _text(self, document: Document) -> str:
        values = (document.metadata.get(field) for field in self.metadata_fields)
        return "\n".join([*(str(value) for value in values if value is not None), document.page_content])


def _copy(document: Document, added: dict[str, Any]) -> Document:
    """Copy a document with its id and type; `added` wins over older metadata, an old mark of failure goes."""
    metadata = {key: value for key, value in document.metadata.items() if key != DEGRADED_KEY}
    return document.model_copy(update={"metadata": {**metadata, **added}})


def _as_document(entry: str | Document | Mapping[str, Any], index: int) -> Document:
    if isinstance(entry, Document):
        return entry
    fields = {"text": entry} if isinstance(entry, str) else entry
    text = fields.get("page_content", fields.get("text")) if isinstance(fields, Mapping) else None
    if not isinstance(text, str):
        message = f"Expected a str, a Document or a dict with a str under 'page_content' or 'text' at {index}"
        raise InvalidInputError(f"{message}, got {type(entry).__name__}.", index=index)
    return Document(page_content=text, metadata=fields.get("metadata", dict(fields)))
