from __future__ import annotations

import json

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.bridge.pydantic import Field
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import (
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)

from semantic_ranker import CrossEncoder
from semantic_ranker.errors import InvalidInputError, NonFiniteScoreError
from semantic_ranker_llama_index import SemanticRerank

QUERY = "cat feeds dog"
TEXTS = ["red house", "cat", "cat feeds dog"]
BEST_FIRST = ["cat feeds dog", "cat", "red house"]


class Recorder(BaseEventHandler):
    events: list = Field(default_factory=list)

    @classmethod
    def class_name(cls):
        return "Recorder"

    def handle(self, event, **kwargs):
        if isinstance(event, ReRankStartEvent | ReRankEndEvent):
            self.events.append(event)

    @property
    def kinds(self):
        return [type(event).__name__ for event in self.events]


class Legacy(BaseCallbackHandler):
    def __init__(self):
        super().__init__([], [])
        self.started, self.ended = [], []

    def on_event_start(self, event_type, payload=None, event_id="", parent_id="", **kwargs):
        self.started.append((event_type, payload))
        return event_id

    def on_event_end(self, event_type, payload=None, event_id="", **kwargs):
        self.ended.append((event_type, payload))

    def start_trace(self, trace_id=None):
        pass

    def end_trace(self, trace_id=None, trace_map=None):
        pass


class FixedRetriever(BaseRetriever):
    def __init__(self, nodes):
        super().__init__()
        self.nodes = nodes

    def _retrieve(self, query_bundle):
        return self.nodes


@pytest.fixture
def recorder():
    handler = Recorder()
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(handler)
    yield handler
    dispatcher.event_handlers.remove(handler)


@pytest.fixture
def nodes():
    return [NodeWithScore(node=TextNode(id_=text, text=text), score=0.5) for text in TEXTS]


def texts(found):
    return [hit.node.get_content() for hit in found]


def both_ways():
    return pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


async def run(reranker, asynchronous, nodes, **query):
    return (
        await reranker.apostprocess_nodes(nodes, **query)
        if asynchronous
        else reranker.postprocess_nodes(nodes, **query)
    )


def test_it_is_a_postprocessor_with_a_stable_name():
    assert issubclass(SemanticRerank, BaseNodePostprocessor)
    assert SemanticRerank.class_name() == "SemanticRerank"


@both_ways()
async def test_query_str_and_query_bundle_are_the_same_and_not_both(model, nodes, asynchronous):
    reranker = SemanticRerank(model=model)
    by_text = await run(reranker, asynchronous, nodes, query_str=QUERY)
    assert texts(by_text) == BEST_FIRST
    assert await run(reranker, asynchronous, nodes, query_bundle=QueryBundle(QUERY)) == by_text
    with pytest.raises(ValueError, match="both"):
        await run(reranker, asynchronous, nodes, query_str=QUERY, query_bundle=QueryBundle(QUERY))


@both_ways()
async def test_no_query_is_an_error_before_any_event(model, nodes, recorder, asynchronous):
    with pytest.raises(ValueError, match="query"):
        await run(SemanticRerank(model=model), asynchronous, nodes)
    assert recorder.kinds == []


@both_ways()
async def test_start_and_end_events_carry_query_model_and_nodes(model, nodes, recorder, asynchronous):
    reranked = await run(SemanticRerank(model=model, top_n=2), asynchronous, nodes, query_str=QUERY)
    start, end = recorder.events
    assert isinstance(start, ReRankStartEvent)
    assert (start.query.query_str, start.top_n, start.model_name, start.nodes) == (QUERY, 2, model, nodes)
    assert isinstance(end, ReRankEndEvent)
    assert end.nodes == reranked
    assert start.span_id == end.span_id is not None


@both_ways()
async def test_every_start_has_its_end_on_empty_input_on_errors_and_on_passthrough(model, recorder, asynchronous):
    poison = [NodeWithScore(node=TextNode(text="poison"), score=0.25)]
    assert await run(SemanticRerank(model=model), asynchronous, [], query_str=QUERY) == []
    with pytest.raises(NonFiniteScoreError):
        await run(SemanticRerank(model=model), asynchronous, poison, query_str=QUERY)
    await run(SemanticRerank(model=model, on_error="passthrough"), asynchronous, poison, query_str=QUERY)
    assert recorder.kinds == ["ReRankStartEvent", "ReRankEndEvent"] * 3
    assert [len(event.nodes) for event in recorder.events[1::2]] == [0, 0, 1]


def test_top_n_of_none_is_reported_as_the_number_of_nodes(model, nodes, recorder):
    SemanticRerank(model=model, top_n=None).postprocess_nodes(nodes, query_str=QUERY)
    SemanticRerank(top_n=None).postprocess_nodes([], query_str=QUERY)
    assert [event.top_n for event in recorder.events[::2]] == [3, 0]
    assert recorder.events[2].model_name == "reranker-en"


@both_ways()
async def test_legacy_callbacks_get_one_reranking_event(model, nodes, asynchronous):
    legacy = Legacy()
    reranker = SemanticRerank(model=model, top_n=2, callback_manager=CallbackManager([legacy]))
    reranked = await run(reranker, asynchronous, nodes, query_str=QUERY)
    [(kind, payload)] = legacy.started
    assert kind == CBEventType.RERANKING
    assert (payload[EventPayload.QUERY_STR], payload[EventPayload.TOP_K]) == (QUERY, 2)
    assert payload[EventPayload.MODEL_NAME] == model
    assert payload[EventPayload.NODES] == nodes
    assert legacy.ended == [(CBEventType.RERANKING, {EventPayload.NODES: reranked})]


def test_legacy_callbacks_see_the_error(model):
    legacy = Legacy()
    reranker = SemanticRerank(model=model, callback_manager=CallbackManager([legacy]))
    with pytest.raises(NonFiniteScoreError):
        reranker.postprocess_nodes([NodeWithScore(node=TextNode(text="poison"))], query_str=QUERY)
    [(kind, payload)] = legacy.ended
    assert kind == CBEventType.RERANKING
    assert isinstance(payload[EventPayload.EXCEPTION], NonFiniteScoreError)


async def test_spans_are_closed(model, nodes):
    spans, dispatcher = SimpleSpanHandler(), get_dispatcher()
    dispatcher.add_span_handler(spans)
    try:
        await SemanticRerank(model=model).apostprocess_nodes(nodes, query_str=QUERY)
        SemanticRerank(model=model).postprocess_nodes(nodes, query_str=QUERY)
    finally:
        dispatcher.span_handlers.remove(spans)
    assert not spans.open_spans
    assert not spans.dropped_spans
    assert sum("_postprocess_nodes" in span.id_ for span in spans.completed_spans) == 2


@pytest.mark.parametrize(
    ("mode", "seen"),
    [
        (MetadataMode.EMBED, "title: red\nllm_only: no\n\ncat"),
        (MetadataMode.NONE, "cat"),
        (MetadataMode.LLM, "title: red\nembed_only: no\n\ncat"),
    ],
)
def test_the_metadata_mode_decides_what_the_model_reads(model, monkeypatch, mode, seen):
    read = []
    rank = CrossEncoder.rank
    monkeypatch.setattr(CrossEncoder, "rank", lambda self, *args, **kw: read.append(args[1]) or rank(self, *args, **kw))
    node = TextNode(
        text="cat",
        metadata={"title": "red", "llm_only": "no", "embed_only": "no"},
        excluded_embed_metadata_keys=["embed_only"],
        excluded_llm_metadata_keys=["llm_only"],
    )
    SemanticRerank(model=model, metadata_mode=mode).postprocess_nodes([NodeWithScore(node=node)], query_str=QUERY)
    assert read == [[seen]]


def test_embed_is_the_default_mode():
    assert SemanticRerank().metadata_mode is MetadataMode.EMBED


def test_all_kinds_of_text_nodes_are_ranked_and_keep_their_type(model):
    given = [
        TextNode(text="cat"),
        Document(text="cat feeds"),
        IndexNode(text="cat feeds dog", index_id="x"),
        Node(text_resource=MediaResource(text="red")),
        ImageNode(text="dog", image_url="http://example.org/a.png"),
    ]
    hits = [NodeWithScore(node=node) for node in given]
    reranked = SemanticRerank(model=model, top_n=None).postprocess_nodes(hits, query_str=QUERY)
    assert [type(hit.node) for hit in reranked] == [IndexNode, Document, TextNode, ImageNode, Node]


@pytest.mark.parametrize(
    "node",
    [
        ImageNode(image_url="http://example.org/a.png"),
        ImageNode(image="aGVsbG8="),
        Node(image_resource=MediaResource(data=b"x", mimetype="image/png")),
        Node(audio_resource=MediaResource(data=b"x", mimetype="audio/wav")),
    ],
    ids=["image url", "image data", "image resource", "audio resource"],
)
def test_a_node_with_media_only_is_a_clear_error(model, nodes, node):
    with pytest.raises(InvalidInputError, match="media only at 3") as caught:
        SemanticRerank(model=model).postprocess_nodes([*nodes, NodeWithScore(node=node)], query_str=QUERY)
    assert caught.value.index == 3


def test_retrieval_scores_are_kept_on_a_copy_of_the_node_only(model, nodes):
    reranked = SemanticRerank(model=model, keep_retrieval_score=True).postprocess_nodes(nodes, query_str=QUERY)
    assert [hit.node.metadata for hit in reranked] == [{"retrieval_score": 0.5}] * 3
    assert [hit.node.metadata for hit in nodes] == [{}] * 3
    assert nodes[0].node.excluded_embed_metadata_keys == []
    assert [hit.node.hash for hit in reranked] == [hit.node.hash for hit in reranked]


def test_without_it_the_node_itself_is_returned_with_nothing_added(model, nodes):
    reranked = SemanticRerank(model=model).postprocess_nodes(nodes, query_str=QUERY)
    assert reranked[0].node is nodes[2].node
    assert reranked[0].node.metadata == {}


def test_the_mark_of_failure_is_hidden_from_models_and_keeps_the_score(model):
    given = [NodeWithScore(node=TextNode(text="poison"), score=0.75)]
    [hit] = SemanticRerank(model=model, on_error="passthrough").postprocess_nodes(given, query_str=QUERY)
    assert hit.score == 0.75
    assert hit.node.metadata == {"rerank_degraded": "NonFiniteScoreError"}
    assert hit.node.get_content(metadata_mode=MetadataMode.LLM) == "poison"
    assert hit.node.get_content(metadata_mode=MetadataMode.EMBED) == "poison"


def test_to_dict_and_from_dict_round_trip(model, nodes):
    reranker = SemanticRerank(
        model=model, top_n=None, metadata_mode=MetadataMode.LLM, score_threshold=0.25, on_error="passthrough"
    )
    for data in (reranker.to_dict(), json.loads(reranker.to_json())):
        assert data["class_name"] == "SemanticRerank"
        assert "callback_manager" not in data
        restored = SemanticRerank.from_dict(data)
        assert restored.to_dict() == reranker.to_dict()
        assert restored.postprocess_nodes(nodes, query_str=QUERY) == reranker.postprocess_nodes(nodes, query_str=QUERY)


def test_the_pipeline_cache_key_changes_with_the_settings_and_with_nothing_else(model, nodes):
    """IngestionPipeline hashes `to_dict()`: volatile content would make its cache miss for ever."""
    plain = [hit.node for hit in nodes]
    reranker = SemanticRerank(model=model, callback_manager=CallbackManager([Legacy()]))
    before = get_transformation_hash(plain, reranker)
    reranker.postprocess_nodes(nodes, query_str=QUERY)
    assert get_transformation_hash(plain, reranker) == before
    assert get_transformation_hash(plain, SemanticRerank(model=model)) == before
    for other in ({"max_length": 32}, {"precision": "fp32"}, {"long_text": "windows"}, {"top_n": 2}):
        assert get_transformation_hash(plain, SemanticRerank(model=model, **other)) != before


async def test_query_engine_query_and_aquery(model, nodes):
    engine = RetrieverQueryEngine.from_args(
        FixedRetriever(nodes), llm=MockLLM(), node_postprocessors=[SemanticRerank(model=model, top_n=2)]
    )
    for response in (engine.query(QUERY), await engine.aquery(QUERY)):
        assert texts(response.source_nodes) == BEST_FIRST[:2]
        assert response.source_nodes[0].score > response.source_nodes[1].score
    assert [hit.score for hit in nodes] == [0.5] * 3


def test_index_as_query_engine(model):
    index = VectorStoreIndex([TextNode(text=text) for text in TEXTS], embed_model=MockEmbedding(embed_dim=4))
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=3, node_postprocessors=[SemanticRerank(model=model)])
    assert texts(engine.query(QUERY).source_nodes) == BEST_FIRST
