"""The framework retrievers over FAISS, Chroma and a server that speaks Pinecone's protocol: in chain and engine."""

import importlib.util
import uuid
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import TextNode

import semantic_ranker_langchain as langchain
import semantic_ranker_llama_index as llama_index
from semantic_ranker.errors import EmbeddingError, InvalidInputError
from semantic_ranker.indexes import ChromaStore, FaissStore, Passage, PassageIndex, PineconeStore
from semantic_ranker.retrieval import TwoStageRetriever
from semantic_ranker.testing import FakeCrossEncoder, FakeEmbedder

TEXTS = [
    "Cats sleep all day and hunt at night.",
    "To change a forgotten password, open Settings and choose Reset.",
    "The password of the coffee machine is on its back.",
    "Dogs bark at night.",
]
QUERY = "how do I reset my forgotten password"


def _tools():
    path = Path(__file__).parents[1] / "core" / "indexes" / "conftest.py"
    spec = importlib.util.spec_from_file_location("index_servers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pinecone_host(tmp_path_factory):
    tools, folder = _tools(), tmp_path_factory.mktemp("pinecone")
    port = tools.free_port()
    words = [tools.sys.executable, "-m", "needledb", "serve", "--no-auth", "--data", str(folder), "--port", str(port)]
    with tools.served(words, f"http://127.0.0.1:{port}/health", folder):
        yield tools.make_pinecone_index(f"http://127.0.0.1:{port}")


@pytest.fixture(params=["faiss", "chroma", "pinecone"])
def index(request, tmp_path):
    name = f"c{uuid.uuid4().hex[:10]}"
    if request.param == "faiss":
        store = FaissStore()
    elif request.param == "chroma":
        store = ChromaStore.local(tmp_path / "chroma", name)
    else:
        store = PineconeStore.at(request.getfixturevalue("pinecone_host"), name, api_key="any")
    with PassageIndex(FakeEmbedder(), store=store) as index:
        index.add(
            Passage(id=f"p{place}", text=text, source=f"{place}.md", titles=("T",), span=(5, 9), metadata={"n": place})
            for place, text in enumerate(TEXTS)
        )
        yield index


async def test_langchain_chain(index):
    base = langchain.PassageIndexRetriever(index=index)
    retriever = langchain.SemanticRerankRetriever(base=base, k=2)
    prompts = []

    def remember(prompt):
        prompts.append(prompt.to_string())
        return prompt

    chain = (
        {
            "context": retriever | (lambda documents: "\n".join(document.page_content for document in documents)),
            "question": RunnablePassthrough(),
        }
        | ChatPromptTemplate.from_messages([("system", "Answer from: {context}"), ("human", "{question}")])
        | remember
        | FakeListChatModel(responses=["Open Settings."] * 2)
        | StrOutputParser()
    )
    assert chain.invoke(QUERY) == await chain.ainvoke(QUERY) == "Open Settings."
    assert prompts[0] == prompts[1]
    assert prompts[0].index(TEXTS[1]) < prompts[0].index("Human: " + QUERY)
    assert TEXTS[3] not in prompts[0]


async def test_llama_index_query_engine(index):
    base = llama_index.PassageIndexRetriever(index, k=4)
    retriever = llama_index.SemanticRerankRetriever(base, k=2)
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    for response in (engine.query(QUERY), await engine.aquery(QUERY)):
        assert response.source_nodes[0].node.node_id == "p1"
        assert len(response.source_nodes) == 2
        assert TEXTS[1] in str(response)


def test_what_a_passage_says_of_itself_is_kept(index):
    document = langchain.PassageIndexRetriever(index=index, k=1, where={"n": 1}).invoke("password")[0]
    assert (document.id, document.page_content) == ("p1", TEXTS[1])
    score = document.metadata.pop("score")
    assert type(score) is float
    assert document.metadata == {"n": 1, "source": "1.md", "titles": ["T"], "span": (5, 9), "page": 0}
    node = llama_index.PassageIndexRetriever(index, k=1, where={"n": 1}).retrieve("password")[0]
    assert (node.node.node_id, node.node.text, node.node.start_char_idx, node.node.end_char_idx) == (
        "p1",
        TEXTS[1],
        5,
        9,
    )
    assert node.node.metadata == {"n": 1, "source": "1.md", "titles": "T", "page": 0}
    assert node.to_json()


def test_second_best_is_said(index):
    index.embedder.error = EmbeddingError("no model")
    found = langchain.PassageIndexRetriever(index=TwoStageRetriever(index, FakeCrossEncoder())).invoke("bark")
    assert found[0].metadata["degraded"] == "by words alone: no model"
    node = llama_index.PassageIndexRetriever(index).retrieve("bark")[0]
    assert node.node.metadata["degraded"] == "by words alone: no model"
    assert "degraded" not in node.node.get_content(metadata_mode="llm")


class TestStandardSuite(RetrieversIntegrationTests):
    """LangChain's own tests for retrievers, over each store."""

    @pytest.fixture(autouse=True)
    def _inputs(self, index):
        self.params = {"index": index}

    @property
    def retriever_constructor(self):
        return langchain.PassageIndexRetriever

    @property
    def retriever_constructor_params(self):
        return self.params

    @property
    def retriever_query_example(self):
        return "password at night"


def test_langchain_stores_are_a_first_stage():
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    odd = {"source": "a.md", "odd": {"x": 1}, "nan": float("nan")}
    store.add_documents(
        [Document(page_content=text, id=f"d{place}", metadata={**odd, "n": place}) for place, text in enumerate(TEXTS)]
    )
    for base in (store, store.as_retriever(search_kwargs={"k": 4})):
        retriever = TwoStageRetriever(langchain.LangChainFirstStage(base), FakeCrossEncoder(), top_n=2)
        found = retriever.retrieve_many(["change forgotten", "dogs bark"])
        assert [of[0].id for of in found] == ["d1", "d3"]
        assert found[0][0].passage.metadata == {"n": 1}
        assert [item.id for item in retriever.retrieve("night", where={"n": {"$gte": 3}})] == ["d3"]
    with pytest.raises(InvalidInputError):
        retriever.retrieve("night", where={"n": {"$like": 3}})


def test_llama_index_indexes_are_a_first_stage():
    nodes = [TextNode(text=text, id_=f"n{place}", metadata={"n": place}) for place, text in enumerate(TEXTS)]
    store = VectorStoreIndex(nodes, embed_model=MockEmbedding(embed_dim=4))
    for base in (store, store.as_retriever(similarity_top_k=4)):
        retriever = TwoStageRetriever(llama_index.LlamaIndexFirstStage(base), FakeCrossEncoder(), top_n=2)
        assert [of[0].id for of in retriever.retrieve_many(["change forgotten", "dogs bark"])] == ["n1", "n3"]
        assert [item.id for item in retriever.retrieve("night", where={"n": 0})] == ["n0"]
