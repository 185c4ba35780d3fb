"""Real stores: FAISS, Chroma in process and on its server, and a server that speaks Pinecone's protocol."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

from semantic_ranker.indexes import ChromaStore, FaissStore, Passage, PineconeStore

DIM = 64
PATIENCE_S = 40.0
STORES = ("faiss", "chroma", "chroma-server", "pinecone")


def make_passages(count=4):
    texts = [
        "Cats sleep all day long.",
        "Dogs bark at night.",
        "Water boils at 100 degrees.",
        "Reset your password in settings.",
        *(f"Filler number{place} about topic{place % 7}." for place in range(max(0, count - 4))),
    ]
    return [
        Passage(id=f"p{place}", text=text, source=f"{'ab'[place % 2]}.md", metadata={"year": 2020 + place})
        for place, text in enumerate(texts[:count])
    ]


@pytest.fixture
def passages():
    return make_passages


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def served(words, url, folder):
    """Run a server until the block ends; its output is in the folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ANONYMIZED_TELEMETRY": "False"}
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder, env=environment)
        try:
            limit = time.monotonic() + PATIENCE_S
            while True:
                alive = process.poll() is None and time.monotonic() < limit
                assert alive, (folder / "server.log").read_text()
                try:
                    with urllib.request.urlopen(url, timeout=1):
                        break
                except OSError:
                    time.sleep(0.1)
            yield process
        finally:
            process.kill()
            process.wait()


def chroma_command(folder, port):
    script = shutil.which("chroma", path=str(Path(sys.executable).parent))
    return [script, "run", "--path", str(folder / "data"), "--host", "127.0.0.1", "--port", str(port)]


@pytest.fixture(scope="session")
def chroma_port(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("chroma"), free_port()
    with served(chroma_command(folder, port), f"http://127.0.0.1:{port}/api/v2/heartbeat", folder):
        yield port


@pytest.fixture(scope="session")
def pinecone_url(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("pinecone"), free_port()
    words = [
        sys.executable,
        "-m",
        "needledb",
        "serve",
        "--data",
        str(folder / "data"),
        "--port",
        str(port),
        "--no-auth",
    ]
    with served(words, f"http://127.0.0.1:{port}/health", folder):
        yield f"http://127.0.0.1:{port}"


def make_pinecone_index(url, dim=DIM, metric="cosine"):
    name = f"i{uuid.uuid4().hex[:12]}"
    body = json.dumps({"name": name, "dimension": dim, "metric": metric}).encode()
    request = urllib.request.Request(f"{url}/indexes", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10):
        return f"{url}/indexes/{name}"


@pytest.fixture(params=STORES)
def make_store(request, tmp_path):
    """A function that opens the same new, empty store each time it is called (FAISS: a new one, it has no server)."""
    opened = []

    def keep(open_store):
        def opens():
            opened.append(open_store())
            return opened[-1]

        return opens

    name = f"c{uuid.uuid4().hex[:12]}"
    if request.param == "faiss":
        yield keep(FaissStore)
    elif request.param == "chroma":
        yield keep(lambda: ChromaStore.local(tmp_path / "chroma", name))
    elif request.param == "chroma-server":
        port = request.getfixturevalue("chroma_port")
        yield keep(lambda: ChromaStore.server("127.0.0.1", port, name))
    else:
        host = make_pinecone_index(request.getfixturevalue("pinecone_url"))
        yield keep(lambda: PineconeStore.at(host, api_key="any"))
    for store in opened:
        store.close()


@pytest.fixture
def serve():
    """Starts a server that the test may stop."""
    return served


@pytest.fixture
def chroma_words():
    return chroma_command


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def pinecone_index():
    return make_pinecone_index
