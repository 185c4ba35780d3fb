"""Tables for docs/models.md and docs/costs.md, out of the results of several benchmarks; `tables.py` puts them there."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from table_parts import change, has, read, rows

SECONDS_A_MONTH = 30 * 86_400
OTHERS = {"mpnet": "A bigger bi-encoder, all-mpnet-base-v2 (twelve layers of 768), ordering BM25's best 100"}


def mean(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.3f} ± {(figure['high'] - figure['low']) / 2:.3f}"


def milliseconds(seconds: float) -> str:
    value = 1000 * seconds
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"


def rerankers() -> str:
    quality, cost = read("quality"), read("costs")["ways"]
    new, known = (cost[f"rerank 20 passages that are {kind}"]["cpu_s_mean"] for kind in ("new", "known"))
    costs = {"reranker": f"{milliseconds(new)} new, {milliseconds(known)} known"}
    says = {
        "BM25": "words alone",
        "bi-encoder": "all-MiniLM-L6-v2 on the same candidates",
        "RRF": "both, by reciprocal ranks",
        "reranker": "the bundled reranker",
        "reranker + BM25, fitted": "the bundled reranker and BM25, weight fitted to judged queries",
        "oracle": "the best order possible",
    }
    found = [(says[name], mean(quality["macro"][name]), costs.get(name, "")) for name in says]
    found[-1:-1] = _tiny(new)
    body = rows(("order by", "nDCG@10", "CPU time of 20 passages"), found)
    queries = sum(part["queries"] for part in quality["collections"].values())
    return (
        f"{body}\n\nMacro average over {', '.join(quality['collections'])} ({queries} queries), candidates are BM25's best "
        f"100, ± half of the 95 % interval; INT8 as shipped, {quality['model']['name']}. CPU time on the handbook's "
        f"sections of {read('costs')['words_a_passage']:.0f} words. `{quality['command']}`, `{read('costs')['command']}`"
        f"{_others(quality)}\n\n![nDCG@10 by collection and system](../benchmarks/results/quality.svg)"
    )


def _others(quality: dict[str, Any]) -> str:
    """Return what was said of further models, each measured on the first queries of every collection."""
    found = ""
    for name, part in quality.get("others", {}).items():
        gain, of = part["reranker - it"], part["collections"]
        by = ", ".join(f"{where} {of[where][name]['mean']:.3f} ({of[where]['queries']} queries)" for where in of)
        found += (
            f"\n\n{OTHERS.get(name, name)}: {mean(part['macro'])} ({by}); the bundled reranker on the same queries "
            f"{gain['mean_b']:.3f}, {change(gain)} beside it."
        )
    return found


def _tiny(bundled_s: float) -> list[tuple[str, str, str]]:
    """Return the lines of the smaller model; its time is the bundled one's by their ratio in another run."""
    if not has("quality_tiny"):
        return []
    macro, of = read("quality_tiny")["macro"], read("latency")["contenders"]
    times = [of.get(f"{name} int8, new passages", {}).get("cpu_s_per_100") for name in ("tiny", "bundled")]
    says = {
        "reranker": "`reranker-en-tiny`, also in the wheel",
        "reranker + BM25, fitted": "`reranker-en-tiny` and BM25, weight fitted to judged queries",
    }
    cost = f"about {milliseconds(bundled_s * times[0] / times[1])} new" if all(times) else "not measured"
    return [(says[name], mean(macro[name]), cost if name == "reranker" else "") for name in says]


def choice() -> str:
    static, peers = read("static_embedder"), read("embedder_peers")
    collections = static["collections"].values()
    speed = peers["threads"]["1"]["contenders"]

    def average(way: str, system: str) -> str:
        found = [part[way][system]["mean"] for part in collections if system in part[way]]
        return f"{statistics.mean(found):.3f}" if len(found) == len(static["collections"]) else "not measured"

    body = rows(
        ("embedder", "nDCG@10, finds alone", "nDCG@10, orders BM25's best 100", "texts a second, one core", "one text"),
        (
            (
                name,
                average("retrieval", system),
                average("reranking", system),
                f"{speed[contender]['texts_per_s']:,.0f}",
                f"{speed[contender]['one_text_p50_ms']:.2g} ms",
            )
            for name, system, contender in (
                ("bundled static, 8 MB", "static", "ours static"),
                ("all-MiniLM-L6-v2 fp32, 90 MB", "MiniLM", "ours MiniLM fp32"),
            )
        ),
    )
    return (
        f"{body}\n\nMeans of {', '.join(static['collections'])}; BM25 alone finds with "
        f"{average('retrieval', 'BM25')}. Texts of 8 to 67 words. `{peers['command']}`"
    )


def costs() -> str:
    found = read("costs")
    price = found["default_price_a_core_hour"]

    def line(name: str, cpu_s: float) -> Sequence[object]:
        cost = cpu_s * 1e6 / 3600 * price
        return (
            name,
            milliseconds(cpu_s),
            f"{cost:.2f}",
            f"{1 / cpu_s:,.{0 if cpu_s < 0.1 else 1}f}",
            f"{SECONDS_A_MONTH / cpu_s / 1e6:,.0f} million",
        )

    body = rows(
        (
            "a query",
            "CPU time",
            "a million, at 0.04 a core-hour",
            "queries a second, one busy core",
            "a month, one busy core",
        ),
        (line(name, part["cpu_s_mean"]) for name, part in found["ways"].items()),
    )
    machine = found["machine"]
    return (
        f"{body}\n\nMeans; {found['passages']} sections of {found['words_a_passage']:.0f} words, questions of "
        f"{found['words_a_query']:.0f}; {found['model']}, {found['precision']}, {machine['cpu']}, Python "
        f"{machine['python']}, onnxruntime {found['versions']['onnxruntime']}; load of the machine at the end "
        f"{found['load_average_at_end']:.1f}. `{found['command']}`"
    )


def memory() -> str:
    found = read("training_memory")
    start = ", ".join(f"`{name}={value}`" for name, value in found["start"].items())
    body = rows(
        ("change", "kept for the backward pass", "gradients and AdamW's moments"),
        (
            (name, f"{part['activations_mb']:.0f} MB", f"{part['gradients_and_adam_mb']:.0f} MB")
            for name, part in found["settings"].items()
        ),
    )
    return (
        f"{body}\n\n{found['base']}, one batch, from {start}; torch {found['versions']['torch']}. `{found['command']}`"
    )
