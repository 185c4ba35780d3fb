"""A server that was really started, as its user starts it."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest

from semantic_ranker.pipeline import RAGPipeline

DOCUMENTS = {
    "leave.md": "# Leave\n\nUp to five unused days of leave may be taken into the next year.\n",
    "wifi.md": "# Wi-Fi\n\nThe guest Wi-Fi has a new password every Monday.\n",
}


@contextmanager
def started(*words, environment=None):
    """Run `semantic-ranker serve` until the block ends; gives its URL and the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "semantic_ranker.cli", "serve", "--port", "0", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
    )
    try:
        line = process.stdout.readline()
        found = re.match(r"Serving on (http://\S+);", line)
        assert found, line + process.stderr.read()
        yield found[1], process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="session")
def index_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "docs").mkdir()
    for name, text in DOCUMENTS.items():
        (folder / "docs" / name).write_text(text)
    RAGPipeline().index_folder(folder / "docs", folder / "index")
    return folder / "index"


@pytest.fixture(scope="session")
def server(index_folder):
    with started(str(index_folder)) as (url, _):
        yield url


@pytest.fixture(scope="session")
def http(server):
    """A client of the server that reuses its connection."""
    with httpx.Client(base_url=server, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def start_server():
    return started
