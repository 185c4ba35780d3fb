"""Back-pressure, time limits and clients that go away, on one event loop with a model that waits to be let go."""

import asyncio
import json
import threading

import httpx
import pytest

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.pipeline import RAGPipeline
from semantic_ranker.server import FollowedPipeline, ServerConfig, Service
from semantic_ranker.server.app import create_app
from semantic_ranker.server.wire import QueryRequest
from semantic_ranker.testing import FakeCrossEncoder, FakeEmbedder

BODY = {"query": "a", "documents": ["b"]}


class Gate:
    """A model whose scores come when it is opened."""

    def __init__(self):
        self.opened = threading.Event()
        self.begun = 0

    def __call__(self, query, text):
        self.begun += 1
        assert self.opened.wait(30)
        return 1.0


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.opened.set()


def make_app(gate, **limits):
    return create_app(Service(FakeCrossEncoder(gate), FakeEmbedder()), ServerConfig(**limits))


def client_of(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


async def in_flight(client, count):
    async with asyncio.timeout(20):
        while (await client.get("/health")).json()["in_flight"] != count:
            await asyncio.sleep(0.005)


async def test_what_finds_no_place_is_refused_at_once(gate):
    async with client_of(make_app(gate, workers=1, queue=1)) as client:
        admitted = [asyncio.create_task(client.post("/v1/rerank", json=BODY)) for _ in range(2)]
        await in_flight(client, 2)
        for path, body in (("/v1/rerank", BODY), ("/rerank", {"query": "a", "texts": ["b"]})):
            refused = await client.post(path, json=body)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert "too many requests" in refused.json()["message"]
        gate.opened.set()
        assert [(await task).status_code for task in admitted] == [200, 200]
        assert (await client.post("/v1/rerank", json=BODY)).status_code == 200
        assert 'status="429"} 1.0' in (await client.get("/metrics")).text


async def test_late_answer_is_given_up_and_keeps_its_place_while_it_runs(gate):
    async with client_of(make_app(gate, workers=1, queue=1, timeout_s=0.05)) as client:
        running = await client.post("/v1/rerank", json=BODY)
        assert (running.status_code, running.json()["error"]["code"]) == (504, "timeout")
        waiting = await client.post("/v1/rerank", json=BODY)
        assert waiting.status_code == 504
        await in_flight(client, 1)
        gate.opened.set()
        await in_flight(client, 0)
        assert gate.begun == 1


async def asked(app, body, path="/v1/rerank"):
    """Speak ASGI as a client that sends the given messages."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }
    await app(scope, body, send)
    return sent[0]["status"]


async def test_client_that_goes_away_frees_its_place(gate):
    app = make_app(gate, workers=1, queue=5)
    async with client_of(app) as client:
        first = asyncio.create_task(client.post("/v1/rerank", json=BODY))
        await in_flight(client, 1)
        left = asyncio.Event()
        messages = iter([{"type": "http.request", "body": json.dumps(BODY).encode()}])

        async def receive():
            if (message := next(messages, None)) is not None:
                return message
            await left.wait()
            return {"type": "http.disconnect"}

        second = asyncio.create_task(asked(app, receive))
        await in_flight(client, 2)
        left.set()
        assert await second == 499
        await in_flight(client, 1)
        gate.opened.set()
        assert (await first).status_code == 200
        assert gate.begun == 1


async def test_body_that_does_not_come_is_not_waited_for(gate):
    async def receive():
        await asyncio.sleep(30)

    assert await asked(make_app(gate, body_timeout_s=0.05), receive) == 408


async def test_model_that_fails_is_told_without_its_texts(gate, caplog):
    gate.opened.set()

    def broken(query, text):
        raise RuntimeError("secret " + text)

    app = create_app(Service(FakeCrossEncoder(broken), FakeEmbedder()), ServerConfig())
    async with client_of(app) as client:
        response = await client.post("/v1/rerank", json=BODY)
    assert (response.status_code, response.json()["message"]) == (500, "the server failed; its log says why")
    assert "RuntimeError" in caplog.text
    app = create_app(Service(FakeCrossEncoder(lambda *_: float("nan")), FakeEmbedder()), ServerConfig())
    async with client_of(app) as client:
        response = await client.post("/v1/rerank", json=BODY)
    assert response.status_code == 500
    assert "finite" in response.json()["message"]


def test_index_that_was_changed_is_opened_again(tmp_path, caplog):
    (tmp_path / "docs").mkdir()
    document = tmp_path / "docs" / "a.md"
    document.write_text("Cats sleep all day.")
    pipeline = RAGPipeline(reranker_model=None)
    pipeline.index_folder(tmp_path / "docs", tmp_path / "index")
    followed = FollowedPipeline(tmp_path / "index")
    service = Service(FakeCrossEncoder(), followed().index.embedder, followed)
    first = followed()
    assert followed() is first
    document.write_text("Dogs bark at night.")
    pipeline.index_folder(tmp_path / "docs", tmp_path / "index")
    found = service.query(QueryRequest(query="dogs")).content["results"]
    assert [item["text"] for item in found] == ["Dogs bark at night."]
    assert followed().index.embedder is first.index.embedder
    (tmp_path / "index" / "index" / "manifest.json").write_text("{}")
    assert service.query(QueryRequest(query="dogs")).content["results"][0]["text"] == "Dogs bark at night."
    assert "was not opened again" in caplog.text


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"queue": True}, {"timeout_s": 0.0}, {"api_key": " "}, {"host": "192.0.2.1"}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InvalidInputError, match="Expected"):
        ServerConfig(**wrong)


def test_key_is_not_shown():
    assert "hidden" not in repr(ServerConfig(api_key="hidden"))
    assert ServerConfig(host="::1").is_loopback
