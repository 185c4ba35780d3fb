"""`SemanticRerank`, the node postprocessor: translates LlamaIndex's types, scores nothing itself."""

from __future__ import annotations

import logging
import os
from typing import Annotated, Any, Literal

from llama_index.core.bridge.pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from llama_index_instrumentation import get_dispatcher

from semantic_ranker._executor import run_in_scoring_thread
from semantic_ranker._shared import EncoderHold, shared_cross_encoder
from semantic_ranker._shared_cache import cache_settings
from semantic_ranker.cross_encoder import CrossEncoder
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.model_folder import BUNDLED
from semantic_ranker.ranking import RankedText

logger = logging.getLogger(__name__)
dispatcher = get_dispatcher(__name__)

DEGRADED_KEY = "rerank_degraded"
"""Metadata key of nodes that came back unscored: the error's name (`on_error="passthrough"`) or the language."""
RETRIEVAL_SCORE_KEY = "retrieval_score"
"""Metadata key of the first stage's score when `keep_retrieval_score` is set."""

PositiveCount = Annotated[int, Field(gt=0, strict=True)]


def _path_to_str(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class SemanticRerank(BaseNodePostprocessor):
    """Reranks nodes with a local cross-encoder; no server, no API key, no torch.

    Nodes come back in new `NodeWithScore` objects, best first, with the relevance score (a plain float in
    [0, 1]) as `score`; the objects passed in are never changed. Ties keep the order given. Instances are
    thread-safe, pickle without weights, and share one open model a process.

    Example:
        >>> from llama_index.core.schema import NodeWithScore, TextNode
        >>> from semantic_ranker_llama_index import SemanticRerank
        >>> texts = ["Cats sleep all day.", "To change a forgotten password, open Settings."]
        >>> nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in texts]
        >>> SemanticRerank(top_n=1).postprocess_nodes(nodes, query_str="how do I reset my password")[0].text
        'To change a forgotten password, open Settings.'
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())

    model: Annotated[str | None, BeforeValidator(_path_to_str)] = Field(
        default=None, description="Model folder or hub id; None is the bundled English model."
    )
    top_n: PositiveCount | None = Field(default=5, description="How many nodes to return; None is all of them.")
    score_threshold: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        default=None, description="Nodes below this relevance score are left out; may leave none."
    )
    precision: Literal["auto", "fp32", "fp16", "int8"] = Field(
        default="auto", description="Which weights of the model to open; auto takes int8 where there is one."
    )
    max_length: PositiveCount | None = Field(
        default=None, description="Tokens of query and text together; None is the model's own limit."
    )
    long_text: Literal["truncate", "windows"] = Field(
        default="truncate", description="Longer texts are cut, or scored in windows of which the best one counts."
    )
    other_languages: Literal["keep_order", "score"] = Field(
        default="keep_order",
        description="In a language that the model was surely not made for: keep the order given, marked, or score.",
    )
    states: Annotated[str | None, BeforeValidator(_path_to_str)] = Field(
        default=None,
        description="Folder that `semantic-ranker precompute` wrote: its passages rank at once.",
    )
    mode: Literal["full", "cascade"] = Field(
        default="full", description="cascade lets the model score only those nodes that can still enter the top_n."
    )
    score_cache_bytes: Annotated[int, Field(ge=0, strict=True)] = Field(
        default=0, description="What scores of pairs kept in this process may take; 0 without a URL keeps none."
    )
    score_cache_url: SecretStr | None = Field(
        default=None, description="Redis that keeps scores for other processes too (extra redis).", exclude=True
    )
    metadata_mode: MetadataMode = Field(
        default=MetadataMode.EMBED, description="Which metadata the model reads together with the text."
    )
    keep_retrieval_score: bool = Field(
        default=False,
        description="Keep the first stage's score in the returned node's metadata, hidden from models.",
    )
    on_error: Literal["raise", "passthrough"] = Field(
        default="raise",
        description="When scoring fails: raise, or return the first top_n nodes as they came, marked in the metadata.",
    )
    source_weight: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        default=None,
        description="Share of the best node of the same source in a node's score; None is what the model was fitted "
        "with (semantic-ranker tune), 0 for the bundled ones.",
    )
    source_key: str | None = Field(
        default=None,
        description="Metadata key that names a node's source; None is its file_path, else the document it is from.",
    )

    _hold: EncoderHold = PrivateAttr(default_factory=EncoderHold)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex serialises this class; it never changes."""
        return "SemanticRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InvalidInputError("Expected a query to rerank for, got none: pass query_str or query_bundle.")
        name, top_n = self.model or BUNDLED.name, self.top_n or len(nodes)
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query_bundle.query_str,
            EventPayload.TOP_K: top_n,
        }
        reranked: list[NodeWithScore] = []
        dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=top_n, model_name=name))
        try:
            with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
                reranked = self._reranked(nodes, query_bundle.query_str)
                event.on_end(payload={EventPayload.NODES: reranked})
        finally:
            dispatcher.event(ReRankEndEvent(nodes=reranked))
        return reranked

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return await run_in_scoring_thread(self._postprocess_nodes, nodes, query_bundle)

    def _encoder(self) -> CrossEncoder:
        """Return the open scorer for the present settings."""
        encoder = shared_cross_encoder(
            self.model,
            precision=self.precision,
            max_length=self.max_length,
            long_text=self.long_text,
            other_languages=self.other_languages,
            states=self.states,
            mode=self.mode,
            source_weight=self.source_weight,
            score_cache=cache_settings(self.score_cache_bytes, self.score_cache_url, "fp32"),
        )
        self._hold = EncoderHold(encoder)
        return encoder

    def _ranked(self, nodes: list[NodeWithScore], query: str) -> list[RankedText]:
        texts = [_text(hit.node, self.metadata_mode, index) for index, hit in enumerate(nodes)]
        sources = [_source(hit.node, self.source_key) for hit in nodes]
        ranked = self._encoder().rank(query, texts, self.top_n, sources=sources) if texts else []
        least = self.score_threshold
        return ranked if least is None else [hit for hit in ranked if hit.degraded or hit.relevance_score >= least]

    def _reranked(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        try:
            ranked = self._ranked(nodes, query)
        except Exception as error:
            if self.on_error == "raise":
                raise
            logger.warning("Reranking %d nodes failed; they keep their order: %s", len(nodes), error)
            return [_unscored(hit, type(error).__name__) for hit in nodes[: self.top_n]]
        return [
            _unscored(nodes[hit.index], hit.degraded)
            if hit.degraded
            else NodeWithScore(node=self._returned(nodes[hit.index]), score=hit.relevance_score)
            for hit in ranked
        ]

    def _returned(self, hit: NodeWithScore) -> BaseNode:
        """Return the node itself, or a copy of it where its metadata has to differ."""
        node = _without(hit.node, DEGRADED_KEY)
        if not self.keep_retrieval_score or RETRIEVAL_SCORE_KEY in node.metadata:
            return node
        return _annotated(node, {RETRIEVAL_SCORE_KEY: hit.score})


def _text(node: BaseNode, mode: MetadataMode, index: int) -> str:
    """Return what the model reads: the node's text with the metadata of `mode`, without our own notes in it."""
    text = _without(node, DEGRADED_KEY, RETRIEVAL_SCORE_KEY).get_content(metadata_mode=mode)
    if not node.get_content(metadata_mode=MetadataMode.NONE) and _holds_media(node):
        raise InvalidInputError(
            f"Expected nodes with text, got {type(node).__name__} {node.node_id} with media only at {index}: "
            "give it a caption or a transcript as text, or filter such nodes out before SemanticRerank.",
            index=index,
        )
    return text


def _source(node: BaseNode, key: str | None) -> str | None:
    """Return the name of a node's source, None where it has none."""
    value = node.metadata.get(key or "file_path")
    if value is None and key is None and (document := node.source_node) is not None:
        value = document.node_id
    return None if value is None or value == "" else str(value)


def _holds_media(node: BaseNode) -> bool:
    fields = ("image", "image_path", "image_url", "image_resource", "audio_resource", "video_resource")
    return any(getattr(node, field, None) for field in fields)


def _unscored(hit: NodeWithScore, reason: str) -> NodeWithScore:
    return NodeWithScore(node=_annotated(hit.node, {DEGRADED_KEY: reason}), score=hit.score)


def _annotated(node: BaseNode, notes: dict[str, Any]) -> BaseNode:
    """Copy a node with notes in its metadata that neither embedding models nor LLMs get to see."""
    hidden = {
        name: [*getattr(node, name), *(key for key in notes if key not in getattr(node, name))]
        for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys")
    }
    return node.model_copy(update={"metadata": {**node.metadata, **notes}, **hidden})


def _without(node: BaseNode, *keys: str) -> BaseNode:
    """Return the node, or a copy without these metadata keys if it has one of them."""
    if not any(key in node.metadata for key in keys):
        return node
    return node.model_copy(update={"metadata": {k: v for k, v in node.metadata.items() if k not in keys}})
