"""The tables of docs/speed.md, from latency.json and cascade.json."""

from __future__ import annotations

from typing import Any

from table_parts import RESULTS, read, rows


def latency() -> str:
    if not (RESULTS / "latency.json").is_file():
        return "`benchmarks/latency.py` was not run on this checkout."
    found = read("latency")
    lines = [
        "| | 100 passages, P50 / P95 | 20 | pairs/s | against torch, least to most | CPU s | of the limit | RAM | first 20 "
        "from a cold start | Kendall tau | same top 10 | nDCG@10 |",
        "|---" * 12 + "|",
    ]
    ordered = sorted(found["contenders"].items(), key=lambda item: item[1]["ms"]["100"]["p50"])
    lines += [_line(name, part) for name, part in ordered]
    texts, limit, versions = found["texts"], found["limit"], found["versions"]
    left_out = [f"{name}: {reason}" for name, reason in found["left_out"].items()]
    lines += [
        "",
        f"{texts['queries']} queries; texts of {texts['tokens']['p5']} to {texts['tokens']['p95']} tokens, "
        f"{texts['mean_tokens']:.0f} on average; {found['threads']} threads; the load was "
        f'{found["load_average_at_end"]} at the end. "Against torch" is the median of the ratios, query by query, to '
        'sentence-transformers as installed; nDCG@10 stands with the change to it. "Of the limit": the least time of '
        f"the products that must be computed, at {limit['fp32_gflops']:.0f} GFLOP/s in fp32 and "
        f"{limit['int8_gflops']:.0f} GOP/s in int8, which small products reach here, over the time taken. The bundled "
        "model has other weights, so its agreement says nothing. "
        f"`{found['command']}`, onnxruntime {versions.get('onnxruntime')}.",
        *(f"Left out: {reason}." for reason in left_out),
        "",
        "![Seconds to rerank 100 passages](../benchmarks/results/latency.svg)",
    ]
    return "\n".join(lines)


def aims() -> str:
    """Return what was aimed at beside what was reached, and where it was not, what stops it."""
    found, quality, tiny = read("latency"), read("quality"), read("quality_tiny")
    of, lost = found["contenders"], 100 * (quality["macro"]["reranker"]["mean"] - tiny["macro"]["reranker"]["mean"])
    part = read("embedder_peers")["threads"]["1"]["contenders"]
    peers = [name for name in of if not name.startswith(("ours", "bundled", "tiny"))]

    def ratio(name: str) -> float:
        return float(of[name]["speedup"]["median"])

    def against(name: str, kind: str) -> float:
        best = min(of[peer]["ms"]["100"]["p50"] for peer in peers if kind in peer and "torch" not in peer)
        return float(best / of[name]["ms"]["100"]["p50"])

    def embeds(name: str) -> float:
        return float(part["ours MiniLM int8"]["texts_per_s"] / part[name]["texts_per_s"])

    fp32, int8, cascade = "ours fp32", "ours int8", "bundled int8, cascade, first 10, new passages"
    small, known, new = "tiny int8, new passages", "bundled int8, known passages", "bundled int8, new passages"
    langchain = of["LangChain CrossEncoderReranker"]["cold_start_s"] / of[int8]["cold_start_s"]
    products = "each product has its input measured and rounded first, in passes of their own; needed: a kernel that does it while it reads"
    times = {name: row["ms for 100 passages"] for name, row in read("layers")["rows"].items()}
    students = {name: ratio(small) * times["three layers"] / ms for name, ms in times.items()}
    table: list[tuple[str, str, float, float, str]] = [
        ("fp32, times sentence-transformers torch", "{:.1f}", 2.2, ratio(fp32), ""),
        ("fp32, times the best tuned ONNX peer", "{:.1f}", 1.0, against(fp32, "fp32"), ""),
        ("int8, times sentence-transformers torch", "{:.1f}", 3.5, ratio(int8), products),
        ("int8, times the best tuned int8 peer", "{:.1f}", 1.5, against(int8, "int8"), products),
        ("share of the limit of the products, fp32", "{:.0%}", 0.75, of[fp32]["share_of_limit"], "attention and layer norm, "
         "which are no products; needed: attention block by block"),
        ("share of the limit of the products, int8", "{:.0%}", 0.75, of[int8]["share_of_limit"], products),
        ("cascade, times sentence-transformers torch", "{:.1f}", 9, ratio(cascade), "it must score "
         f"{read('cascade')['macro']['texts_scored']:.0%} of the texts to lose nothing that can be told; with `reranker-en-tiny` it is "
         f"{ratio('tiny int8, cascade, first 10, new passages'):.1f}, at the loss of that model; needed: a first pass that knows more than words and static vectors"),
        ("three layers, times sentence-transformers torch", "{:.1f}", 6, ratio(small), f"three "
         f"lose {lost:.1f} points, where 0.5 was the aim; taught alike, two would reach about {students['two layers']:.1f} and lose "
         f"more, four {students['four layers']:.1f} and lose nothing that can be told (training/README.md)"),
        ("known passages, times new ones", "{:.0f}", 3, of[new]["ms"]["100"]["p50"] / of[known]["ms"]["100"]["p50"], ""),
        ("first 20 from a cold start, times LangChain's", "{:.1f}", 12, langchain, "reading and unpacking the weights; needed: a runtime that keeps them unpacked on disk"),
        ("memory, MB", "{:.0f}", 220, of[int8]["peak_mb"], ""),
        ("int8 embedder, times sentence-transformers", "{:.1f}", 2.0,
         embeds("sentence-transformers torch, as installed"), ""),
        ("int8 embedder, times fastembed tuned", "{:.1f}", 1.2, embeds("fastembed, tuned"), ""),
        ("int8 embedder, least cosine to fp32", "{:.3f}", 0.996, part["ours MiniLM int8"]["least_cosine_to_fp32"],
         "int8 at the first load is rounded without texts to look at"),
    ]  # fmt: skip
    reached = [(value <= aim) if "MB" in name else (value >= aim) for name, _, aim, value, _ in table]
    return rows(
        ("", "aim", "reached", "what stops it, and what it takes"),
        (
            (name, form.format(aim), form.format(value), "" if done else why or "the noise of this run")
            for done, (name, form, aim, value, why) in zip(reached, table, strict=True)
        ),
    )


def speed() -> str:
    found = read("latency")
    of = found["contenders"]

    def median(name: str) -> str:
        return f"{of[name]['ms']['100']['p50']:,.0f} ms"

    langchain, ours, first, cascade, tiny, tiny_cascade = (
        "LangChain CrossEncoderReranker", "ours int8 in LangChain", "bundled int8, new passages",
        "bundled int8, cascade, first 10, new passages", "tiny int8, new passages",
        "tiny int8, cascade, first 10, new passages",
    )  # fmt: skip
    small = f", `reranker-en-tiny` {median(tiny)} and {median(tiny_cascade)}" if tiny in of else ""
    return (
        f"100 passages of {found['texts']['mean_tokens']:.0f} tokens on {found['threads']} cores without VNNI, medians of "
        f"{found['texts']['queries']} queries: LangChain's own `CrossEncoderReranker` {median(langchain)}, the same model "
        f'in `SemanticRerank` {median(ours)}, the bundled model {median(first)}, its first 10 by `mode="cascade"` '
        f"{median(cascade)}{small}, known or [precomputed](docs/speed.md) passages {median('bundled int8, known passages')}. From "
        f"a cold start to the first 20: {of[langchain]['cold_start_s']:.1f} s and {of[ours]['cold_start_s']:.1f} s; "
        f"memory {of[langchain]['peak_mb']:,} and {of[ours]['peak_mb']:,} MB. All peers: [docs/speed.md](docs/speed.md)."
    )


def _line(name: str, part: dict[str, Any]) -> str:
    ms, speed, change = part["ms"], part["speedup"], part["ndcg_change"]
    share = f"{part['share_of_limit']:.0%}" if "share_of_limit" in part else "-"
    cold = f"{part['cold_start_s']:.1f} s" if "cold_start_s" in part else "-"
    cells = [
        f"**{name}**" if name.startswith(("ours", "bundled", "tiny")) else name,
        f"{ms['100']['p50']:,.0f} / {ms['100']['p95']:,.0f} ms",
        f"{ms['20']['p50']:,.0f} ms",
        f"{part['pairs_per_s']:,.0f}",
        f"{speed['median']:.1f} ({speed['low']:.1f} to {speed['high']:.1f})",
        f"{part['cpu_s_per_100']:.2f}",
        share,
        f"{part['peak_mb']:,} MB",
        cold,
        f"{part['kendall_tau']:.3f}",
        f"{part['top10_overlap']:.2f}",
        f"{part['ndcg@10']:.3f} ({change['mean']:+.3f})",
    ]
    return f"| {' | '.join(cells)} |"


def cascade() -> str:
    if not (RESULTS / "cascade.json").is_file():
        return "`benchmarks/cascade.py` was not run on this checkout."
    found = read("cascade")
    lines = ["| | queries | nDCG@10, all scored | change with its 95 % interval | texts scored | tokens scored |"]
    lines.append("|---" * 6 + "|")
    for name, part in found["collections"].items():
        change = part["change"]
        lines.append(
            f"| {name} | {part['queries']} | {part['full']:.3f} | {change['mean']:+.4f} "
            f"[{change['low']:+.4f}, {change['high']:+.4f}] | {part['texts_scored']:.0%} | {part['tokens_scored']:.0%} |"
        )
    macro, fitted, spent, kept = found["macro"], found["fitted"], found["seconds"], found["score_cache"]
    lines.append(
        f"| **macro** | | | **{macro['change']:+.4f}** | **{macro['texts_scored']:.0%}** | **{macro['tokens_scored']:.0%}** |"
    )
    times = "; ".join(f"{name} {part['p50']:,.1f} ms" for name, part in kept["ms"].items())
    lines += [
        "",
        f"Top {fitted['top']} of BM25's 100, the bundled model. Fitted to {fitted['queries']} queries on {fitted['to']}: "
        f"there it loses {fitted['lost']:.1%} of the model's own first {fitted['top']}, {fitted['lost_high']:.1%} at most "
        f"(95 %). New passages took {spent['speedup']['median']} times less ({spent['speedup']['low']} to "
        f"{spent['speedup']['high']}, {spent['queries']} queries, full and cascade in turn; by CPU time "
        f"{spent['cpu_speedup']}). `{found['command']}`",
        "",
        f"Questions that come again ({kept['trace']}; {kept['hit_rate']:.0%} of the pairs were found), median of a "
        f"request: {times}.",
    ]
    return "\n".join(lines)


KINDS = {
    "products": ("MatMul", "DynamicQuantizeMatMul", "FusedGemm", "Gemm"),
    "attention": ("MultiHeadAttention",),
    "layer norm": ("SkipLayerNormalization", "LayerNormalization"),
    "Gelu": ("BiasGelu", "Gelu"),
    "rows brought to one scale": ("Abs", "ReduceMax", "Max", "Div", "Mul"),
}


def profile() -> str:
    found = read("graph_profile")
    lines = [
        f"| | tokens | ms | {' | '.join(KINDS)} | other |",
        "|---" * (len(KINDS) + 4) + "|",
    ]
    for precision, of in found["precisions"].items():
        for tokens, part in of.items():
            shares = [sum(part["shares"].get(name, 0.0) for name in names) for names in KINDS.values()]
            cells = " | ".join(f"{share:.0%}" for share in [*shares, 1 - sum(shares)])
            lines.append(f"| {precision} | {tokens} | {part['ms']:.1f} | {cells} |")
    lines += ["", f"One pair, one thread, onnxruntime {found['versions']['onnxruntime']}. `{found['command']}`"]
    lines += ["", _packing(found["precisions"])]
    return "\n".join(lines)


def _packing(precisions: dict[str, Any]) -> str:
    """Return what packing texts into one run could save at most: all but attention, a token, against the longest run."""

    def told(of: dict[str, Any]) -> str:
        a_token = {
            int(tokens): part["ms"] * (1 - part["shares"]["MultiHeadAttention"]) / int(tokens)
            for tokens, part in of.items()
        }
        least = a_token[max(a_token)]
        return ", ".join(f"{1 - least / ms:.0%} at {tokens}" for tokens, ms in a_token.items() if ms > least)

    saved = "; ".join(f"{precision} {told(of)} tokens" for precision, of in precisions.items())
    return (
        "Several texts packed into one run, each attending to itself, would save at most what a token costs more in a "
        f"short run than in a run of {max(map(int, precisions['int8']))} tokens, attention aside: {saved}. Passages are "
        "longer than that pays for, so texts are not packed."
    )


def concurrency() -> str:
    """Return how several callers fare, each way of sharing the cores beside ours."""
    found = read("concurrency")
    callers = list(next(iter(found["ways"].values())))
    body = rows(
        ("passages of several callers", *(f"{count} caller{'s' if count != '1' else ''}" for count in callers)),
        (
            (name, *(_shared(of[count], name == found["ours"]) for count in callers))
            for name, of in found["ways"].items()
        ),
    )
    return (
        f"{body}\n\nRequests a second of {found['what']} ({found['tokens_a_passage']:.0f} tokens each), and for the "
        f"other ways the ratio to the first, which is what a model does; medians of {found['rounds']} rounds in changing "
        f"order, {found['machine']['cores']} cores. `{found['command']}`"
    )


def _shared(part: dict[str, float], ours: bool) -> str:
    return f"{part['requests_a_second']:.1f}, P95 {part['p95_ms']:,.0f} ms" if ours else f"{part['against_ours']:.2f}"
