"""Puts the measured figures into README and docs, between their markers, and draws the plots beside them.

python benchmarks/tables.py          # rewrite
python benchmarks/tables.py --check  # exit 1 if a page is not what the results say
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from campaign_tables import campaign, layers
from choice import choice, costs, memory, rerankers
from language_tables import languages
from pareto import pareto
from pareto import plot as plot_pareto
from pipeline_tables import others, stages, types
from reliability_tables import reliability
from source_tables import sources
from speed_tables import aims, cascade, concurrency, latency, profile, speed
from table_parts import RESULTS, change, read, rows
from tune_tables import ablations, tuned

ROOT = Path(__file__).parent.parent
FUSED = "reranker + BM25, fitted"
SYSTEMS = ("BM25", "bi-encoder", "RRF", "reranker", FUSED, "oracle")
TITLES = {"bi-encoder": "MiniLM bi-encoder", "RRF": "RRF of both", "reranker": "ours", FUSED: "ours + BM25"}


def cell(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.3f} ± {(figure['high'] - figure['low']) / 2:.3f}"


def table(result: dict[str, Any]) -> str:
    lines = ["| nDCG@10 | queries | " + " | ".join(TITLES.get(name, name) for name in SYSTEMS) + " |"]
    lines.append("|---" * (len(SYSTEMS) + 2) + "|")
    for name, part in result["collections"].items():
        cells = " | ".join(cell(part["systems"][system]) for system in SYSTEMS)
        lines.append(f"| {name} | {part['queries']} | {cells} |")
    queries = sum(part["queries"] for part in result["collections"].values())
    lines.append(f"| **macro** | {queries} | " + " | ".join(f"**{cell(result['macro'][s])}**" for s in SYSTEMS) + " |")
    lines.append("")
    for ours in ("reranker", FUSED):
        gains = [
            f"{change(gain)} over {TITLES.get(other, other)}"
            for other in ("BM25", "bi-encoder", "RRF")
            if (gain := result["gain"][f"{ours} - {other}"])
        ]
        lines.append(f"Macro gain of {TITLES[ours]} with its 95 % interval: {'; '.join(gains)}.")
    if result.get("int8_minus_fp32"):
        lines.append(
            f"INT8 minus fp32, macro over {sum(result['int8_minus_fp32']['queries'])} queries: "
            f"{change(result['int8_minus_fp32'], 4)}."
        )
    machine, versions = result["machine"], result["versions"]
    lines += [
        "",
        "± is half of the 95 % bootstrap interval over queries. BM25 is Lucene's with Snowball stems; the bi-encoder is "
        "all-MiniLM-L6-v2 on the same candidates, and its training data overlaps with these collections' domains; "
        '"ours + BM25" adds z-scores; each query\'s weight was fitted on other queries of its collection '
        "(`fit_fusion_weight`). "
        f"`{result['command']}`, onnxruntime {versions['onnxruntime']}, {machine['threads']} threads.",
        "",
        "![nDCG@10 by collection and system](benchmarks/results/quality.svg)",
    ]
    return "\n".join(lines)


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update({"svg.hashsalt": "semantic-ranker", "svg.fonttype": "none", "font.family": "sans-serif"})
    shown = SYSTEMS[:-1]
    colours = ("#9aa5b1", "#5b8db8", "#4c9f70", "#d1495b", "#8f2d56")
    groups = [*result["collections"], "macro"]
    figure, axes = plt.subplots(figsize=(9, 3.6))
    for place, system in enumerate(shown):
        parts = [(result["collections"][g]["systems"] if g != "macro" else result["macro"])[system] for g in groups]
        means = [part["mean"] for part in parts]
        errors = [
            [m - p["low"] for m, p in zip(means, parts, strict=True)],
            [p["high"] - m for m, p in zip(means, parts, strict=True)],
        ]
        x = [n + (place - 2) * 0.16 for n in range(len(groups))]
        axes.bar(x, means, 0.15, label=TITLES.get(system, system), color=colours[place])
        axes.errorbar(x, means, errors, fmt="none", ecolor="#555555", elinewidth=0.8, capsize=1.5)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel("nDCG@10")
    axes.set_title("Reranking BM25's top 100 (bars: mean, lines: 95 % interval)", fontsize=10)
    axes.legend(ncols=5, fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    # White behind the plot: it stays readable on a dark page.
    figure.savefig(path, facecolor="white", metadata={"Date": None})


def models() -> str:
    from semantic_ranker.catalogue import specs

    def languages(spec: Any) -> str:
        codes = spec.languages
        return (
            "any"
            if "*" in codes
            else ", ".join(codes)
            if len(codes) < 4
            else f"{', '.join(codes[:3])} and {len(codes) - 3} more"
        )

    return rows(
        ("model", "dimensions", "languages", "licence", "weights", "how to get it"),
        (
            (
                f"`{spec.name}`",
                "/".join(map(str, spec.dimensions())),
                languages(spec),
                spec.licence,
                ", ".join(f"{kind} {size:.0f} MB" for kind, size in spec.megabytes.items()),
                spec.obtained,
            )
            for spec in specs()
        ),
    )


def precisions() -> str:
    found = read("embedder_precision")
    exact = found["codecs"]["fp32"]["bytes_per_vector"]
    weights = rows(
        ("weights", "nDCG@10", "cosine to fp32", "same first ten", "time", "file", "memory"),
        (
            (
                name,
                f"{part['nDCG@10']:.3f}",
                f"{part['mean_cosine']:.4f}",
                f"{part['top10_overlap']:.0%}",
                f"{part['time_against_fp32']:.2f}",
                f"{part['file_mb']:.0f} MB",
                f"{part['peak_rss_mb']:.0f} MB",
            )
            for name, part in found["weights"].items()
        ),
    )
    vectors = rows(
        ("vectors of an index", "nDCG@10", "cosine to fp32", "same first ten", "bytes a vector"),
        (
            (
                name,
                f"{part['nDCG@10']:.3f}",
                f"{part['mean_cosine']:.4f}",
                f"{part['top10_overlap']:.0%}",
                f"{part['bytes_per_vector']:.0f} ({part['bytes_per_vector'] / exact - 1:+.0%})",
            )
            for name, part in found["codecs"].items()
        ),
    )
    tail = f"{found['model']}, {found['documents']} documents and {found['queries']} queries of {found['collection']}; "
    return f"{weights}\n\n{vectors}\n\n{tail}time against fp32. `{found['command']}`"


def embedders() -> str:
    found = read("static_embedder")

    def figures(name: str, part: dict[str, Any]) -> Iterator[Sequence[object]]:
        for way in ("retrieval", "reranking"):
            have = part[way]
            yield (
                name,
                way,
                *(cell(have[system]) if system in have else "" for system in ("BM25", "static", "MiniLM")),
            )

    table_ = rows(
        ("collection", "", "BM25", "bundled static", "all-MiniLM-L6-v2"),
        (row for name, part in found["collections"].items() for row in figures(name, part)),
    )
    speeds = [part["static_documents_per_cpu_s"] for part in found["collections"].values()]
    return (
        f"{table_}\n\nnDCG@10, ± half of the 95 % interval; reranking is of BM25's best 100. The static model reads "
        f"{min(speeds):,} to {max(speeds):,} passages a second of CPU time on one core, by their length."
    )


def cached() -> str:
    found = read("cache")

    def line(name: str, part: dict[str, Any]) -> Sequence[object]:
        return (
            name,
            f"{part['bytes_a_key']:,.0f}",
            f"{part['hit_one_text']['p50_us']:.0f} µs",
            f"{part['hit_a_text_of_256']['p50_us']:.0f} µs",
            f"{part['mixed_texts_per_s']:,}",
        )

    table_ = rows(
        ("cache", "bytes a key in Redis", "one hit", "a hit among 256", "texts a second, a quarter kept before"),
        (line(name, part) for name, part in found["peers"]["contenders"].items()),
    )
    drill = found["availability"]
    return (
        f"{table_}\n\nVectors of 384 dimensions, in one run, medians. While Redis was killed, hung and restarted for "
        f"{drill['seconds']} s, {drill['answered']:.0%} of {drill['calls']:,} calls were answered, with "
        f"{drill['wrong_vectors']} wrong vectors; the slowest took {drill['slowest_ms']:.0f} ms. `{found['command']}`"
    )


BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"quality": lambda: table(read("quality")), "speed": speed},
    "docs/embeddings.md": {"models": models, "precisions": precisions, "embedders": embedders, "cache": cached},
    "docs/models.md": {
        "rerankers": rerankers,
        "pareto": pareto,
        "reliability": reliability,
        "languages": languages,
        "choice": choice,
    },
    "training/README.md": {"campaign": campaign, "layers": layers},
    "docs/costs.md": {"costs": costs},
    "docs/cuda-memory.md": {"memory": memory},
    "docs/rag.md": {"stages": stages, "types": types, "pipelines": others, "sources": sources},
    "docs/tune.md": {"tuned": tuned, "ablations": ablations},
    "docs/speed.md": {
        "cascade": cascade,
        "latency": latency,
        "aims": aims,
        "profile": profile,
        "concurrency": concurrency,
    },
}


def page(path: Path, blocks: dict[str, Callable[[], str]]) -> str:
    """Return a page with what stands between its markers made anew."""
    text = path.read_text(encoding="utf-8")
    for name, make in blocks.items():
        begin, end = f"<!-- begin generated: {name} -->", f"<!-- end generated: {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{make()}\n\n{end}{rest.split(end)[1]}"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a page is out of date")
    options = parser.parse_args()
    pages = {ROOT / name: page(ROOT / name, blocks) for name, blocks in BLOCKS.items()}
    if options.check:
        return int(any(path.read_text(encoding="utf-8") != text for path, text in pages.items()))
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    plot(read("quality"), RESULTS / "quality.svg")
    plot_pareto(RESULTS / "pareto.svg")
    print(", ".join(BLOCKS), "and the plots of quality and time in benchmarks/results are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
