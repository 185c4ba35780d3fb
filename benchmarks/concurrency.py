"""Several callers at once: how their runs share the cores, and what each way costs a caller.

    python benchmarks/concurrency.py --data ../shared/data

Every caller ranks so many new passages of the bundled reranker again and again, each way and number of callers in turn
and in an order that changes from round to round. Only the encoding of passages is run, which is nearly all of the time.
Writes benchmarks/results/concurrency.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from semantic_ranker._files import write_atomically
from semantic_ranker._machine import usable_cores
from semantic_ranker.model_folder import BUNDLED, ModelFolder
from semantic_ranker.tokenization import PairTokenizer
from semantic_ranker_training.pairs import read_pairs

ROOT = Path(__file__).parent.parent
CALLERS = (1, 2, 4, 8)
OURS = "one session, a thread a core for all callers"
Texts = Sequence[NDArray[np.int64]]
Serve = Callable[[Texts], None]


def session(threads: int) -> Any:
    folder = ModelFolder.open(BUNDLED)
    found = folder.segment_weights("int8")
    if found is None:
        raise SystemExit("the bundled model has no segment graph")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(folder.read(found[0]).content, options, providers=["CPUExecutionProvider"])


def run(opened: Any, ids: NDArray[np.int64]) -> None:
    opened.run(None, {"input_ids": ids if ids.ndim == 2 else ids[None]})


def longest_first(texts: Texts) -> list[NDArray[np.int64]]:
    return sorted(texts, key=lambda ids: -ids.shape[-1])


def ways(cores: int) -> dict[str, Serve]:
    """Return ways to serve the texts of one request; each may be called by several threads at once."""
    single, inside, lock = session(1), session(cores), threading.Lock()
    pool, wide = ThreadPoolExecutor(cores), ThreadPoolExecutor(2 * cores)
    idle: queue.Queue[Any] = queue.Queue()
    for _ in range(cores):
        idle.put(session(1))

    def shared(of: ThreadPoolExecutor) -> Serve:
        return lambda texts: list(of.map(lambda ids: run(single, ids), longest_first(texts))) and None

    def in_turn(texts: Texts) -> None:
        with lock:
            for ids in texts:
                run(inside, ids)

    def at_once(texts: Texts) -> None:
        for ids in texts:
            run(inside, ids)

    def own_session(texts: Texts) -> None:
        opened = idle.get()
        try:
            for ids in texts:
                run(opened, ids)
        finally:
            idle.put(opened)

    def batched(texts: Texts) -> None:
        ordered = longest_first(texts)
        groups = [ordered[place : place + 8] for place in range(0, len(ordered), 8)]
        # Padding is given as text here: the graph has no mask, and only the time is of interest.
        padded = [np.stack([np.resize(ids, len(group[0])) for ids in group]) for group in groups]
        list(pool.map(lambda ids: run(single, ids), padded))

    return {
        OURS: shared(pool),
        "one session, two threads a core for all callers": shared(wide),
        "one session, its threads inside each run, callers in turn": in_turn,
        "one session, its threads inside each run, callers at once": at_once,
        "a session a core, one caller each": own_session,
        "one session, a thread a core, padded batches of 8": batched,
    }


def load(serve: Serve, requests: Sequence[Texts], callers: int) -> dict[str, float]:
    """Let callers send the requests, each its share one after the other; return seconds."""
    spent: list[float] = []

    def caller(own: Sequence[Texts]) -> None:
        for texts in own:
            started = time.perf_counter()
            serve(texts)
            spent.append(time.perf_counter() - started)

    threads = [threading.Thread(target=caller, args=(requests[place::callers],)) for place in range(callers)]
    started, used = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, cpu = time.perf_counter() - started, time.process_time() - used
    return {
        "requests_a_second": len(requests) / wall,
        "p50_ms": 1000 * statistics.median(spent),
        "p95_ms": 1000 * float(np.percentile(spent, 95)),
        "cpu_ms_a_request": 1000 * cpu / len(requests),
    }


def requests_of(data: Path, count: int, passages: int) -> list[list[NDArray[np.int64]]]:
    texts = list(dict.fromkeys(positive for _, positive in read_pairs(data / "train" / "qa-en.jsonl.gz")))
    random.Random(0).shuffle(texts)
    folder = ModelFolder.open(BUNDLED)
    tokenizer = PairTokenizer(
        folder.read("tokenizer.json").content, layout="segments", max_length=512, max_query_tokens=96
    )
    pieces = [of[0].input_ids for of in tokenizer.alone(texts[: count * passages], windows=False)]
    return [pieces[place : place + passages] for place in range(0, len(pieces), passages)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--requests", type=int, default=8, help="of each measurement")
    parser.add_argument("--passages", type=int, default=10, help="of a request")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/concurrency.json")
    options = parser.parse_args()
    cores = usable_cores()
    requests = requests_of(options.data, options.requests, options.passages)
    served = ways(cores)
    for serve in served.values():
        serve(requests[0])
    found: dict[str, dict[int, list[dict[str, float]]]] = {name: {n: [] for n in CALLERS} for name in served}
    for number in range(options.rounds):
        turns = [(name, callers) for callers in CALLERS for name in served]
        random.Random(number).shuffle(turns)
        for name, callers in turns:
            found[name][callers].append(load(served[name], requests, callers))
    result = {
        "what": f"{options.passages} new passages a request, encoded by the bundled reranker in int8",
        "tokens_a_passage": round(statistics.mean(ids.shape[-1] for texts in requests for ids in texts), 1),
        "ours": OURS,
        "ways": {
            name: {
                str(callers): {key: round(statistics.median(of[key] for of in rounds), 2) for key in rounds[0]}
                | {
                    "against_ours": round(
                        statistics.median(
                            other["requests_a_second"] / own["requests_a_second"]
                            for other, own in zip(rounds, found[OURS][callers], strict=True)
                        ),
                        3,
                    )
                }
                for callers, rounds in of_callers.items()
            }
            for name, of_callers in found.items()
        },
        "rounds": options.rounds,
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": cores},
        "versions": {name: version(name) for name in ("semantic-ranker", "onnxruntime")},
        "command": "python benchmarks/concurrency.py --data DATA",
    }
    write_atomically(options.out, json.dumps(result, indent=1) + "\n")
    for name, of in result["ways"].items():  # type: ignore[attr-defined]
        print(name, {callers: figures["against_ours"] for callers, figures in of.items()})


if __name__ == "__main__":
    main()
