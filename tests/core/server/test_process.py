"""A server process: its answers, its limits, its end."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from semantic_ranker.cli import main
from semantic_ranker.pipeline import RAGPipeline


def test_index_is_asked(http, index_folder):
    body = {"query": "can I keep my holidays", "top_k": 1, "context": True, "max_tokens": 100}
    answer = http.post("/query", json=body).raise_for_status().json()
    own = RAGPipeline.load(index_folder, read_only=True).retrieve(body["query"], 1).to_dict()
    assert answer.pop("context")["text"].startswith("[1] leave.md, Leave\n")
    assert answer.pop("latency_ms")["total"] > 0
    own.pop("latency_ms")
    assert answer == own
    narrowed = {"query": "password", "where": {"source": "leave.md"}}
    found = http.post("/query", json=narrowed).raise_for_status().json()
    assert {item["source"] for item in found["results"]} == {"leave.md"}


def test_second_best_is_said(http):
    body = {
        "query": "¿Cómo puedo cambiar la contraseña de mi cuenta?",
        "documents": ["Los gatos duermen.", "Abra la página de ajustes y elija la nueva contraseña."],
    }
    response = http.post("/v1/rerank", json=body)
    assert [item["index"] for item in response.json()["results"]] == [0, 1]
    assert response.headers["x-semantic-ranker-degraded"] == "language es"
    assert response.json()["meta"]["warnings"] == ["second best: language es"]


def test_health_and_metrics(http):
    health = http.get("/health").json()
    assert (health["status"], health["reranker"], health["index"]) == ("ok", "reranker-en", {"passages": 2})
    http.post("/rerank", json={"query": "a", "texts": ["b", "c"], "raw_scores": True}).raise_for_status()
    http.post("/rerank", json={"query": "a"})
    response = http.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = response.text.splitlines()
    for wanted in (
        'semantic_ranker_requests_total{path="/rerank",status="200"}',
        'semantic_ranker_requests_total{path="/rerank",status="422"}',
        'semantic_ranker_request_seconds_count{path="/rerank"}',
        'semantic_ranker_texts_total{path="/rerank"}',
        "semantic_ranker_in_flight 0.0",
        "semantic_ranker_in_flight_limit 34.0",
    ):
        assert any(line.startswith(wanted) for line in lines), wanted


@pytest.mark.parametrize(
    ("path", "content", "status", "message"),
    [
        ("/v1/rerank", b"{", 422, "Expected JSON"),
        ("/v1/rerank", b"[" * 100_000, 422, "Expected JSON"),
        ("/v1/rerank", b"[1]", 422, "Expected a JSON object"),
        ("/v1/rerank", b'{"query": 3, "documents": []}', 422, "Expected query to be a string, got 3."),
        ("/v1/rerank", b'{"query": "a", "documents": ["b", {"t": 1}]}', 422, "documents[1]"),
        ("/v1/rerank", b'{"query": "a", "documents": [], "top_n": true}', 422, "top_n"),
        ("/v1/rerank", b'{"query": "a", "documents": [' + b'"b",' * 1000 + b'"b"]}', 422, "1000 documents at most"),
        ("/rerank", b'{"query": "a", "texts": "b"}', 422, "Expected texts to be a list, got 'b'."),
        ("/rerank", b'{"query": "a", "texts": [null]}', 422, "texts[0]"),
        ("/v1/embeddings", b'{"input": ["a"], "encoding_format": "int8"}', 422, "encoding_format"),
        ("/v1/embeddings", b'{"input": ["a"], "input_type": "image"}', 422, "input_type"),
        ("/query", b'{"query": "a", "wher": {}}', 422, "got 'wher'"),
        ("/query", b'{"query": "a", "where": {"a": {"$like": 1}}}', 422, "$like"),
        ("/none", b"{}", 404, "There is no '/none' here."),
        ("/health", b"{}", 405, "takes no POST"),
        ("/v1/rerank", b" " * 8_000_001, 413, "8000000 bytes at most"),
    ],
)
def test_bad_requests_are_told(http, path, content, status, message):
    response = http.post(path, content=content, headers={"content-type": "application/json"})
    body = response.json()
    assert response.status_code == status
    assert message in body["detail"]
    if path == "/rerank":
        assert body["error"] == body["detail"]
    else:
        assert body["error"]["message"] == body["message"] == body["detail"]


def test_a_web_page_cannot_use_it(http):
    body = b'{"query": "a", "documents": ["b"]}'
    response = http.post("/v1/rerank", content=body, headers={"content-type": "text/plain"})
    assert response.status_code == 415
    headers = {"content-type": "application/json", "host": "evil.example"}
    for path, method in (("/v1/rerank", "POST"), ("/metrics", "GET")):
        assert http.request(method, path, content=body, headers=headers).status_code == 421


def test_strange_texts_come_back_as_they_were(http):
    body = '{"query": "a \\ud83d", "documents": ["half a pair \\ud83d", "", "\\u0000"]}'
    response = http.post("/v1/rerank", content=body, headers={"content-type": "application/json"})
    texts = {item["index"]: item["document"]["text"] for item in json.loads(response.text)["results"]}
    assert texts == {0: "half a pair \ud83d", 1: "", 2: "\0"}
    empty = http.post("/v1/rerank", json={"query": "a", "documents": []}).raise_for_status().json()
    assert empty["results"] == []


def test_body_that_is_sent_in_parts_is_counted(server):
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/rerank HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(9):
            connection.sendall(b"F4240\r\n" + b" " * 1_000_000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_sigterm_finishes_what_runs_and_a_key_is_asked_for(start_server):
    key = {"SEMANTIC_RANKER_API_KEY": "secret-key"}
    with start_server(environment=key) as (url, process), httpx.Client(base_url=url, timeout=120) as http:
        assert http.post("/v1/rerank", json={"query": "a", "documents": ["b"]}).status_code == 401
        http.headers["authorization"] = "Bearer secret-key"
        assert http.post("/query", json={"query": "a"}).status_code == 404
        texts = [f"Word {place} of a long text. " * 10 for place in range(30)]
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(http.post("/v1/rerank", json={"query": "which word", "documents": texts}))
        )
        asking.start()
        while http.get("/health").json()["in_flight"] == 0 and not answers:
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        asking.join()
        assert answers[0].status_code == 200
        assert len(answers[0].json()["results"]) == len(texts)
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""


def test_wrong_starts_are_one_line(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for words, status, message in (
            (["--port", port], 2, f"Cannot listen on 127.0.0.1:{port}"),
            (["--host", "0.0.0.0"], 2, "Expected an API key to listen on '0.0.0.0'"),
            (["--port", "70000"], 2, "Expected port to be an int from 0 to 65535"),
            (["--queue", "-1"], 2, "Expected queue"),
            ([str(tmp_path / "none")], 1, "Cannot read the pipeline"),
        ):
            assert main(["serve", *words]) == status, words
            error = capsys.readouterr().err
            assert message in error
            assert error.count("\n") == 1


def test_the_server_needs_no_framework():
    code = (
        "import sys; import semantic_ranker.server.app; "
        "print([name for name in ('torch', 'transformers', 'langchain_core', 'llama_index') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
