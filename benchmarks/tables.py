"""Puts the measured figures into the README, between its markers, and draws the plot beside them.

python benchmarks/tables.py          # rewrite
python benchmarks/tables.py --check  # exit 1 if the README is not what the results say
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- begin generated: quality -->", "<!-- end generated: quality -->"
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
            f"{gain['difference']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}] over {TITLES.get(other, other)}"
            for other in ("BM25", "bi-encoder", "RRF")
            if (gain := result["gain"][f"{ours} - {other}"])
        ]
        lines.append(f"Macro gain of {TITLES[ours]} with its 95 % interval: {'; '.join(gains)}.")
    if result.get("int8_minus_fp32"):
        change = result["int8_minus_fp32"]
        lines.append(
            f"INT8 minus fp32, {result['int8_minus_fp32_queries']} queries a collection: "
            f"{change['difference']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}]."
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the README is out of date")
    options = parser.parse_args()
    result = json.loads((RESULTS / "quality.json").read_text(encoding="utf-8"))
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    wanted = f"{before}{BEGIN}\n\n{table(result)}\n\n{END}{after}"
    if options.check:
        return int(wanted != text)
    readme.write_text(wanted, encoding="utf-8")
    plot(result, RESULTS / "quality.svg")
    print("README.md and benchmarks/results/quality.svg are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
