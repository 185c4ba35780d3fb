"""Servers that are busy, slow, gone or picky: a typed error within the time that was allowed, and answers by words."""

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from semantic_ranker.errors import InvalidInputError, VectorStoreError
from semantic_ranker.indexes import ChromaStore, Passage, PassageIndex, PineconeStore
from semantic_ranker.testing import FakeEmbedder


class Recorder(ThreadingHTTPServer):
    """Answers as Pinecone does, after as many refusals as it is told; keeps what it was sent."""

    def __init__(self):
        self.refusals, self.status, self.bodies, self.count = 0, 429, [], 0
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                recorder.count += 1
                if recorder.refusals:
                    recorder.refusals -= 1
                    self._answer(recorder.status, {"message": "busy"})
                    return
                recorder.bodies.append((self.path, body))
                sent = json.loads(body)
                answers = {"stats": {"dimension": 64, "namespaces": {}}, "query": {"matches": [], "namespace": ""}}
                known = next((answer for name, answer in answers.items() if name in self.path), None)
                self._answer(200, known or {"upsertedCount": len(sent.get("vectors", ()))})

            def _answer(self, status, content):
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def upserts(self):
        return [json.loads(body)["vectors"] for path, body in self.bodies if "upsert" in path]


@pytest.fixture
def recorder():
    with Recorder() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def index(recorder):
    store = PineconeStore.at(f"http://127.0.0.1:{recorder.server_port}", "docs", api_key="secret-key")
    with PassageIndex(FakeEmbedder(), store=store) as index:
        yield index


def test_pinecone_that_is_busy_is_asked_again_and_then_no_more(recorder, index, passages):
    recorder.refusals = 2
    index.add(passages())
    assert [len(part) for part in recorder.upserts()] == [4]
    recorder.refusals, recorder.count = 100, 0
    with pytest.raises(VectorStoreError, match="HTTP 429") as caught:
        index.search("cats", mode="dense")
    assert recorder.count == 4
    assert "secret-key" not in str(caught.value)
    assert index.search("cats", 1)[0].passage.id == "p0"
    assert "by words alone" in index.search("cats", 1).degraded


def test_pinecone_refusal_is_not_repeated(recorder, index, passages):
    recorder.refusals, recorder.status, recorder.count = 1, 400, 0
    with pytest.raises(VectorStoreError, match="HTTP 400"):
        index.add(passages())
    assert recorder.count == 1
    assert len(index) == 0


def test_pinecone_gets_small_batches_of_plain_floats(recorder, index):
    index.add([Passage(id=f"p{place}", text=f"word{place}", metadata={"a": "x" * 10}) for place in range(450)])
    assert [len(part) for part in recorder.upserts()] == [200, 200, 50]
    index.add([Passage(id=f"q{place}", text=f"word{place}", metadata={"a": "x" * 30_000}) for place in range(120)])
    sizes = [len(body) for path, body in recorder.bodies if "upsert" in path]
    assert max(sizes) < 2_000_000
    assert len(sizes) > 5
    bodies = [json.loads(body) for path, body in recorder.bodies if "upsert" in path]
    assert {body["namespace"] for body in bodies} == {f"docs__{index.embedder.space.short}"}
    assert not any("text" in item["metadata"] for body in bodies for item in body["vectors"])
    with pytest.raises(VectorStoreError, match="40 KB"):
        index.add([Passage(id="x", text="word", metadata={"a": "x" * 50_000})])
    assert "x" not in index


def test_pinecone_needs_a_key(monkeypatch):
    monkeypatch.delenv("PINECONE_API_KEY", raising=False)
    with pytest.raises(InvalidInputError, match="set PINECONE_API_KEY"):
        PineconeStore.at("http://127.0.0.1:1")


def test_chroma_server_that_hangs_or_dies_is_a_typed_error_in_time(tmp_path, serve, chroma_words, port, passages):
    with serve(chroma_words(tmp_path, port), f"http://127.0.0.1:{port}/api/v2/heartbeat", tmp_path) as process:
        store = ChromaStore.server("127.0.0.1", port, "docs", timeout_s=0.5)
        with PassageIndex(FakeEmbedder(), store=store) as index:
            index.add(passages())
            os.kill(process.pid, signal.SIGSTOP)
            start = time.monotonic()
            with pytest.raises(VectorStoreError, match="Chroma cannot be used"):
                index.search("cats", mode="dense")
            assert time.monotonic() - start < 10
            found = index.search("cats", 1)
            assert (found[0].passage.id, found.degraded[:14]) == ("p0", "by words alone")
            os.kill(process.pid, signal.SIGCONT)
            assert index.search("cats", 1, mode="dense")[0].passage.id == "p0"
            process.kill()
            process.wait()
            with pytest.raises(VectorStoreError):
                index.add([Passage(id="n", text="new")])
            with pytest.raises(VectorStoreError):
                index.delete(["p0"])
            assert len(index) == 4
    with pytest.raises(VectorStoreError, match="Chroma cannot be reached"):
        ChromaStore.server("127.0.0.1", port)


if HOST := os.environ.get("SEMANTIC_RANKER_LIVE_PINECONE"):  # the host of an index that may be written to

    def test_live_pinecone():
        embedder = FakeEmbedder(dim=int(os.environ.get("SEMANTIC_RANKER_LIVE_PINECONE_DIM", "64")))
        with PassageIndex(embedder, store=PineconeStore.at(HOST, "semantic-ranker-test")) as index:
            index.add([Passage(id="a", text="cats sleep"), Passage(id="b", text="dogs bark")])
            limit = time.monotonic() + 60
            while len(index.store) < 2 and time.monotonic() < limit:
                time.sleep(1)
            assert [hit.passage.id for hit in index.search("cats", 1, mode="dense")] == ["a"]
            index.delete(["a", "b"])
