"""`semantic-ranker ask`, against an endpoint that a test runs on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from semantic_ranker.assistant import Message, OpenAICompatibleLLM
from semantic_ranker.cli import main
from semantic_ranker.errors import InvalidInputError, LLMError
from semantic_ranker.feedback import FeedbackLog
from semantic_ranker.pipeline import RAGPipeline

ASK = [Message("user", "May I?")]


class Endpoint:
    """Says what a test wrote down: (status, headers, body) in order, the last again and again."""

    def __init__(self):
        self.replies, self.requests = [], []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                endpoint.requests.append((self.path, dict(self.headers), json.loads(body)))
                status, headers, content = endpoint.replies.pop(0) if len(endpoint.replies) > 1 else endpoint.replies[0]
                self.send_response(status)
                for name, value in {"content-length": len(content), **headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def says(self, text):
        content = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})
        self.replies = [(200, {}, content.encode())]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def endpoint(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_MODEL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    endpoint = Endpoint()
    endpoint.says("Yes, up to five days of leave [1].")
    yield endpoint
    endpoint.stop()


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ask")
    (folder / "leave.md").write_text("# Leave\n\nUp to five days of leave may be taken into the next year.\n")
    RAGPipeline().index_folder(folder / "leave.md", folder / "index")
    return folder / "index"


def test_ask_answers_cites_and_logs(endpoint, index, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(
        f'OPENAI_BASE_URL={endpoint.url}/\nexport OPENAI_MODEL="small"\nOPENAI_API_KEY=sk-1\n'
    )
    (tmp_path / "system.txt").write_text("You are the {office}.")
    words = ["ask", str(index), "can I keep my leave? I am ana@example.org", "--system", "system.txt"]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.out == "Yes, up to five days of leave [1].\n\n[1] leave.md, Leave\n"
    path, headers, body = endpoint.requests[0]
    assert (path, headers["Authorization"], body["model"], body["temperature"]) == (
        "/v1/chat/completions",
        "Bearer sk-1",
        "small",
        0.0,
    )
    assert body["messages"][0]["content"].startswith("You are the {office}.\n\n")
    assert "Up to five days" in body["messages"][1]["content"]
    kept = list(FeedbackLog(index / "feedback.jsonl"))
    assert [(item.query, item.answer) for item in kept] == [
        ("can I keep my leave? I am [EMAIL]", "Yes, up to five days of leave [1].")
    ]
    assert f"logged as {kept[0].id}" in shown.err
    monkeypatch.setenv("OPENAI_MODEL", "large")
    endpoint.says("No \x1b[31m[3].")
    assert main([*words, "--json", "--no-log"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert endpoint.requests[1][2]["model"] == "large"
    assert answer["citations"]["citations"][0]["exists"] is False
    assert main([*words, "--no-log"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("No  [31m[3].\n")
    assert "cites passages that are not there: 3" in shown.err
    assert len(list(FeedbackLog(index / "feedback.jsonl"))) == 1


def test_mistakes_are_one_line(endpoint, index, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = tmp_path / "settings"
    settings.write_text(f"OPENAI_BASE_URL={endpoint.url}\nOPENAI_MODEL=m\n")
    given = ["--env", str(settings), "--no-log"]
    for words, status, message in (
        ([str(index), "a"], 2, "Expected OPENAI_BASE_URL and OPENAI_MODEL in the environment"),
        ([str(index), "a", "--env", "none"], 2, "Expected a file with settings"),
        ([str(index), " ", *given], 2, "Expected a message"),
        ([str(index), "a", "--system", "none.txt", *given], 2, "Cannot read the system prompt"),
        ([str(index), "a", "--intents", "none.json", *given], 2, "Cannot read intents"),
        ([str(tmp_path), "a", *given], 1, "Cannot read the pipeline"),
    ):
        assert main(["ask", *words]) == status, words
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_busy_endpoint_is_asked_again(endpoint):
    good = endpoint.replies[0]
    endpoint.replies = [(429, {"retry-after": "0"}, b"{}"), (503, {}, b"<html>"), good]
    assert OpenAICompatibleLLM(endpoint.url, "m").complete(ASK).startswith("Yes")
    assert len(endpoint.requests) == 3
    endpoint.replies = [(429, {}, b'{"error": {"message": "slow down"}}')]
    with pytest.raises(LLMError, match="refused with 429: slow down"):
        OpenAICompatibleLLM(endpoint.url, "m", retries=0).complete(ASK)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((401, {}, b'{"error": {"message": "wrong key"}}'), "refused with 401: wrong key"),
        ((302, {"location": "http://127.0.0.1:9/v1"}, b""), "refused with 302"),
        ((200, {}, b"{}"), "Expected choices"),
        ((200, {}, b"["), "Expected choices"),
        ((200, {}, b'{"choices": [{"message": {"content": null}}]}'), "empty"),
        ((200, {}, b" " * 4_000_001), "4000000 bytes at most"),
    ],
)
def test_strange_answers_are_errors(endpoint, reply, message):
    endpoint.replies = [reply]
    with pytest.raises(LLMError, match=message) as caught:
        OpenAICompatibleLLM(endpoint.url, "m", api_key="sk-secret", retries=0).complete(ASK)
    assert "sk-secret" not in str(caught.value)
    assert len(endpoint.requests) == 1


def test_endpoint_that_is_not_there(endpoint):
    url = endpoint.url
    llm = OpenAICompatibleLLM(url.replace(str(endpoint.server.server_port), "9"), "m", retries=0)
    with pytest.raises(LLMError, match="Cannot reach the language model"):
        llm.complete(ASK)


@pytest.mark.parametrize(
    ("url", "model"), [("file:///etc/passwd", "m"), ("127.0.0.1:1", "m"), ("http://u:p@h/v1", "m"), ("http://h", " ")]
)
def test_wrong_settings_are_refused(url, model):
    with pytest.raises(InvalidInputError, match="Expected"):
        OpenAICompatibleLLM(url, model)
    assert "sk-1" not in repr(OpenAICompatibleLLM("http://h", "m", api_key="sk-1"))
